"""Tables that transforms multiply by: made once in float64, cached by dtype and device, bounded in bytes.

A cached table is made outside all modes (tracing, functional transforms, inference), so that any later call can use it.
A trace on fake tensors makes its own, constants of its graph, and caches nothing.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

BUILDERS: dict[str, Callable[[tuple, torch.dtype], list[np.ndarray]]] = {}  # of a band's key and a dtype
CACHE_BYTES = 2**28
_CACHE: OrderedDict[tuple, list[Tensor]] = OrderedDict()  # least recently used first
_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):  # a process forked while another thread holds the lock would wait for ever
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def constant_result(function: Callable) -> Callable:
    """Mark a function whose result a compiler takes as a constant of its graph.

    This is `torch.compiler.assume_constant_result`, which would import the whole compiler, seconds, to set this mark.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_result
def as_tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An array of indices as int64, any other in `dtype`, on the device."""
    return torch.tensor(array, dtype=torch.int64 if array.dtype.kind == "i" else dtype, device=device)


def _make(name: str, key: tuple, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return [as_tensor(array, dtype, device) for array in BUILDERS[name](key, dtype)]


@constant_result
def _cached(*arguments) -> list[Tensor]:
    with _LOCK:
        if arguments in _CACHE:
            _CACHE.move_to_end(arguments)
            return _CACHE[arguments]
        with _disable_current_modes(), torch._C._DisableFuncTorch(), torch.inference_mode(False), torch.no_grad():
            tables = _CACHE[arguments] = _make(*arguments)
        while sum(t.numel() * t.element_size() for kept in _CACHE.values() for t in kept) > CACHE_BYTES:
            _CACHE.popitem(last=False)
        return tables


def constants(name: str, key: tuple, like: Tensor) -> list[Tensor]:
    """The tables that BUILDERS[name] makes for the key of a band, in the dtype and on the device of `like`."""
    arguments = (name, key, like.dtype, like.device)
    plain = torch.compiler.is_dynamo_compiling() or (type(like) is Tensor and not torch._C._len_torch_dispatch_stack())
    fake = None if plain else torch._guards.detect_fake_mode(like)  # which takes longer than a small product
    if fake is None:
        return _cached(*arguments)
    with fake:
        return _make(*arguments)
