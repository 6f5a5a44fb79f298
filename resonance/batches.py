"""What a batch may be, and the loss that goes with it.

tensor   x                              model(x), compared with x itself: input and target alike
tuple    (x, ..., target)               model(x, ...), compared with the last entry
dict     {"x": x, "target": y, ...}     model(x=x, ...), compared with "target"; the other keys are the model's names
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .layers import length_mask

TARGET = "target"


def unpacked(batch: Any) -> tuple[tuple, dict[str, Any], Any]:
    """Return (positional inputs, named inputs, target) of a batch: a tensor, a tuple or list, or a dict.

    Raises TypeError for anything else, ValueError for a tuple of fewer than two entries, a dict without a target or
    without an input.
    """
    if isinstance(batch, Tensor):
        return (batch,), {}, batch
    if isinstance(batch, Mapping):
        if TARGET not in batch or len(batch) < 2:
            raise ValueError(f'expected a dict batch of "{TARGET}" and the model\'s inputs, got the keys {list(batch)}')
        return (), {str(name): value for name, value in batch.items() if name != TARGET}, batch[TARGET]
    if isinstance(batch, tuple | list):
        if len(batch) < 2:
            raise ValueError(f"expected a batch of inputs and a target, got {len(batch)} entries")
        return tuple(batch[:-1]), {}, batch[-1]
    raise TypeError(f"expected a batch as a tensor, a tuple or a dict, got {type(batch).__name__}")


def moved(value: Any, device: torch.device) -> Any:
    """Return the value with every tensor in it, through tuples, lists and dicts, on a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: moved(part, device) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(moved(part, device) for part in value)
    return value


def default_loss(prediction: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return mean squared error for a floating target, cross-entropy for an integer one (classes last).

    prediction: (batch, n, d), or any shape without `lengths`.  With `lengths`, (batch,), and a target of one entry a
    position, the mean is over the positions within the lengths: padding counts for nothing, whatever stands there.
    Raises ValueError for a floating target of another shape than the prediction, an integer one of other positions.
    """
    floating = target.is_floating_point()
    expected = prediction.shape if floating else prediction.shape[:-1]
    if target.shape != expected:
        what = "the prediction's shape" if floating else "the prediction's positions"
        raise ValueError(f"expected a target of {what} {tuple(expected)}, got {tuple(target.shape)}")
    if lengths is not None and prediction.ndim == 3:
        inside = length_mask(prediction, lengths)[..., 0]
        prediction, target = prediction[inside], target[inside]
    if floating:
        return F.mse_loss(prediction, target)
    return F.cross_entropy(prediction.reshape(-1, prediction.shape[-1]), target.reshape(-1))
