"""Forecasting as the field does it: borders, scaling, windows, evaluation, and the closed-form start.

Protocol for ETTh1 (Zhou et al. 2021, with the loader error of later work corrected): months of 30 days, 12 to train,
4 to validate, 4 to test; the scaler sees training rows only; validation and test windows may look back across their
border but never forecast before it; every window is evaluated, none dropped.


The choice of a forecaster's setting, as `forecasting.choose_closed_form` makes it, with few passes over the windows.

With the level taken off past and future, x and y, a closed form is linear, yhat = T x, T of (horizon, lookback), and

    sum |y - T x|^2 = sum |y|^2 - 2 tr(T sum x y^T) + tr(T (sum x x^T) T^T),

so that one pass over the validation windows serves every setting of a lookback.  In the same way the moments of the
spectra, which the fit needs, follow from those of the samples: one pass over the training windows serves every taper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .band import make_band
from .forecasting import ForecastTask, Windows, evaluate
from .polar import PolarWeight, complex_matmul
from .spectral import analysis, check_sequences, synthesis
from .training.trainer import PolarTrainer


class ResonanceTimeSeriesNet(nn.Module):
    """Forecast `pred_horizon` steps of every channel from the kept band of its past.

        X = A taper(x - level),    Y = U (V X),    forecast = level + S Y

    with A the analysis of the lookback on a grid of exactly `lookback` samples, S the synthesis on a grid of
    `pred_horizon`, V = (r_v e^{i phi_v}) of (rank, k) and U likewise of (pred_horizon//2+1, rank): an interference
    matrix between past and future frequencies of rank `rank` (by default at most 16), in polar weights, one for all
    channels.  Both grids are exact, not powers of two, so that frequencies keep their physical meaning (cycles per
    hour, say): a daily cycle stands on one bin of a lookback of whole days.
    level: mean of the last `level_steps` samples.  taper: weight (0.1 + lag / 48 steps)^(-power), power = `taper`:
    old samples speak more softly; 0 turns it off.

    x: (batch, lookback, channels) -> (batch, pred_horizon, channels), in the units of x.
    Raises ValueError for a wrong shape.  Parameters: 2 rank (k + pred_horizon//2 + 1), whatever the channels.
    Source: the FITS head (Xu, Zeng, Xu 2024) is the unfactored, untapered relative.
    """

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
    ):
        super().__init__()
        k = lookback // 2 + 1 if num_frequencies is None else num_frequencies
        bins = pred_horizon // 2 + 1
        rank = min(16, k, bins) if rank is None else rank
        if not 1 <= k <= lookback // 2 + 1:
            raise ValueError(f"num_frequencies={k} is outside 1..{lookback // 2 + 1}, the band of lookback={lookback}")
        if not 1 <= rank <= min(k, bins):
            raise ValueError(f"rank={rank} is outside 1..{min(k, bins)}")
        if not 1 <= level_steps <= lookback:
            raise ValueError(f"level_steps={level_steps} is outside 1..{lookback}")
        self.pred_horizon, self.lookback, self.channels = pred_horizon, lookback, channels
        self.num_frequencies, self.rank, self.level_steps, self.engine = k, rank, level_steps, engine
        self.past = PolarWeight(rank, k, scale=k**-0.5)  # V
        self.future = PolarWeight(bins, rank, scale=rank**-0.5)  # U
        lag = torch.arange(lookback, 0, -1, dtype=torch.float64) - 1
        self.register_buffer("taper", ((0.1 + lag / 48.0) ** -taper).float()[:, None], persistent=False)

    def spectrum(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the kept band of the tapered past, (re, im) of (batch, k, channels), and its level."""
        check_sequences(x, self.channels)
        if x.shape[1] != self.lookback:
            raise ValueError(f"expected a past of lookback={self.lookback} steps, got {x.shape[1]}")
        level = x[:, -self.level_steps :].mean(dim=1, keepdim=True)
        past = (x - level) * self.taper.to(x.dtype)
        return analysis(past, self.num_frequencies, grid=self.lookback, engine=self.engine), level

    def forward(self, x: Tensor) -> Tensor:
        """Return the forecast (batch, pred_horizon, channels) from the past x (batch, lookback, channels)."""
        (re, im), level = self.spectrum(x)
        re, im = complex_matmul(self.past.pair(), (re, im))  # (batch, rank, channels)
        re, im = complex_matmul(self.future.pair(), (re, im))  # (batch, pred_horizon // 2 + 1, channels)
        return level + synthesis(re, im, self.pred_horizon, grid=self.pred_horizon, engine=self.engine)


# --------------------------------------------------------------------------- the closed form


@dataclass(frozen=True)
class BandMoments:
    """Second moments of past and future spectra over the training windows: all that a closed form needs."""

    past_past: Tensor  # (k, k) complex128, sum of X X^H
    future_past: Tensor  # (bins, k) complex128, sum of Y X^H


def _root_multiplicity(model: ResonanceTimeSeriesNet) -> Tensor:
    """Return sqrt(c) of the future's bins: scaled by it, a sum over bins is a sum over samples (Parseval)."""
    bins = model.future.magnitude.shape[0]
    return (
        make_band(model.pred_horizon, bins, model.pred_horizon)
        .multiplicity(torch.zeros((), dtype=torch.float64))
        .sqrt()
    )


@torch.no_grad()
def band_moments(model: ResonanceTimeSeriesNet, windows: Windows, *, calm: float = 0.5) -> BandMoments:
    """Accumulate the spectra's moments, each (window, channel) weighted by sd^-calm, sd the past's deviation.

    Calm windows count more, because a restless one adds noise in proportion to its variance.
    Cost: windows x channels x (k^2 + k horizon / 2) complex multiply-adds.
    """
    bins, k = model.future.magnitude.shape[0], model.num_frequencies
    root = _root_multiplicity(model)
    past_past = torch.zeros(k, k, dtype=torch.complex128)
    future_past = torch.zeros(bins, k, dtype=torch.complex128)
    for past, future in windows.batches(512):
        weight = past.double().std(dim=1, keepdim=True).clamp_min(1e-3) ** (-calm / 2)  # (batch, 1, channels)
        (re, im), level = model.spectrum(past.double())
        x = torch.complex(re, im).mul(weight).movedim(1, 0).flatten(1)  # (k, batch channels)
        y = torch.complex(*analysis((future - level).double(), bins, grid=model.pred_horizon, engine="fft"))
        y = y.mul(weight * root[:, None]).movedim(1, 0).flatten(1)
        past_past += x @ x.mH
        future_past += y @ x.mH
    return BandMoments(past_past, future_past)


@torch.no_grad()
def fit_closed_form(model: ResonanceTimeSeriesNet, moments: BandMoments, ridge: float) -> ResonanceTimeSeriesNet:
    """Set the model to the reduced-rank complex ridge regression of the future's band on the past's; return it.

        B = (sum Y X^H) (sum X X^H + ridge I)^-1,    U V = P P^H B,

    P the `rank` leading eigenvectors of B (sum Y X^H)^H: the best approximation of that rank in the metric of the
    ridge loss (Izenman 1975).  The factors are then split into magnitude and phase.
    Raises ValueError for ridge <= 0.  Cost: k^3.
    """
    if not ridge > 0:
        raise ValueError(f"expected ridge > 0, got {ridge}")
    k = model.num_frequencies
    gram = moments.past_past + ridge * torch.eye(k, dtype=torch.complex128)
    full = torch.linalg.solve(gram, moments.future_past, left=False)  # (bins, k)
    fitted = full @ moments.future_past.mH
    basis = torch.linalg.eigh((fitted + fitted.mH) / 2).eigenvectors[:, -model.rank :]  # (bins, rank)
    root = _root_multiplicity(model)
    future, past = basis / root[:, None], basis.mH @ full
    scale = (past.abs().square().mean() / future.abs().square().mean()) ** 0.25  # one scale for both factors
    future, past = future * scale, past / scale
    model.future.set_(future.real.float(), future.imag.float())
    model.past.set_(past.real.float(), past.imag.float())
    return model


# --------------------------------------------------------------------------- choosing and fine-tuning


@dataclass(frozen=True, order=True)
class Setting:
    """One point of the grid that validation chooses from."""

    lookback: int  # steps
    taper: float  # exponent of the weight on old samples
    calm: float  # training windows are weighted by sd^-calm
    rank: int
    ridge: float

    def model(self, task: ForecastTask) -> ResonanceTimeSeriesNet:
        """Return an untrained model of this setting."""
        channels, period = len(task.series.channels), task.series.period
        return ResonanceTimeSeriesNet(
            task.horizon, self.lookback, channels, rank=self.rank, level_steps=period, taper=self.taper
        )

    def fitted(self, task: ForecastTask, moments: BandMoments) -> ResonanceTimeSeriesNet:
        """Return the closed-form fit of this setting."""
        return fit_closed_form(self.model(task), moments, self.ridge)

    def moments(self, task: ForecastTask) -> BandMoments:
        """Return the second moments that the closed form of this setting needs."""
        return band_moments(self.model(task), task.windows("train", self.lookback), calm=self.calm)


def choose_closed_form(task: ForecastTask, grid: Iterable[tuple]) -> tuple[pd.DataFrame, Setting]:
    """Fit every setting of a grid of (lookback, taper, calm, rank, ridge); return all validation errors, and the best.

    The test rows are not touched.
    """
    rows = []
    settings = sorted(Setting(*point) for point in grid)
    for _, same in groupby(settings, key=lambda s: (s.lookback, s.taper, s.calm)):
        group = list(same)
        moments = group[0].moments(task)
        validation = task.windows("validation", group[0].lookback)
        for setting in group:
            error = evaluate(setting.fitted(task, moments), validation)[0]
            rows.append({**vars(setting), "validation_mse": error})
    table = pd.DataFrame(rows)
    return table, settings[int(table["validation_mse"].argmin())]


@dataclass(frozen=True)
class Fit:
    """A fine-tuned model, and what validation said of it."""

    model: ResonanceTimeSeriesNet
    rate: float
    seed: int
    epoch: int  # the epoch kept; 0 is the closed form itself
    validation_mse: float


def fine_tune(
    task: ForecastTask, setting: Setting, moments: BandMoments, *, rate: float, epochs: int, seed: int, batch: int = 128
) -> Fit:
    """Train the closed form of a setting further with the Huber loss; keep the epoch that validation prefers."""
    model = setting.fitted(task, moments)
    train, validation = (task.windows(split, setting.lookback) for split in ("train", "validation"))
    generator = torch.Generator().manual_seed(seed)
    trainer = PolarTrainer(model, rate, rate, loss_fn=F.huber_loss)
    history = trainer.fit(
        lambda epoch: train.batches(batch, generator), epochs, lambda candidate: evaluate(candidate, validation)[0]
    )
    return Fit(model, rate, seed, history.best_epoch, history.validation[history.best_epoch])


@dataclass(frozen=True)
class Moments:
    """Second moments of past x and future y, their level off, over windows and channels."""

    past_past: Tensor  # (lookback, lookback) float64, sum x x^T
    future_past: Tensor  # (horizon, lookback), sum y x^T
    future: float  # sum |y|^2
    count: int  # windows x channels x horizon

    @classmethod
    def of(cls, windows: Windows, level_steps: int, *, calm: float = 0.0) -> Moments:
        """Sum over all windows, each (window, channel) weighted by sd^-calm, as `band_moments` does.

        level: the mean of the past's last `level_steps`.
        Cost: windows x channels x lookback (lookback + horizon) multiply-adds.
        """
        lookback, horizon = windows.lookback, windows.horizon
        both = torch.zeros(lookback + horizon, lookback, dtype=torch.float64)
        squares = 0.0
        for past, future in windows.batches(512):
            x = torch.cat([past, future], dim=1).double()
            weight = x[:, :lookback].std(dim=1, keepdim=True).clamp_min(1e-3) ** (-calm / 2)
            level = x[:, lookback - level_steps : lookback].mean(dim=1, keepdim=True)
            x = ((x - level) * weight).movedim(1, 0).flatten(1)
            both += x @ x[:lookback].T
            squares += x[lookback:].square().sum().item()
        return cls(both[:lookback], both[lookback:], squares, len(windows) * windows.series.shape[1] * horizon)

    def mean_squared_error(self, matrix: Tensor) -> float:
        """Return the error of yhat = matrix x, matrix of (horizon, lookback)."""
        matrix = matrix.double()
        cross = (matrix * self.future_past).sum()
        quadratic = ((matrix @ self.past_past) * matrix).sum()
        return float((self.future - 2 * cross + quadratic) / self.count)


@torch.no_grad()
def spectral(model: ResonanceTimeSeriesNet, moments: Moments) -> BandMoments:
    """Return the moments of the model's spectra, as `band_moments` sums them, from those of the samples.

    Cost: (k + bins) lookback (lookback + k) multiply-adds, whatever the windows.
    """
    horizon, bins = model.pred_horizon, model.future.magnitude.shape[0]

    def transform(n: int, k: int) -> Tensor:
        return torch.complex(*analysis(torch.eye(n, dtype=torch.float64)[None], k, grid=n, engine="fft"))[0]

    root = make_band(horizon, bins, horizon).multiplicity(torch.zeros((), dtype=torch.float64)).sqrt()
    past = transform(model.lookback, model.num_frequencies) * model.taper[:, 0].double()
    future = transform(horizon, bins) * root[:, None]
    return BandMoments(
        past @ moments.past_past.to(past.dtype) @ past.mH, future @ moments.future_past.to(past.dtype) @ past.mH
    )


@torch.no_grad()
def linear_map(model: ResonanceTimeSeriesNet) -> Tensor:
    """Return the matrix (horizon, lookback) of a forecaster, from its answers to unit impulses."""
    lookback, channels = model.lookback, model.channels
    impulses = torch.eye(-(-lookback // channels) * channels, lookback).unflatten(0, (-1, channels))
    return model(impulses.transpose(1, 2)).transpose(1, 2).flatten(0, 1)[:lookback].T


def choose_setting(task: ForecastTask, grid: Iterable[tuple]) -> tuple[pd.DataFrame, Setting]:
    """Fit every setting of a grid of (lookback, taper, calm, rank, ridge); return all validation errors, and the best.

    The test rows are not touched.
    """
    settings, period = sorted(Setting(*point) for point in grid), task.series.period
    errors = {}
    for lookback, same in groupby(settings, key=lambda s: s.lookback):
        validation = Moments.of(task.windows("validation", lookback), period)
        for calm, alike in groupby(sorted(same, key=lambda s: s.calm), key=lambda s: s.calm):
            train = Moments.of(task.windows("train", lookback), period, calm=calm)
            for _, of_taper in groupby(alike, key=lambda s: s.taper):
                group = list(of_taper)
                moments = spectral(group[0].model(task), train)
                for setting in group:
                    errors[setting] = validation.mean_squared_error(linear_map(setting.fitted(task, moments)))
    table = pd.DataFrame([{**vars(setting), "validation_mse": errors[setting]} for setting in settings])
    return table, settings[int(table["validation_mse"].argmin())]
