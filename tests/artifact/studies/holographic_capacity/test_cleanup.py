"""Cleanup: decoders against each other, against theory, and against what no decoder can do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.holographic_capacity.capacity import generator_of
from artifact.studies.holographic_capacity.cleanup import (
    POWER,
    cleanup_accuracy,
    cleanup_curve,
    cleanup_theory,
    graded_power,
    matched_filter,
    matched_filter_accuracy,
    message_passing,
    patterns_at,
    scores,
    state_evolution,
    superpose,
)
from artifact.studies.holographic_capacity.holography import random_phasors

M, D, SNR = 64, 512, 15.0


def right(decoder, rate, *, power="equal", seeds=3):
    rows = [r for s in range(seeds) for r in cleanup_accuracy(rate, power, m=M, d=D, snr=SNR, seed=s)]
    return np.mean([row["right"] for row in rows if row["decoder"] == decoder])


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 4), st.integers(1, 20), st.integers(0, 1000))
def test_few_patterns_are_read_by_both(n, m, seed):
    generator = generator_of(seed)
    keys, codebook = random_phasors(n, 257, generator), random_phasors(m, 257, generator)
    symbols = torch.randint(m, (n,), generator=generator)
    trace = superpose(symbols, keys, codebook)
    assert torch.equal(matched_filter(trace, keys, codebook), symbols)
    assert torch.equal(message_passing(trace, keys, codebook), symbols)


def test_scores_are_inner_products():
    generator = generator_of(0)
    keys, codebook = (random_phasors(k, 33, generator, torch.float64) for k in (5, 7))
    trace = superpose(torch.tensor([0, 1, 2, 3, 6]), keys, codebook)
    k, c, s = (torch.complex(*x) for x in (keys, codebook, trace))
    columns = k[:, None] * c
    expected = (columns.conj() * s).sum(-1).real / 33
    torch.testing.assert_close(scores(trace, keys, codebook), expected)
    torch.testing.assert_close(s, columns[torch.arange(5), torch.tensor([0, 1, 2, 3, 6])].sum(0))


def test_message_passing_reads_half_of_capacity_where_a_matched_filter_fails():
    assert right("message passing", 0.55) == 1.0
    assert right("matched filter", 0.55) < 0.7


def test_graded_amplitudes_are_read_where_equal_ones_are_not():
    rows = [r for power in POWER for r in cleanup_accuracy(0.72, power, m=256, d=1024, snr=SNR, seed=0)]
    equal, graded = (row["right"] for row in rows if row["decoder"] == "message passing")
    assert graded == 1.0 and equal < 0.9


def test_graded_amplitudes_reach_further():
    n = patterns_at(0.76, 256, 2048, SNR)
    assert state_evolution(POWER["graded"](n, SNR), 256, 2048, SNR) > 0.99
    assert state_evolution(POWER["equal"](n, SNR), 256, 2048, SNR) < 0.6


@pytest.mark.parametrize("power", POWER)
def test_nothing_is_read_above_capacity(power):
    assert right("message passing", 1.15, power=power) < 0.55


def test_the_matched_filter_follows_its_law():
    for rate in (0.3, 0.6):
        n = patterns_at(rate, M, D, SNR)
        expected = matched_filter_accuracy(n, M, D, SNR)
        assert right("matched filter", rate, seeds=6) == pytest.approx(expected, abs=0.06)


def test_the_law_of_the_matched_filter_has_its_limits():
    assert matched_filter_accuracy(10, 1, 100, 1.0) == pytest.approx(1.0)
    assert matched_filter_accuracy(10**8, 16, 10, 1.0) == pytest.approx(1 / 16, abs=0.002)
    two = matched_filter_accuracy(50, 2, 100, math.inf)
    assert two == pytest.approx(0.5 * math.erfc(-math.sqrt(200 / 49) / 2), abs=1e-6)  # Phi(delta / sqrt 2)


def test_state_evolution_has_its_limits_and_meets_the_decoder():
    assert state_evolution(np.ones(5), M, D, SNR) == 1.0
    assert state_evolution(np.ones(10**6), M, D, SNR) == pytest.approx(1 / M, abs=0.01)
    n = patterns_at(0.85, M, D, SNR)
    expected = state_evolution(np.ones(n), M, D, SNR)
    assert right("message passing", 0.85, seeds=6) == pytest.approx(expected, abs=0.12)


@given(st.integers(1, 3000), st.floats(0.1, 1000))
def test_graded_power_is_a_power(n, snr):
    power = graded_power(n, snr)
    assert power.shape == (n,) and power.mean() == pytest.approx(1.0)
    assert (np.diff(power) <= 0).all() and power[-1] > 0


def test_rate_counts_bits():
    n = patterns_at(0.6, 256, 2048, 15.0)
    assert n == 614 and n * 8 / (2048 * 4) == pytest.approx(0.6, abs=1e-3)


def test_the_curve_is_reproducible_and_whole():
    options = {"m": 16, "d": 64, "snr": 10.0}
    first = cleanup_curve([0.3, 0.9], **options, seeds=2)
    assert first.equals(cleanup_curve([0.3, 0.9], **options, seeds=2))
    assert len(first) == 2 * 2 * 2 * 2 and first["right"].between(0, 1).all()
    assert set(cleanup_theory([0.3], **options)["decoder"]) == {"message passing", "matched filter"}


def test_beliefs_stay_finite_without_noise():
    generator = generator_of(3)
    keys, codebook = random_phasors(1, 16, generator), random_phasors(4, 16, generator)
    trace = superpose(torch.tensor([2]), keys, codebook)
    assert message_passing(trace, keys, codebook, tolerance=0.0).tolist() == [2]
