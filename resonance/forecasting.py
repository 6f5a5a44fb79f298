"""Forecasting as the field does it: borders, scaling, windows, evaluation, and the closed-form start.

Protocol for ETTh1 (Zhou et al. 2021, with the loader error of later work corrected): months of 30 days, 12 to train,
4 to validate, 4 to test; the scaler sees training rows only; validation and test windows may look back across their
border but never forecast before it; every window is evaluated, none dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from .band import make_band
from .data import Series
from .models import ResonanceTimeSeriesNet
from .paths import ROOT
from .polar import complex_matmul
from .spectral import analysis
from .training import PolarTrainer

ETT_HOURLY_BORDERS = (8640, 11520, 14400)


@dataclass(frozen=True)
class Windows:
    """All windows of one split: `series` (steps, channels), past of `lookback`, future of `horizon`."""

    series: Tensor
    lookback: int
    horizon: int

    def __len__(self) -> int:
        return max(0, len(self.series) - self.lookback - self.horizon + 1)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return past (batch, lookback, channels) and future (batch, horizon, channels) of the windows named."""
        steps = index[:, None] + torch.arange(self.lookback + self.horizon)
        both = self.series[steps]
        return both[:, : self.lookback], both[:, self.lookback :]

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every window once in batches of `size`: in order, or shuffled by `generator`; the last may be short."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        for index in order.split(size):
            yield self.batch(index)


@dataclass(frozen=True)
class ForecastTask:
    """A series cut into train, validation and test by `borders`, scaled by the training rows."""

    series: Series
    horizon: int
    borders: tuple[int, int, int]
    mean: np.ndarray
    std: np.ndarray

    def windows(self, split: str, lookback: int) -> Windows:
        """Return the windows of "train", "validation" or "test" (float32, standardised)."""
        at = ("train", "validation", "test").index(split)
        first = 0 if at == 0 else self.borders[at - 1] - lookback
        rows = self.series.values[max(first, 0) : self.borders[at]]
        windows = Windows(torch.from_numpy((rows - self.mean) / self.std).float(), lookback, self.horizon)
        if first < 0 or len(windows) < 1:
            raise ValueError(
                f"lookback={lookback} and horizon={self.horizon} leave no {split} window in {self.series.dataset} "
                f"with borders {self.borders}"
            )
        return windows

    @torch.no_grad()
    def forecast(self, model: ResonanceTimeSeriesNet) -> np.ndarray:
        """Return what the model says comes after the series' end: (horizon, channels), in the series' own units."""
        past = (self.series.values[-model.lookback :] - self.mean) / self.std
        return model(torch.from_numpy(past).float()[None])[0].numpy() * self.std + self.mean


def forecast_task(series: Series, horizon: int) -> ForecastTask:
    """Return the task on a series: the published borders for ETTh1, 60/20/20 for any other series.

    A channel that is constant over the training rows is centred and left unscaled.
    """
    steps = len(series.values)
    borders = ETT_HOURLY_BORDERS if series.dataset == "ETTh1" else (steps * 3 // 5, steps * 4 // 5, steps)
    train = series.values[: borders[0]]
    std = train.std(axis=0)
    return ForecastTask(series, horizon, borders, train.mean(axis=0), np.where(std > 0, std, 1.0))


@torch.no_grad()
def evaluate(forecast: Callable[[Tensor], Tensor], windows: Windows, size: int = 512) -> tuple[float, float]:
    """Return (MSE, MAE) over every window, step and channel, in standardised units; sums in float64."""
    squared = absolute = 0.0
    count = 0
    for past, future in windows.batches(size):
        error = (forecast(past) - future).double()
        squared += error.square().sum().item()
        absolute += error.abs().sum().item()
        count += error.numel()
    return squared / count, absolute / count


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


# --------------------------------------------------------------------------- looking at a forecast


@torch.no_grad()
def window_forecasts(
    task: ForecastTask, models: dict[str, Callable[[Tensor], Tensor]], *, window: int, lookback: int = 336
) -> pd.DataFrame:
    """Return one test window, last channel: columns step (1 is the first forecast), truth, and each model's forecast.

    `models` may look back further than the `lookback` that is shown.
    """
    longest = max([lookback, *(getattr(model, "lookback", lookback) for model in models.values())])
    past, future = task.windows("test", longest).batch(torch.tensor([window]))
    shown = min(lookback, 7 * task.series.period)
    truth = torch.cat([past[0, -shown:, -1], future[0, :, -1]]).numpy()
    table = pd.DataFrame({"step": np.arange(-shown + 1, task.horizon + 1), "truth": truth})
    for name, model in models.items():
        forecast = model(past[:, -getattr(model, "lookback", lookback) :])[0, :, -1].numpy()
        table[name] = np.concatenate([np.full(shown, np.nan), forecast])
    return table


@torch.no_grad()
def past_future_gain(model: ResonanceTimeSeriesNet) -> pd.DataFrame:
    """Return |U V|, the gain from each past frequency to each future one; frequencies in cycles per step."""
    re, im = complex_matmul(model.future.pair(), model.past.pair())
    gain = torch.hypot(re, im).numpy()
    future, past = np.meshgrid(np.arange(gain.shape[0]), np.arange(gain.shape[1]), indexing="ij")
    columns = {"future": future / model.pred_horizon, "past": past / model.lookback, "gain": gain}
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


def published_errors() -> pd.DataFrame:
    """Return the published errors on ETTh1 at horizon 96, as `paper/published.csv` quotes them."""
    return pd.read_csv(ROOT / "paper" / "published.csv")
