"""Peers of the forecaster: seasonal naive, ridge regression, DLinear, FITS, a Transformer on patches; their training.

Each maps a past (batch, lookback, channels) to (batch, horizon, channels), one map for all channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR

from artifact.peers.transformer import transformer_layer
from resonance.forecasting import Windows, evaluate
from resonance.polar import complex_matmul
from resonance.spectral import check_sequences
from resonance.time_series import Moments
from resonance.training.trainer import PolarTrainer


class SeasonalNaive:
    """Repeat the last full period of the past, which has to hold one."""

    def __init__(self, horizon: int, period: int):
        self.horizon, self.period = horizon, period

    def __call__(self, past: Tensor) -> Tensor:
        cycle = past[:, -self.period :]
        return cycle.repeat(1, math.ceil(self.horizon / self.period), 1)[:, : self.horizon]


class Ridge:
    """Linear forecast of the deviations from the past's level: future - level = matrix (past - level).

    matrix: (horizon, lookback), from `ridge_path` or a `ReducedRankPath`.  level: the mean of the last `level_steps`
    samples, by default of all.  parameters: the free numbers in the matrix, by default all.
    """

    def __init__(self, matrix: Tensor, *, level_steps: int | None = None, parameters: int | None = None):
        self.lookback, self.matrix = matrix.shape[1], matrix
        self.level_steps = self.lookback if level_steps is None else level_steps
        self.parameters = matrix.numel() if parameters is None else parameters

    def __call__(self, past: Tensor) -> Tensor:
        level = past[:, -self.level_steps :].mean(dim=1, keepdim=True)
        return level + self.matrix @ (past - level)


def ridge_path(windows: Windows, penalties: Iterable[float]) -> Iterator[tuple[float, Ridge]]:
    """Yield each penalty with its closed-form fit, B = argmin sum |Y - B X|^2 + penalty |B|^2.

    The sum is over all windows and channels.  Cost: that of `Moments.of`, and lookback^3 a penalty.
    """
    moments = Moments.of(windows, windows.lookback)
    for penalty in penalties:
        gram = moments.past_past + penalty * torch.eye(windows.lookback, dtype=torch.float64)
        yield penalty, Ridge(torch.linalg.solve(gram, moments.future_past, left=False).float())


class DLinear(nn.Module):
    """Trend and remainder, each forecast by one linear map (Zeng et al., AAAI 2023).

    The trend is a moving average over 25 steps, ends repeated.  Parameters: 2 horizon (lookback + 1).
    """

    def __init__(self, lookback: int, horizon: int, kernel: int = 25):
        super().__init__()
        self.kernel = kernel
        self.trend = nn.Linear(lookback, horizon)
        self.remainder = nn.Linear(lookback, horizon)
        for part in (self.trend, self.remainder):  # published initialisation: each output the mean of the past
            nn.init.constant_(part.weight, 1.0 / lookback)

    def forward(self, past: Tensor) -> Tensor:
        x = past.transpose(1, 2)  # (batch, channels, lookback)
        trend = F.avg_pool1d(F.pad(x, (self.kernel // 2, self.kernel // 2), mode="replicate"), self.kernel, stride=1)
        return (self.trend(trend) + self.remainder(x - trend)).transpose(1, 2)


def instance_norm(past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The past at mean 0 and variance 1 over time, its mean, and its deviation, each (batch, 1, channels)."""
    mean = past.mean(dim=1, keepdim=True)
    deviation = (past.var(dim=1, keepdim=True) + 1e-5).sqrt()
    return (past - mean) / deviation, mean, deviation


