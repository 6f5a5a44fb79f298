"""The causal model of words that compares embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from artifact.datasets.words import Tokens, tokens
from artifact.peers.vocabulary import LowRankEmbedding
from artifact.studies.large_vocabulary.word_model import WindowResonance, WordModel, build, perplexity, train
from resonance import HierarchicalEmbedding, HierarchicalHead

TEXT = ["The cat, the dog. The cat's dog! A cat? " * 60, "One dog; one cat: the end. The dog sat. " * 60]


@pytest.mark.parametrize(("window", "k"), [(8, 5), (7, 2), (1, 1)])
def test_window_resonance_is_the_circular_filter_of_the_window_read_at_its_end(window, k):
    torch.manual_seed(0)
    layer = WindowResonance(3, window, k).double()
    x = torch.randn(2, 20, 3, dtype=torch.float64)
    past = torch.cat([torch.zeros(2, window - 1, 3, dtype=torch.float64), x], dim=1)
    weight = torch.complex(*layer.weight.pair()) / math.sqrt(window)
    for t in (0, 5, 19):
        # The kernel's transform is the weight: filter the window by it and read the last sample.
        kernel = torch.fft.irfft(nn.functional.pad(weight, (0, 0, 0, window // 2 + 1 - k)), window, dim=0) * window
        spectrum = torch.fft.rfft(past[:, t : t + window], dim=1) * torch.fft.rfft(kernel, dim=0)
        torch.testing.assert_close(layer(x)[:, t], torch.fft.irfft(spectrum, window, dim=1)[:, -1])


def small_model(vocab_size=40, **options):
    torch.manual_seed(0)
    return WordModel(
        HierarchicalEmbedding(vocab_size, 16, direct=4), HierarchicalHead(vocab_size, 16, direct=4), **options
    )


def test_no_prediction_sees_its_target_or_beyond_its_reach():
    model = small_model(window=4, num_frequencies=3, num_layers=2)
    ids = torch.randint(40, (1, 30))
    changed = ids.clone()
    changed[0, 12] = (ids[0, 12] + 1) % 40
    moved = (model(ids) - model(changed)).abs().amax(dim=(0, 2)) > 1e-7
    assert not moved[:12].any() and moved[12] and not moved[12 + model.reach + 1 :].any()


def test_perplexity_counts_each_word_once_with_its_whole_context():
    model = small_model(window=3, num_frequencies=2)
    stream = torch.randint(40, (1001,), generator=torch.Generator().manual_seed(0))
    words = Tokens({"test": stream[:-1]}, {"test": stream[1:]}, 40, torch.ones(40))
    with torch.no_grad():
        every = model.head(model(stream[None, :-1]), stream[None, 1:])[0, model.reach :]
    count = (1000 - model.reach) // 50 * 50
    expected = math.exp(-every[:count].double().mean())
    assert perplexity(model, words, "test", length=50) == pytest.approx(expected, rel=1e-5)


def test_training_learns_and_an_arm_differs_by_its_embedding_alone():
    words = tokens(TEXT)
    arms = {
        "full table": lambda: nn.Embedding(words.input_types, 16),
        "low rank": lambda: LowRankEmbedding(words.input_types, 16, 2),
    }
    one, two = (build(arm, words, 16, head_direct=2, seed=1) for arm in arms.values())
    for (name, a), (other, b) in zip(one.head.named_parameters(), two.head.named_parameters(), strict=True):
        assert name == other and torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(one.blocks.parameters(), two.blocks.parameters(), strict=True))
    before = perplexity(one, words, "test", length=8)
    train(one, words, 60, rate=0.01, seed=0, length=16, size=8)
    assert perplexity(one, words, "test", length=8) < 0.2 * before
