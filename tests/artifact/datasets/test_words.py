"""Words of books as ids, pairs of words, passages."""

from __future__ import annotations

import pytest
import torch

from artifact.datasets.words import passages, tokens

TEXT = ["The cat, the dog. The cat's dog! A cat? " * 60, "One dog; one cat: the end. The dog sat. " * 60]


def test_words_are_ranked_by_the_training_part_and_parts_do_not_overlap():
    words = tokens(TEXT, held_out=0.1)
    assert (words.counts.diff() <= 0).all()
    assert words.input_types == len(words.counts) == int(max(p.max() for p in words.inputs.values())) + 1
    assert torch.equal(torch.bincount(words.inputs["train"], minlength=1)[:1] > 0, torch.tensor([True]))
    lengths = [len(words.inputs[part]) for part in ("train", "validation", "test")]
    assert lengths[0] == pytest.approx(0.8 * sum(lengths), rel=0.02) and lengths[1] == pytest.approx(
        lengths[2], rel=0.05
    )
    for part in words.inputs:
        assert len(words.inputs[part]) == len(words.targets[part])


def test_a_target_is_the_next_input():
    words = tokens(TEXT[:1], held_out=0.1)
    for part in words.inputs:
        assert torch.equal(words.inputs[part][1:], words.targets[part][:-1])


def test_a_pair_tells_the_last_two_words():
    plain, pairs = tokens(TEXT, held_out=0.1), tokens(TEXT, pairs=True, held_out=0.1)
    assert torch.equal(pairs.targets["test"], plain.targets["test"])
    told: dict[int, tuple[int, int]] = {}
    ids, now = pairs.inputs["train"].tolist(), plain.inputs["train"].tolist()
    for place in range(1, 300):
        assert told.setdefault(ids[place], (now[place - 1], now[place])) == (now[place - 1], now[place])
    assert pairs.input_types > plain.input_types


def test_passages_come_from_the_part_and_repeat_with_the_seed():
    words = tokens(TEXT)
    one, two = (next(passages(words, "train", 5, 7, torch.Generator().manual_seed(3))) for _ in range(2))
    assert torch.equal(one[0], two[0]) and one[0].shape == one[1].shape == (7, 5)
    assert torch.equal(one[0][:, 1:], one[1][:, :-1])
