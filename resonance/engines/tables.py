"""Tables that transforms multiply by: made once in float64, kept for each band, dtype and device, within a bound.

A table is a constant of the graph wherever a graph is made: a compiler gets it as such, an exported model carries it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch
from cachetools import LRUCache, cached
from torch import Tensor

from ..band import Band

Build = Callable[[Band, torch.dtype], list[np.ndarray]]

BUILDERS: dict[str, Build] = {}
_CACHE: LRUCache = LRUCache(maxsize=2**28, getsizeof=lambda kept: sum(t.numel() * t.element_size() for t in kept))


def as_tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an array of indices as int64, any other in `dtype`, on the device."""
    return torch.tensor(array, dtype=torch.int64 if array.dtype.kind == "i" else dtype, device=device)


def _make(name: str, n: int, frequencies, grid: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return [as_tensor(array, dtype, device) for array in BUILDERS[name](Band(n, frequencies, grid), dtype)]


@cached(_CACHE, lock=threading.RLock())
def _kept(*arguments) -> list[Tensor]:
    # What inference mode makes, training could not use.
    with torch.inference_mode(False), torch.no_grad():
        return _make(*arguments)


@torch.compiler.assume_constant_result
def _constant(*arguments) -> list[Tensor]:
    return _kept(*arguments)


def constants(name: str, band: Band, like: Tensor) -> list[Tensor]:
    """Return the tables that BUILDERS[name] makes for a band, in the dtype and on the device of `like`.

    They come from the cache, but where a graph is traced with stand-ins for tensors: what is made there is not kept.
    """
    arguments = (name, band.n, band.frequencies, band.grid, like.dtype, like.device)
    if torch.compiler.is_dynamo_compiling():
        return _constant(*arguments)
    if torch.compiler.is_compiling() or torch._guards.detect_fake_mode() is not None:
        return _make(*arguments)
    return _kept(*arguments)
