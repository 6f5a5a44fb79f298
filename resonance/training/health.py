"""Gradient health: the gradient norm of each group, the drift of phases, the share of dead magnitudes.

    grad_norm/<role>    norm of the gradient of a group: magnitude, phase, interference, rest
    phase_drift         root mean square over all polar weights of the angle, in radians and wrapped to [-pi, pi),
                        between arg w now and at initialisation; pi / sqrt(3) = 1.81 where the two are independent
    dead_magnitudes     share of the polar weights with |r| < DEAD

A dead weight passes no signal, and no gradient to its phase, for that has a factor r (thm:polar).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..polar import PolarWeight
from .checkpoint import plain_name

DEAD = 1e-3


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """Norm, (), of the gradient over some parameters; 0 where none has one."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).to(parameters[0].device)


class PolarHealth:
    """Compare the polar weights of a model with those of now, of which `start` keeps a copy: arg w by module name."""

    def __init__(self, model: nn.Module):
        weights = (pair for pair in model.named_modules() if isinstance(pair[1], PolarWeight))
        self.weights = {plain_name(f"{name}.")[:-1]: weight for name, weight in weights}
        self.start = {name: argument(weight).clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def read(self) -> dict[str, float]:
        """phase_drift and dead_magnitudes of now; empty for a model without polar weights."""
        if not self.weights:
            return {}
        turns = [wrapped(argument(weight) - self.start[name].to(weight.phase)) for name, weight in self.weights.items()]
        turned, count = sum(turn.square().sum() for turn in turns), sum(turn.numel() for turn in turns)
        dead = sum((weight.polar()[0].abs() < DEAD).sum() for weight in self.weights.values())
        turned, dead = torch.stack([turned.double(), dead.double()]).tolist()  # one wait for the device
        return {"phase_drift": math.sqrt(turned / count), "dead_magnitudes": dead / count}


def argument(weight: PolarWeight) -> Tensor:
    """arg w up to multiples of 2 pi: the phase, plus pi where the magnitude is negative."""
    magnitude, phase = (part.detach() for part in weight.polar())
    return torch.where(magnitude < 0, phase + math.pi, phase)


def wrapped(angle: Tensor) -> Tensor:
    """Wrap an angle in radians to [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi


@contextmanager
def scalar_log(folder: str | Path | None, first: int) -> Iterator[Any]:
    """A TensorBoard writer to a folder; without a folder, one that writes nowhere.

    Steps from `first` on that an interrupted run wrote to the folder are dropped.
    Raises ModuleNotFoundError where a folder is given and TensorBoard is not installed.
    """
    if folder is None:
        yield SimpleNamespace(add_scalar=lambda *scalar: None, flush=lambda: None)
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional
    except ImportError as error:
        raise ModuleNotFoundError("log_folder needs TensorBoard: pip install tensorboard") from error
    with SummaryWriter(str(folder), purge_step=first) as writer:
        yield writer
