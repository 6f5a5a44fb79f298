"""The tasks at equal quality: both families learn, what they cost is counted, the choice is validation's."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from artifact.datasets.registry import available
from artifact.studies.efficiency import quality_tasks
from artifact.studies.efficiency.equal_quality import COSTS
from artifact.studies.efficiency.quality_tasks import FAMILIES, TASKS
from resonance.polar import count_parameters

EFFORT = 0.02
needs = {"forecasting": "ETTh1", "vision": "MNIST", "documents": "movie reviews", "language": "tinyshakespeare"}


@pytest.fixture(params=TASKS, scope="module")
def task(request):
    return TASKS[request.param](EFFORT)


def test_a_task_is_on_real_data_exactly_when_it_is_available(task):
    assert task.stand_in != available(needs[task.name]) and task.stand_in == ("stand-in" in task.dataset)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_grow_and_every_size_has_its_tries(task, family):
    parameters = [count_parameters(task.model(family, size)) for size in task.sizes[family]]
    assert parameters == sorted(set(parameters)) and len(parameters) == 4
    assert len(task.tries[family]) == len(task.tries[FAMILIES[0]]) == 3


def test_scores_repeat(task):
    size, tried = task.sizes["resonance"][0], task.tries["resonance"][1]
    first = task.scores("resonance", size, tried, 0)
    assert first == task.scores("resonance", size, tried, 0) and all(0 < error < 10 for error in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_trains_and_items_are_counted(task, family):
    model = task.model(family, task.sizes[family][0])
    before = [p.detach().clone() for p in model.parameters()]
    step, steps = task.training(model)
    after = step() or model
    changed = any(not torch.equal(a, b) for a, b in zip(before, after.parameters(), strict=True))
    item, items = task.inference(model)
    assert changed and steps >= 1 and len(item()) == items


def test_costs_are_measured_in_a_process_of_their_own():
    cases = pd.DataFrame([("vision", "resonance", 12)], columns=["task", "family", "size"])
    row = quality_tasks.costs(cases, effort=EFFORT).iloc[0]
    assert row["parameters"] == count_parameters(TASKS["vision"](EFFORT).model("resonance", 12))
    assert all(row[cost] > 0 for cost in COSTS) and row["memory"] < 2000


def test_the_best_on_validation_is_run_with_every_seed():
    tried, scores = quality_tasks.qualities(["vision"], 1, 2, effort=EFFORT, processes=1)
    assert len(tried) == 2 * 3 and len(scores) == 2 * 2 and set(scores["seed"]) == {0, 1}
    for family, group in scores.groupby("family"):
        of_family = tried[tried["family"] == family]
        assert group["tried"].nunique() == 1
        assert group["tried"].iloc[0] == of_family.loc[of_family["validation"].idxmin(), "tried"]


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="unknown task tea: expected some of forecasting, vision, documents, language"):
        quality_tasks.qualities(["tea"], 1, 1)
