"""T4: exact Gaussian information, the theorem, its traps, the estimator."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection import mutual_info_regression

from artifact.studies.information.information import (
    SIGNALS,
    ar1,
    best_information,
    block_ranks,
    choice_table,
    circulant,
    estimator_against_itself,
    estimator_bias,
    frequency_bits,
    gaussian_information,
    kept_frequencies,
    layer_matrix,
    lost_bits_bound,
    nearest_neighbour_information,
    retained_information,
    row_space,
    transmitted_information,
    traps,
    white_noise,
)
from resonance.band import next_power_of_two
from resonance.layers import BandMixing, ResonanceLayer


def generator(seed):
    return torch.Generator().manual_seed(seed)


def covariance(n, rank, seed):
    a = torch.randn(n, rank, dtype=torch.float64, generator=generator(seed))
    return a @ a.mT


def noise_of(n, seed):
    return covariance(n, n, seed) / n + 0.1 * torch.eye(n, dtype=torch.float64)


# --------------------------------------------------------------------------- closed forms


@given(st.floats(1e-6, 1e8), st.floats(1e-3, 1e3))
def test_scalar_channel(snr, noise):
    bits = gaussian_information(torch.tensor([[snr * noise]]).double(), torch.tensor([[noise]]).double())
    assert bits == pytest.approx(0.5 * math.log2(1 + snr), rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_signal_shaped_as_its_noise(n):
    assert gaussian_information(3 * ar1(n), ar1(n)) == pytest.approx(n / 2 * math.log2(4), rel=1e-10)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.7])
def test_rate_of_ar1_in_white_noise(rho):
    """AR(1) plus white noise is an ARMA(1, 1): the rate is half the log of its innovation over the noise."""
    snr = 10.0
    b = snr * (1 - rho**2) + 1 + rho**2
    innovation = (b + math.sqrt(b * b - 4 * rho * rho)) / 2
    whole = [gaussian_information(ar1(n, rho), white_noise(ar1(n, rho), 10.0)) for n in (150, 250)]
    assert (whole[1] - whole[0]) / 100 == pytest.approx(0.5 * math.log2(innovation), rel=1e-9)


def test_a_signal_of_low_rank_has_finite_information_and_none_has_none():
    noise = torch.eye(5, dtype=torch.float64)
    assert gaussian_information(torch.zeros(5, 5), noise) == 0.0
    one = torch.zeros(5, 5, dtype=torch.float64)
    one[2, 2] = 15.0
    assert gaussian_information(one, noise) == pytest.approx(2.0)
    assert transmitted_information(torch.zeros(3, 5), one, noise) == 0.0


# --------------------------------------------------------------------------- the theorem


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_data_processing_inequality(n, m, rank, seed):
    signal, noise = covariance(n, min(rank, n), seed), noise_of(n, seed + 1)
    t = torch.randn(m, n, dtype=torch.float64, generator=generator(seed + 2))
    s = torch.randn(max(1, m - 1), m, dtype=torch.float64, generator=generator(seed + 3))
    whole = gaussian_information(signal, noise)
    once, twice = (transmitted_information(matrix, signal, noise) for matrix in (t, s @ t))
    assert -1e-12 <= twice <= once * (1 + 1e-7) + 1e-9 and once <= whole * (1 + 1e-7) + 1e-9


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_invertible_maps_conserve(n, seed):
    signal, noise = covariance(n, n, seed), noise_of(n, seed + 1)
    u, _, v = torch.linalg.svd(torch.randn(n, n, dtype=torch.float64, generator=generator(seed + 2)))
    matrix = u @ torch.diag(torch.logspace(0, 4, n, dtype=torch.float64)) @ v
    assert transmitted_information(matrix, signal, noise) == pytest.approx(
        gaussian_information(signal, noise), rel=1e-7
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 12), st.integers(0, 10**6))
def test_equality_exactly_when_sufficient(n, seed):
    """Not the noise's own row space: what must survive is N^-1 K, the likelihood's statistic."""
    rank = n - 1
    signal, noise = covariance(n, rank, seed), noise_of(n, seed + 1)
    sufficient = row_space(torch.linalg.solve(noise, signal).mT, tolerance=1e-9)
    whole = gaussian_information(signal, noise)
    assert len(sufficient) == rank
    assert transmitted_information(sufficient, signal, noise) == pytest.approx(whole, rel=1e-6)
    assert transmitted_information(sufficient[1:], signal, noise) < whole * (1 - 1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 14), st.integers(1, 13), st.floats(0.01, 100.0), st.integers(0, 10**6))
def test_loss_is_within_its_bound(n, rows, power, seed):
    signal, noise = power * covariance(n, n, seed), torch.eye(n, dtype=torch.float64)
    t = torch.randn(min(rows, n), n, dtype=torch.float64, generator=generator(seed + 1))
    loss = gaussian_information(signal, noise) - transmitted_information(t, signal, noise)
    assert loss <= lost_bits_bound(t, signal, noise) * (1 + 1e-7) + 1e-9


def test_bound_holds_for_a_signal_that_is_not_gaussian():
    """A sign in noise, wholly dropped: what is lost is its information, below E X^2 / (2 s^2 ln 2)."""
    amplitude = 0.5
    y = np.linspace(-12, 12, 200001)
    density = 0.5 * sum(np.exp(-((y - a) ** 2) / 2) / math.sqrt(2 * math.pi) for a in (-amplitude, amplitude))
    entropy = -np.trapezoid(density * np.log2(np.maximum(density, 1e-300)), y)
    information = entropy - 0.5 * math.log2(2 * math.pi * math.e)
    power = torch.tensor([[amplitude**2]], dtype=torch.float64)
    assert 0 < information <= lost_bits_bound(torch.zeros(1, 1), power, torch.eye(1))


# --------------------------------------------------------------------------- the layer


@pytest.mark.parametrize("n", [1, 2, 7, 24, 33, 128])
@pytest.mark.parametrize("engine", ["fft", "dense", "fast"])
def test_matrix_is_the_layer(n, engine):
    torch.manual_seed(n)
    for k in {1, next_power_of_two(n) // 2 + 1}:
        layer = BandMixing(3, k, engine=engine).double()
        x = torch.randn(2, n, 3, dtype=torch.float64)
        for channel in range(3):
            expected = layer(x)[:, :, channel]
            torch.testing.assert_close(
                x[:, :, channel] @ layer_matrix(layer, n, channel).mT, expected, rtol=1e-9, atol=1e-9
            )


def test_matrix_of_a_float32_layer_is_that_of_its_weights_in_float64_and_leaves_it_alone():
    layer = BandMixing(1, 5)
    torch.testing.assert_close(layer_matrix(layer, 16), layer_matrix(layer.double(), 16), rtol=0, atol=0)
    assert layer_matrix(BandMixing(1, 5).bfloat16(), 16).dtype == torch.float64
    single = BandMixing(1, 5)
    layer_matrix(single, 16)
    assert single.weight.magnitude.dtype == torch.float32


# truth at n = 128 and 10 dB, by k/n counted on both sides
TABLE = {
    "AR(1), 0.9": (1, 0.791, 0.577, 0.369),
    "1/f": (1, 0.648, 0.400, 0.233),
    "white": (1, 0.492, 0.242, 0.117),
    "band |f| < n/8": (1, 1, 1, 0.484),
}


def test_table_of_retained_information():
    table = retained_information(128, (1, 0.5, 0.25, 0.125), (10.0,), seed=3)
    for name, row in table.groupby("signal"):
        np.testing.assert_allclose(row["retained"], TABLE[name], atol=6e-4)
    white = table[table["signal"] == "white"]
    np.testing.assert_allclose(white["retained"], white["rank"] / 128, rtol=1e-10)  # every dimension alike
    assert list(white["rank"]) == [128, 63, 31, 15]  # 2k - 1: one side's k is not the real dimension
    assert ((table["whole"] - table["bits"]) <= table["bound"] + 1e-9).all()


@pytest.mark.parametrize("n", [5, 24, 33, 64])
@pytest.mark.parametrize("name", SIGNALS)
def test_whole_band_is_lossless_at_any_length(n, name):
    torch.manual_seed(n)
    layer = BandMixing(1, next_power_of_two(n) // 2 + 1, engine="fft").double()
    signal = SIGNALS[name](n)
    noise = white_noise(signal, 10.0)
    bits = transmitted_information(layer_matrix(layer, n), signal, noise)
    assert bits == pytest.approx(gaussian_information(signal, noise), rel=1e-8)


def test_signals_have_unit_power_and_the_noise_its_ratio():
    for make in SIGNALS.values():
        signal = make(48)
        assert signal.diagonal().mean() == pytest.approx(1.0)
        assert torch.linalg.eigvalsh(signal)[0] > -1e-9
        assert white_noise(signal, 20.0)[0, 0] == pytest.approx(0.01)


def test_kept_frequencies():
    assert [kept_frequencies(128, s) for s in (1.0, 0.5, 0.25, 0.001)] == [65, 32, 16, 1]


# --------------------------------------------------------------------------- traps


def test_traps_by_hand():
    n = 128
    table = traps(n, 10.0, seed=1).set_index("map")
    lost, rank = table["lost"], table["rank"]
    for name in ("whole band, random weights", "residual block, k = n/2 of both", "one weight of 1/1000"):
        assert abs(lost[name]) < 1e-9 and rank[name] == n
    signal = ar1(n)
    noise = white_noise(signal, 10.0)
    whole = gaussian_information(signal, noise)
    t = torch.arange(n, dtype=torch.float64)
    cosine, sine = (f(2 * math.pi * 3 * t / n) for f in (torch.cos, torch.sin))
    without = torch.linalg.svd(torch.stack([cosine, sine])).Vh[2:]
    by_hand = whole - transmitted_information(without, signal, noise)
    assert lost["one zero weight"] == pytest.approx(by_hand, rel=1e-9) and rank["one zero weight"] == n - 2
    assert lost["one zero weight"] == pytest.approx(5.98, abs=0.01)
    only_sine = torch.linalg.svd(torch.sin(2 * math.pi * 5 * t / n)[None]).Vh[1:]
    by_hand = whole - transmitted_information(only_sine, signal, noise)
    assert lost["unitary interference, DC swapped"] == pytest.approx(by_hand, rel=1e-9)
    assert rank["unitary interference, DC swapped"] == n - 1
    assert rank["interference of half rank"] == 64 and 40 < lost["interference of half rank"] < 52
    assert rank["k = n/2 of one side"] == n - 1 and rank["k = n/2 of both sides"] == n // 2 - 1
    assert lost["k = n/2 of one side"] < 0.5 and lost["k = n/2 of both sides"] == pytest.approx(24.29, abs=0.01)
    assert lost["whole band, rounded to bfloat16"] < 0.01 < 1 < lost["one weight of 1/1000, rounded"]


def test_rounding_model_is_a_roof_and_no_tower():
    x = torch.randn(200_000, dtype=torch.float64, generator=generator(0))
    error = (x.bfloat16().double() - x).square().mean().item()
    assert error < 2.0**-16 / 3 < 4 * error


def test_dc_swap_loses_the_quadrature_that_the_phase_names():
    n, losses = 128, []
    signal = ar1(n)
    noise = white_noise(signal, 10.0)
    for phase in (0.0, math.pi / 2):
        layer = BandMixing(1, n // 2 + 1, engine="fft").double()
        order = torch.arange(n // 2 + 1)
        order[0], order[5] = 5, 0
        with torch.no_grad():
            layer.weight.magnitude.fill_(1.0)
            layer.weight.phase.zero_()
            layer.weight.phase[5] = phase
            layer.interference.re.copy_(torch.eye(len(order))[order])
            layer.interference.im.zero_()
        matrix = torch.complex(layer.interference.re, layer.interference.im).detach()
        torch.testing.assert_close(matrix @ matrix.mH, torch.eye(len(order), dtype=matrix.dtype))
        bits = transmitted_information(layer_matrix(layer, n), signal, noise)
        losses.append(gaussian_information(signal, noise) - bits)
    assert losses[0] == pytest.approx(2.484, abs=1e-3) and losses[1] == pytest.approx(2.442, abs=1e-3)


def test_a_residual_path_does_not_save_every_branch():
    """Generic branches: yes. A branch with the eigenvalue -1: the block loses what the residual brings."""
    signal = ar1(8)
    noise = white_noise(signal, 10.0)
    eye = torch.eye(8, dtype=torch.float64)
    minus = -torch.diag(torch.tensor([1.0] + 7 * [0.0], dtype=torch.float64))
    whole = gaussian_information(signal, noise)
    assert transmitted_information(eye + minus, signal, noise) < whole - 0.1


def test_block_ranks():
    table = block_ranks(8, 6, 3, seed=0).set_index("block")
    assert table.loc["pre-norm", "rank"] == table.loc["residual, no norm", "rank"] == 48
    assert table.loc["post-norm, as printed", "rank"] == 40  # each token's mean over the channels is gone
    assert table.loc["no residual", "rank"] == 5 * 6
    without = block_ranks(8, 6, 3, seed=0, eps=0.0).set_index("block")
    assert without.loc["post-norm, as printed", "rank"] == 32  # and its scale, which eps alone preserved
    assert without.loc["pre-norm", "rank"] == 48


# --------------------------------------------------------------------------- nearest neighbours


def test_estimator_is_scikit_learns_for_scalars():
    x, noise = np.random.default_rng(0).standard_normal((2, 600))
    y = x + 0.3 * noise
    theirs = mutual_info_regression((x / x.std())[:, None], y / y.std(), random_state=0)[0] / math.log(2)
    ours = nearest_neighbour_information((x / x.std())[:, None], (y / y.std())[:, None])
    assert ours == pytest.approx(theirs, abs=0.01)


def test_estimator_against_closed_forms():
    x, y = np.random.default_rng(1).standard_normal((2, 3000, 2))
    assert abs(nearest_neighbour_information(x, y)) < 0.06
    bits = nearest_neighbour_information(x, x + y)
    assert bits == pytest.approx(1.0, abs=0.08)  # 2 x 1/2 log2(1 + 1)
    bias = estimator_bias((0.0, 60.0), 1000, 2, seed=0).groupby("snr_db")[["estimate", "exact"]].mean()
    assert bias.loc[0.0, "estimate"] == pytest.approx(0.5, abs=0.08)
    assert bias.loc[60.0, "estimate"] < bias.loc[60.0, "exact"] - 0.5


def test_estimator_invents_a_loss_and_misses_one():
    table = estimator_against_itself((30.0,), 1500, 1, seed=0).set_index("map")
    assert table.loc["whole band", "exact"] == pytest.approx(table.loc["none", "exact"], rel=1e-9)
    assert table.loc["whole band", "estimate"] < table.loc["none", "estimate"] - 0.2
    exact_loss = table.loc["none", "exact"] - table.loc["two frequencies", "exact"]
    seen = table.loc["none", "estimate"] - table.loc["two frequencies", "estimate"]
    assert seen < exact_loss / 2


# --------------------------------------------------------------------------- errors


def test_errors():
    eye = torch.eye(3)
    with pytest.raises(ValueError, match="one shape"):
        gaussian_information(eye, torch.eye(4))
    with pytest.raises(ValueError, match="one shape"):
        gaussian_information(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="positive definite"):
        gaussian_information(eye, torch.diag(torch.tensor([1.0, 1.0, 0.0])))
    with pytest.raises(ValueError, match=r"matrix \(m, 3\)"):
        transmitted_information(torch.eye(4), eye, eye)
    with pytest.raises(ValueError, match="white noise"):
        lost_bits_bound(eye, eye, torch.diag(torch.tensor([1.0, 1.0, 2.0])))
    with pytest.raises(TypeError, match="BandMixing"):
        layer_matrix(ResonanceLayer(4, 3), 8)
    with pytest.raises(ValueError, match="samples"):
        nearest_neighbour_information(np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="neighbours"):
        nearest_neighbour_information(np.ones((3, 1)), np.ones((3, 1)))


# --------------------------------------------------------------------------- choice of frequencies


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))
def test_no_map_of_a_rank_transmits_more_than_the_best(n, rows, rank, seed):
    signal, noise = covariance(n, min(rank, n), seed), noise_of(n, seed + 1)
    matrix = torch.randn(min(rows, n), n, dtype=torch.float64, generator=generator(seed))
    most = best_information(signal, noise, len(matrix))
    assert transmitted_information(matrix, signal, noise) <= most + 1e-8
    root = torch.linalg.cholesky(noise)  # the eigenvectors attain it
    half = torch.linalg.solve(root, torch.linalg.solve(root, signal).mT)
    vectors = torch.linalg.eigh((half + half.mT) / 2).eigenvectors.flip(1)[:, : len(matrix)]
    best = vectors.mT @ torch.linalg.inv(root)
    assert transmitted_information(best, signal, noise) == pytest.approx(most, abs=1e-7)
    assert best_information(signal, noise, n) == pytest.approx(gaussian_information(signal, noise), abs=1e-8)


def layer_of(frequencies):
    return BandMixing(1, frequencies=frequencies, interference=False, engine="fft")


def test_the_layer_of_the_largest_snr_is_the_best_of_all_sets_and_attains_the_bound():
    signal, noise = circulant(lambda f: 1 / (1 + (f - 2) ** 2), 8), circulant(lambda f: 1 / (2 + f), 8)
    ratio, bits = frequency_bits(signal, noise)
    assert bits.sum().item() == pytest.approx(gaussian_information(signal, noise))
    kept = {}
    for size in range(1, 6):
        for chosen in combinations(range(5), size):
            matrix = layer_matrix(layer_of(chosen), 8)
            kept[chosen] = transmitted_information(matrix, signal, noise)
            rank = len(row_space(matrix))
            assert rank == sum(1 if f in (0, 4) else 2 for f in chosen)
            assert kept[chosen] == pytest.approx(bits[list(chosen)].sum().item(), abs=1e-9)
            assert kept[chosen] <= best_information(signal, noise, rank) + 1e-9
    order = ratio.argsort(descending=True).tolist()
    for size in range(1, 6):
        best = tuple(sorted(order[:size]))
        rank = sum(1 if f in (0, 4) else 2 for f in best)
        assert kept[best] == pytest.approx(best_information(signal, noise, rank), abs=1e-9)


def test_with_k_fixed_the_largest_snr_at_dc_is_not_the_best():
    signal, noise = circulant(lambda f: torch.where(f == 0, 1.2, 1.0).double(), 8), torch.eye(8, dtype=torch.float64)
    ratio, bits = frequency_bits(signal, noise)
    assert ratio.argmax() == 0 and bits[0] < bits[1]


def test_a_signal_that_is_not_periodic_has_better_maps_than_any_band():
    signal = ar1(16)
    noise = white_noise(signal, 10.0)
    for chosen in combinations(range(9), 2):
        matrix = layer_matrix(layer_of(chosen), 16)
        most = best_information(signal, noise, len(row_space(matrix)))
        assert transmitted_information(matrix, signal, noise) < 0.995 * most
    with pytest.raises(ValueError, match="circulant"):
        frequency_bits(signal, noise)


def test_table_of_choices():
    table = choice_table(64, [1, 8], 20, seed=0)
    share = (table["bits"] / table["most"]).set_axis([table["choice"], table["k"]])
    assert share.max() <= 1 + 1e-9
    assert share["largest SNR", 8] == pytest.approx(1) and share["largest SNR", 1] == pytest.approx(1)
    assert max(share["lowest", 8], share["most energy", 8], share["random maps", 8]) < 0.95
