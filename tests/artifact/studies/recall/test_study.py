"""The networks of 16: what they are at the start, how they are trained and tested, and what is drawn and tabled."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from artifact.studies.common.graph import token_products
from artifact.studies.common.latex import Cells
from artifact.studies.recall import figures as plots_recall_study
from artifact.studies.recall.capacity import RULES, capacity_curves
from artifact.studies.recall.models import (
    ATTENTION,
    DELTA,
    KEYS,
    MEMORIES,
    PLAIN,
    RESONANCE,
    RESONATORS,
    RecallNet,
    ShiftedAttention,
    recalls,
)
from artifact.studies.recall.study import (
    APART,
    AS_IT_IS,
    TUNING_SEED,
    UNSHIFTED,
    WINDOW,
    Case,
    accuracy_of,
    ahead_measures,
    all_measured,
    all_tried,
    by_state,
    compared,
    form_errors,
    memory_of,
    network,
    state_measures,
    state_of,
    train,
    with_seeds,
)
from artifact.studies.recall.tables import tables
from artifact.studies.recall.task import IGNORED, Task, associative_recall
from resonance.causal import CausalResonance

TASK, GLA = Task(128, 64, 8), "GLA"
KINDS = list(KEYS)
CLASSIC = [RESONANCE, PLAIN, DELTA, ATTENTION]


def small(kind, **options):
    return Case(kind, TASK, 32, 0.01, **{"features": 32, "steps": 40, **options})


# --------------------------------------------------------------------------- networks


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_causal_and_give_logits_at_the_queries_alone(kind):
    net = network(small(kind))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    tokens, answers = associative_recall(TASK, 2, torch.Generator().manual_seed(0))
    queried = answers != IGNORED
    torch.testing.assert_close(net(tokens, queried), net(tokens)[queried])
    changed = tokens.clone()
    changed[:, 40:] = 3
    torch.testing.assert_close(net(changed)[:, :40], net(tokens)[:, :40], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(net(changed)[:, 40:], net(tokens)[:, 40:], rtol=1e-2, atol=1e-2)


def test_attention_is_softmax_attention_over_shifted_keys():
    torch.manual_seed(0)
    layer, x = ShiftedAttention(8, 2).double(), torch.randn(1, 7, 8, dtype=torch.float64)
    before = torch.cat([torch.zeros(1, 1, 8, dtype=torch.float64), x[:, :-1]], dim=1)
    heads = []
    for rows in (slice(0, 4), slice(4, 8)):
        q, k, v = (
            part @ weight[rows].T
            for part, weight in ((x, layer.query.weight), (before, layer.key.weight), (x, layer.value.weight))
        )
        score = (q @ k.mT / 2).masked_fill(torch.ones(7, 7).triu(1).bool(), -math.inf)
        heads.append(score.softmax(-1) @ v)
    torch.testing.assert_close(layer(x), torch.cat(heads, -1) @ layer.output.weight.T)
    with pytest.raises(ValueError, match="divide dim"):
        ShiftedAttention(8, 3)


def test_recall_and_attention_have_the_same_initial_values():
    holographic, attention = (recalls(network(small(kind)))[0] for kind in (DELTA, ATTENTION))
    for layer in (holographic, attention):
        assert torch.equal(layer.key.weight, layer.query.weight) and torch.equal(layer.shift[0], torch.ones(32))
        torch.testing.assert_close(layer.output.weight @ layer.value.weight, torch.eye(32), atol=1e-5, rtol=0)
        assert layer.key.weight.std().item() == pytest.approx(2.5 / math.sqrt(32), rel=0.1)


def test_what_is_recalled_at_the_start_and_what_takes_it_away():
    accuracy = {
        (kind, change): accuracy_of(network(small(kind, change=change, features=64)), TASK, 32)
        for kind in CLASSIC
        for change in (AS_IT_IS, APART, UNSHIFTED)
    }
    for kind in (PLAIN, DELTA, ATTENTION):
        assert accuracy[kind, AS_IT_IS] > 0.3 > 10 * accuracy[kind, APART], kind
        assert accuracy[kind, UNSHIFTED] < 0.1, kind
    assert accuracy[RESONANCE, AS_IT_IS] == accuracy[RESONANCE, APART] < 0.1


def test_products_of_tokens_are_where_recall_is():
    tokens, task = torch.zeros(1, 128, dtype=torch.long), TASK._replace(vocab_size=130, length=128)
    found = {kind: token_products(network(Case(kind, task, 32, 0.01, features=32)), tokens) for kind in CLASSIC}
    assert found[RESONANCE] == []
    assert set(found[PLAIN]) == set(found[DELTA]) == {"bmm"} and len(found[DELTA]) > len(found[PLAIN])
    assert len(found[ATTENTION]) == 2 and all("attention" in name for name in found[ATTENTION])


def test_bad_arms_and_changes_are_named():
    with pytest.raises(ValueError, match="unknown kind 'x'"):
        RecallNet("x", 8, 4, length=4)
    with pytest.raises(ValueError, match="unknown change 'x'"):
        network(small(DELTA, change="x"))


def test_memory_is_counted():
    assert memory_of(network(small(RESONANCE)), 64) == 0
    assert memory_of(network(small(PLAIN)), 64) == 2 * 32 * 32
    assert memory_of(network(small(ATTENTION)), 64) == 2 * 2 * 64 * 32
    layers = network(small(DELTA)).sublayers
    state = layers[1].initial_state(1)["hologram"]
    assert isinstance(layers[0], CausalResonance) and 2 * state.numel() == memory_of(network(small(DELTA)), 64)


# --------------------------------------------------------------------------- training


def test_training_is_seeded_improves_and_stops():
    once, again = (train(small(PLAIN, steps=6)) for _ in range(2))
    assert once.accuracies == again.accuracies and len(once.accuracies) == 6
    run = train(small(PLAIN, steps=80), enough=0.97)
    assert run.accuracies[0] < 0.9 and sum(run.accuracies[-WINDOW:]) / WINDOW >= 0.97 and len(run.accuracies) < 80
    assert len(train(small(RESONANCE, steps=12)).accuracies) == 12


def test_rows_say_what_was_done():
    rows = all_measured(with_seeds(small(DELTA, steps=2, mixed=True), 2), 20, pairs=[2, 8], processes=1)
    assert rows["pairs"].tolist() == [2, 8, 2, 8] and rows["seed"].tolist() == [0, 0, 1, 1]
    assert set(rows["key"]) == {"128.64.8.d32"} and set(rows["steps"]) == {2}
    assert rows["curve"].str.split().map(len).tolist() == [2] * 4 and rows["accuracy"].between(0, 1).all()


def test_processes_and_one_process_give_the_same():
    cases = with_seeds(small(PLAIN, steps=2), 2)
    alone, spread = (all_measured(cases, 8, processes=count).drop(columns="seconds") for count in (1, 2))
    pd.testing.assert_frame_equal(alone, spread)


def test_tuning_widens_its_grid_and_takes_the_best_and_of_equals_the_fastest():
    rows = all_tried([small(PLAIN, steps=3), small(GLA, steps=3)], {PLAIN: [1e-9, 1e-8], GLA: [0.01, 0.02]}, 8, wider=1)
    assert rows.groupby("kind", sort=False)["rate"].apply(list).str.len().tolist() == [3, 3]
    assert set(rows["seed"]) == {TUNING_SEED} and (rows["score"] > 0).all()
    assert rows["score"].tolist() == (1 - rows["accuracy"] + 1e-6 * rows["steps"]).tolist()


def test_networks_of_equal_features_have_states_of_equal_size():
    states = {kind: state_of(network(small(kind)), 64) for kind in KINDS}
    resonators, memory = 2 * 32 * RESONATORS * 2, 2 * 32 * 32
    assert {states[kind] for kind in (PLAIN, DELTA, *MEMORIES)} == {resonators + memory}
    assert states[RESONANCE] == resonators and states["S4D"] == memory and states["LRU"] == 2 * 2 * 32
    assert states[ATTENTION] == 2 * 2 * 64 * 32
    cases = by_state(KINDS, TASK, [8, 16], dict.fromkeys(KINDS, 0.01), 2)
    assert [sum(case.kind == kind for case in cases) for kind in KINDS] == [2, 4, 4, 2, 4, 4, 4, 2, 2]


@pytest.mark.parametrize("kind", MEMORIES)
def test_a_memory_of_a_relative_starts_as_ours_does_and_learns(kind):
    """Query and key maps are equal, the output inverts the values, and training recalls more than chance."""
    layer = recalls(network(small(kind)))[0]
    assert torch.equal(layer.memory.key.weight, layer.memory.query.weight)
    torch.testing.assert_close(layer.output.weight @ layer.value.weight, torch.eye(32), atol=1e-5, rtol=0)
    assert accuracy_of(network(small(kind)), TASK, 32) > 0.15
    assert accuracy_of(train(small(kind)).model, TASK, 32) > 0.5
    with pytest.raises(ValueError, match="holograms or attention"):
        network(small(kind, change=APART))


def test_comparisons_are_paired_by_seed_and_adjusted():
    rows = [
        (kind, size, seed, 0.5 + 0.01 * seed + (0.2 + 0.001 * seed) * (kind == DELTA) - 0.3 * (kind == GLA))
        for kind in (DELTA, PLAIN, GLA)
        for size in (8, 16)
        for seed in range(3)
    ]
    runs = pd.DataFrame(rows, columns=["kind", "features", "seed", "accuracy"])
    table = compared(runs, "features", [PLAIN, GLA]).set_index(["kind", "features"])
    assert len(table) == 4 and table.loc[(PLAIN, 8), "points"] == pytest.approx(20.1)
    assert (table["p_holm"] >= table["p"]).all() and (table["p_holm"] < 0.05).all()
    found = {key: value for key, value, *_ in ahead_measures(runs.assign(key=runs["features"].map("t.d{}".format)))}
    assert found["recall16.ahead.t.d8"] == pytest.approx(20.1)
    assert found["recall16.ahead.comparisons.better"] == 2 and found["recall16.ahead.comparisons.worse"] == 0


def test_forms_agree():
    assert form_errors(RULES, [1, 2, 65])["error"].max() < 1e-12


# --------------------------------------------------------------------------- capacity, figures, tables


def toy_runs():
    rows = [
        {
            "kind": kind,
            "task": "(128, 64, 8)",
            "key": "128.64.8.d32",
            "dim": 32,
            "seed": seed,
            "start": 0.1,
            "accuracy": 0.9,
        }
        for kind in CLASSIC
        for seed in range(2)
    ]
    return pd.DataFrame(rows)


def test_figures_show_what_they_are_given():
    curves = capacity_curves([8, 16], [2, 4], channels=16, values=32, trials=2)
    assert len(curves) == 8 and set(curves["state"]) == {128, 256}
    trained = pd.DataFrame(
        {"rule": "plain sum", "features": 8, "pairs": [2, 2], "accuracy": [0.5, 0.7], "seed": [0, 1]}
    )
    figure = plots_recall_study.capacity(curves, trained)
    assert [axes.get_title() for axes in figure.axes] == list(RULES)
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    assert any(list(map(float, y)) == pytest.approx([60.0]) for y in drawn if len(y) == 1)
    (panel,) = plots_recall_study.accuracy(toy_runs(), {"(128, 64, 8)": 0.95}).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == CLASSIC
    assert panel.get_title() == "(128, 64, 8)\nd = 32"
    (panel, *_) = plots_recall_study.by_state(toy_runs().assign(state=512)).axes
    assert [text.get_text() for text in panel.get_legend().get_texts()] == CLASSIC


def test_table_has_a_row_an_arm():
    names = ("accuracy", "start", "steps", "memory")
    values = {f"recall16.{name}.512.128.16.d64.{KEYS[kind]}": 75.25 for kind in CLASSIC for name in names}
    by_key = pd.DataFrame({"value": values, "ci_low": math.nan, "ci_high": math.nan})
    table = tables(Cells(by_key))["recall_study"]
    assert table.count("$(512,128,16)$") == 4 and "delta rule" in table
    assert not any(tables(Cells(by_key.iloc[:0])).values())


def test_table_by_state_marks_rates_at_the_end_of_their_grid():
    rows = [(kind, 8, seed, 0.75 + 0.005 * seed, 512, 9, 1.0) for kind in KINDS for seed in range(2)]
    states = pd.DataFrame(rows, columns=["kind", "features", "seed", "accuracy", "state", "parameters", "seconds"])
    best = pd.DataFrame({"kind": KINDS, "rate": 0.01, "inside": [kind != GLA for kind in KINDS]})
    found = {key: (value, *interval) for key, value, _, interval in state_measures(states, best)}
    assert found["recall16.state.comparisons"][0] == 4 and found["recall16.state.comparisons.better"][0] == 0
    assert found["recall16.state.ahead.gla.f8"][0] == 0
    assert all(0 <= low <= value <= high <= 100 for k, (value, low, high) in found.items() if "accuracy" in k)
    measures = pd.DataFrame.from_dict(found, orient="index", columns=["value", "ci_low", "ci_high"])
    table = tables(Cells(measures))["recall_state"]
    assert table.count(r"\num{75.2} [") == len(KEYS) and "GLA*" in table and "LRU &" in table
