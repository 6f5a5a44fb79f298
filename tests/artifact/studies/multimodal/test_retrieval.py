"""Retrieval across modalities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from artifact.studies.multimodal.retrieval import all_directions, nearest, retrieval_scores
from resonance.multimodal import MODALITIES


def test_retrieval_agrees_with_scikit_learn():
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (23, 41))
    a, b = (torch.randint(4, (n,), generator=generator) for n in (23, 41))
    scores = retrieval_scores(query, gallery, a, b)
    similar = (query @ gallery.T).numpy()
    expected = np.mean([average_precision_score(b == label, row) for label, row in zip(a, similar, strict=True)])
    assert scores["mAP"] == pytest.approx(expected)
    order = np.argsort(-similar, axis=1)
    for k in (1, 5, 10):
        hit = [(b.numpy()[row[:k]] == label).any() for row, label in zip(order, a.numpy(), strict=True)]
        assert scores[f"R@{k}"] == pytest.approx(np.mean(hit))


def test_retrieval_by_hand_and_at_its_ends():
    gallery = torch.eye(4)
    labels = torch.tensor([0, 1, 0, 1])
    query = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    scores = retrieval_scores(query, gallery, torch.tensor([1]), labels)
    assert scores == {"R@1": 0.0, "R@5": 1.0, "R@10": 1.0, "mAP": pytest.approx((1 / 2 + 2 / 4) / 2)}
    assert retrieval_scores(query, gallery, torch.tensor([7]), labels)["mAP"] == 0.0
    assert nearest(query, gallery, 3).tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match="one label"):
        retrieval_scores(query, gallery, torch.tensor([1, 2]), labels)
    with pytest.raises(ValueError, match="at least one"):
        retrieval_scores(query, torch.zeros(0, 4), torch.tensor([1]), torch.tensor([]))


def test_all_six_directions():
    vectors = {name: torch.eye(10)[torch.arange(20) % 10] for name in MODALITIES}
    table = all_directions(vectors, torch.arange(20) % 10)
    assert len(table) == 6 and (table[["R@1", "R@5", "R@10", "mAP"]] == 1).all(axis=None)
    assert {(a, b) for a, b in zip(table["query"], table["gallery"], strict=True)} == set(
        itertools.permutations(MODALITIES, 2)
    )
