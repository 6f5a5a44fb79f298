"""The kept band of a grid."""

from __future__ import annotations

import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resonance.band import Band, OpenBand, fourier_table, index_set, make_band, next_power_of_two, open_band


def test_an_index_set_without_gaps_is_the_lowest_band():
    assert index_set([0, 1, 2]) == index_set(3) == index_set(torch.arange(3)) == range(3)
    assert index_set([0, 2]) == (0, 2) and make_band(8, [0, 4]).real == [0, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint64])
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy, list])
def test_an_index_set_is_any_collection_of_whole_numbers(make, dtype):
    assert index_set(make(np.array([0, 7, 24], dtype=dtype))) == (0, 7, 24)
    assert index_set(make(np.arange(3, dtype=dtype))) == index_set(dtype(3)) == range(3)


def test_an_index_set_may_be_a_range_or_come_from_flatnonzero():
    assert index_set(range(0, 9, 4)) == index_set(np.flatnonzero([1, 0, 0, 0, 1, 0, 0, 0, 1])) == (0, 4, 8)
    assert index_set(range(3)) == range(3) and index_set(range(5, 8)) == (5, 6, 7)
    assert index_set(torch.tensor(3)) == index_set(np.array(3)) == range(3)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        *((given, TypeError) for given in (3.0, True, "123", [0, 1.0], [0, True], np.array([0.0, 1.0]), None)),
        *((given, TypeError) for given in (np.array([True, False]), torch.tensor([0.0, 1.0]), np.zeros((2, 2), int))),
        *((given, ValueError) for given in ([], [1, 0], [1, 1], [-1, 2], np.array([], dtype=int), range(3, 0, -1))),
    ],
    ids=repr,
)
def test_other_index_sets_are_refused(given, error):
    with pytest.raises(error, match="whole numbers"):
        index_set(given)


@given(st.integers(1, 10**6))
def test_next_power_of_two(n):
    power = next_power_of_two(n)
    assert power >= n and power < 2 * n and math.log2(power).is_integer()


@pytest.mark.parametrize("n", range(1, 10))
def test_a_band_takes_every_frequency_of_its_grid_and_no_more(n):
    for grid in (None, n, n + 1):
        top = (grid or next_power_of_two(n)) // 2
        lowest, highest = make_band(n, top + 1, grid), make_band(n, [top], grid)
        assert lowest == Band(n, range(top + 1), grid or next_power_of_two(n)) == Band(*lowest.key)
        assert lowest.k == top + 1 and highest.k == 1 and lowest.highest == highest.highest == top
        assert lowest.is_lowest and highest.is_lowest == (top == 0)
        for count in (top + 2, 0):
            with pytest.raises(ValueError, match=rf"1 <= k <= {top + 1}\b"):
                make_band(n, count, grid)
        with pytest.raises(ValueError, match=rf"\b{top}\b.*\b{top + 1}\b|\b{top + 1}\b.*\b{top}\b"):
            make_band(n, [top + 1], grid) if top else Band(n, (0, 1), n)
    with pytest.raises(ValueError, match=f"{n - 1}"):
        make_band(n, 1, n - 1)


@pytest.mark.parametrize("n", [0, -1])
def test_a_band_has_a_sample(n):
    with pytest.raises(ValueError, match=f"got n={n}"):
        make_band(n, 1)
    with pytest.raises(ValueError, match=f"got n={n}"):
        make_band(n, 1, 8)


def test_a_band_is_a_constant():
    band = make_band(5, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        band.n = 6
    assert hash(band) == hash(make_band(5, [0, 1, 2])) and band != make_band(6, 3) != make_band(6, 3, 9)


@pytest.mark.parametrize("grid", [1, 2, 7, 8, 9])
def test_real_coefficients_are_those_at_dc_and_nyquist(grid):
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=(5, grid)))
    real = (spectrum.imag == 0).all(0)
    for chosen in (range(grid // 2 + 1), [0], [grid // 2], sorted({0, grid // 2}), list(range(1, grid // 2))):
        if not len(chosen):
            continue
        band = make_band(grid, chosen, grid)
        assert band.real == np.flatnonzero(real[list(chosen)]).tolist()
        c = band.multiplicity(torch.zeros(1, dtype=torch.float64))
        assert c.dtype == torch.float64 and c.tolist() == [1.0 if real[f] else 2.0 for f in chosen]


@pytest.mark.parametrize("start", [0, 3, 2**50 + 1])
@pytest.mark.parametrize("grid", [12, 13])
def test_the_fourier_table_is_its_equation_at_any_time(grid, start):
    band = make_band(5, [0, 2, 3, 6], grid)
    table = fourier_table(band, start + np.arange(5))
    angle = [[2 * math.pi * (f * (start + t) % grid) / grid for t in range(5)] for f in band.frequencies]
    exact = np.concatenate([np.cos(angle), -np.sin(angle)]) / math.sqrt(grid)
    np.testing.assert_allclose(table, exact, atol=1e-14)
    assert not table[4:][band.real].any(), "exactly zero"


def test_a_band_is_open_where_a_graph_leaves_the_length_open():
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    context = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC])
    x = FakeTensorMode(shape_env=ShapeEnv()).from_tensor(torch.zeros(300), symbolic_context=context)
    n = x.shape[0]
    assert open_band(300, 3) == make_band(300, 3)
    with mock.patch("torch.compiler.is_compiling", return_value=True):
        assert open_band(300, [0, 7], 512) == make_band(300, [0, 7], 512)
        band = open_band(n, [0, 1], 512)
        assert type(band) is OpenBand and band[1:] == (range(2), 512) and band.n is n
    band = open_band(n, 3)  # a fixed length from here on
    assert type(band) is Band and type(band.n) is int and band == make_band(300, 3)
