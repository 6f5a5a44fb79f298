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
    PLAIN,
    RESONANCE,
    RecallNet,
    ShiftedAttention,
    recalls,
)
from artifact.studies.recall.study import (
    APART,
    AS_IT_IS,
    UNSHIFTED,
    WINDOW,
    Case,
    accuracy_of,
    all_measured,
    chosen_rates,
    form_errors,
    memory_of,
    network,
    train,
    with_seeds,
)
from artifact.studies.recall.tables import tables
from artifact.studies.recall.task import IGNORED, Task, associative_recall
from resonance.causal import CausalResonance

TASK = Task(128, 64, 8)
KINDS = list(KEYS)


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
        for kind in KINDS
        for change in (AS_IT_IS, APART, UNSHIFTED)
    }
    for kind in (PLAIN, DELTA, ATTENTION):
        assert accuracy[kind, AS_IT_IS] > 0.3 > 10 * accuracy[kind, APART], kind
        assert accuracy[kind, UNSHIFTED] < 0.1, kind
    assert accuracy[RESONANCE, AS_IT_IS] == accuracy[RESONANCE, APART] < 0.1


def test_products_of_tokens_are_where_recall_is():
    tokens, task = torch.zeros(1, 128, dtype=torch.long), TASK._replace(vocab_size=130, length=128)
    found = {kind: token_products(network(Case(kind, task, 32, 0.01, features=32)), tokens) for kind in KINDS}
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


def test_chosen_rates_take_the_best_and_of_equals_the_fastest():
    rows = [("a", "t", 1.0, 0.5, 9), ("a", "t", 2.0, 0.9, 9), ("a", "t", 3.0, 0.9, 5), ("b", "t", 7.0, 0.1, 9)]
    table = pd.DataFrame(rows, columns=["kind", "task", "rate", "accuracy", "steps"])
    assert chosen_rates(table) == {("a", "t"): 3.0, ("b", "t"): 7.0}


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
        for kind in KINDS
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
    assert [label.get_text() for label in panel.get_yticklabels()] == KINDS
    assert panel.get_title() == "(128, 64, 8)\nd = 32"


def test_table_has_a_row_an_arm():
    names = ("accuracy", "start", "steps", "memory")
    values = {f"recall16.{name}.512.128.16.d64.{key}": 75.25 for key in KEYS.values() for name in names}
    by_key = pd.DataFrame({"value": values, "ci_low": math.nan, "ci_high": math.nan})
    table = tables(Cells(by_key))["recall_study"]
    assert table.count("$(512,128,16)$") == 4 and "delta rule" in table
    assert not any(tables(Cells(by_key.iloc[:0])).values())