class FITS(nn.Module):
    """Map the first `cut` bins of the past's spectrum to the spectrum of past and future together.

        z = (past - mean) / deviation,    Y = W Z + b,    future = mean + deviation ((N / L) S_N Y)[L:],    N = L + H

    Z the rfft of z (L samples), W complex of (int(cut N / L), cut), S_N the irfft to N samples.
    cut = (L // period + 1) harmonics + 10, at most L // 2 + 1: the published rule.
    Parameters: 2 int(cut N / L) (cut + 1).  Raises ValueError for a past of another length.
    Source: Xu, Zeng, Xu, FITS, ICLR 2024; W is initialised real, as theirs.
    """

    def __init__(self, lookback: int, horizon: int, *, period: int = 24, harmonics: int = 6):
        super().__init__()
        total = lookback + horizon
        cut = min((lookback // period + 1) * harmonics + 10, lookback // 2 + 1)
        out = min(int(cut * total / lookback), total // 2 + 1)
        self.lookback, self.horizon, self.cut = lookback, horizon, cut
        self.weight_re = nn.Parameter(torch.empty(cut, out).uniform_(-(cut**-0.5), cut**-0.5))
        self.weight_im = nn.Parameter(torch.zeros(cut, out))
        self.bias_re = nn.Parameter(torch.empty(out).uniform_(-(cut**-0.5), cut**-0.5))
        self.bias_im = nn.Parameter(torch.zeros(out))

    def forward(self, past: Tensor) -> Tensor:
        _check_length(past, self.lookback)
        z, mean, deviation = instance_norm(past)
        spectrum = torch.fft.rfft(z.transpose(1, 2).flatten(0, 1))[:, : self.cut]  # (batch channels, cut)
        spectrum = spectrum.real.contiguous(), spectrum.imag.contiguous()
        re, im = complex_matmul(spectrum, (self.weight_re, self.weight_im))
        total = self.lookback + self.horizon
        both = torch.fft.irfft(torch.complex(re + self.bias_re, im + self.bias_im), n=total)[:, self.lookback :]
        future = (total / self.lookback) * both.unflatten(0, (len(past), -1)).transpose(1, 2)
        return mean + deviation * future


class PatchTransformer(nn.Module):
    """Forecast each channel alone from overlapping patches of its past: PatchTST (Nie et al., ICLR 2023).

    The normalised past, its last value repeated `stride` times, is cut into patches; each is projected to `dim`, gets
    a learned position, goes through `depth` pre-norm layers with fused attention, and one linear map takes them all
    to the horizon.  Where we differ: layer norm before each branch, no batch norm; a head for every 16 dimensions.
    Parameters: depth (12 dim^2 + 13 dim) + patches dim (horizon + 1) + (patch + 3) dim + horizon.  Cost of a layer, a
    channel: 12 patches dim^2 + 2 patches^2 dim multiply-adds.
    Raises ValueError for a lookback below a patch, a dim that the heads do not divide, or a past of another shape.
    """

    patch, stride, dropout_rate = 16, 8, 0.2

    def __init__(self, lookback: int, horizon: int, channels: int, dim: int = 16, depth: int = 3):
        super().__init__()
        if lookback < self.patch:
            raise ValueError(f"expected a lookback of at least one patch of {self.patch} steps, got {lookback}")
        heads = max(1, dim // 16)
        if dim % heads:
            raise ValueError(f"expected a dim that {heads} heads divide, got {dim}")
        self.lookback, self.horizon, self.channels = lookback, horizon, channels
        patches = (lookback - self.patch) // self.stride + 2
        self.embedding = nn.Linear(self.patch, dim)
        self.position = nn.Parameter(0.02 * torch.randn(patches, dim))
        self.dropout = nn.Dropout(self.dropout_rate)
        self.layers = nn.ModuleList(transformer_layer(dim, heads, dropout=self.dropout_rate) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(patches * dim, horizon)

    def forward(self, past: Tensor) -> Tensor:
        check_sequences(past, self.channels)
        _check_length(past, self.lookback)
        z, mean, deviation = instance_norm(past)
        series = F.pad(z.transpose(1, 2), (0, self.stride), mode="replicate").flatten(0, 1)  # (batch channels, time)
        patches = series.unfold(1, self.patch, self.stride)  # (batch channels, patches, patch)
        h = self.dropout(self.embedding(patches) + self.position)  # (batch channels, patches, dim)
        for layer in self.layers:
            h = layer(h)
        future = self.head(self.norm(h).flatten(1)).view(len(past), self.channels, self.horizon)
        return mean + deviation * future.transpose(1, 2)


def _check_length(past: Tensor, lookback: int) -> None:
    if past.shape[1] != lookback:
        raise ValueError(f"expected a past of lookback={lookback} steps, got {past.shape[1]}")


# --------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Thinned(Windows):
    """Every `stride`-th window of a split: neighbours differ by one step, so the error is nearly the same."""

    stride: int = 4

    def __len__(self) -> int:
        return -(-super().__len__() // self.stride)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return super().batch(index * self.stride)


@dataclass(frozen=True)
class Trained:
    """A trained forecaster, with the weights of its lowest validation error."""

    model: Callable[[Tensor], Tensor]
    lookback: int
    rate: float
    seed: int
    epoch: int  # the epoch kept
    validation_mse: float  # over every window


@dataclass(frozen=True)
class Budget:
    """The length of a training: `epochs` of `steps` batches of `batch` windows, each with all its channels."""

    epochs: int
    steps: int
    batch: int


def shuffled(windows: Windows, budget: Budget, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the `steps` batches of one epoch, going through the windows repeatedly where they are few."""
    passes = (windows.batches(budget.batch, generator) for _ in count())
    return islice(chain.from_iterable(passes), budget.steps)


def train_forecaster(
    build: Callable[[], nn.Module],
    train: Windows,
    validation: Windows,
    budget: Budget,
    *,
    rate: float,
    seed: int,
    gradient_clip: float | None = None,
    **options,
) -> Trained:
    """Train what `build` returns on squared error; keep the epoch of the lowest error on a quarter of validation.

    options: of `PolarTrainer`, Adam at a constant rate unless they say otherwise.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = build()
    watched = Thinned(validation.series, validation.lookback, validation.horizon)
    trainer = PolarTrainer(model, rate, rate, gradient_clip, monitor_stability=False, **options)
    batches = partial(shuffled, train, budget, generator)
    history = trainer.fit(lambda epoch: batches(), budget.epochs, lambda model: evaluate(model, watched, 128)[0])
    error = evaluate(model.eval(), validation, 128)[0]
    return Trained(model, train.lookback, rate, seed, history.best_epoch, error)


def train_dlinear(train: Windows, validation: Windows, budget: Budget, *, rate: float, seed: int) -> Trained:
    """Train a DLinear by Adam at a constant rate."""
    build = partial(DLinear, train.lookback, train.horizon)
    return train_forecaster(build, train, validation, budget, rate=rate, seed=seed)


def train_fits(train: Windows, validation: Windows, budget: Budget, *, period: int, rate: float, seed: int) -> Trained:
    """Train FITS on the future alone, as published: Adam, the rate down by 5% an epoch."""
    build = partial(FITS, train.lookback, train.horizon, period=period)
    decay = partial(ExponentialLR, gamma=0.95 ** (1 / budget.steps))
    return train_forecaster(build, train, validation, budget, rate=rate, seed=seed, schedule=decay)


def train_patch_transformer(
    train: Windows, validation: Windows, budget: Budget, *, dim: int, depth: int, rate: float, seed: int
) -> Trained:
    """Train a patch Transformer by AdamW under a one-cycle rate, the gradient clipped at norm 1."""
    channels, total = train.series.shape[1], budget.epochs * budget.steps
    rise = max(0.2, 2 / total)  # of all steps; one at least
    return train_forecaster(
        partial(PatchTransformer, train.lookback, train.horizon, channels, dim, depth),
        train,
        validation,
        budget,
        rate=rate,
        seed=seed,
        gradient_clip=1.0,
        optimizer=partial(torch.optim.AdamW, weight_decay=0.01),
        schedule=partial(OneCycleLR, max_lr=rate, total_steps=total, pct_start=rise, cycle_momentum=False),
    )
