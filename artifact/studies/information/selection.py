"""Frequencies selected by a layer itself (`resonance.selection`), beside the choice that is proved or known to be best.

selection_table   waves that carry the target among louder ones: which are found
gaussian_bits     a Gaussian signal in noise: bits kept, and the most of any k frequencies (thm:choice)
series_bits       the past of a real series: bits about its future, and those of a greedy choice by the bits themselves
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.studies.common.statistics import mean_interval
from artifact.studies.common.training import train_one_cycle
from artifact.studies.information.information import frequency_bits, two_lines
from artifact.studies.information.predictive import Ridges, Splits, best_ridge, mean_bits
from resonance.forecasting import Windows
from resonance.selection import EnergySelection, LearnedSelection, SelectiveMixing


def waves(frequencies: Tensor, n: int, batch: int, generator: torch.Generator) -> Tensor:
    """Sums of unit waves of random phase at the frequencies, in cycles per n samples: (batch, n, 1)."""
    phase = 2 * math.pi * torch.rand(batch, 1, len(frequencies), generator=generator)
    angle = 2 * math.pi / n * torch.arange(n)[:, None] * frequencies
    return torch.cos(angle + phase).sum(dim=-1, keepdim=True)


def selection_table(n: int, k: int, *, seeds: int, steps: int = 300, seed: int = 0) -> pd.DataFrame:
    """Share of k informative frequencies that each selection keeps: rows seed, selection, found.

    The target is a sum of k waves; the input adds k others of three times the amplitude, and noise.  A layer of all n/4
    frequencies, without interference, learns to return the target while `LearnedSelection` keeps k of them;
    `EnergySelection` keeps those of a batch of inputs; the default of `BandMixing` is the k lowest.
    """
    rows = []
    for index in range(seed, seed + seeds):
        torch.manual_seed(index)
        generator = torch.Generator().manual_seed(index)
        candidates = n // 4
        informative, louder = torch.randperm(candidates, generator=generator)[: 2 * k].chunk(2)

        def batches(informative=informative, louder=louder, generator=generator) -> Iterator[tuple[Tensor, Tensor]]:
            while True:
                target = waves(informative, n, 32, generator)
                noise = 0.3 * torch.randn(target.shape, generator=generator)
                yield target + 3 * waves(louder, n, 32, generator) + noise, target

        learned, energy = (
            SelectiveMixing(1, kind(candidates, k), candidates, interference=False)
            for kind in (LearnedSelection, EnergySelection)
        )
        train_one_cycle(learned, batches(), steps, rate=0.03, loss_fn=F.mse_loss)
        kept = {"learned": learned.frozen(), "energy": energy.frozen(next(batches())[0])}
        kept = {name: set(mixing.frequencies) for name, mixing in kept.items()} | {"lowest": set(range(k))}
        truth = set(informative.tolist())
        rows += [{"seed": index, "selection": name, "found": len(truth & s) / k} for name, s in kept.items()]
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------- bits kept


def learned(candidates: int, k: int, batches: Iterable, steps: int, head: nn.Module | None = None) -> list[int]:
    """The k of `candidates` frequencies that scores keep once a layer, and the head behind it, are trained."""
    mixing = SelectiveMixing(1, LearnedSelection(candidates, k), candidates, interference=False)
    model = mixing if head is None else nn.Sequential(mixing, head)
    train_one_cycle(model, batches, steps, rate=0.03, loss_fn=F.mse_loss)
    return list(mixing.frozen().frequencies)


def gaussian_batches(n: int, *, whiten: bool, generator: torch.Generator, size: int = 64) -> Iterator[tuple]:
    """(X + E, target), each (size, n, 1), of `two_lines`; the target is X, or X with a flat spectrum."""
    signal, noise = (torch.linalg.cholesky(c + 1e-9 * torch.eye(n)) for c in two_lines(n))
    power = torch.fft.rfft(two_lines(n)[0][0]).real.clamp_min(1e-12)
    while True:
        x, e = torch.randn(2, size, n, dtype=signal.dtype, generator=generator)
        x, e = x @ signal.T, e @ noise.T
        target = torch.fft.irfft(torch.fft.rfft(x) / power.sqrt(), n) if whiten else x
        yield (x + e)[..., None].float(), target[..., None].float()


def gaussian_bits(n: int, ks: Iterable[int], *, seeds: int, steps: int, seed: int = 0) -> pd.DataFrame:
    """Bits that k frequencies keep of a Gaussian signal, and the most of any k: k, selection, seed, bits, most.

    learned: by a layer that returns the signal, or the signal with a flat spectrum, where what a frequency lowers the
    squared error by rises with its signal-to-noise ratio alone.
    """
    bits, rows = frequency_bits(*two_lines(n))[1], []
    for k in ks:
        most = bits.topk(k).values.sum().item()
        for index in range(seed, seed + seeds):
            torch.manual_seed(index)
            generator = torch.Generator().manual_seed(index)
            kept = {
                "learned, the signal": learned(
                    len(bits), k, gaussian_batches(n, whiten=False, generator=generator), steps
                ),
                "learned, flat spectrum": learned(
                    len(bits), k, gaussian_batches(n, whiten=True, generator=generator), steps
                ),
                "lowest": list(range(k)),
            }
            energy = SelectiveMixing(1, EnergySelection(len(bits), k), len(bits), interference=False)
            batch, _ = next(gaussian_batches(n, whiten=False, generator=generator, size=1024))
            kept["most energy"] = list(energy.frozen(batch).frequencies)
            rows += [(k, name, index, bits[found].sum().item(), most) for name, found in kept.items()]
    return pd.DataFrame(rows, columns=["k", "selection", "seed", "bits", "most"])


def window_batches(windows: Windows, generator: torch.Generator, size: int = 16) -> Iterator[tuple]:
    """Past (size channels, lookback, 1) and future (size channels, horizon) of random windows, each channel by itself.

    The mean of the past is subtracted from both.
    """
    while True:
        past, future = windows.batch(torch.randint(len(windows), (size,), generator=generator))
        level = past.mean(dim=1, keepdim=True)
        past, future = ((part - level).transpose(1, 2).flatten(0, 1) for part in (past, future))
        yield past[..., None], future


def series_bits(
    splits: Splits,
    windows: Windows,
    order: dict[str, list[int]],
    ks: Iterable[int],
    ridges: Ridges,
    *,
    seeds: int,
    steps: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Bits on the test about the future that k frequencies of the past keep: k, selection, seed, bits.

    learned: by a layer with a linear head, trained to forecast the training windows; the rest by the orders of
    `rank_frequencies`.
    """
    rows = []
    for k in ks:
        kept = [(name, seed, ranked[:k]) for name, ranked in order.items() if len(ranked) >= k]
        for index in range(seed, seed + seeds):
            torch.manual_seed(index)
            head = nn.Sequential(nn.Flatten(), nn.Linear(windows.lookback, windows.horizon))
            batches = window_batches(windows, torch.Generator().manual_seed(index))
            kept.append(("learned, the forecast", index, learned(splits.train.count, k, batches, steps, head)))
        for name, index, found in kept:
            ridge = best_ridge(splits, found, ridges).ridge
            rows.append((k, name, index, mean_bits(splits.train, splits.test, found, ridge)))
    return pd.DataFrame(rows, columns=["k", "selection", "seed", "bits"])


KEYS = {
    "learned, the signal": "learned",
    "learned, flat spectrum": "flat",
    "learned, the forecast": "learned",
    "most energy": "energy",
    "lowest": "lowest",
    "most information": "greedy",
}


def selected_measures(gaussian: pd.DataFrame, series: pd.DataFrame) -> Iterator[tuple]:
    """What the ledger keeps: by k and selection the share of the most bits, and the bits on the series, over seeds."""
    shares = gaussian.assign(bits=gaussian["bits"] / gaussian["most"])
    for place, table, unit in (("gaussian", shares, "of the most"), ("series", series, "bits, test")):
        for (k, name), rows in table.groupby(["k", "selection"], sort=False):
            mean, *interval = mean_interval(rows["bits"])
            yield f"information.selected.{place}.{KEYS[name]}.{k}", mean, unit, tuple(interval)
