"""Bytes by formula against messages that are counted one by one; terms of the model recovered from their own times."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from artifact.studies.scaling_out.theory import (
    WAYS,
    attention_bytes,
    band,
    link,
    predicted,
    reduce_seconds,
    reduced,
    states,
)


def ring(numbers: int, ranks: int) -> list[int]:
    """Numbers that each rank sends in a ring all-reduce, message by message; the sums are checked."""
    parts = np.array_split(np.arange(numbers), ranks)
    held = [{part: {rank} for part in range(ranks)} for rank in range(ranks)]  # by rank and part: whose values are in
    sent = [0] * ranks
    for turn in range(2 * (ranks - 1)):
        moved = [(rank, (rank - turn) % ranks) for rank in range(ranks)]
        news = [(rank, part, held[rank][part]) for rank, part in moved]
        for rank, part, values in news:
            sent[rank] += len(parts[part])
            held[(rank + 1) % ranks][part] = held[(rank + 1) % ranks][part] | values
    assert all(values == set(range(ranks)) for own in held for values in own.values())
    return sent


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_a_ring_sends_as_many_bytes_as_the_formula(ranks):
    k, d = 12, 10 * ranks
    assert ring(2 * k * d, ranks) == [reduced(2 * k * d, ranks) / 4] * ranks
    assert band(k, d, ranks) == reduced(2 * k * d, ranks)


@pytest.mark.parametrize("ranks", [2, 3, 4, 7, 8])
def test_a_scan_by_doubling_sends_as_many_bytes_as_the_formula(ranks):
    messages, reach = 0, 1
    while reach < ranks:
        messages += sum(rank + reach < ranks for rank in range(ranks))
        reach *= 2
    assert states(3, 5, ranks) == pytest.approx(4 * 2 * 3 * 5 * messages / ranks)


def test_attention_sends_what_belongs_to_tokens():
    n, d, ranks = 96, 8, 4
    found = attention_bytes(n, d, ranks)
    stretch = 4 * n // ranks * d  # bytes of one tensor of a rank
    assert found["all-gather attention", "forward"] == 2 * stretch * (ranks - 1)
    assert found["ring attention", "forward"] == sum(2 * stretch for _ in range(ranks - 1))
    assert found["ring attention", "backward"] == 2 * found["ring attention", "forward"]
    assert found["all-to-all attention", "forward"] == 4 * stretch * (ranks - 1) / ranks
    twice = attention_bytes(2 * n, d, ranks)
    assert all(twice[key] == 2 * size for key, size in found.items())


def times(a, b, ranks=(2, 4), noise=0.0, seed=0):
    source = np.random.default_rng(seed)
    rows = [
        (r, size, turn, reduce_seconds(size, r, a, b) * math.exp(noise * source.standard_normal()))
        for r in ranks
        for size in (2**8, 2**14, 2**20, 2**24)
        for turn in range(3)
    ]
    return pd.DataFrame(rows, columns=["ranks", "bytes", "round", "seconds"])


def test_terms_are_recovered_from_times():
    assert link(times(5e-5, 1e-9)) == pytest.approx((5e-5, 1e-9))
    a, b = link(times(5e-5, 1e-9, noise=0.05))
    assert a == pytest.approx(5e-5, rel=0.1) and b == pytest.approx(1e-9, rel=0.1)
    with pytest.raises(ValueError, match="at least 2 sizes"):
        link(times(1, 1).query("bytes == 256"))


def test_a_step_is_the_sum_of_its_parts_and_intervals_carry_the_terms():
    terms = pd.DataFrame({"compute": [1e-5, 1.1e-5, 0.9e-5], "a": [5e-5, 6e-5, 4e-5], "b": [1e-9] * 3})
    options = {"tokens": 10**6, "layers": 3, "band": 1000, "weights": 5000, "tensors": 7}
    model = predicted(terms, ranks=[4, 1024], **options).set_index(["way", "ranks", "part"])
    assert (model["low"] < model["seconds"]).all() and (model["seconds"] < model["high"]).all()
    same = (
        predicted(terms.iloc[[0, 0]], ranks=[4, 1024], **options)
        .set_index(["way", "ranks", "part"])["seconds"]
        .sort_index()
    )
    for way in WAYS:
        for ranks in (4, 1024):
            own = same[way, ranks]
            assert own["step"] == pytest.approx(own.drop("step").sum())
            assert own["compute"] == pytest.approx(1e-5 * 10**6 / ranks)
    messages = 2 * 1023 * 5e-5
    band_seconds = messages + 2 * 1023 / 1024 * 4000 * 1e-9
    assert same["ring, weights in one", 1024, "bands"] == pytest.approx(6 * band_seconds)
    one_by_one = same["ring, weights one by one", 1024, "weights"] - same["ring, weights in one", 1024, "weights"]
    assert one_by_one == pytest.approx(6 * messages)
    halved = same["halving, weights in one", 1024, "bands"]
    assert halved == pytest.approx(6 * (20 * 5e-5 + 2 * 1023 / 1024 * 4000 * 1e-9))
