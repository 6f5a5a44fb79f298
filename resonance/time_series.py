"""A forecaster in the frequency domain, its closed-form fit, and the choice of its setting on validation.

With the level subtracted from past and future, x and y, the forecaster is linear, yhat = T x, T of (horizon, lookback):

    sum |y - T x|^2 = sum |y|^2 - 2 tr(T sum x y^T) + tr(T (sum x x^T) T^T)

The second moments of the samples, from one pass over the windows of a lookback, thus give the error of every setting
without another pass, and by linearity the moments of the spectra that the closed form needs, whatever the taper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .band import make_band
from .engines.tables import BUILDERS, constants
from .forecasting import ForecastTask, Windows, evaluate
from .polar import PolarWeight, complex_matmul
from .settings import WithSettings, placed
from .spectral import analysis, check_sequences, synthesis
from .training.trainer import PolarTrainer


def _down_weighting(key: tuple, dtype: torch.dtype) -> list[np.ndarray]:
    lag, taper = np.arange(key[0])[::-1], key[1]
    return [((0.1 + lag / 48.0) ** -taper).astype(np.float32)[:, None]]  # (lookback, 1)


BUILDERS["taper"] = _down_weighting


class ResonanceTimeSeriesNet(WithSettings):
    """Forecast `pred_horizon` steps of every channel from the kept band of its past (eq:forecast).

        X = A taper(x - level),    Y = U (V X),    forecast = level + S Y

    A is the analysis on a grid of exactly `lookback` samples, S the synthesis on one of `pred_horizon`: a daily cycle
    falls on one bin of a lookback of whole days.  U V is an interference matrix between past and future frequencies,
    of rank `rank` (by default at most 16), its factors in polar weights, shared by all channels.
    level: mean of the last `level_steps` samples.  taper: exponent of the power-law down-weighting of older samples,
    weight (0.1 + lag / 48 steps)^-taper; 0 turns it off.

    x: (batch, lookback, channels) -> (batch, pred_horizon, channels), in the units of x.
    Raises ValueError for a wrong shape.  Parameters: 2 rank (k + pred_horizon//2 + 1), whatever the channels.
    Source: FITS (Xu, Zeng, Xu 2024), whose head is unfactored and untapered.

    >>> model, x = ResonanceTimeSeriesNet(8, lookback=48), torch.randn(1, 48, 7)
    >>> torch.allclose(model(x + 10), model(x) + 10, atol=1e-4)
    True
    """

    defines = ("pred_horizon", "lookback", "level_steps", "taper")

    @placed
    def __init__(
        self,
        pred_horizon: int = 96,
        lookback: int = 720,
        channels: int = 7,
        *,
        num_frequencies: int | None = None,
        rank: int | None = None,
        level_steps: int = 24,
        taper: float = 0.5,
        engine: str = "auto",
        device=None,
        dtype=None,
    ):
        super().__init__()
        k = lookback // 2 + 1 if num_frequencies is None else num_frequencies
        bins = pred_horizon // 2 + 1
        rank = min(16, k, bins) if rank is None else rank
        for name, value, most, why in (
            ("num_frequencies", k, lookback // 2 + 1, f"the band of lookback={lookback}"),
            ("rank", rank, min(k, bins), f"a horizon of {pred_horizon} steps has {bins} frequencies, the past {k}"),
            ("level_steps", level_steps, lookback, "the lookback"),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{name}={value} is outside 1..{most}: {why}")
        self.pred_horizon, self.lookback, self.channels = pred_horizon, lookback, channels
        self.num_frequencies, self.rank, self.level_steps, self.engine = k, rank, level_steps, engine
        self.taper = taper
        self.past = PolarWeight(rank, k, scale=k**-0.5)  # V
        self.future = PolarWeight(bins, rank, scale=rank**-0.5)  # U

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.channels)
        if x.shape[1] != self.lookback:
            raise ValueError(f"expected a past of lookback={self.lookback} steps, got {x.shape[1]}")
        level = x[:, -self.level_steps :].mean(dim=1, keepdim=True)  # (batch, 1, channels)
        past = (x - level) * self.down_weighting(x)
        re, im = analysis(past, self.num_frequencies, grid=self.lookback, engine=self.engine)  # (batch, k, channels)
        re, im = complex_matmul(self.past.pair(), (re, im))  # (batch, rank, channels)
        re, im = complex_matmul(self.future.pair(), (re, im))  # (batch, bins, channels)
        return level + synthesis(re, im, self.pred_horizon, grid=self.pred_horizon, engine=self.engine)

    def down_weighting(self, like: Tensor) -> Tensor:
        """Weights of the taper, (lookback, 1), in the dtype and on the device of `like`."""
        return constants("taper", (self.lookback, self.taper), like)[0]


@dataclass(frozen=True)
class Moments:
    """Second moments of past x and future y, their level subtracted, over windows and channels; float64."""

    past_past: Tensor  # (lookback, lookback), sum x x^T
    future_past: Tensor  # (horizon, lookback), sum y x^T
    future: float  # sum |y|^2
    count: int  # windows x channels x horizon

    @classmethod
    def of(cls, windows: Windows, level_steps: int, *, variance_power: float = 0.0, stride: int = 1) -> Moments:
        """Sum over every `stride`-th window, (window, channel) weighted by sd^-variance_power, sd that of its past.

        level: the mean of the past's last `level_steps`.
        Cost: windows / stride x channels x lookback (lookback + horizon) multiply-adds.
        """
        lookback, horizon = windows.lookback, windows.horizon
        both = torch.zeros(lookback + horizon, lookback, dtype=torch.float64)
        squares, used = 0.0, torch.arange(0, len(windows), stride)
        for index in used.split(512):
            x = torch.cat(windows.batch(index), dim=1).double()
            weight = x[:, :lookback].std(dim=1, keepdim=True).clamp_min(1e-3) ** (-variance_power / 2)
            level = x[:, lookback - level_steps : lookback].mean(dim=1, keepdim=True)  # (batch, 1, channels)
            x = ((x - level) * weight).movedim(1, 0).flatten(1)  # (lookback + horizon, batch channels)
            both += x @ x[:lookback].T
            squares += x[lookback:].square().sum().item()
        return cls(both[:lookback], both[lookback:], squares, len(used) * windows.series.shape[1] * horizon)

    def mean_squared_error(self, matrix: Tensor) -> float:
        """Error of yhat = matrix x, matrix of (horizon, lookback)."""
        matrix = matrix.double()
        return float((self.future + (matrix * (matrix @ self.past_past - 2 * self.future_past)).sum()) / self.count)


class BandMoments(NamedTuple):
    """Second moments of past and future spectra: the sums of eq:closed-form."""

    past_past: Tensor  # (k, k) complex128, sum of X X^H
    future_past: Tensor  # (bins, k) complex128, sum of Y X^H


def _root_multiplicity(model: ResonanceTimeSeriesNet) -> Tensor:
    """sqrt(c) of the future's bins, (bins, 1): scaled by it, a sum over bins is a sum over samples (Parseval)."""
    band = make_band(model.pred_horizon, model.future.magnitude.shape[0], model.pred_horizon)
    return band.multiplicity(torch.zeros((), dtype=torch.float64)).sqrt()[:, None]


def _transform(n: int, k: int) -> Tensor:
    """Analysis of n samples as a matrix (k, n), complex128."""
    return torch.complex(*analysis(torch.eye(n, dtype=torch.float64)[None], k, grid=n, engine="fft"))[0]


def _past_map(model: ResonanceTimeSeriesNet) -> Tensor:
    """A taper of eq:forecast, (k, lookback)."""
    weights = model.down_weighting(torch.empty(0, dtype=torch.float64))[:, 0]
    return _transform(model.lookback, model.num_frequencies) * weights


@torch.no_grad()
def band_moments(model: ResonanceTimeSeriesNet, moments: Moments) -> BandMoments:
    """Moments of the model's spectra from those of the samples.

    Cost: (k + bins) lookback (lookback + k) multiply-adds, whatever the number of windows.
    """
    root, past = _root_multiplicity(model), _past_map(model)
    future = _transform(model.pred_horizon, len(root)) * root
    past_past, future_past = (m.to(past.dtype) for m in (moments.past_past, moments.future_past))
    return BandMoments(past @ past_past @ past.mH, future @ future_past @ past.mH)


@torch.no_grad()
def fit_closed_form(model: ResonanceTimeSeriesNet, moments: BandMoments, ridge: float) -> ResonanceTimeSeriesNet:
    """Set the model to the reduced-rank complex ridge regression of the future's band on the past's; return it.

        B = (sum Y X^H) (sum X X^H + ridge I)^-1,    U V = P P^H B    (eq:closed-form)

    P the `rank` leading eigenvectors of B (sum Y X^H)^H: the best approximation of that rank in the metric of the
    ridge loss (Izenman 1975).  The factors are then split into magnitude and phase.
    Raises ValueError for ridge <= 0.  Cost: k^3.
    """
    if not ridge > 0:
        raise ValueError(f"expected ridge > 0, got {ridge}")
    gram = moments.past_past + ridge * torch.eye(model.num_frequencies, dtype=torch.complex128)
    full = torch.linalg.solve(gram, moments.future_past, left=False)  # (bins, k)
    fitted = full @ moments.future_past.mH  # (bins, bins)
    basis = torch.linalg.eigh((fitted + fitted.mH) / 2).eigenvectors[:, -model.rank :]  # (bins, rank)
    future, past = basis / _root_multiplicity(model), basis.mH @ full
    size = (past.abs().square().mean() / future.abs().square().mean()).clamp_min(1e-60)  # 0 for a constant series
    future, past = future * size**0.25, past / size**0.25  # equal size of both factors
    model.future.set_(future.real.float(), future.imag.float())
    model.past.set_(past.real.float(), past.imag.float())
    return model


class RidgePath:
    """Validation error of a model's closed form at any ridge and rank, from one eigendecomposition of sum X X^H.

    Each of the rank terms of U V adds Re(s v^T) to T, s = S u of (horizon,), v of (lookback,): two real outer products.
    """

    def __init__(self, model: ResonanceTimeSeriesNet, train: BandMoments, validation: Moments):
        eigenvalues, basis = torch.linalg.eigh(train.past_past)
        self.eigenvalues, self.validation = eigenvalues.clamp_min(0.0), validation
        self.size = float(self.eigenvalues.mean())  # the natural unit of a ridge
        self.cross = train.future_past @ basis
        self.past = basis.mH @ _past_map(model)  # (k, lookback)
        n, root = model.pred_horizon, _root_multiplicity(model)
        unit = torch.eye(len(root), dtype=torch.float64)[None] / root
        parts = (synthesis(*pair, n, grid=n, engine="fft")[0] for pair in ((unit, 0 * unit), (0 * unit, -unit)))
        self.future = torch.complex(*parts)  # S, (horizon, bins)

    @torch.no_grad()
    def errors(self, ridge: float) -> Tensor:
        """MSE at rank 1, 2, ... up to the largest, (ranks,).  Cost: bins lookback (lookback + k)."""
        full = self.cross / (self.eigenvalues + ridge)  # (bins, k)
        fitted = full @ self.cross.mH
        leading = torch.linalg.eigh((fitted + fitted.mH) / 2).eigenvectors.flip(1)[:, : min(full.shape)]
        future, past = self.future @ leading, leading.mH @ full @ self.past  # (horizon, ranks), (ranks, lookback)
        future = torch.stack([future.real, -future.imag], dim=2).flatten(1)  # (horizon, 2 ranks)
        past = torch.stack([past.real, past.imag], dim=1).flatten(0, 1)  # (2 ranks, lookback)
        cross = ((future.T @ self.validation.future_past) * past).sum(1).cumsum(0)
        quadratic = (future.T @ future) * (past @ self.validation.past_past @ past.T)
        quadratic = quadratic.cumsum(0).cumsum(1).diagonal()
        return ((self.validation.future - 2 * cross + quadratic) / self.validation.count)[1::2]


@dataclass(frozen=True, order=True)
class Setting:
    """One point of the grid that validation chooses from."""

    lookback: int  # steps
    taper: float  # exponent of the down-weighting of older samples
    variance_power: float  # training windows are weighted by sd^-variance_power
    rank: int
    ridge: float

    def model(self, task: ForecastTask) -> ResonanceTimeSeriesNet:
        """An untrained model of this setting."""
        shape = (task.horizon, self.lookback, len(task.series.channels))
        model = ResonanceTimeSeriesNet(*shape, rank=self.rank, level_steps=task.series.period, taper=self.taper)
        return model.float()  # as the windows of a task

    def moments(self, task: ForecastTask, stride: int = 1) -> BandMoments:
        """Second moments for the closed form of this setting, from one pass over every `stride`-th training window."""
        windows, power = task.windows("train", self.lookback), self.variance_power
        samples = Moments.of(windows, task.series.period, variance_power=power, stride=stride)
        return band_moments(self.model(task), samples)

    def fitted(self, task: ForecastTask, moments: BandMoments) -> ResonanceTimeSeriesNet:
        """Closed-form fit of this setting."""
        return fit_closed_form(self.model(task), moments, self.ridge)


def choose_closed_form(task: ForecastTask, grid: Iterable[tuple]) -> tuple[dict[Setting, float], Setting]:
    """Fit every setting of a grid of (lookback, taper, variance_power, rank, ridge).

    Returns the validation MSE of each, and the setting with the lowest.  The test rows are not touched.
    """
    settings = sorted(Setting(*point) for point in grid)

    @cache
    def samples(split: str, lookback: int, power: float) -> Moments:
        return Moments.of(task.windows(split, lookback), task.series.period, variance_power=power)

    @cache
    def path(lookback: int, taper: float, power: float) -> RidgePath:
        model = Setting(lookback, taper, power, 1, 1.0).model(task)
        train = band_moments(model, samples("train", lookback, power))
        return RidgePath(model, train, samples("validation", lookback, 0.0))

    @cache
    def ranks(lookback: int, taper: float, power: float, ridge: float) -> list[float]:
        return path(lookback, taper, power).errors(ridge).tolist()

    errors = {s: ranks(s.lookback, s.taper, s.variance_power, s.ridge)[s.rank - 1] for s in settings}
    return errors, min(errors, key=errors.__getitem__)


class Fit(NamedTuple):
    """A fine-tuned model, and its validation error."""

    model: ResonanceTimeSeriesNet
    epoch: int  # the epoch kept; 0 is the closed form itself
    validation_mse: float


def fine_tune(
    task: ForecastTask, setting: Setting, moments: BandMoments, *, rate: float, epochs: int, seed: int, batch: int = 128
) -> Fit:
    """Train the closed form of a setting further with the Huber loss; keep the epoch of the lowest validation MSE."""
    model = setting.fitted(task, moments)
    train, validation = (task.windows(split, setting.lookback) for split in ("train", "validation"))
    generator = torch.Generator().manual_seed(seed)
    trainer = PolarTrainer(model, rate, rate, loss_fn=F.huber_loss)
    history = trainer.fit(
        lambda epoch: train.batches(batch, generator), epochs, lambda candidate: evaluate(candidate, validation)[0]
    )
    return Fit(model, history.best_epoch, history.validation[history.best_epoch])
