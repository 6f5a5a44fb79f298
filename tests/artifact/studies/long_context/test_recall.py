"""The recall task: what a batch holds, and that only a bridge can learn it."""

from __future__ import annotations

import pytest
import torch

from artifact.studies.long_context.recall import VALUES, recall_accuracy, recall_batch, train_recall


def test_a_batch_holds_one_value_early_and_one_query_last():
    x, value = recall_batch(16, 40, torch.Generator().manual_seed(0))
    assert (x.sum(dim=2) == 1).all() and (x[:, -1, VALUES + 1] == 1).all() and x[..., VALUES + 1].sum() == 16
    early = x[:, :10, :VALUES].sum(dim=1)
    assert torch.equal(early.argmax(dim=1), value) and (early.sum(dim=1) == 1).all()
    with pytest.raises(ValueError, match="n >= 4"):
        recall_batch(1, 3, torch.Generator())


def test_bridges_learn_what_chunks_alone_cannot():
    model, losses = train_recall(1024, 0, steps=100)
    assert losses[-1] < 0.5 * losses[0]
    assert recall_accuracy(model, 1024, 0) >= 0.95 and recall_accuracy(model, 8192, 0) >= 0.9
    alone, _ = train_recall(1024, 0, bridges=False, steps=20)
    assert recall_accuracy(alone, 1024, 0, bridges=False) < 0.35
