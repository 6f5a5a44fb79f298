"""Seconds and peak memory of one step of one model at one length, in a process of its own.

    python -m artifact.studies.common.probe '{"model": "long context", "task": "train", "n": 262144}'

prints one line of JSON.  `measure` runs that in a fresh process and stops it at a limit of memory or time: a peak
belongs to a process, so an earlier step in the same process would hide that of a later one.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from artifact.files import ROOT
from artifact.peers.transformer import FNetEncoder, TransformerEncoder
from artifact.studies.common.processes import end_with_parent
from artifact.studies.common.timing import resident_bytes
from resonance.long_context import LongContextResonanceNet
from resonance.models import ResonanceNet

TASKS = ("train", "infer", "stream")


class Shape(NamedTuple):
    """The shape that all models of a comparison share."""

    input_dim: int = 64
    dim: int = 256
    layers: int = 6
    frequencies: int = 64
    chunk: int = 2048


MODELS = {
    "resonance": lambda n, s: ResonanceNet(
        s.input_dim, s.frequencies, s.dim, s.layers, holographic_capacity=0, dropout=0.0
    ),
    "long context": lambda n, s: LongContextResonanceNet(
        s.input_dim, n, s.chunk, s.layers, hidden_dim=s.dim, num_frequencies=s.frequencies
    ),
    "fnet": lambda n, s: FNetEncoder(s.input_dim, s.dim, s.layers),
    "transformer": lambda n, s: TransformerEncoder(s.input_dim, s.dim, s.layers),
}


class Chunks:
    """n tokens of noise as chunks generated during iteration, the same in each, and not stored."""

    def __init__(self, n: int, chunk: int, dim: int):
        self.n, self.chunk, self.dim = n, chunk, dim

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, self.n, self.chunk):
            generator = torch.Generator().manual_seed(start)
            yield torch.randn(1, min(self.chunk, self.n - start), self.dim, generator=generator)


def _timed(step, device: str) -> float:
    begin = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def run(
    model: str, task: str, n: int, *, device: str = "cpu", warm: bool = True, short_of: float = 30.0, **shape
) -> dict:
    """Run one step in this process; return seconds and bytes.  `warm` repeats a step shorter than `short_of` seconds.

    Raises ValueError for an unknown model or task.
    """
    if model not in MODELS or task not in TASKS:
        raise ValueError(f"expected a model of {', '.join(MODELS)} and a task of {', '.join(TASKS)}")
    if task == "stream" and model != "long context":
        raise ValueError(f"only the model 'long context' streams, not {model!r}")
    s = Shape(**shape)
    start = resident_bytes(peak=False)
    torch.manual_seed(0)
    net = MODELS[model](n, s).to(device)
    if task == "stream":  # holds no whole input, and imports no optimiser: both would be in its peak
        chunks = Chunks(n, 8 * s.chunk, s.input_dim)
    else:
        x = torch.randn(1, n, s.input_dim, device=device)
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step() -> None:
        if task == "stream":
            for _ in net.stream(chunks):
                pass
        elif task == "train":
            optimizer.zero_grad(set_to_none=True)
            net(x).square().mean().backward()
            optimizer.step()
        else:
            with torch.inference_mode():
                net.eval()(x)

    seconds = _timed(step, device)
    if warm and seconds < short_of:
        seconds = min(_timed(step, device) for _ in range(3 if seconds < short_of / 10 else 1))
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident_bytes(peak=True)
    parameters = sum(p.numel() for p in net.parameters())
    return {"seconds": seconds, "peak": peak, "start": 0 if device == "cuda" else start, "parameters": parameters}


def measure(
    model: str, task: str, n: int, *, limit_bytes: int | None = None, limit_seconds: float | None = None, **options
) -> dict:
    """`run` in a fresh process: model, task, n, outcome, seconds, peak, start, parameters.

    outcome: "ran", "memory" (it needed more than limit_bytes) or "time" (more than limit_seconds).
    Raises RuntimeError with the process's error output when it fails for another reason.
    """
    case = {"model": model, "task": task, "n": n, "threads": torch.get_num_threads(), **options}
    command = [sys.executable, "-m", "artifact.studies.common.probe", json.dumps({**case, "limit_bytes": limit_bytes})]
    row = {"model": model, "task": task, "n": n, "outcome": "ran"}
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        return {**row, "outcome": "time"}
    if done.returncode:
        if re.search("can't allocate memory|out of memory|MemoryError", done.stderr):
            return {**row, "outcome": "memory"}
        raise RuntimeError(f"{model}, {task}, n={n} failed:\n{done.stderr.strip()[-2000:]}")
    return {**row, **json.loads(done.stdout)}


def main() -> int:
    """Run the case given as JSON and print its measurements."""
    case = json.loads(sys.argv[1])
    end_with_parent()
    torch.set_num_threads(case.pop("threads", torch.get_num_threads()))
    limit = case.pop("limit_bytes", None)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    print(json.dumps(run(**case)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
