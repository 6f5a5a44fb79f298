"""The natural polar step, `polar.natural_polar_step`, within a training step."""

from __future__ import annotations

from torch import nn

from ..polar import arc_gradients_, arc_step
from .checkpoint import plain
from .trainer import PolarTrainer


class NaturalPolarTrainer(PolarTrainer):
    """`PolarTrainer` whose optimiser works in the coordinates (r, s) of eq:natural.

    Gradient norms and clipping are those of the complex weights.  Both coordinates are lengths, so learning_rate_phase
    is by default that of the magnitudes.  Below |r| = `floor` the arc is taken on the circle of that radius: no phase
    turns by more than s / floor.  The optimiser receives phases as displacements from zero: one whose step is relative
    to the size of a parameter (Adafactor) hardly turns them.  Cost: a copy of the phases and four passes over them.

    >>> trainer, x = NaturalPolarTrainer(BandMixing(2, 5, window=8), 0.1), torch.randn(4, 8, 2)
    >>> losses = [trainer.train_step((x, x.roll(1, dims=1)))[0] for _ in range(20)]
    >>> losses[-1] < losses[0]
    True
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
        self.settings["floor"] = self.floor

    def _prepare(self) -> None:
        arc_gradients_(plain(self.model), self.floor)

    def _update(self) -> None:
        with arc_step(plain(self.model), self.floor):
            super()._update()


# The name of the source's trainer, whose own step, on r and phi, is `PolarTrainer`'s (ablation: sec:ablation).
ResonanceTrainer = NaturalPolarTrainer
