"""Multi-query associative recall, as Zoology defines it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.recall.task import IGNORED, POWER, Task, associative_recall


@settings(deadline=None, max_examples=40)
@given(pairs=st.integers(1, 20), slack=st.integers(0, 30), odd=st.booleans(), seed=st.integers(0, 999))
def test_sequences_are_as_zoology_defines_them(pairs, slack, odd, seed):
    n = 4 * pairs + 2 * slack
    task = Task(n + 50 + odd, n, pairs)
    tokens, answers = associative_recall(task, 3, torch.Generator().manual_seed(seed))
    half = task.vocab_size // 2
    assert tokens.shape == answers.shape == (3, n) and tokens.min() >= 0 and tokens.max() < task.vocab_size
    for row, answer in zip(tokens.tolist(), answers.tolist(), strict=True):
        keys, values = row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2]
        assert len(set(keys)) == len(set(values)) == pairs
        assert all(1 <= key < half for key in keys) and all(half <= value < task.vocab_size for value in values)
        queried = [t for t, value in enumerate(answer) if value != IGNORED]
        assert len(queried) == pairs and all(t >= 2 * pairs and t % 2 == 0 for t in queried)
        assert {row[t]: answer[t] for t in queried} == dict(zip(keys, values, strict=True)), (
            "each key once, its own value"
        )


def test_gaps_follow_the_power_law():
    """Of one pair the gap has exactly the law's probabilities; of more, the first pair's."""
    for pairs in (1, 4):
        tokens, answers = associative_recall(Task(100, 48, pairs), 40_000, torch.Generator().manual_seed(0))
        first = (tokens == tokens[:, :1]) & (answers != IGNORED)
        gap = (first.double().argmax(dim=1) - 2 * pairs) // 2
        room = 24 - pairs
        law = torch.arange(1.0, room + 1) ** (POWER - 1)
        found = torch.bincount(gap, minlength=room).double() / len(gap)
        torch.testing.assert_close(found, (law / law.sum()).double(), atol=0.01, rtol=0.1)


def test_unfilled_positions_hold_zero_and_filled_ones_anything():
    task = Task(64, 40, 3)
    bare, answers = associative_recall(task, 500, torch.Generator().manual_seed(0), fill=False)
    filled, same = associative_recall(task, 500, torch.Generator().manual_seed(0))
    assert torch.equal(answers, same)
    assert ((bare != 0).sum(1) == 9).all(), "three pairs and three queries"
    assert torch.equal(bare[bare != 0], filled[bare != 0])
    assert filled[bare == 0].unique().numel() == 64


@pytest.mark.parametrize("task", [(64, 41, 3), (64, 40, 11), (40, 40, 3), (64, 40, 0)])
def test_impossible_tasks_are_named(task):
    with pytest.raises(ValueError, match="at least 4 pairs"):
        associative_recall(Task(*task), 2, torch.Generator())
