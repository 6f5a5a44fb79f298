"""Which runs are made, and what the ledger keeps of them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from artifact.studies.language import protocol as language_protocol
from artifact.studies.language import study as language_study
from artifact.studies.language.study import FAMILIES, RESONANCE, TRANSFORMER, Run


def outcome_of(family, context, seed, tokens, loss, budget="seconds"):
    used = {"share": 1.0, "seconds": 9.0, "tokens": tokens, "steps": 3, "operations": 2e12, "validation": loss}
    run = Run(family, context, 4, 1e-3, seed, **({"seconds": 9.0} if budget == "seconds" else {"tokens": tokens}))
    return language_study.Outcome(run, pd.DataFrame([used]), loss, 1000, {})


def test_tries_are_as_many_for_each_family_widen_and_are_never_of_a_reported_seed(monkeypatch):
    runs = []

    def train(run):
        runs.append(run)
        return replace(outcome_of(run.family, run.context, run.seed, 10, run.rate), run=run)

    monkeypatch.setattr(language_protocol, "train", train)
    rates = {RESONANCE: [1e-3, 2e-3], TRANSFORMER: [3e-3, 6e-3]}
    table = language_protocol.tries([256], rates, 1.0, wider=1, processes=1, final=64)
    assert table.groupby("family")["rate"].apply(sorted).to_dict() == {
        RESONANCE: [5e-4, 1e-3, 2e-3],
        TRANSFORMER: [1.5e-3, 3e-3, 6e-3],
    }
    reported = language_protocol.equal_time([256], {(family, 256): 1e-3 for family in FAMILIES}, 1.0, 3)
    assert all(run.choosing and run.seed not in {r.seed for r in reported} for run in runs)
    assert not any(run.choosing for run in reported) and len(reported) == 6
    with pytest.raises(ValueError, match="as many rates"):
        language_protocol.tries([256], {RESONANCE: [1e-3], TRANSFORMER: [1e-3, 2e-3]}, 1.0)
    table = pd.DataFrame({"family": ["a", "a"], "context": [1, 1], "rate": [1e-3, 2e-3], "score": [2.0, 1.5]})
    best = language_protocol.chosen(table)
    assert language_protocol.rates_of(best) == {("a", 1): 2e-3} and not best["inside"].any()


def test_at_equal_tokens_the_faster_of_each_pair_runs_anew():
    timed = [outcome_of(RESONANCE, 256, 0, 500, 1.6), outcome_of(TRANSFORMER, 256, 0, 800, 1.7)]
    timed += [outcome_of(RESONANCE, 256, 1, 900, 1.62), outcome_of(TRANSFORMER, 256, 1, 700, 1.74)]
    runs = language_protocol.equal_tokens(timed, 2)
    assert language_protocol.equal_tokens(timed, 1) == runs[:1]
    assert [(run.family, run.seed, run.tokens, run.seconds) for run in runs] == [
        (TRANSFORMER, 0, 500, None),
        (RESONANCE, 1, 700, None),
    ]
    again = [outcome_of(run.family, 256, run.seed, run.tokens, 1.8, "tokens") for run in runs]
    ends = language_protocol.finals(timed, again)
    at_tokens = ends[ends["budget"] == "tokens"].pivot(index="seed", columns="family", values="loss")
    assert at_tokens.loc[0].to_dict() == {RESONANCE: 1.6, TRANSFORMER: 1.8}
    assert at_tokens.loc[1].to_dict() == {RESONANCE: 1.8, TRANSFORMER: 1.74}
    facts = language_protocol.measures(ends)
    assert facts["language.seconds.256.ahead"][0] == pytest.approx(0.11)
    assert facts["language.tokens.256.ahead"][0] == pytest.approx(0.07)
    assert [facts[f"language.{name}"][0] for name in ("compared", "better", "worse")] == [2, 0, 0]
    assert facts["language.seconds.256.gpt.tokens"][0] == pytest.approx(750e-6)


def test_targets_are_met_missed_or_left_open():
    nothing = (float("nan"), float("nan"))
    facts = {
        "language.seconds.256.ahead": (0.02, "nats", nothing),
        "language.seconds.256.resonance": (1.61, "nats", nothing),
        "language.seconds.256.resonance.tokens": (9.0, "", nothing),
        "language.tokens.256.ahead": (-1.0, "nats", nothing),
    }
    targets = {"published": 1.88, "within": 0.05, "aim": 1.60}
    table = language_protocol.against_targets(1.92, facts, targets).set_index("target")["met"]
    assert table.to_dict() == {"control": "met", "no worse, context 256": "met", "aim, context 256": "missed"}
    facts["language.seconds.256.ahead"] = (-0.001, "nats", nothing)
    assert list(language_protocol.against_targets(1.94, facts, targets)["met"]) == ["missed"] * 3
    assert set(language_protocol.against_targets(1.9, facts, targets, why_not="stand-in")["met"]) == {"stand-in"}
