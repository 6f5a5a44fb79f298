"""Training: one rate for magnitudes, one for phases, one for the rest; clipping; gradient health of every step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .polar import ROLES, parameter_roles

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def default_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return mean squared error for a floating target, cross-entropy for an integer one (classes last)."""
    if target.is_floating_point():
        if prediction.shape != target.shape:
            raise ValueError(
                f"expected a target of the prediction's shape {tuple(prediction.shape)}, got {tuple(target.shape)}"
            )
        return F.mse_loss(prediction, target)
    return F.cross_entropy(prediction.reshape(-1, prediction.shape[-1]), target.reshape(-1))


@dataclass
class History:
    """What `fit` saw: the mean training loss and the validation figure of each epoch, epoch 0 the start."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0


class ResonanceTrainer:
    """Train a model with separate learning rates for the magnitudes and the phases of its polar weights.

    Arguments: learning_rate_magnitude, learning_rate_phase; learning_rate for interference and all else (by default
    that of the magnitudes); gradient_clip, the largest norm of the whole gradient (None: no clipping);
    monitor_stability, whether `metrics` carries the gradient norm of each role; loss_fn(prediction, target), by
    default mean squared error for floating targets and cross-entropy for integer ones; optimizer, any torch
    optimiser class that takes parameter groups.
    Raises ValueError for a rate or clip that is not positive.
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
        loss_fn: Loss = default_loss,
        optimizer: type[torch.optim.Optimizer] = torch.optim.Adam,
    ):
        rest = learning_rate_magnitude if learning_rate is None else learning_rate
        rates = dict(zip(ROLES, (learning_rate_magnitude, learning_rate_phase, rest, rest), strict=True))
        for name, value in {**rates, "gradient_clip": gradient_clip}.items():
            if value is not None and not value > 0:
                raise ValueError(f"expected a positive {name}, got {value}")
        self.model, self.gradient_clip, self.monitor_stability = model, gradient_clip, monitor_stability
        self.loss_fn = loss_fn
        roles: dict[str, list[nn.Parameter]] = {role: [] for role in ROLES}
        for role, _, parameter in parameter_roles(model):
            if parameter.requires_grad:
                roles[role].append(parameter)
        self.roles = {role: parameters for role, parameters in roles.items() if parameters}
        if not self.roles:
            raise ValueError("the model has no parameter to train")
        self.optimizer = optimizer(
            [{"params": parameters, "lr": rates[role], "role": role} for role, parameters in self.roles.items()]
        )

    def train_step(self, batch: Batch) -> tuple[float, dict[str, float]]:
        """Take one optimiser step on (input, target); return the loss before it, and metrics.

        metrics: "loss"; "grad_norm", the norm of the whole gradient before clipping; "clipped", 1.0 where it was
        clipped; with monitor_stability "grad_norm/<role>" for each role.
        Raises FloatingPointError for a loss or gradient that is not finite; the weights are then as before.
        """
        inputs, target = batch
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_fn(self.model(inputs), target)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}: look for non-finite inputs or too high a rate")
        loss.backward()
        norms = {role: _norm(parameters) for role, parameters in self.roles.items()}
        total = math.hypot(*norms.values())
        if not math.isfinite(total):
            raise FloatingPointError(f"the gradient is not finite (norms {norms}); the step was not taken")
        clipped = self.gradient_clip is not None and total > self.gradient_clip
        if clipped:
            for parameters in self.roles.values():
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad.mul_(self.gradient_clip / total)
        self.optimizer.step()
        metrics = {"loss": value, "grad_norm": total, "clipped": float(clipped)}
        if self.monitor_stability:
            metrics.update({f"grad_norm/{role}": norm for role, norm in norms.items()})
        return value, metrics

    def fit(
        self,
        batches: Callable[[int], Iterable[Batch]],
        epochs: int,
        validate: Callable[[nn.Module], float] | None = None,
    ) -> History:
        """Train for some epochs; keep the weights with the lowest validation figure, the start included.

        batches(epoch) gives the batches of an epoch; validate(model) a figure to keep low, without gradients.
        Without `validate` the last weights stay.
        """
        history = History()
        best, best_state = math.inf, None
        for epoch in range(epochs + 1):
            if epoch > 0:
                losses = [self.train_step(batch)[0] for batch in batches(epoch)]
                if not losses:
                    raise ValueError(f"epoch {epoch} has no batch")
                history.train.append(sum(losses) / len(losses))
            if validate is not None:
                self.model.eval()
                with torch.no_grad():
                    history.validation.append(validate(self.model))
                if history.validation[-1] < best:
                    best, history.best_epoch = history.validation[-1], epoch
                    best_state = copy.deepcopy(self.model.state_dict())
        if best_state is not None:
            self.model.load_state_dict(best_state)
        return history


def _norm(parameters: list[nn.Parameter]) -> float:
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).item() if gradients else 0.0
