"""Frequencies selected by a layer itself (`resonance.selection`) where those of most energy carry no information."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from artifact.studies.common.training import train_one_cycle
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
