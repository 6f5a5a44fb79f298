"""The runs of `13_language`, in their order, and the numbers that the ledger gets.

Runs go in pairs, one of each family, so that both share the machine in the same way.  `symbols` are those that a run is
validated on: `curve` while it trains, `final` at its end (None: all).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import family as family_of_tests
from artifact.studies.common.statistics import mean_interval, paired_difference
from artifact.studies.common.tuning import best_values, tried
from artifact.studies.language.study import CONTROL, FAMILIES, RESONANCE, TRANSFORMER, WORDS, Outcome, Run, train

BATCHES = {256: 4, 1024: 1}  # windows a step by context: the best for either family in as many probes
TUNING_SEED = 100  # none of the seeds that are reported
KEYS = {RESONANCE: "resonance", TRANSFORMER: "gpt"}
RECIPE = {"context": 64, "batch": 12, "rate": 1e-3}  # nanoGPT's recipe for a laptop
USED = {  # scale and unit in the ledger
    "tokens": (1e-6, "million characters"),
    "operations": (1e-12, "tera-operations"),
    "seconds": (1.0, "s"),
    "rate": (1.0, ""),
}
Rates = Mapping[tuple[str, int], float]  # by family and context


def control(steps: int, **symbols: int | None) -> Run:
    """The run whose loss is published for 2,000 steps: a GPT of 0.8M parameters."""
    return Run(CONTROL, **RECIPE, tokens=steps * RECIPE["batch"] * RECIPE["context"], **symbols)


def searched(run: Run, grid: Sequence[float], wider: int) -> list[dict]:
    """The ends of a run with each rate of a grid that widens, on the part that chooses; score: the loss there."""

    def at(rate: float) -> dict:
        try:
            row = train(replace(run, rate=rate, seed=TUNING_SEED, choosing=True)).row
        except FloatingPointError:  # diverged
            row = {"family": run.family, "context": run.context, "rate": rate, "loss": float("inf")}
        return row | {"score": row["loss"]}

    return tried(at, grid, wider=wider)


def tries(
    contexts: Sequence[int],
    rates: Mapping[str, Sequence[float]],
    seconds: float,
    *,
    wider: int = 0,
    processes: int = 2,
    **symbols: int | None,
) -> pd.DataFrame:
    """The ends of the runs that choose a rate for each family and context; raises ValueError for unequal grids.

    Two searches at a time, those of one context together.
    """
    if len({len(rates[family]) for family in FAMILIES}) != 1:
        raise ValueError(f"expected as many rates for each family, got {dict(rates)}")
    jobs = [
        (Run(family, context, BATCHES[context], 0.0, seconds=seconds, **symbols), tuple(rates[family]), wider)
        for context in contexts
        for family in FAMILIES
    ]
    return pd.DataFrame([row for rows in spread(searched, jobs, processes=processes) for row in rows])


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """The rate with the lowest loss by family and context, and whether it lies inside its grid."""
    return best_values(table, ["family", "context"], value="rate")


def rates_of(best: pd.DataFrame) -> dict[tuple[str, int], float]:
    """`Rates` of what was chosen."""
    return {(row.family, row.context): row.rate for row in best.itertuples()}


def equal_time(contexts: Sequence[int], rates: Rates, seconds: float, seeds: int, **fields) -> list[Run]:
    """The runs of both families for the same seconds; fields: the others of `Run`."""
    return [
        Run(family, context, BATCHES[context], rates[family, context], seed, seconds, **fields)
        for context in contexts
        for seed in range(seeds)
        for family in FAMILIES
    ]


def equal_tokens(timed: Sequence[Outcome], seeds: int) -> list[Run]:
    """Of each pair of timed runs of the first `seeds`, the one that took more tokens, again with those of the other."""
    pairs = [pair for pair in zip(timed[::2], timed[1::2], strict=True) if pair[0].run.seed < seeds]
    ordered = [sorted(pair, key=lambda outcome: outcome.row["tokens"]) for pair in pairs]
    return [replace(more.run, seconds=None, tokens=int(fewer.row["tokens"])) for fewer, more in ordered]


def finals(timed: Sequence[Outcome], again: Sequence[Outcome]) -> pd.DataFrame:
    """The end of every run, by budget: at equal tokens, the repeated runs and their timed partners."""
    rows = [outcome.row for outcome in timed]
    by_run = {(row["context"], row["seed"], row["family"]): row for row in rows}
    for row in [outcome.row for outcome in again]:
        (other,) = set(FAMILIES) - {row["family"]}
        rows += [by_run[row["context"], row["seed"], other] | {"budget": "tokens"}, row]
    return pd.DataFrame(rows)


def curves(timed: Sequence[Outcome]) -> pd.DataFrame:
    """Every validation of every run, with its family, context and seed, and what it had used."""
    labels = ("family", "context", "seed")
    parts = [outcome.curve.assign(**{label: outcome.row[label] for label in labels}) for outcome in timed]
    return pd.concat(parts, ignore_index=True)


def words(vocab_size: int, books: int, context: int, rates: Rates, seconds: float, **symbols: int | None) -> list[Run]:
    """One run a family on words of the books, its rate that of the characters."""
    return equal_time([context], rates, seconds, 1, text=WORDS, options=(vocab_size, books), **symbols)


# --------------------------------------------------------------------------- the ledger


def measures(ends: pd.DataFrame) -> dict[str, tuple[float, str, tuple[float, float]]]:
    """(value, unit, interval) by key: losses by budget, family and context, and the GPT's less ours, paired.

    A difference above zero means that ours is lower; better and worse count the differences above and below zero at 5%,
    by Holm over all budgets and contexts.  Tokens, operations and speed are means over the seeds.
    """
    facts, differences, none = {}, {}, (float("nan"),) * 2
    for (budget, context), group in ends.groupby(["budget", "context"]):
        own = {family: group[group["family"] == family].sort_values("seed") for family in FAMILIES}
        for family, rows in own.items():
            key = f"language.{budget}.{context}.{KEYS[family]}"
            mean, *interval = mean_interval(rows["loss"])
            facts[key] = (mean, "nats", tuple(interval))
            for name, (scale, unit) in USED.items():
                facts[f"{key}.{name}"] = (rows[name].mean() * scale, unit, none)
        losses = [own[family]["loss"].to_numpy() for family in (TRANSFORMER, RESONANCE)]
        key = f"language.{budget}.{context}.ahead"
        difference, low, high, _ = differences[key] = paired_difference(*losses)
        facts[key] = (difference, "nats", (low, high))
    for name, count in zip(("compared", "better", "worse"), family_of_tests(differences)[1], strict=True):
        facts[f"language.{name}"] = (count, "comparisons with the GPT", none)
    return facts


def against_targets(
    control_loss: float, facts: Mapping[str, tuple], targets: Mapping[str, float], *, why_not: str = ""
) -> pd.DataFrame:
    """What was measured for each target and whether it was met: columns target, measured, met.

    The control: within `targets["within"]` of `targets["published"]`.  At each context, after equal seconds: the GPT's
    mean loss less ours is not below zero; and ours is at most `targets["aim"]`.  why_not: a reason to leave `met` open.
    """
    rows = [("control", control_loss, abs(control_loss - targets["published"]) <= targets["within"])]
    for key, (value, *_) in facts.items():
        _, budget, *deeper = key.split(".")
        if budget == "seconds" and len(deeper) == 2 and deeper[1] in ("ahead", KEYS[RESONANCE]):
            context, name = deeper
            aim, met = ("no worse", value >= 0) if name == "ahead" else ("aim", value <= targets["aim"])
            rows.append((f"{aim}, context {context}", value, met))
    compared = [(target, value, why_not or ("met" if met else "missed")) for target, value, met in rows]
    return pd.DataFrame(compared, columns=["target", "measured", "met"])
