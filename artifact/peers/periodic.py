"""Small forecasters that fold the past by its period, from their papers' equations: SparseTSF and TimeBase.

Each maps a past (batch, lookback, channels) to (batch, horizon, channels), one map for all channels and all places
within the period.  A lookback or horizon that is no whole number of periods is cut, or filled up, to one.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from artifact.peers.forecasting import Budget, Trained, train_forecaster
from resonance.forecasting import Windows


def _folded(past: Tensor, period: int) -> Tensor:
    """The last whole periods of a past, (batch, lookback, channels) -> (batch, channels, periods, period)."""
    if past.shape[1] < period:
        raise ValueError(f"expected a past of at least one period of {period} steps, got {past.shape[1]}")
    return past[:, past.shape[1] % period :].transpose(1, 2).unflatten(2, (-1, period))


def _unfolded(future: Tensor, horizon: int) -> Tensor:
    """(batch, channels, period, periods) -> the first `horizon` steps, (batch, horizon, channels)."""
    return future.transpose(2, 3).flatten(2)[..., :horizon].transpose(1, 2)


class SparseTSF(nn.Module):
    """Forecast each place within the period from the same place in earlier periods (Lin et al., ICML 2024).

        z = x - mean(x),    a = z + w * z,    future[p + period m] = mean(x) + sum_n W[m, n] a[p + period n]

    w one filter of 2 (period // 2) + 1 steps, zeros beyond the ends; W of (future periods, past periods), no bias.
    Parameters: that filter and W.  Raises ValueError for a past shorter than a period.
    """

    def __init__(self, lookback: int, horizon: int, period: int):
        super().__init__()
        self.lookback, self.horizon, self.period = lookback, horizon, period
        taps = 2 * (period // 2) + 1
        self.filter = nn.Parameter(torch.empty(taps).uniform_(-(taps**-0.5), taps**-0.5))
        self.map = nn.Linear(lookback // period, -(-horizon // period), bias=False)

    def forward(self, past: Tensor) -> Tensor:
        mean = past.mean(dim=1, keepdim=True)
        z = _folded(past - mean, self.period)  # (batch, channels, periods, period)
        around = F.pad(z.flatten(2), (len(self.filter) // 2,) * 2).unfold(
            2, self.period + len(self.filter) - 1, self.period
        )
        return mean + _unfolded(self.map((z + around @ self._toeplitz()).transpose(2, 3)), self.horizon)

    def _toeplitz(self) -> Tensor:
        """The filter of one period's samples as a matrix (period + taps - 1, period): faster than a convolution."""
        tap = torch.arange(self.period + len(self.filter) - 1)[:, None] - torch.arange(self.period)
        inside = (tap >= 0) & (tap < len(self.filter))
        return torch.where(inside, self.filter[tap.clamp(0, len(self.filter) - 1)], 0.0)


class TimeBase(nn.Module):
    """Forecast the coming periods from a few basis periods (Huang et al., ICML 2025).

        X of (period, N), columns the past periods, m its mean over them,    B = (X - m) U + u,    Y = m + B V + v

    U of (N, bases), V of (bases, future periods).  `penalty`, after a pass in training: the mean over series of
    |B^T B - diag(B^T B)|_F, which keeps the bases apart.
    Parameters: (N + 1) bases + (bases + 1) future periods.  Raises ValueError for a past shorter than a period.
    """

    def __init__(self, lookback: int, horizon: int, period: int, bases: int = 6):
        super().__init__()
        self.lookback, self.horizon, self.period = lookback, horizon, period
        self.extract = nn.Linear(lookback // period, bases)
        self.forecast = nn.Linear(bases, -(-horizon // period))
        self.penalty = torch.zeros(())

    def forward(self, past: Tensor) -> Tensor:
        days = _folded(past, self.period).transpose(2, 3)
        mean = days.mean(dim=-1, keepdim=True)
        basis = self.extract(days - mean)  # (batch, channels, period, bases)
        if self.training:
            gram = basis.transpose(-1, -2) @ basis
            off = gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
            self.penalty = torch.linalg.matrix_norm(off).mean()
        return _unfolded(self.forecast(basis) + mean, self.horizon)


def _published_decay(budget: Budget):
    """Both papers' schedule: constant for three epochs, then down by a fifth an epoch."""
    return partial(LambdaLR, lr_lambda=lambda step: 0.8 ** max(0, step // budget.steps - 2))


def train_sparse(
    train: Windows, validation: Windows, budget: Budget, *, period: int, rate: float, seed: int
) -> Trained:
    """Train SparseTSF by Adam."""
    build = partial(SparseTSF, train.lookback, train.horizon, period)
    return train_forecaster(build, train, validation, budget, rate=rate, seed=seed, schedule=_published_decay(budget))


def train_timebase(
    train: Windows, validation: Windows, budget: Budget, *, period: int, rate: float, seed: int, weight: float = 0.16
) -> Trained:
    """Train TimeBase by Adam on squared error + weight * penalty; 0.16 is published for ETTh1 at 96 hours."""
    built: list[TimeBase] = []

    def build() -> TimeBase:
        built.append(TimeBase(train.lookback, train.horizon, period))
        return built[0]

    def loss(forecast: Tensor, future: Tensor) -> Tensor:
        return F.mse_loss(forecast, future) + weight * built[0].penalty

    options = {"schedule": _published_decay(budget), "loss_fn": loss}
    trained = train_forecaster(build, train, validation, budget, rate=rate, seed=seed, **options)
    built[0].penalty = built[0].penalty.detach()  # a graph does not pass to another process
    return trained
