"""Facts written in one call and queried in later ones: the task that no model without a memory can do."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from artifact.studies.holographic_capacity import facts


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small lose time by sharing it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained():
    return facts.train_facts(0)


def test_facts_are_recalled_with_the_memory_and_only_with_it():
    table = facts.measure([3], facts=400).set_index("condition")["accuracy"]
    assert list(table.index) == list(facts.CONDITIONS)
    assert table["with memory"] > 0.97 and table["reloaded"] == table["with memory"]
    assert (table[["without", "emptied", "trained without"]] < 3 / facts.VALUES).all()


def test_what_was_overwritten_is_gone_and_the_rest_is_not(trained):
    trained.holographic_memory.clear()
    written = facts.draw_facts(1500, torch.Generator().manual_seed(1))
    facts.write(trained, written, calls=5)
    assert len(trained.holographic_memory) == 1000
    older, newer = (facts.Facts(*(part[rows] for part in written)) for rows in (slice(500), slice(500, None)))
    assert facts.accuracy(trained, newer) > 0.97 and facts.accuracy(trained, older) < 3 / facts.VALUES


def test_more_noise_in_the_question_costs_accuracy(trained):
    seen = []
    for noise in (0.0, 3.0):
        written = facts.draw_facts(300, torch.Generator().manual_seed(2), noise=noise)
        trained.holographic_memory.clear()
        facts.write(trained, written)
        seen.append(facts.accuracy(trained, written))
    assert seen[0] > 0.97 and 1.5 / facts.VALUES < seen[1] < 0.6


def test_questions_hold_no_value():
    written, query, value = facts.draw_facts(50, torch.Generator().manual_seed(0), noise=0.0)
    assert query[..., facts.KEY_DIM :].abs().max() == 0
    torch.testing.assert_close(written.sum(dim=1)[:, facts.KEY_DIM :], F.one_hot(value, facts.VALUES).float())
    torch.testing.assert_close(written.sum(dim=1)[:, : facts.KEY_DIM], query.sum(dim=1)[:, : facts.KEY_DIM])
    with pytest.raises(ValueError, match="at least one"):
        facts.draw_facts(0, torch.Generator())
