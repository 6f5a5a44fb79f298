# The artifact with everything that its two commands need:
#   docker build -t resonance . && docker run --rm -it -p 8888:8888 resonance
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git latexmk texlive-latex-recommended texlive-latex-extra \
    texlive-fonts-recommended texlive-science texlive-pictures cm-super lmodern && rm -rf /var/lib/apt/lists/*
WORKDIR /resonance
COPY . .
ENV RESONANCE_TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN ./run_all.sh setup
EXPOSE 8888
CMD ["./run_all.sh", "lab", "--", "--ip=0.0.0.0", "--allow-root", "--no-browser"]
