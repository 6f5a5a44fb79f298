"""Theory of codebook traces: closed forms, quadrature, known quantisers, and state evolution against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from artifact.studies.codebooks import theory
from artifact.studies.codebooks.decoders import message_passing
from artifact.studies.codebooks.keys import PermutedKeys, one_hot
from artifact.studies.holographic_capacity import cleanup


@pytest.mark.parametrize("m", [2, 5, 100])
def test_the_rate_of_a_symbol(m):
    assert theory.information(1.0, m) == pytest.approx(math.log2(m))
    assert theory.information(1 / m, m) == pytest.approx(0, abs=1e-12)
    a = 0.9  # mutual information of a symmetric channel, from its joint distribution
    joint = np.full((m, m), (1 - a) / (m - 1) / m)
    np.fill_diagonal(joint, a / m)
    assert theory.information(a, m) == pytest.approx((joint * np.log2(joint * m * m)).sum())


def test_two_symbols_in_closed_form():
    """M = 2: the belief is logistic in L ~ N(g^2, 2 g^2), and the accuracy is Phi(g / sqrt 2)."""
    t = np.linspace(-9, 9, 4001)
    density = np.exp(-(t**2) / 2) / np.exp(-(t**2) / 2).sum()
    for g in (0.5, 1.0, 2.0, 3.0):
        lacking = density @ (1 / (1 + np.exp(g**2 + math.sqrt(2) * g * t)))
        assert float(theory.unexplained(np.array(g), 2)) == pytest.approx(lacking, abs=0.008)
        expected = 0.5 * math.erfc(-g / 2)
        assert float(theory.symbol_accuracy(np.array(g), 2)) == pytest.approx(expected, abs=1e-6)


def test_the_matched_filter_is_that_of_the_hologram_study():
    """A real trace of D entries has as many dimensions as a complex one of D/2."""
    for n, m in ((100, 5), (60, 100)):
        other = cleanup.matched_filter_accuracy(n + 1, m, 250, math.inf)
        assert theory.matched_accuracy(n / 500, m) == pytest.approx(other, abs=1e-4)


def test_state_evolution_is_that_of_the_hologram_study_and_of_a_simulation():
    n, m, dim, snr = 300, 5, 1000, 2.0
    other = cleanup.state_evolution(np.ones(n), m, dim / 2, snr)
    ours = theory.state_evolution(n / dim, m, snr=snr)
    assert ours == pytest.approx(other, abs=0.015)
    right = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        keys, symbols = PermutedKeys(n, m, dim, rng), rng.integers(m, size=n)
        noise = math.sqrt(n / snr) * rng.standard_normal((1, dim), dtype=np.float32)
        right.append((message_passing(keys.apply(one_hot(symbols, m)) + noise, keys) == symbols).mean())
    assert np.mean(right) == pytest.approx(ours, abs=0.03)


def test_a_band_lifts_the_threshold_and_one_block_changes_nothing():
    plain = theory.threshold(5)
    assert theory.threshold(5, blocks=1, width=1) == plain
    assert theory.threshold(5, blocks=40, width=3) > plain


def test_the_best_uniform_quantiser_is_that_of_max():
    """Max (1960), table II: step and mean squared error for 4, 8 and 16 levels."""
    for bits, step, error in ((2, 0.9957, 0.1188), (3, 0.5860, 0.03744), (4, 0.3352, 0.01154)):
        found = theory.quantiser(bits)
        assert found == (pytest.approx(step, rel=2e-3), pytest.approx(error, rel=2e-3))
    with pytest.raises(ValueError, match="at least one bit"):
        theory.quantiser(0)


def test_levels_of_a_quantiser():
    x = np.array([-9.0, -0.2, 0.2, 1.2, 9.0])
    np.testing.assert_allclose(theory.quantised(x, 2, 1.0), [-1.5, -0.5, 0.5, 1.5, 1.5])


def test_bits_of_an_integer_trace():
    assert theory.integer_trace_bits(1) == pytest.approx(1)
    assert theory.integer_trace_bits(2) == pytest.approx(1.5)
    assert theory.integer_trace_bits(400) == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * 100), abs=1e-3)
