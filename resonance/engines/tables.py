"""Tables that transforms multiply by: made once in float64, cached for each band, dtype and device, bounded in bytes.

Where a graph is traced a table is a constant of it: for a compiler, and in an exported model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..band import Band

BUILDERS: dict[str, Callable[[Band, torch.dtype], list[np.ndarray]]] = {}
CACHE_BYTES = 2**28
_CACHE: OrderedDict[tuple, list[Tensor]] = OrderedDict()  # least recently used first
_LOCK = threading.Lock()


def constant_result(function: Callable) -> Callable:
    """Mark a function whose result a compiler takes as a constant of its graph.

    This is `torch.compiler.assume_constant_result`, which would import the whole compiler, seconds, to set this mark.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def as_tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An array of indices as int64, any other in `dtype`, on the device."""
    return torch.tensor(array, dtype=torch.int64 if array.dtype.kind == "i" else dtype, device=device)


def _make(name: str, n: int, frequencies, grid: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return [as_tensor(array, dtype, device) for array in BUILDERS[name](Band(n, frequencies, grid), dtype)]


@constant_result
def _cached(*arguments) -> list[Tensor]:
    with _LOCK:
        tables = _CACHE.pop(arguments, None)
        if tables is None:
            # Tensors made in inference mode cannot be used in training.
            with torch.inference_mode(False), torch.no_grad():
                tables = _make(*arguments)
        _CACHE[arguments] = tables
        while sum(t.numel() * t.element_size() for kept in _CACHE.values() for t in kept) > CACHE_BYTES:
            _CACHE.popitem(last=False)
        return tables


def constants(name: str, band: Band, like: Tensor) -> list[Tensor]:
    """The tables that BUILDERS[name] makes for a band, in the dtype and on the device of `like`.

    They come from the cache, except where a graph is traced with fake tensors: what is made there is not cached.
    """
    arguments = (name, band.n, band.frequencies, band.grid, like.dtype, like.device)
    if torch.compiler.is_dynamo_compiling():
        return _cached(*arguments)
    traced = torch.compiler.is_compiling() or torch._guards.detect_fake_mode() is not None
    return (_make if traced else _cached)(*arguments)
