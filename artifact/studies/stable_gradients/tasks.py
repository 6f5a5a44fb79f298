"""The three tasks of the ablation, each a small network of polar weights: a filter, a forecast, a digit.

    model(seed)                     a fresh network of polar weights
    batches(seeds, steps)           (inputs, target) of every step, stacked over seeds: (seeds, batch, ...)
    loss(output, target)            the training loss of one replica
    score(forward, seeds, split)    (rates, seeds), lower is better, on "validation" or "test"

Everything drawn from a seed (start, batches, unknown filters) is the same for every variant, so that variants can be
compared in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.images import Images
from resonance.band import next_power_of_two
from resonance.forecasting import ForecastTask
from resonance.models import ResonanceNet
from resonance.polar import PolarWeight
from resonance.spectral import analysis
from resonance.time_series import ResonanceTimeSeriesNet

Forward = Callable[..., Tensor]  # inputs shared by all replicas -> output (rates, seeds, ...)
Batches = Iterator[tuple[tuple[Tensor, ...], Tensor]]


class Identification:
    """Learn an unknown filter y = S diag(w*) A x from noise; score: the share of frequencies in error by over a tenth.

    w*: magnitudes log-uniform in 0.05 .. 2, phases uniform; k frequencies of `channels` channels a seed.  DC is left
    out: the imaginary part of its weight has no effect on the output.  Each seed is another filter, so validation and
    test differ by their seeds alone.
    """

    name, metric = "identification", "share of frequencies missed"

    def __init__(self, k: int = 32, channels: int = 8, n: int = 128, batch: int = 8):
        self.k, self.channels, self.n, self.batch = k, channels, n, batch

    def model(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return PolarWeight(self.k, self.channels)

    def filters(self, seeds: Sequence[int]) -> Tensor:
        """w* as (seeds, 2, k, channels): real and imaginary parts."""
        r, phi = torch.empty(2, len(seeds), self.k, self.channels)
        for index, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed + 2)  # not the seed of the start
            r[index].uniform_(math.log(0.05), math.log(2.0), generator=generator)
            phi[index].uniform_(-math.pi, math.pi, generator=generator)
        return torch.stack([r.exp() * phi.cos(), r.exp() * phi.sin()], dim=1)

    def batches(self, seeds: Sequence[int], steps: int) -> Batches:
        generators = [torch.Generator().manual_seed(seed + 1) for seed in seeds]
        filters = self.filters(seeds)
        for _ in range(steps):
            x = torch.stack([torch.randn(self.batch, self.n, self.channels, generator=g) for g in generators])
            re, im = (part[:, 1:].unflatten(0, x.shape[:2]) for part in analysis(x.flatten(0, 1), self.k + 1))
            w_re, w_im = filters[:, 0, None], filters[:, 1, None]
            yield (re, im), torch.stack([w_re * re - w_im * im, w_re * im + w_im * re], dim=1)

    def loss(self, output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        """The squared error of the output signal, by Parseval, summed over frequencies and channels."""
        return 2.0 * sum((a - b).square().sum() for a, b in zip(output, target, strict=True)) / self.batch

    def score(self, forward: Forward, seeds: Sequence[int], split: str) -> Tensor:
        one = torch.ones(1, self.k, self.channels)
        re, im = (part[:, :, 0] for part in forward(one, torch.zeros_like(one)))
        target = self.filters(seeds)
        near = torch.hypot(re - target[:, 0], im - target[:, 1]) <= 0.1 * torch.hypot(target[:, 0], target[:, 1])
        return 1.0 - near.double().mean(dim=(-2, -1))


class Forecasting:
    """Forecast from a random start with a `ResonanceTimeSeriesNet`; score: mean squared error, every test window."""

    name, metric = "forecasting", "MSE"

    def __init__(self, task: ForecastTask, lookback: int = 336, rank: int = 16, batch: int = 16):
        self.task, self.lookback, self.rank, self.batch = task, lookback, rank, batch
        self.windows = {split: task.windows(split, lookback) for split in ("train", "validation", "test")}

    def model(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        options = {"rank": self.rank, "level_steps": self.task.series.period}
        return ResonanceTimeSeriesNet(self.task.horizon, self.lookback, len(self.task.series.channels), **options)

    def batches(self, seeds: Sequence[int], steps: int) -> Batches:
        train = self.windows["train"]
        for index in _indices(len(train), self.batch, seeds, steps):
            past, future = (part.unflatten(0, index.shape) for part in train.batch(index.flatten()))
            yield (past,), future

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target)

    def score(self, forward: Forward, seeds: Sequence[int], split: str) -> Tensor:
        windows, squared = self.windows[split], 0.0
        # Neighbouring windows are nearly the same: every fourth suffices for tuning.  The test uses all.
        which = torch.arange(0, len(windows), 4 if split == "validation" else 1)
        for index in which.split(256):
            past, future = windows.batch(index)
            squared += (forward(past) - future).square().mean(dim=(-2, -1)).double().sum(dim=-1)
        return squared / len(which)


class Classification:
    """Classify digits from their rows by a `ResonanceNet`, its outputs averaged; score: the share of images in error.

    The last thousand training images are for validation; training uses the rest, standardised by their own mean and
    deviation.  All frequencies of the rows' grid are kept.
    """

    name, metric = "classification", "share of images in error"

    def __init__(self, images: Images, hidden: int = 32, layers: int = 2, batch: int = 32):
        held_out = min(1000, len(images.train[1]) // 4)
        mean, std = images.train[0][:-held_out].mean(), images.train[0][:-held_out].std()

        def tensors(part: tuple[np.ndarray, np.ndarray], cut: slice) -> tuple[Tensor, Tensor]:
            return torch.from_numpy((part[0][cut] - mean) / std), torch.from_numpy(part[1][cut])

        self.hidden, self.layers, self.batch = hidden, layers, batch
        self.splits = {
            "train": tensors(images.train, slice(None, -held_out)),
            "validation": tensors(images.train, slice(-held_out, None)),
            "test": tensors(images.test, slice(None)),
        }

    def model(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        side = self.splits["train"][0].shape[-1]
        k = next_power_of_two(side) // 2 + 1
        return ResonanceNet(side, k, self.hidden, self.layers, dropout=0.0, output_dim=10)

    def batches(self, seeds: Sequence[int], steps: int) -> Batches:
        images, labels = self.splits["train"]
        for index in _indices(len(labels), self.batch, seeds, steps):
            yield (images[index],), labels[index]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output.mean(dim=1), target)

    def score(self, forward: Forward, seeds: Sequence[int], split: str) -> Tensor:
        images, labels = self.splits[split]
        wrong = 0.0
        for x, label in zip(images.split(500), labels.split(500), strict=True):
            output = forward(x).mean(dim=-2)
            # The output of a diverged replica is NaN, which has no largest entry.
            wrong += ((output.argmax(dim=-1) != label) | output.isnan().any(dim=-1)).double().sum(dim=-1)
        return wrong / len(labels)


def _indices(count: int, batch: int, seeds: Sequence[int], steps: int) -> Iterator[Tensor]:
    """Yield for each step the samples of each seed, (seeds, batch), drawn with replacement."""
    generators = [torch.Generator().manual_seed(seed + 1) for seed in seeds]
    for _ in range(steps):
        yield torch.stack([torch.randint(count, (batch,), generator=g) for g in generators])


Task = Identification | Forecasting | Classification
METRICS = {task.name: task.metric for task in (Identification, Forecasting, Classification)}
