"""The runs of `13_language`, in their order, and the numbers that the ledger gets.

Runs go in pairs, one of each family, so that both share the machine in the same way.  `symbols` are those that a run is
validated on: `curve` while it trains, `final` at its end (None: all).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from artifact.studies.common.statistics import mean_interval, paired_difference
from artifact.studies.language.study import CONTROL, FAMILIES, RESONANCE, TRANSFORMER, WORDS, Outcome, Run

# Windows a step, by family and context: chosen in probes of equal number for both.
BATCHES = {RESONANCE: {256: 4, 1024: 1}, TRANSFORMER: {256: 4, 1024: 1}}
TUNING_SEED = 100  # none of the seeds that are reported
KEYS = {RESONANCE: "resonance", TRANSFORMER: "gpt"}
RECIPE = {"context": 64, "batch": 12, "rate": 1e-3}  # nanoGPT's recipe for a laptop
Rates = Mapping[tuple[str, int], float]  # by family and context


def control(steps: int, **symbols: int | None) -> Run:
    """The run whose loss is published for 2,000 steps: a GPT of 0.8M parameters."""
    return Run(CONTROL, **RECIPE, tokens=steps * RECIPE["batch"] * RECIPE["context"], **symbols)


def tries(contexts: Sequence[int], rates: Mapping[str, Sequence[float]], seconds: float, **symbols: int | None) -> list:
    """The runs that choose a rate, as many for each family; raises ValueError for unequal numbers."""
    if len({len(rates[family]) for family in FAMILIES}) != 1:
        raise ValueError(f"expected as many rates for each family, got {dict(rates)}")
    return [
        Run(family, context, BATCHES[family][context], rate, TUNING_SEED, seconds, choosing=True, **symbols)
        for context in contexts
        for pair in zip(*(rates[family] for family in FAMILIES), strict=True)
        for family, rate in zip(FAMILIES, pair, strict=True)
    ]


def chosen(table: pd.DataFrame) -> dict[tuple[str, int], float]:
    """The rate with the lowest loss by family and context."""
    best = table.loc[table.groupby(["family", "context"])["loss"].idxmin()]
    return {(row.family, row.context): row.rate for row in best.itertuples()}


def equal_time(contexts: Sequence[int], rates: Rates, seconds: float, seeds: int, **symbols: int | None) -> list[Run]:
    """The runs of both families for the same seconds."""
    return [
        Run(family, context, BATCHES[family][context], rates[family, context], seed, seconds, **symbols)
        for context in contexts
        for seed in range(seeds)
        for family in FAMILIES
    ]


def equal_tokens(timed: Sequence[Outcome], seeds: int) -> list[Run]:
    """The runs that equal tokens need beside the timed ones: of each pair, the one that took more, again with fewer.

    Of the first `seeds` alone, for these runs take as long as the timed ones.
    """
    runs = []
    for first, second in zip(timed[::2], timed[1::2], strict=True):
        if first.run.seed >= seeds:
            continue
        fewer, more = sorted((first, second), key=lambda outcome: outcome.row["tokens"])
        runs.append(replace(more.run, seconds=None, tokens=int(fewer.row["tokens"])))
    return runs


def finals(timed: Sequence[Outcome], again: Sequence[Outcome]) -> pd.DataFrame:
    """The end of every run, by budget: at equal tokens, the repeated runs and their timed partners."""
    rows = [outcome.row for outcome in timed]
    partners = []
    for outcome in again:
        run = outcome.run
        (partner,) = (
            o for o in timed if (o.run.context, o.run.seed) == (run.context, run.seed) and o.run.family != run.family
        )
        partners += [partner.row | {"budget": "tokens"}, outcome.row]
    return pd.DataFrame([*rows, *partners])


def curves(timed: Sequence[Outcome]) -> pd.DataFrame:
    """Every validation of every run, with its family, context and seed, and what it had used."""
    parts = [
        outcome.curve.assign(family=outcome.run.family, context=outcome.run.context, seed=outcome.run.seed)
        for outcome in timed
    ]
    return pd.concat(parts, ignore_index=True)


def variants(names: Sequence[str], context: int, rate: float, seconds: float, **symbols: int | None) -> list[Run]:
    """A run of the whole model and of each variant, with one seed, for the same seconds."""
    batch = BATCHES[RESONANCE][context]
    return [Run(name, context, batch, rate, 0, seconds, **symbols) for name in (RESONANCE, *names)]


def words(vocab_size: int, books: int, context: int, rates: Rates, seconds: float, **symbols: int | None) -> list[Run]:
    """One run a family on words of the books, its rate that of the characters."""
    text = {"text": WORDS, "options": (vocab_size, books)}
    return [
        Run(family, context, BATCHES[family][context], rates[family, context], 0, seconds, **text, **symbols)
        for family in FAMILIES
    ]


# --------------------------------------------------------------------------- the ledger


def measures(ends: pd.DataFrame) -> dict[str, tuple[float, str, tuple[float, float]]]:
    """(value, unit, interval) by key: losses by budget, family and context, and the GPT's less ours, paired.

    A difference above zero means that ours is lower.  Tokens, operations and speed are means over the seeds.
    """
    facts = {}
    for (budget, context), group in ends.groupby(["budget", "context"]):
        own = {family: group[group["family"] == family].sort_values("seed") for family in FAMILIES}
        for family, rows in own.items():
            key = f"language.{budget}.{context}.{KEYS[family]}"
            mean, *interval = mean_interval(rows["loss"])
            facts[key] = (mean, "nats", tuple(interval))
            facts |= {
                f"{key}.{name}": (rows[column].mean() * scale, unit, (float("nan"),) * 2)
                for name, column, scale, unit in (
                    ("tokens", "tokens", 1e-6, "million characters"),
                    ("operations", "operations", 1e-12, "tera-operations"),
                    ("seconds", "seconds", 1.0, "s"),
                    ("rate", "rate", 1.0, ""),
                )
            }
        losses = [own[family]["loss"].to_numpy() for family in (TRANSFORMER, RESONANCE)]
        difference, low, high, _ = paired_difference(*losses)
        facts[f"language.{budget}.{context}.ahead"] = (difference, "nats", (low, high))
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
        _, budget, context, name, *deeper = key.split(".")
        if budget == "seconds" and not deeper and name in ("ahead", KEYS[RESONANCE]):
            aim, met = ("no worse", value >= 0) if name == "ahead" else ("aim", value <= targets["aim"])
            rows.append((f"{aim}, context {context}", value, met))
    compared = [(target, value, why_not or ("met" if met else "missed")) for target, value, met in rows]
    return pd.DataFrame(compared, columns=["target", "measured", "met"])
