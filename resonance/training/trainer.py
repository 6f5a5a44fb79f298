"""Training: a learning rate for magnitudes, one for phases and one for the rest; clipping, metrics, checkpoints.

A batch is one of
    tensor   x                              model(x), compared with x itself
    tuple    (x, ..., target)               model(x, ...), compared with the last entry
    dict     {"x": x, "target": y, ...}     model(x=x, ...), compared with "target"; the other keys name arguments

The optimiser moves r and phi themselves, as in the source; that of `natural.NaturalPolarTrainer`, the complex weight.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..layers import length_mask
from ..polar import parameter_roles
from .checkpoint import (
    Batches,
    Checkpoint,
    Generator,
    History,
    Progress,
    plain,
    plain_name,
    random_state,
    read_checkpoint,
    set_random_state,
    set_weights,
    write_checkpoint,
)
from .health import PolarHealth, gradient_norm, scalar_log

Metrics = dict[str, float]
SKIPS = 10  # steps in a row without a finite loss and gradient that end a run
LOG = logging.getLogger(__name__)


def unpacked(batch: Any) -> tuple[tuple, dict[str, Any], Any]:
    """Split a batch into (positional inputs, named inputs, target).

    Raises TypeError for another type, ValueError for a batch without a target or without an input.
    """
    match batch:
        case Tensor():
            return (batch,), {}, batch
        case {"target": target, **named} if named:
            return (), named, target
        case [*inputs, target] if inputs:
            return tuple(inputs), {}, target
        case Mapping():
            raise ValueError(f'expected a dict batch of "target" and the model\'s inputs, got the keys {list(batch)}')
        case tuple() | list():
            raise ValueError(f"expected a batch of inputs and a target, got {len(batch)} entries")
    raise TypeError(f"expected a batch as a tensor, a tuple or a dict, got {type(batch).__name__}")


def moved(value: Any, device: torch.device) -> Any:
    """Move every tensor of a value, through tuples, lists and dicts, to a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: moved(part, device) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(moved(part, device) for part in value)
    return value


