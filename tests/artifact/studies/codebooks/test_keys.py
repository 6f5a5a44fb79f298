"""Keys of codebook traces: both maps are those of one matrix, whose columns have the energy D."""

from __future__ import annotations

import numpy as np
import pytest

from artifact.studies.codebooks.keys import FourierKeys, PermutedKeys, one_hot

N, M, D = 12, 5, 40
KEYS = {
    "permuted": lambda rng: PermutedKeys(N, M, D, rng),
    "Fourier": lambda rng: FourierKeys(N, M, D, rng),
    "Fourier, few": lambda rng: FourierKeys(N, M, 2 * N * M, rng),
    "band": lambda rng: FourierKeys(N, M, D, rng, blocks=3, width=2),
}


def matrix_of(keys):
    """(D, N M) from one `apply` for each column."""
    columns = np.eye(keys.n * keys.m, dtype=np.float32).reshape(-1, keys.n, keys.m)
    return np.stack([keys.apply(column).ravel() for column in columns], axis=1)


@pytest.mark.parametrize("kind", KEYS)
def test_both_maps_are_one_matrix(kind):
    rng = np.random.default_rng(0)
    keys = KEYS[kind](rng)
    matrix = matrix_of(keys)
    beliefs = rng.random((N, M), dtype=np.float32)
    trace = rng.standard_normal(keys.apply(beliefs).shape, dtype=np.float32)
    np.testing.assert_allclose(keys.apply(beliefs).ravel(), matrix @ beliefs.ravel(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(keys.adjoint(trace).ravel(), matrix.T @ trace.ravel(), rtol=1e-4, atol=1e-4)


def test_a_fourier_matrix_is_cosines_written_out():
    """Rows of the orthonormal cosine transform, signs and order apart: absolute inner products with all its rows."""
    keys = FourierKeys(N, M, D, np.random.default_rng(1))
    matrix, size = matrix_of(keys) / np.sqrt(N * M), N * M
    k, j = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    cosines = np.sqrt(2 / size) * np.cos(np.pi * (2 * j + 1) * k / (2 * size))
    cosines[0] /= np.sqrt(2)
    placed = np.empty_like(matrix)
    placed[:, keys._places.ravel()] = matrix * keys._signs.ravel()  # as the transform sees the columns
    np.testing.assert_allclose(placed, cosines[keys._kept.ravel()], atol=1e-5)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(D), atol=1e-5)


def test_columns_are_bipolar_permutations_of_one_codebook():
    keys = PermutedKeys(N, M, D, np.random.default_rng(2))
    columns = matrix_of(keys).T.reshape(N, M, D)
    assert set(np.unique(columns)) == {-1, 1}
    for i in range(N):
        np.testing.assert_array_equal(columns[i], keys.position(i))
        np.testing.assert_array_equal(np.sort(columns[i].T, axis=0), np.sort(keys.codebook.T, axis=0))
        assert sorted(map(tuple, columns[i].T)) == sorted(map(tuple, keys.codebook.T))


def test_a_band_reaches_the_row_blocks_that_it_says_with_the_energy_d():
    big = FourierKeys(60, M, 400, np.random.default_rng(3), blocks=3, width=2)
    energy = np.square(matrix_of(big)).reshape(4, 100, 3, 20 * M).sum(axis=(1, 3)) / (20 * M)
    reached = np.add.outer(np.arange(4), -np.arange(3))
    reached = (reached == 0) | (reached == 1)
    np.testing.assert_allclose(energy, np.where(reached, 400 / 2, 0), rtol=1e-4)


@pytest.mark.parametrize(("n", "dim", "blocks", "width"), [(12, 41, 3, 2), (13, 40, 3, 2)])
def test_impossible_sizes_are_refused(n, dim, blocks, width):
    with pytest.raises(ValueError, match="expected dim a multiple of"):
        FourierKeys(n, M, dim, np.random.default_rng(0), blocks=blocks, width=width)


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
