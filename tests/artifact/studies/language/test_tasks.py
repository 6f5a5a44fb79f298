"""The task "language" of equal quality."""

from __future__ import annotations

from artifact.studies.language.tasks import Language
from resonance.polar import count_parameters


def test_the_task_of_equal_quality():
    task = Language(effort=0.005)
    for family in task.sizes:
        sizes = [count_parameters(task.model(family, size)) for size in task.sizes[family]]
        assert sizes == sorted(set(sizes)) and len(sizes) == 4 and len(task.tries[family]) == 3
    task.limit = 1024
    first, second = (task.scores("resonance", 32, 4e-3, 0) for _ in range(2))
    assert (first[0], first[1]()) == (second[0], second[1]()) and all(0 < error < 5 for error in (first[0], first[1]()))
    step, items = task.inference(task.model("Transformer", 32))
    assert items == 1 and len(step()) == 1
