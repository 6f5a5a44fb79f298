"""Documents as ids: batches, and passages that never share a character."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.datasets.documents import SPLITS, Passages, document_batches, padded, thinned
from artifact.datasets.vocabulary import letters


def toy_books(books=3, characters=6000, seed=0):
    """Texts of the same words in other proportions, and a name of their own."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice(["the", "sea", "whale", f"name{'abc'[b]}"], characters // 3, p=p))[:characters]
        for b, p in zip(range(books), ([0.6, 0.2, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1]), strict=True)
    ]


# --------------------------------------------------------------------------- batches


def test_an_epoch_holds_every_document_once_with_its_own_label():
    documents = [torch.full((n,), n + 1) for n in range(1, 48)]
    labels = torch.arange(1, 48)
    batches = document_batches(documents, labels, 5, torch.Generator().manual_seed(0))
    seen = []
    while len(seen) < len(documents):
        ids, lengths, targets = next(batches)
        assert ids.shape == (len(targets), int(lengths.max()))
        for row, n, target in zip(ids, lengths.tolist(), targets.tolist(), strict=True):
            assert n == target and (row[:n] == n + 1).all() and not row[n:].any()
        seen += targets.tolist()
    assert sorted(seen) == labels.tolist()


@settings(max_examples=50)
@given(n=st.integers(1, 40), drop=st.floats(0.0, 0.99), seed=st.integers(0, 100))
def test_thinning_keeps_order_and_at_least_one_token(n, drop, seed):
    kept = thinned(torch.arange(n), drop, torch.Generator().manual_seed(seed))
    assert len(kept) >= 1 and (kept.diff() > 0).all()
    assert drop > 0 or len(kept) == n


def test_thinning_drops_the_share_asked_for():
    kept = thinned(torch.arange(100_000), 0.3, torch.Generator().manual_seed(0))
    assert abs(len(kept) / 100_000 - 0.7) < 0.01


def test_bad_batches_are_clear_errors():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="drop=1"):
        next(document_batches([torch.tensor([2])], torch.tensor([0]), 1, generator, drop=1.0))
    with pytest.raises(ValueError, match="a label for each"):
        next(document_batches([torch.tensor([2])], torch.tensor([0, 1]), 1, generator))
    with pytest.raises(ValueError, match="a token in each"):
        padded([torch.tensor([2]), torch.tensor([], dtype=torch.int64)])


# --------------------------------------------------------------------------- passages


@pytest.mark.parametrize("common", [0, 3])
def test_splits_never_share_a_character(common):
    texts = [letters(text) for text in toy_books()]
    passages = Passages(texts, 512, common=common)
    for label, text in enumerate(texts):
        spans = []
        for split in SPLITS:
            at = 0
            for stretch in (s for s in passages.stretches[split] if s.label == label):
                at = text.index(stretch.text, at)
                spans.append((at, at + len(stretch.text)))
                at += len(stretch.text)
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        assert len(spans) >= 3 and sum(end - start for start, end in spans) == len(text) // 512 * 512


def test_letters_are_every_character_and_shared_words_hide_names():
    texts = toy_books()
    documents, labels = Passages(texts, 512).cut("test", 128)
    assert all(len(document) == 128 for document in documents) and set(labels.tolist()) == {0, 1, 2}
    passages = Passages(texts, 512, common=3)
    assert set(passages.vocabulary.tokens) == {"the", "sea", "whale"}
    whole, _ = passages.cut("test", 512)
    parts, _ = passages.cut("test", 128)
    assert [passages.text_of(document) for document in whole] == [
        " ".join(passages.text_of(part) for part in parts[i : i + 4]) for i in range(0, len(parts), 4)
    ]
    assert "name" not in passages.text_of(torch.cat(whole))


def test_words_are_those_that_begin_in_the_passage():
    passages = Passages(toy_books(), 512, common=3)
    for stretch in passages.stretches["train"][:3]:
        kept = [word for word in stretch.text.split() if word in passages.vocabulary.tokens]
        assert passages.text_of(stretch.passage(0, len(stretch.text))).split() == kept
        for i, at in zip(stretch.ids.tolist(), stretch.starts.tolist(), strict=True):
            assert stretch.text.startswith(passages.vocabulary.tokens[i - 2], at)


def test_training_passages_are_drawn_from_training_sections():
    passages = Passages(toy_books(), 512)
    batches = passages.batches([64, 128], 512, torch.Generator().manual_seed(0))
    for length in (64, 128, 64):
        ids, lengths, labels = next(batches)
        assert ids.shape == (512 // length, length) and (lengths == length).all()
        for row, label in zip(ids, labels.tolist(), strict=True):
            text = passages.text_of(row)
            assert any(text in s.text for s in passages.stretches["train"] if s.label == label)


def test_bad_passages_are_clear_errors():
    texts = toy_books()
    with pytest.raises(ValueError, match="at least 5 sections"):
        Passages(texts, 2000)
    with pytest.raises(ValueError, match="common=100"):
        Passages(texts, 512, common=100)
    with pytest.raises(ValueError, match="divides"):
        Passages(texts, 512).cut("test", 100)
