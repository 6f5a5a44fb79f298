"""Every family has its own search and both budgets, on the same windows; what the ledger gets of them."""

from __future__ import annotations

import pandas as pd
import pytest

from artifact.peers.relatives import RELATIVES
from artifact.studies.common.latex import Cells
from artifact.studies.common.tuning import best_values
from artifact.studies.language import controlled, figures, protocol, study
from artifact.studies.language.ablations import RECALL_FROM_ZERO
from artifact.studies.language.study import RESONANCE, Run, build
from artifact.studies.language.tables import tables


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    for name, value in (("DIM", 16), ("LAYERS", 1), ("RESONATORS", 4)):
        monkeypatch.setattr(study, name, value)
    monkeypatch.setattr(controlled, "BATCHES", {16: 2})
    monkeypatch.setattr(controlled, "outcomes", lambda runs, processes: [study.train(run) for run in runs])


def test_every_family_is_tuned_alone_and_runs_at_both_budgets():
    families, budget = [RESONANCE, "S4D"], controlled.Budget(2, 3, 0.01, 2)
    tries, ends = controlled.controlled(families, 16, [0.01, 0.02], budget, wider=1, processes=1, curve=64, final=64)
    assert tries.groupby("family")["rate"].count().between(2, 3).all() and set(tries["seed"]) == {100}
    assert (tries["tokens"] == 2 * 2 * 16).all()
    steps, seconds = (ends[ends["budget"] == name] for name in ("tokens", "seconds"))
    assert (steps["tokens"] == 3 * 2 * 16).all() and (seconds["seconds"] >= 0.01).all()
    assert ends.groupby(["budget", "family"])["seed"].apply(list).tolist() == [[0, 1]] * 4
    rates = best_values(tries, ["family"], value="rate").set_index("family")["rate"]
    assert all(row.rate == rates[row.family] for row in ends.itertuples())


def test_a_diverged_rate_is_tried_and_not_chosen(monkeypatch):
    def diverging(run):
        raise FloatingPointError(f"at {run.rate}")

    monkeypatch.setattr(protocol, "train", diverging)
    rows = protocol.searched(Run("S4D", 16, 2, 0.01, tokens=64), [0.01, 0.02], 3)
    assert [row["score"] for row in rows] == [float("inf")] * 2


def test_relatives_are_models_of_ours_with_another_mixer():
    shapes = {}
    for name in (RESONANCE, *RELATIVES):
        model = build(Run(name, 16, 2, 0.01, tokens=64))
        shapes[name] = {key: part.shape for key, part in model.state_dict().items() if ".mixers." not in key}
    assert all(shape == shapes[RESONANCE] for shape in shapes.values())
    (layer,) = build(Run("GLA", 16, 2, 0.01, tokens=64)).blocks.mixers
    assert layer.core.initial_state(1).numel() == 2 * 4 * 16, "a state as large as that of four resonators a channel"
    recall = build(Run(RECALL_FROM_ZERO, 16, 2, 0.01, tokens=64)).blocks.mixers[1]
    assert not recall.output.weight.any() and recall.value.weight.any()


def test_measures_and_table_are_differences_from_the_whole_model():
    names = [RESONANCE, "one time scale", "GLA"]
    rows = [
        (name, budget, seed, 1.8 + 0.1 * i + 0.01 * seed + 0.001 * i * seed**2, 1000 * (i + 1), 9.0, 10)
        for i, name in enumerate(names)
        for budget in ("tokens", "seconds")
        for seed in range(3)
    ]
    ends = pd.DataFrame(rows, columns=["family", "budget", "seed", "loss", "tokens", "seconds", "parameters"])
    tries = pd.DataFrame({"family": [n for n in names for _ in range(3)], "rate": [1.0, 2.0, 3.0] * 3})
    tries["score"] = [3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 2.0, 3.0]
    found = {key: (value, *interval) for key, value, _, interval in controlled.measures(tries, ends)}
    behind, low, high = found["language.controlled.steps.GLA.behind"]
    assert behind == pytest.approx(0.2 + 0.002 * 5 / 3) and low < behind < high
    assert found["language.controlled.seconds.GLA.characters"][0] == 3
    assert [found[f"language.controlled.steps.{name}"][0] for name in ("compared", "better", "worse")] == [2, 0, 2]
    assert found["language.controlled.inside.one_time_scale"][0] == 1
    assert found["language.controlled.inside.GLA"][0] == 0
    made = tables(Cells(pd.DataFrame.from_dict(found, orient="index", columns=["value", "ci_low", "ci_high"])))
    assert "GLA*" in made["language_controlled"] and "whole model" in made["language_controlled"]
    left, right = figures.controlled(ends).axes
    assert left.get_title() == "equal steps" and right.get_title() == "equal seconds"
