"""The training and evaluation that every classifier shares."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from artifact.studies.common.classification import accuracy, predict, shuffled, train_classifier
from resonance import ResonanceLayer


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = ResonanceLayer(4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.layer(x).mean(1))


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 8, 4, generator=generator)
    return x, (x.mean(1)[:, 0] > 0).long()


def batches(x, y, seed=0):
    return ((x[i], y[i]) for i in shuffled(len(x), 16, torch.Generator().manual_seed(seed)))


def test_training_learns_and_repeats_itself():
    x, y = problem()
    scores, weights = [], []
    for _ in range(2):
        torch.manual_seed(0)
        model = Small()
        assert train_classifier(model, batches(x, y), 300, rate=3e-2) > 0
        scores.append(accuracy(predict(model, x, size=10), y))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert scores[0] == scores[1] > 0.8 and torch.equal(*weights)


def test_prediction_does_not_depend_on_how_it_is_cut():
    x, _ = problem()
    model = Small()
    torch.testing.assert_close(predict(model, x, size=7), model.eval()(x), rtol=1e-5, atol=1e-6)


def test_a_stream_that_ends_is_named():
    x, y = problem()
    with pytest.raises(ValueError, match="expected 3 batches, got 2"):
        train_classifier(Small(), iter([(x, y)] * 2), 3, rate=1e-3)
    with pytest.raises(ValueError, match="steps >= 1"):
        train_classifier(Small(), iter([]), 0, rate=1e-3)


def test_shuffled_gives_every_index_once_an_epoch():
    stream = shuffled(10, 4, torch.Generator().manual_seed(0))
    first, second = (torch.cat([next(stream) for _ in range(3)]) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10)) and not torch.equal(first, second)
    with pytest.raises(ValueError, match="count >= 1"):
        next(shuffled(0, 4, torch.Generator()))