def default_loss(prediction: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean squared error for a floating target, cross-entropy for an integer one (classes last); a scalar.

    prediction: (batch, n, d), or any shape without `lengths`.  With `lengths`, (batch,), and a target of one entry a
    position, the mean is over the positions within the lengths, whatever the padding holds.
    Raises ValueError for a floating target of another shape than the prediction, an integer one of other positions.
    """
    floating = target.is_floating_point()
    what, expected = ("shape", prediction.shape) if floating else ("positions", prediction.shape[:-1])
    if target.shape != expected:
        raise ValueError(f"expected a target of the prediction's {what} {tuple(expected)}, got {tuple(target.shape)}")
    if lengths is not None and prediction.ndim == 3:
        inside = length_mask(prediction, lengths)[..., 0]
        prediction, target = prediction[inside], target[inside]
    if floating:
        return F.mse_loss(prediction, target)
    return F.cross_entropy(prediction.reshape(-1, prediction.shape[-1]), target.reshape(-1))


class PolarTrainer:
    """Train a model with separate learning rates for the magnitudes and the phases of its polar weights.

    learning_rate: of interference and everything else, by default that of the magnitudes.
    gradient_clip: largest norm of the whole gradient; None, no clipping.
    monitor_stability: whether metrics include gradient health (`health`).
    loss_fn(prediction, target): by default `default_loss`, which leaves out the padding that a batch's "lengths" give.
    optimizer: any torch optimiser that takes parameter groups, such as `partial(torch.optim.AdamW, weight_decay=0.1)`;
        weight decay leaves phases alone, for their zero is arbitrary.
    schedule: from the optimiser to any torch scheduler, stepped once a step taken (`ReduceLROnPlateau`: a validation).
    bfloat16: whether model and loss run under autocast to bfloat16; parameters keep their dtype.
    Batches are moved to the model's device.
    Raises ValueError for a rate or clip that is not positive, or a model without a parameter to train.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate_magnitude: float = 1e-4,
        learning_rate_phase: float = 5e-5,
        gradient_clip: float | None = 1.0,
        monitor_stability: bool = True,
        *,
        learning_rate: float | None = None,
        loss_fn: Callable[[Any, Any], Tensor] | None = None,
        optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] = torch.optim.Adam,
        schedule: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
        bfloat16: bool = False,
    ):
        rest = learning_rate_magnitude if learning_rate is None else learning_rate
        rates = {"magnitude": learning_rate_magnitude, "phase": learning_rate_phase, "interference": rest, "rest": rest}
        for name, value in {**rates, "gradient_clip": gradient_clip}.items():
            if value is not None and not value > 0:
                raise ValueError(f"expected a positive {name}, got {value}")
        self.model, self.gradient_clip, self.bfloat16, self.loss_fn = model, gradient_clip, bfloat16, loss_fn
        # The settings must be the same for a checkpoint to resume; those of the groups as they are before the schedule.
        self.settings: dict[str, Any] = {"gradient_clip": gradient_clip, "bfloat16": bfloat16}
        groups, roles = [], list(parameter_roles(plain(model)))
        for role, rate in rates.items():
            trained = {name: p for own, name, p in roles if own == role and p.requires_grad}
            if trained:
                decay = {"weight_decay": 0.0} if role == "phase" else {}
                groups.append({"params": list(trained.values()), "lr": rate, "role": role, **decay})
                self.settings[role] = list(map(plain_name, trained))
        if not groups:
            raise ValueError("the model has no parameter to train")
        self.optimizer = optimizer(groups)
        self.settings |= {"trainer": type(self).__name__, "optimizer": type(self.optimizer).__name__}
        for group in self.optimizer.param_groups:
            for name, value in group.items():
                value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
                if isinstance(value, int | float | str | tuple | None) and name != "role":
                    self.settings[f"{group['role']}.{name}"] = value
        self.schedule = schedule and schedule(self.optimizer)
        self.settings["schedule"] = schedule and type(self.schedule).__name__
        self.health = PolarHealth(plain(model)) if monitor_stability else None
        self.steps = self.skipped = self.skipped_in_a_row = 0
        self.progress, self.best_weights = Progress(), None

    def train_step(self, batch: Any) -> tuple[float, Metrics]:
        """Take one optimiser step on a batch; return the loss before it, and metrics.

        metrics: "loss"; "grad_norm", of the whole gradient before clipping; "clipped", 1.0 where it was; "skipped", 1.0
        where loss or gradient are not finite, the step then changing neither weights nor optimiser; "skipped_steps",
        how many so far.  With monitor_stability also "grad_norm/<role>", "learning_rate/<role>", and `health`'s.
        Raises FloatingPointError at the tenth skipped step in a row, naming the batch.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        # A forward pass may leave NaN in running statistics: a skipped step must not.
        buffers = [(b, b.clone()) for b in self.model.buffers() if b.is_floating_point()]
        loss = self._loss(batch)
        loss.backward()
        self._prepare()
        norms = [gradient_norm(group["params"]) for group in self.optimizer.param_groups]
        value, *norms = torch.stack([loss.detach(), *norms]).tolist()  # one wait for the device
        total = math.hypot(*norms)
        finite = math.isfinite(value) and math.isfinite(total)
        clipped = finite and self.gradient_clip is not None and total > self.gradient_clip
        self.steps += 1
        if finite:
            if clipped:
                for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
                    if parameter.grad is not None:
                        parameter.grad.mul_(self.gradient_clip / total)
            self._update()
            if self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step()
            self.skipped_in_a_row = 0
        else:
            self._skip(buffers, value, total)
        metrics = {"loss": value, "grad_norm": total, "clipped": float(clipped)}
        metrics |= {"skipped": float(not finite), "skipped_steps": float(self.skipped)}
        if self.health is not None:
            for group, norm in zip(self.optimizer.param_groups, norms, strict=True):
                metrics |= {f"grad_norm/{group['role']}": norm, f"learning_rate/{group['role']}": float(group["lr"])}
            metrics |= self.health.read()
        return value, metrics

    def _loss(self, batch: Any) -> Tensor:
        device = self.optimizer.param_groups[0]["params"][0].device
        inputs, named, target = moved(unpacked(batch), device)
        loss_fn = self.loss_fn or partial(default_loss, lengths=named.get("lengths"))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = loss_fn(self.model(*inputs, **named), target)
        if loss.ndim:
            raise ValueError(f"expected a loss of shape (), got {tuple(loss.shape)}: take its mean or sum")
        return loss

    def _prepare(self) -> None:
        """Turn the gradients of autograd into those that are measured, clipped and passed to the optimiser."""

    def _update(self) -> None:
        """Move the parameters."""
        self.optimizer.step()

    @torch.no_grad()
    def _skip(self, buffers: list[tuple[Tensor, Tensor]], loss: float, norm: float) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, before in buffers:
            if not buffer.isfinite().all():
                buffer.copy_(before)
        self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
        at = self.progress
        place = f", epoch {at.epoch + 1}, batch {at.batch} (from 0)" if at.order else ""
        what = f"step {self.steps}{place}: the loss is {loss}, the gradient's norm {norm}"
        LOG.warning("weights and optimiser stay as they are at %s", what)
        if self.skipped_in_a_row >= SKIPS:
            what += "; look for inputs that are not finite, or too high a rate"
            raise FloatingPointError(f"{SKIPS} steps in a row were skipped, the last at {what}")

    def fit(
        self,
        batches: Batches,
        epochs: int,
        validate: Callable[[nn.Module], float] | None = None,
        *,
        patience: int | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
        generators: Sequence[Generator] = (),
        log_folder: str | Path | None = None,
    ) -> History:
        """Train for some epochs; keep the weights with the lowest validation figure, the initial ones included.

        batches: a function of the epoch, from 1, that gives its batches, or a list or DataLoader of those of every one.
        validate(model): a figure to minimise, without gradients; without it the last weights stay.
        patience: stop after so many epochs without a lower figure.
        checkpoint: a folder, written at the start, after each epoch, and every `checkpoint_every` steps.  Where it
        holds a checkpoint the run resumes from it, and every loss is bitwise that of a run never stopped (same machine
        and torch) if the batches of an epoch depend on its number, the global random sources and `generators` alone.
        log_folder: write every metric as a TensorBoard scalar.  Each epoch is logged (`logging`, level INFO).
        Raises ValueError for a damaged checkpoint or one of another run, for an epoch without a batch, and for options
        that lack what they need; TypeError for one batch, or an iterator; FloatingPointError as `train_step`.
        """
        for name, value in (("patience", patience), ("checkpoint_every", checkpoint_every)):
            if value is not None and value < 1:
                raise ValueError(f"expected {name} >= 1, got {value}")
        if validate is None and (patience is not None or isinstance(self.schedule, ReduceLROnPlateau)):
            raise ValueError("patience and ReduceLROnPlateau need a validation figure: expected `validate`, got None")
        if checkpoint is None and checkpoint_every is not None:
            raise ValueError("checkpoint_every needs a folder: expected `checkpoint`, got None")
        once = not isinstance(batches, Iterable) or isinstance(batches, Iterator | Tensor | Mapping | tuple | str)
        if once and not callable(batches):
            wanted = "batches as a function of the epoch, a list or a DataLoader, to be read anew in every epoch"
            raise TypeError(f"expected {wanted}, got one {type(batches).__name__}")
        own = getattr(batches, "generator", None)  # that of a DataLoader
        if isinstance(own, torch.Generator) and own not in generators:
            generators = (*generators, own)
        self.progress, self.best_weights = Progress(), None
        resumed = checkpoint is not None and self.resume(checkpoint, generators)
        at, history = self.progress, self.progress.history
        fresh = at.epoch == at.batch == 0 and not history.validation
        if not fresh and (validate is None) == bool(history.validation):
            given = "to be given" if validate is None else "not to be given"
            raise ValueError(f"expected validate {given}, as in the run that {checkpoint} is of")

        def save() -> None:
            if checkpoint is not None:
                log.flush()
                self.save(checkpoint, generators)

        with scalar_log(log_folder, self.steps + resumed) as log:
            if fresh:
                self._validate(validate, log)
                save()
            while at.epoch < epochs and (patience is None or at.epoch - history.best_epoch < patience):
                for batch in at.remaining(batches, generators):
                    loss, metrics = self.train_step(batch)
                    at.batch += 1
                    if not metrics["skipped"]:
                        at.loss_sum, at.taken = at.loss_sum + loss, at.taken + 1
                    for name, value in metrics.items():
                        log.add_scalar(name, value, self.steps)
                    if checkpoint_every is not None and self.steps % checkpoint_every == 0:
                        save()
                at.end_epoch()
                self._validate(validate, log)
                save()
                figure = f", validation {history.validation[-1]:.6g}" if history.validation else ""
                LOG.info("epoch %d/%d: loss %.6g%s", at.epoch, epochs, history.train[-1], figure)
        if self.best_weights is not None:
            set_weights(self.model, self.best_weights)
        return history

    def _validate(self, validate: Callable[[nn.Module], float] | None, log: Any) -> None:
        if validate is None:
            return
        at = self.progress
        self.model.eval()
        with torch.no_grad():
            figure = float(validate(self.model))
        at.history.validation.append(figure)
        log.add_scalar("validation", figure, self.steps)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(figure)
        if figure < at.best:
            at.best, at.history.best_epoch = figure, at.epoch
            self.best_weights = copy.deepcopy(plain(self.model).state_dict())

    def save(self, folder: str | Path, generators: Sequence[Generator] = ()) -> None:
        """Write a checkpoint: the weights, and all that the next step depends on."""
        state = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule and self.schedule.state_dict(),
            "health": self.health and self.health.start,
            "steps": (self.steps, self.skipped, self.skipped_in_a_row),
            "progress": asdict(self.progress),
            "random": random_state(generators),
        }
        weights = plain(self.model).state_dict()
        write_checkpoint(folder, Checkpoint(self.steps, weights, self.best_weights, state, self.settings))

    def resume(self, folder: str | Path, generators: Sequence[Generator] = ()) -> bool:
        """Resume from the checkpoint in a folder; return whether there is one.

        Raises ValueError for a damaged checkpoint, or one of another model, optimiser or rate.
        """
        found = read_checkpoint(folder, self.settings)
        if found is None:
            return False
        set_weights(self.model, found.weights, str(folder))
        state = found.state
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.health is not None and state["health"]:
            self.health.start = state["health"]
        self.steps, self.skipped, self.skipped_in_a_row = state["steps"]
        self.progress, self.best_weights = Progress(**state["progress"]), found.best
        set_random_state(state["random"], generators)
        return True
