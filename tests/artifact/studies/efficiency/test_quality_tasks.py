"""The tasks at equal quality: both families learn, what they cost is counted, the choice is validation's."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from artifact.datasets.registry import available
from artifact.studies.efficiency import quality_tasks
from artifact.studies.efficiency.equal_quality import COSTS
from artifact.studies.efficiency.quality_tasks import TASKS, ClosedForms
from resonance.polar import count_parameters

EFFORT = 0.02
needs = {
    "regression": "ETTh1",
    "forecasting": "ETTh1",
    "vision": "MNIST",
    "documents": "movie reviews",
    "language": "tinyshakespeare",
}


@pytest.fixture(params=TASKS, scope="module")
def task(request):
    return TASKS[request.param](EFFORT)


def test_a_task_is_on_real_data_exactly_when_it_is_available(task):
    assert task.stand_in != available(needs[task.name]) and task.stand_in == ("stand-in" in task.dataset)


@pytest.mark.parametrize("side", [0, 1])
def test_sizes_grow_and_every_size_has_its_tries(task, side):
    assert "resonance" in task.sizes and list(task.sizes) == list(task.tries) and len(task.sizes) == 2
    family = list(task.sizes)[side]
    parameters = [count_parameters(task.model(family, size)) for size in task.sizes[family]]
    assert parameters == sorted(set(parameters)) and len(parameters) == 4 and len(task.tries[family]) == 3


def test_scores_repeat(task):
    size, tried = task.sizes["resonance"][0], task.tries["resonance"][1]
    first, second = ([v, test()] for v, test in (task.scores("resonance", size, tried, 0) for _ in range(2)))
    assert first == second and all(0 < error < 10 for error in first)


@pytest.mark.parametrize("side", [0, 1])
def test_a_step_trains_and_items_are_counted(task, side):
    family = list(task.sizes)[side]
    model = task.model(family, task.sizes[family][0])
    before = [p.detach().clone() for p in model.parameters()]
    step, steps = task.training(model)
    after = step() or model
    changed = any(not torch.equal(a, b) for a, b in zip(before, after.parameters(), strict=True))
    item, items = task.inference(model)
    assert changed and steps >= 1 and len(item()) == items


def test_costs_are_measured_in_a_process_of_their_own():
    cases = pd.DataFrame([("vision", "resonance", 12, seed) for seed in (1, 0)], columns=[*"tfsn"])
    table = quality_tasks.costs(cases.set_axis(["task", "family", "size", "seed"], axis=1), effort=EFFORT)
    assert table["seed"].to_list() == [0, 1] and table["training"].nunique() == 2, "each seed is measured anew"
    row = table.iloc[0]
    assert row["parameters"] == count_parameters(TASKS["vision"](EFFORT).model("resonance", 12))
    assert all(row[cost] > 0 for cost in COSTS) and row["memory"] < 2000


def test_the_best_on_validation_is_run_with_every_seed():
    tried, scores = quality_tasks.qualities(["vision"], 1, 2, effort=EFFORT, processes=1)
    assert len(tried) == 2 * 3 and len(scores) == 2 * 2 and set(scores["seed"]) == {0, 1}
    for family, group in scores.groupby("family"):
        of_family = tried[tried["family"] == family]
        assert group["tried"].nunique() == 1
        assert group["tried"].iloc[0] == of_family.loc[of_family["validation"].idxmin(), "tried"]


def test_a_grid_widens_until_the_best_is_inside_and_a_diverged_training_is_the_worst(monkeypatch):
    tested = []

    class Bowl:
        sizes, tries = {"resonance": (1,), "peer": (1,)}, {"resonance": (1.0, 2.0, 4.0), "peer": (1.0, 2.0, 4.0)}

        def scores(self, family, size, tried, seed):
            if tried > 20:
                raise FloatingPointError("diverged")
            return abs(tried - 16.0), lambda: tested.append((tried, seed)) or float(seed)

    monkeypatch.setattr(quality_tasks, "_task", lambda name, effort: Bowl())
    tries, scores = quality_tasks._qualities("bowl", 1.0, "resonance", 1, 3, 4)
    assert [row["tried"] for row in tries] == [1, 2, 4, 8, 16, 32] and tries[-1]["validation"] == float("inf")
    assert {row["tried"] for row in scores} == {16.0} and [row["error"] for row in scores] == [0.0, 1.0, 2.0]
    assert tested == [(16.0, 0), (16.0, 1), (16.0, 2)], "the test is used once a seed, for the chosen value"
    assert quality_tasks.tuned(pd.DataFrame(tries))["inside"].tolist() == [True]
    narrow, _ = quality_tasks._qualities("bowl", 1.0, "resonance", 1, 1, 0)
    assert quality_tasks.tuned(pd.DataFrame(narrow))["inside"].tolist() == [False]


def test_the_ridge_of_full_rank_is_plain_ridge_regression():
    """An oracle: rows of windows and channels, tapered, weighted by numpy's solver."""
    task = ClosedForms(EFFORT)
    model = task.model("ridge", 96).fitted(task.prepared, 100.0)
    past, future = task.train.batch(torch.arange(len(task.train)))
    weight = past.double().std(dim=1, keepdim=True).clamp_min(1e-3) ** -0.25  # of the rows: sd^-0.5 of the squares
    taper = task.model("resonance", 1).down_weighting(torch.empty(0, dtype=torch.float64))
    level = past[:, -model.level_steps :].double().mean(dim=1, keepdim=True)
    x = ((past - level) * taper * weight).movedim(1, 2).flatten(0, 1)
    y = ((future - level) * weight).movedim(1, 2).flatten(0, 1)
    matrix = torch.linalg.solve(x.T @ x + 100.0 * torch.eye(x.shape[1], dtype=torch.float64), x.T @ y).T
    torch.testing.assert_close((model.future @ model.past).double(), matrix * taper[:, 0], rtol=1e-2, atol=1e-5)
    lower = task.model("ridge", 2).fitted(task.prepared, 100.0)
    assert torch.linalg.matrix_rank(lower.future @ lower.past) == 2


def test_an_unknown_task_is_named():
    known = "forecasting, vision, documents, language, regression"
    with pytest.raises(ValueError, match=f"unknown task tea: expected some of {known}"):
        quality_tasks.qualities(["tea"], 1, 1)
