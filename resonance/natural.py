"""The natural polar step, for any optimiser.

The Euclidean metric of a complex weight w = r e^{i phi} is dr^2 + r^2 dphi^2, so (dr, s) with the arc s = r dphi are
orthonormal coordinates at w.  There the gradient is (dL/dr, (1/r) dL/dphi), of the norm of the gradient in w itself,
and a step (dr, s) turns the phase by s / r (report, section "Training").

    descent    dphi = -rate (1/r) (1/r) dL/dphi: the phase gradient over r^2, descent on w to first order
    Adam       blind to the scale of a gradient, so dividing it by r^2 would do nothing: what counts is that the arc,
               not the angle, moves by the rate
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .checkpoint import plain
from .polar import PolarWeight
from .training import ResonanceTrainer


class NaturalPolarTrainer(ResonanceTrainer):
    """`ResonanceTrainer` whose optimiser works in the orthonormal coordinates (r, arc) of each polar weight.

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
        self.polar = [m for m in plain(model).modules() if isinstance(m, PolarWeight)]

    def _radius(self, weight: PolarWeight) -> Tensor:
        return weight.magnitude.detach().abs().clamp_min(self.floor)

    @torch.no_grad()
    def _prepare(self) -> None:
        for weight in self.polar:
            if weight.phase.grad is not None:
                weight.phase.grad /= self._radius(weight)

    @torch.no_grad()
    def _update(self) -> None:
        # The optimiser moves arcs that start at 0: the difference of two rounded phases would lose a small step.
        before = [(weight, weight.phase.clone(), self._radius(weight)) for weight in self.polar]
        for weight, _, _ in before:
            weight.phase.zero_()
        try:
            super()._update()
        finally:  # an interrupted step must not lose the phases
            for weight, phase, radius in before:
                weight.phase.copy_(phase + weight.phase / radius)
