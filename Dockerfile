# The artifact with everything that its two commands need:
#   docker build -t resonance . && docker run --rm -it -p 8888:8888 resonance
# The service alone, without TeX, of models that a run has saved (docs/serving.md):
#   docker build -t resonance-serving --target serving .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/data/results/quick/19_deployment/model:/model:ro" resonance-serving
FROM python:3.11-slim-bookworm AS serving
WORKDIR /resonance
COPY requirements.lock pyproject.toml README.md ./
RUN python -m pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu \
      "$(sed -n 's/^torch==/torch==/p' requirements.lock)" && \
    python -m pip install --no-cache-dir --constraint requirements.lock numpy safetensors fastapi uvicorn websockets \
      prometheus-client && useradd --no-create-home serving
COPY resonance resonance
COPY artifact artifact
USER serving
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "artifact.serving", "--model", "/model", "--host", "0.0.0.0"]

FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git latexmk texlive-latex-recommended texlive-latex-extra \
    texlive-fonts-recommended texlive-science texlive-pictures cm-super lmodern && rm -rf /var/lib/apt/lists/*
WORKDIR /resonance
COPY . .
ENV RESONANCE_TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN ./run_all.sh setup
EXPOSE 8888
CMD ["./run_all.sh", "lab", "--", "--ip=0.0.0.0", "--allow-root", "--no-browser"]
