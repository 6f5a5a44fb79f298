"""Decoders of codebook traces, against enumeration, each other, and what they are defined by."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from artifact.studies.codebooks import decoders
from artifact.studies.codebooks.decoders import (
    DECODERS,
    lasso,
    margins,
    matched_filter,
    message_passing,
    resonator,
    searched,
    softmax,
    swept,
    unexplained_power,
)
from artifact.studies.codebooks.keys import FourierKeys, PermutedKeys, one_hot


def trace_of(n, m, dim, seed, kind=PermutedKeys, **options):
    rng = np.random.default_rng(seed)
    keys, symbols = kind(n, m, dim, rng, **options), rng.integers(m, size=n)
    return keys, symbols, keys.apply(one_hot(symbols, m)), rng


@pytest.mark.parametrize("name", DECODERS)
def test_few_symbols_are_read_by_all(name):
    for seed in range(5):
        keys, symbols, trace, rng = trace_of(10, 5, 200, seed)
        np.testing.assert_array_equal(DECODERS[name](trace, keys, 0.0, rng, 0.05), symbols)


def test_the_first_beliefs_are_the_posterior_of_a_single_position():
    """With one position and known noise, the posterior by enumeration: softmax(<x_m, S> / s^2)."""
    keys, _, trace, rng = trace_of(1, 4, 60, 0)
    noisy = trace + 5 * rng.standard_normal(trace.shape, dtype=np.float32)
    likelihood = [np.exp(-np.square(noisy[0] - keys.position(0)[s]).sum() / 50) for s in range(4)]
    posterior = np.array(likelihood) / np.sum(likelihood)
    np.testing.assert_allclose(softmax(keys.adjoint(noisy) / 25)[0], posterior, rtol=1e-3, atol=1e-6)


def test_decisions_are_those_of_the_posterior_by_enumeration():
    """All 3^6 messages of small traces in noise: message passing decides as the exact marginals nearly always do."""
    agree = total = 0
    for seed in range(20):
        keys, _, trace, rng = trace_of(6, 3, 60, seed)
        noisy = trace + 4 * rng.standard_normal(trace.shape, dtype=np.float32)
        messages = np.array(list(product(range(3), repeat=6)))
        power = np.array([np.square(noisy - keys.apply(one_hot(s, 3))).sum() for s in messages])
        weight = np.exp(-(power - power.min()) / 32)
        marginal = np.array([[weight[messages[:, i] == s].sum() for s in range(3)] for i in range(6)])
        agree += (message_passing(noisy, keys) == marginal.argmax(axis=1)).sum()
        total += 6
    assert agree >= 0.95 * total


def test_no_residual_means_right():
    """Of all 3^7 messages of a small trace one alone leaves no residual; a decoding with none is the message."""
    for seed in range(5):
        keys, symbols, trace, rng = trace_of(7, 3, 24, seed)
        exact = [s for s in product(range(3), repeat=7) if unexplained_power(trace, keys, np.array(s)) == 0]
        assert exact == [tuple(symbols)]
        found, runs = searched(trace, keys, rng)
        assert 1 <= runs <= len(decoders.DAMPING)
        assert (unexplained_power(trace, keys, found) == 0) == (found == symbols).all()


def test_restarts_never_leave_a_larger_residual_and_end_with_none():
    kept = []
    for seed in range(4):
        keys, _, trace, rng = trace_of(80, 5, 100, seed)  # 1.86 bits an entry: beyond what one run reads
        found, runs = searched(trace, keys, rng)
        alone = message_passing(trace, keys)
        kept.append(runs)
        assert unexplained_power(trace, keys, found) <= unexplained_power(trace, keys, alone)
        assert (runs < len(decoders.DAMPING)) <= (unexplained_power(trace, keys, found) < 1e-3)
    assert max(kept) > 1


def test_the_onsager_term_reads_more_than_soft_feedback():
    ours, soft = 0, 0
    for seed in range(4):
        keys, symbols, trace, _ = trace_of(300, 5, 500, seed)  # 1.39 bits an entry
        ours += (message_passing(trace, keys) == symbols).all()
        soft += (message_passing(trace, keys, onsager=False) == symbols).all()
    assert ours >= 3 and ours > soft


def test_message_passing_reads_fourier_keys_and_a_band():
    for options in ({}, {"blocks": 8, "width": 3}):
        keys, symbols, trace, rng = trace_of(280, 5, 500, 0, FourierKeys, **options)  # 1.30 bits an entry
        np.testing.assert_array_equal(searched(trace, keys, rng)[0], symbols)


def test_a_single_block_has_the_terms_of_the_plain_equations():
    """eq:codebook-passing with C = w = 1, two iterations written out in float64."""
    keys, _, trace, _ = trace_of(9, 4, 30, 1)
    a = np.stack([keys.position(i) for i in range(9)]).reshape(36, 30).T.astype(float)  # (D, N M)
    s, b, z, phi = trace[0].astype(float), np.full(36, 0.25), np.zeros(30), 1.0
    for _ in range(2):
        z = s - a @ b + (9 - b @ b) / phi * z
        phi = np.mean(z**2)
        p = softmax(((30 * b + a.T @ z) / phi).reshape(9, 4))
        b = p.ravel()
    start = np.full((9, 4), 0.25, np.float32)
    found = message_passing(trace, keys, start=start, iterations=2, tolerance=0)
    np.testing.assert_array_equal(found, p.argmax(axis=1))


def test_blocks_gather_and_spread_as_their_band():
    np.testing.assert_allclose(decoders.spread_power(np.array([1.0, 2.0, 3.0]), 2), np.array([1, 3, 5, 3]) * 4 / 2)
    np.testing.assert_allclose(decoders.gathered_precision(np.array([1.0, 3.0, 5.0, 3.0]), 2), [2, 4, 4])
    np.testing.assert_allclose(decoders.spread_power(np.array([7.0]), 1), [7])


def test_sweeps_end_where_no_single_change_helps():
    keys, _, trace, rng = trace_of(40, 5, 60, 3)
    symbols = swept(trace, keys, rng.integers(5, size=40), sweeps=200)
    least = unexplained_power(trace, keys, symbols)
    for i, s in product(range(40), range(5)):
        changed = symbols.copy()
        changed[i] = s
        assert unexplained_power(trace, keys, changed) >= least - 1e-4


def test_the_lasso_minimises_its_objective():
    """One round and no sweep changes the order: compared with scikit-learn's coordinate descent."""
    from sklearn.linear_model import Lasso

    keys, _, trace, _ = trace_of(20, 4, 60, 4)
    a = np.stack([keys.position(i) for i in range(20)]).reshape(80, 60).T
    peer = Lasso(alpha=0.1, positive=True, fit_intercept=False, max_iter=20_000, tol=1e-4).fit(a, trace[0])
    expected = swept(trace, keys, peer.coef_.reshape(20, 4).argmax(axis=1))
    np.testing.assert_array_equal(lasso(trace, keys, penalty=0.1, rounds=1, first=3000), expected)


def test_margins_and_the_matched_filter():
    np.testing.assert_allclose(margins(np.array([[1.0, 4.0, 2.5], [0.0, 0.0, 7.0]])), [1.5, 7])
    keys, _, trace, _ = trace_of(30, 5, 80, 5)
    direct = [(keys.position(i) @ trace[0]).argmax() for i in range(30)]
    np.testing.assert_array_equal(matched_filter(trace, keys), direct)


def test_a_resonator_reads_a_trace_of_products():
    rng = np.random.default_rng(6)
    positions, codebook = (rng.choice(np.float32([-1, 1]), (k, 500)) for k in (8, 5))
    symbols = rng.integers(5, size=8)
    trace = (positions * codebook[symbols]).sum(axis=0)
    np.testing.assert_array_equal(resonator(trace, positions, codebook, rng), symbols)
