"""The causal model of words that compares embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from artifact.datasets.words import Tokens, tokens
from artifact.peers.vocabulary import LowRankEmbedding
from artifact.studies.large_vocabulary.word_model import CONTEXT, WordModel, build, perplexity, train
from resonance import HierarchicalEmbedding, HierarchicalHead

TEXT = ["The cat, the dog. The cat's dog! A cat? " * 60, "One dog; one cat: the end. The dog sat. " * 60]


def small_model(vocab_size=40, **options):
    torch.manual_seed(0)
    return WordModel(
        HierarchicalEmbedding(vocab_size, 16, direct=4), HierarchicalHead(vocab_size, 16, direct=4), **options
    )


def test_no_prediction_depends_on_a_later_word():
    model = small_model().double()
    ids = torch.randint(40, (1, 30))
    changed = ids.clone()
    changed[0, 12] = (ids[0, 12] + 1) % 40
    moved = (model(ids) - model(changed)).abs().amax(dim=(0, 2)) > 1e-9
    assert not moved[:12].any() and moved[12:].all()


def test_perplexity_counts_each_word_once_with_its_whole_context():
    model = small_model(longest=2)  # what lies more than CONTEXT words back then has no effect
    stream = torch.randint(40, (1001,), generator=torch.Generator().manual_seed(0))
    words = Tokens({"test": stream[:-1]}, {"test": stream[1:]}, 40, torch.ones(40))
    with torch.no_grad():
        every = model.head(model(stream[None, :-1]), stream[None, 1:])[0, CONTEXT:]
    count = (1000 - CONTEXT) // 50 * 50
    expected = math.exp(-every[:count].double().mean())
    assert perplexity(model, words, "test", length=50) == pytest.approx(expected, rel=1e-5)


def test_training_learns_and_models_differ_by_their_embedding_alone():
    words = tokens(TEXT)
    makers = {
        "full table": lambda: nn.Embedding(words.input_types, 16),
        "low rank": lambda: LowRankEmbedding(words.input_types, 16, 2),
    }
    one, two = (build(make, words, 16, head_direct=2, seed=1) for make in makers.values())
    for (name, a), (other, b) in zip(one.head.named_parameters(), two.head.named_parameters(), strict=True):
        assert name == other and torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(one.blocks.parameters(), two.blocks.parameters(), strict=True))
    before = perplexity(one, words, "test", length=8)
    train(one, words, 60, rate=0.01, seed=0, length=16, size=8)
    assert perplexity(one, words, "test", length=8) < 0.2 * before
