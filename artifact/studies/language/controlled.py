"""Variants of `ResonanceLM` and its relatives under control: a rate of its own for each, equal steps and equal seconds.

A part that costs time can lose at equal seconds and win at equal steps, and a rate that suits the whole model need not
suit a variant: so every family gets the same search, and both budgets.  A run at equal steps reads the same windows in
every family; at equal seconds two runs share the machine, a thread each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import family as family_of_tests
from artifact.studies.common.statistics import mean_interval, paired_difference
from artifact.studies.common.tuning import best_values
from artifact.studies.language.protocol import BATCHES, searched
from artifact.studies.language.study import RESONANCE, Run, outcomes


@dataclass(frozen=True)
class Budget:
    """Steps of a run that chooses a rate, steps and seconds of the runs that are reported, and their seeds."""

    tuning_steps: int
    steps: int
    seconds: float
    seeds: int


def controlled(
    families: Sequence[str],
    context: int,
    grid: Sequence[float],
    budget: Budget,
    *,
    wider: int = 0,
    processes: int = 2,
    **symbols: int | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(tries, ends) of every family: the rates tried, and the ends of its runs at equal steps and at equal seconds.

    symbols: `curve` and `final` of `Run`.
    """
    batch = BATCHES[context]
    start = Run("", context, batch, grid[0], tokens=budget.tuning_steps * batch * context, **symbols)
    jobs = [(replace(start, family=family), tuple(grid), wider) for family in families]
    tries = pd.DataFrame([row for rows in spread(searched, jobs, processes=processes) for row in rows])
    rates = best_values(tries, ["family"], value="rate").set_index("family")["rate"]
    budgets = {"tokens": budget.steps * batch * context, "seconds": None}, {"tokens": None, "seconds": budget.seconds}
    runs = [
        replace(start, family=family, rate=float(rates[family]), seed=seed, **limit)
        for limit in budgets
        for seed in range(budget.seeds)
        for family in families
    ]
    return tries, pd.DataFrame([outcome.row for outcome in outcomes(runs, processes=processes)])


def key_of(family: str) -> str:
    """A family's part of a key of the ledger."""
    return family.replace(" ", "_")


def measures(tries: pd.DataFrame, ends: pd.DataFrame) -> list[tuple]:
    """Key, value, unit and interval: losses by budget and family, and their difference from the whole model, paired.

    A difference above zero: worse than the whole model; p is Holm's over the families of a budget, and better and worse
    count those that differ at 5%.
    """
    none, found = (float("nan"), float("nan")), []
    for budget, group in ends.replace({"budget": {"tokens": "steps"}}).groupby("budget", sort=False):
        losses = group.pivot(index="seed", columns="family", values="loss")
        others = [family for family in dict.fromkeys(group["family"]) if family != RESONANCE]
        differences = {family: paired_difference(losses[family], losses[RESONANCE]) for family in others}
        adjusted, (compared, above, below) = family_of_tests(differences)
        for name, count in (("compared", compared), ("better", below), ("worse", above)):
            found.append((f"language.controlled.{budget}.{name}", count, "families", none))
        for family in dict.fromkeys(group["family"]):
            key, own = f"language.controlled.{budget}.{key_of(family)}", group[group["family"] == family]
            mean, *interval = mean_interval(losses[family])
            found.append((key, mean, "nats", tuple(interval)))
            found.append((f"{key}.characters", 1e-3 * own["tokens"].mean(), "thousand characters", none))
            found.append((f"{key}.seconds", own["seconds"].mean(), "s", none))
            if family == RESONANCE:
                continue
            mean, low, high, _ = differences[family]
            found.append((f"{key}.behind", mean, "nats", (low, high)))
            if adjusted[family] == adjusted[family]:
                found.append((f"{key}.p", adjusted[family], "", none))
    sizes = ends.drop_duplicates("family").set_index("family")["parameters"]
    best = best_values(tries, ["family"], value="rate")
    for row in best.itertuples():
        found.append((f"language.controlled.rate.{key_of(row.family)}", row.rate, "", none))
        found.append((f"language.controlled.inside.{key_of(row.family)}", float(row.inside), "", none))
        found.append((f"language.controlled.parameters.{key_of(row.family)}", float(sizes[row.family]), "", none))
    return found
