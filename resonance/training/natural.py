"""The natural polar step, for any optimiser.

The Euclidean metric of a complex weight w = r e^{i phi} is dr^2 + r^2 dphi^2, so (dr, s) with the arc s = r dphi are
orthonormal coordinates at w.  There the gradient is (dL/dr, (1/r) dL/dphi), of the norm of the gradient in w itself,
and a step (dr, s) turns the phase by s / r (eq:natural).

    descent    dphi = -rate (1/r) (1/r) dL/dphi: the phase gradient over r^2, descent on w to first order
    Adam       blind to the scale of a gradient, so dividing it by r^2 would do nothing: what counts is that the arc,
               not the angle, moves by the rate
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..polar import arc_gradients_, arc_step
from .checkpoint import plain
from .trainer import PolarTrainer


class NaturalPolarTrainer(PolarTrainer):
    """`PolarTrainer` whose optimiser works in the orthonormal coordinates (r, arc) of each polar weight (eq:natural).

    Gradient norms and clipping are then those of the complex weights.  Both coordinates are lengths, so
    learning_rate_phase is by default that of the magnitudes.  Below |r| = `floor` the arc counts as on the circle of
    that radius, so that no phase turns by more than s / floor.  With SGD it is `polar.natural_polar_gradients_`.
    An optimiser sees phases as displacements from where they stand, never their own values; one whose step is relative
    to the size of a parameter (Adafactor) has then nothing to go by, and hardly turns them.
    Cost: a copy of the phases and four passes over them.
    """

    floor = 1e-3

    def __init__(
        self,
        model: nn.Module,
        learning_rate_magnitude: float = 1e-4,
        learning_rate_phase: float | None = None,
        gradient_clip: float | None = 1.0,
        monitor_stability: bool = True,
        **options,
    ):
        phase = learning_rate_magnitude if learning_rate_phase is None else learning_rate_phase
        super().__init__(model, learning_rate_magnitude, phase, gradient_clip, monitor_stability, **options)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"floor": self.floor}

    def _prepare(self) -> None:
        arc_gradients_(plain(self.model), self.floor)

    def _update(self) -> None:
        with arc_step(plain(self.model), self.floor):
            super()._update()


# The trainer of the printed interface takes the step that won the ablation of `01_stable_gradients`; `PolarTrainer`
# takes the printed one, on r and phi as they are.
ResonanceTrainer = NaturalPolarTrainer
