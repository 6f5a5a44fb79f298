"""Peers of the hierarchical embedding: hashing, low rank, sums of waves."""

from __future__ import annotations

import pytest
import torch

from artifact.peers.vocabulary import HashingEmbedding, LowRankEmbedding, SumEmbedding


@pytest.mark.parametrize("make", [lambda v, d: HashingEmbedding(v, d, 9), SumEmbedding])
def test_ids_that_are_none(make):
    model = make(200, 8)
    for ids in (torch.tensor([200]), torch.tensor([-1, 3])):
        with pytest.raises(ValueError, match=r"0\.\.199, got \[(-1|200)"):
            model(ids)
    for ids in (torch.tensor([1.0]), torch.tensor([True]), torch.tensor([1j])):
        with pytest.raises(TypeError, match="integer"):
            model(ids)
    with pytest.raises(TypeError, match="list"):
        model([1, 2])
    assert model(torch.zeros(0, 3, dtype=torch.int32)).shape == (0, 3, 8)
    assert model(torch.tensor(7, dtype=torch.uint8)).shape == (8,)


def test_hashing_adds_two_rows_spread_evenly():
    torch.manual_seed(0)
    model = HashingEmbedding(50_000, 4, 100, direct=10)
    places = model.places(torch.arange(50_000))
    share = torch.bincount(places.flatten(), minlength=100) / 100_000
    assert share.min() > 0.008 and share.max() < 0.012
    ids = torch.tensor([3, 10, 49_999])
    expected = model.table[model.places(ids)].sum(1)
    expected[0] = model.own.weight[3]
    torch.testing.assert_close(model(ids), expected)


def test_low_rank_has_its_rank():
    rows = LowRankEmbedding(300, 16, 5)(torch.arange(300))
    assert torch.linalg.matrix_rank(rows) == 5
