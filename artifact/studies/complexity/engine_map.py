"""Where each engine of the band transforms wins: seconds over lengths, shares of the band that are kept, channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from statistics import median

import pandas as pd
import torch
from torch import Tensor, nn

from artifact.studies.common.processes import spread
from artifact.studies.common.timing import Step, pass_of, rounds_of
from resonance.band import make_band
from resonance.engines.dense import TABLE_LIMIT
from resonance.engines.linear_time import Plan, make_plan
from resonance.layers import BandMixing
from resonance.spectral import ENGINES, choose_engine, fft_cost

SHARES = (1 / 512, 1 / 128, 1 / 32, 1 / 8, 1 / 2)  # k / n
LONGEST = {64: 2**20, 256: 2**16, 1024: 2**14}  # n, for each number of channels
FAR = 4.0  # an engine whose estimated cost is further from the least is not run, torch.fft apart


def forward_of(model: nn.Module, x: Tensor) -> Step:
    """A step: one forward pass without gradients."""
    return torch.no_grad()(partial(model, x))


PASSES: dict[str, Callable[[nn.Module, Tensor], Step]] = {"forward": forward_of, "both": pass_of}


def worth_running(n: int, k: int) -> list[str]:
    """torch.fft, the peer, and the engines whose estimated cost is near the least and whose tables are kept."""
    band = make_band(n, k)
    cost = {"fft": fft_cost(band), "fast": make_plan(band, torch.float32).cost(band)}
    if 2 * k * n <= TABLE_LIMIT:
        cost["dense"] = Plan(1, n, 1, 0.0, False, k).cost(band)
    near = {engine for engine in cost if cost[engine] <= FAR * min(cost.values())}
    return [engine for engine in ENGINES if engine in near | {"fft"}]


def engine_map(
    lengths: Iterable[int],
    device: str = "cpu",
    channels: Iterable[int] = tuple(LONGEST),
    rounds: int = 3,
    min_seconds: float = 0.02,
) -> pd.DataFrame:
    """Seconds of a mixing without interference by each engine, missing where it was not `worth_running`.

    A row for each n, k, number of channels d and pass (forward, or forward and backward), batch 1, float32; `chosen`
    is the engine of "auto", `over_best` its seconds over those of the fastest.
    """
    rows = []
    for n, share, d in product(lengths, SHARES, channels):
        k = round(n * share)
        if k < 1 or n > LONGEST.get(d, n):
            continue
        x, chosen = torch.randn(1, n, d, device=device), choose_engine(make_band(n, k))
        mixings = {e: BandMixing(d, k, engine=e, interference=False, device=device) for e in worth_running(n, k)}
        for name, step_of in PASSES.items():
            steps = {engine: step_of(mixing, x) for engine, mixing in mixings.items()}
            alone = len(steps) == 1  # there is nothing to compare
            taken = {} if alone else rounds_of(steps, device=device, rounds=rounds, min_seconds=min_seconds)
            seconds = {engine: median(taken[engine]) if engine in taken else math.nan for engine in ENGINES}
            over_best = seconds[chosen] / min(map(median, taken.values()), default=math.nan)
            fixed = {"n": n, "k": k, "share": share, "d": d, "pass": name}
            rows.append(fixed | seconds | {"chosen": chosen, "over_best": over_best})
    return pd.DataFrame(rows)


def as_started(*arguments) -> pd.DataFrame:
    """`engine_map` in a process of its own, as a user starts Python."""
    (table,) = spread(engine_map, [arguments], processes=1, threads=torch.get_num_threads(), fresh=True)
    return table


def measures(table: pd.DataFrame) -> list[tuple]:
    """What the ledger keeps of a map: key, value, unit."""
    both = table[table["pass"] == "both"]
    fast = both.dropna(subset="fast")
    ahead = fast["fft"] / fast["fast"]
    table = table.dropna(subset="over_best")
    rows = [
        ("engines.cases", len(table), "lengths, shares, channels and passes, two engines or more in each"),
        ("engines.over_best", table["over_best"].max(), "time of the choice over the best, largest"),
        ("engines.within", 100 * (table["over_best"] <= 1.1).mean(), "% of cases where it is at most 1.1"),
        ("engines.faster", int((ahead > 1).sum()), "cases, forward and backward, where ours is ahead of torch.fft"),
        ("engines.slower", int((ahead <= 1).sum()), "cases where it is not"),
        ("engines.not_run", len(both) - len(fast), "cases where it was not run"),
    ]
    for share, part in fast.groupby("share"):
        ratio, key = part["fft"] / part["fast"], f"engines.share{round(1 / share)}"
        rows += [(f"{key}.min", ratio.min(), "times faster than torch.fft"), (f"{key}.max", ratio.max(), "the same")]
    return rows
