"""The training loop that every study shares: some steps under a one-cycle learning rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from resonance.training.natural import ResonanceTrainer
from resonance.training.trainer import PolarTrainer

ADAMW = partial(torch.optim.AdamW, weight_decay=0.05)


class Training(NamedTuple):
    """The loss of every step, before that step, and the seconds that all took."""

    losses: list[float]
    seconds: float


def train_one_cycle(
    model: nn.Module,
    batches: Iterable[Any],
    steps: int,
    *,
    rate: float,
    loss_fn: Callable[[Any, Any], Tensor],
    optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    trainer: type[PolarTrainer] = ResonanceTrainer,
    stop: Callable[[], bool] = lambda: False,
) -> Training:
    """Train for `steps` steps, or until `stop()`; gradients are clipped at norm 1.

    The rate rises over the first tenth of the steps, at least one, and falls by a cosine to zero.  `batches` yields
    what the trainer takes: (inputs, target), inputs a tensor, a tuple or a dict; loss_fn(prediction, target) is
    minimised.
    A model without polar weights takes plain steps of the optimiser whichever the trainer.
    Raises ValueError when the batches end early, or for steps < 1; FloatingPointError as `PolarTrainer.train_step`.
    """
    if steps < 1:
        raise ValueError(f"expected steps >= 1, got {steps}")
    rising = max(0.1, 2 / (steps + 1))  # OneCycleLR's rise ends one step before this share of its steps
    run = trainer(
        model,
        rate,
        rate,
        monitor_stability=False,
        loss_fn=loss_fn,
        optimizer=optimizer,
        schedule=lambda optimizer: OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=rising),
    )
    started, losses, batches = time.perf_counter(), [], iter(batches)
    while len(losses) < steps and not stop():
        batch = next(batches, None)
        if batch is None:
            raise ValueError(f"expected {steps} batches, got {len(losses)}")
        losses.append(run.train_step(batch)[0])
    return Training(losses, time.perf_counter() - started)
