"""Seconds and bytes: alternated timing of steps, lower bounds from this machine's speed, memory of a process.

Steps are compared by running them in turn in one process, under the same conditions; reported is the median of the
turns.  The process reuses freed memory unless said otherwise, as a steady training run can: mapping new pages for a
large result can cost more than computing it.  A lower bound of a time: the bytes that must move over the measured
speed of a copy, or the products that must be computed over the measured speed of a matrix product.
"""

from __future__ import annotations

import ctypes
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

Step = Callable[[], object]


def pass_of(model: nn.Module, x: Tensor) -> Step:
    """A step: one forward and backward pass of `model`, with gradients for x and every parameter."""
    x = x.detach().requires_grad_(True)
    with torch.no_grad():
        cotangent = torch.randn_like(model(x))

    def step() -> None:
        x.grad = None
        model.zero_grad(set_to_none=True)
        model(x).backward(cotangent)

    return step


def seconds_of(step: Step, device: str = "cpu", min_seconds: float = 0.1) -> float:
    """Median seconds of one call of `step`; on CUDA by events on the stream, after a warm-up."""
    if torch.device(device).type == "cpu":
        timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=min_seconds).median
    step()
    seconds: list[float] = []
    while sum(seconds) < min_seconds or len(seconds) < 3:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize()
        seconds.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(seconds)


# What a user sets before starting a program that is to keep the memory it frees, where the C library is glibc.
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


def keep_freed_memory() -> None:
    """Make glibc, where it is the C library, serve large tensors from freed memory: `KEEPING`, in a running process."""
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(library, "mallopt"):
        mmap_max, trim_threshold = -4, -1  # malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def rounds_of(
    steps: dict[str, Step], *, device: str = "cpu", rounds: int = 3, min_seconds: float = 0.1
) -> dict[str, list[float]]:
    """Seconds of each step in every round, in which the steps alternate, after a warm-up.

    A step that takes longer than min_seconds runs once a round.
    """
    slow = {}
    for name, step in steps.items():
        step()
        slow[name] = torch.device(device).type == "cpu" and _once(step) > min_seconds
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(_once(step) if slow[name] else seconds_of(step, device, min_seconds))
    return taken


def _once(step: Step) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def alternated(
    steps: dict[str, Step], *, device: str = "cpu", rounds: int = 3, min_seconds: float = 0.1
) -> dict[str, float]:
    """Seconds of each step: the median of `rounds_of`, in a process that reuses freed memory."""
    keep_freed_memory()
    taken = rounds_of(steps, device=device, rounds=rounds, min_seconds=min_seconds)
    return {name: statistics.median(values) for name, values in taken.items()}


def copy_step(elements: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Step:
    """A step that copies a tensor of `elements` elements: 2 x elements x itemsize bytes moved."""
    source = torch.randn(elements, device=device).to(dtype)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def product_step(size: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Step:
    """A step that multiplies two matrices of size x size: 2 size^3 operations."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    c = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=c)


def resident_bytes(*, peak: bool) -> int:
    """Bytes of memory that this process occupies, or its peak since the start."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: this process alone, where ru_maxrss remembers the parent that forked it
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)
