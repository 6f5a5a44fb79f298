"""Reduced-rank ridge regression in the time domain: the linear forecaster without a spectrum.

It has every other trick of the resonance forecaster: the level of the last period, older samples weighted down, windows
weighted by their variance, a rank, a ridge, and the same closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from artifact.peers.forecasting import Ridge
from resonance.time_series import Moments


@dataclass(frozen=True)
class ReducedRankPath:
    """Every ridge and rank of one regression of the future y on the tapered past D x, from one eigendecomposition.

        B = (sum y x^T D) (D sum x x^T D + ridge I)^-1,    yhat = level + P P^T B D x

    D the diagonal of the taper's weights (lookback,), P the `rank` leading eigenvectors of B (sum y x^T D)^T, as in
    eq:closed-form.  At the largest rank, the horizon or the lookback, P P^T changes nothing: the ridge regression.
    train, validation: moments with the same level.
    Cost: lookback^3 once; lookback^2 horizon a ridge.
    """

    weights: Tensor  # D, (lookback,) float64
    validation: Moments
    level_steps: int
    eigenvalues: Tensor  # (lookback,)
    cross: Tensor  # sum y x^T D in the eigenvectors' coordinates, (horizon, lookback)
    past: Tensor  # eigenvectors^T D, (lookback, lookback)

    @classmethod
    def of(cls, train: Moments, validation: Moments, weights: Tensor, level_steps: int) -> ReducedRankPath:
        """Prepare a path."""
        eigenvalues, basis = torch.linalg.eigh(weights[:, None] * train.past_past * weights)
        cross = train.future_past * weights @ basis
        return cls(weights, validation, level_steps, eigenvalues.clamp_min(0.0), cross, basis.T * weights)

    def _fit(self, ridge: float) -> tuple[Tensor, Tensor]:
        """P of the largest rank, columns from the leading one on, and B D."""
        full = self.cross / (self.eigenvalues + ridge)  # B, (horizon, lookback)
        fitted = full @ self.cross.T
        leading = torch.linalg.eigh((fitted + fitted.T) / 2).eigenvectors.flip(1)
        return leading[:, : min(full.shape)], full @ self.past

    def errors(self, ridge: float) -> Tensor:
        """Validation MSE at rank 1, 2, ... up to the largest, (ranks,)."""
        leading, matrix = self._fit(ridge)
        energy = (matrix @ self.validation.past_past - 2 * self.validation.future_past) @ matrix.T
        gained = (leading * (energy @ leading)).sum(0).cumsum(0)
        return (self.validation.future + gained) / self.validation.count

    def factors(self, rank: int, ridge: float) -> tuple[Tensor, Tensor]:
        """P, (horizon, rank), and P^T B D, (rank, lookback): their product is the forecaster's matrix."""
        leading, matrix = self._fit(ridge)
        return leading[:, :rank], leading[:, :rank].T @ matrix

    def model(self, rank: int, ridge: float) -> Ridge:
        """The forecaster of a rank and a ridge."""
        future, past = self.factors(rank, ridge)
        matrix = future @ past
        free = matrix.numel() if rank >= min(matrix.shape) else future.numel() + past.numel()
        return Ridge(matrix.float(), level_steps=self.level_steps, parameters=free)
