"""T4: exact Gaussian information, the theorem, its traps, the estimator; what a past's band tells of the future."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import CCA
from sklearn.feature_selection import mutual_info_regression

from resonance.band import next_power_of_two
from resonance.data import Series
from resonance.forecasting import forecast_task
from resonance.information import (
    SIGNALS,
    ar1,
    block_ranks,
    estimator_against_itself,
    estimator_bias,
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
from resonance.layers import BandMixing, ResonanceLayer
from resonance.predictive import (
    Splits,
    band_table,
    best_ridge,
    choose_k,
    energy_k,
    energy_order,
    information_order,
    judge,
    make_splits,
    mean_bits,
    other_channels,
    past_future,
    predicted_bits,
    rank_frequencies,
    residual_moments,
    retained_share,
    survival_curves,
    unexplained,
)


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
    for name in ("whole band, random weights", "residual block around that half", "one weight of 1/1000"):
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
    assert lost["whole band, rounded to bfloat16"] < 0.01 < 1 < lost["one weight of 1/1000, rounded"]


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
    with pytest.raises(TypeError, match="BandMixing"):
        layer_matrix(ResonanceLayer(4, 3), 8)
    with pytest.raises(ValueError, match="samples"):
        nearest_neighbour_information(np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="neighbours"):
        nearest_neighbour_information(np.ones((3, 1)), np.ones((3, 1)))


# --------------------------------------------------------------------------- past and future


def make_series(steps=3000, seed=0):
    """Two channels: a line at f = 4 of 32 that lasts, under louder noise at low frequencies that does not."""
    rng = np.random.default_rng(seed)
    t = np.arange(steps)
    channels = []
    for _ in range(2):
        phase = 0.02 * rng.standard_normal(steps).cumsum()
        slow = 3 * np.repeat(rng.standard_normal(steps // 40 + 1), 40)[:steps]
        channels.append(np.cos(2 * np.pi * t / 8 + phase) + slow + 0.3 * rng.standard_normal(steps))
    return Series("drawn", np.stack(channels, axis=1), ("a", "b"), period=8, step="step")


@pytest.fixture(scope="module")
def splits():
    return make_splits(forecast_task(make_series(), 6), 32, 4)


def test_coordinates_are_the_past_in_an_orthonormal_basis(splits):
    task = forecast_task(make_series(), 6)
    windows = task.windows("train", 32)
    past, future = windows.batch(torch.arange(len(windows)))
    both = torch.cat([past, future], dim=1).double()
    centred = both - both.mean(dim=0)
    direct = torch.einsum("wic,wjc->cij", centred, centred) / len(windows)
    for moments in (splits.train, past_future(windows, 3)):
        ours = moments.covariance
        torch.testing.assert_close(
            ours[:, :32, :32].diagonal(dim1=1, dim2=2).sum(1), direct[:, :32, :32].diagonal(dim1=1, dim2=2).sum(1)
        )
        torch.testing.assert_close(ours[:, 32:, 32:], direct[:, 32:, 32:])
        torch.testing.assert_close(torch.linalg.eigvalsh(ours), torch.linalg.eigvalsh(direct), rtol=1e-8, atol=1e-10)


def test_in_sample_bits_are_those_of_canonical_correlations(splits):
    windows = forecast_task(make_series(), 6).windows("train", 32)
    past, future = (z[:, :, 0].double().numpy() for z in windows.batch(torch.arange(len(windows))))
    pair = CCA(n_components=6, max_iter=5000, tol=1e-10).fit(past, future).transform(past, future)
    rho = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*(z.T for z in pair), strict=True)])
    one = splits.train.channels([0])
    assert mean_bits(one, one, range(17), 1e-9) == pytest.approx(-0.5 * np.log2(1 - rho**2).sum(), rel=1e-3)


def test_block_scores_average_to_the_log_determinant(splits):
    marginal, residual = residual_moments(splits.train, splits.test, [0, 3, 4], 0.01)
    pooled = [torch.einsum("b,bcij->cij", splits.test.share, m) for m in (marginal, residual)]
    direct = (torch.logdet(pooled[0]) - torch.logdet(pooled[1])) / (2 * math.log(2))
    bits = predicted_bits(splits.train, splits.test, [0, 3, 4], 0.01)
    assert bits.shape == (4, 2)
    torch.testing.assert_close(splits.test.share @ bits, direct)
    trace = (pooled[1].diagonal(dim1=1, dim2=2).sum(1) / pooled[0].diagonal(dim1=1, dim2=2).sum(1)).mean()
    assert unexplained(splits.train, splits.test, [0, 3, 4], 0.01) == pytest.approx(trace.item())


def test_in_sample_bits_grow_with_every_frequency(splits):
    grown = [mean_bits(splits.train, splits.train, range(k), 1e-8) for k in range(1, 18)]
    assert all(a < b for a, b in zip(grown, grown[1:]))  # noqa: B905, RUF007


def test_noise_tells_nothing_out_of_sample_and_something_in_sample():
    noise = np.random.default_rng(0).standard_normal((2500, 1))
    drawn = make_splits(forecast_task(Series("noise", noise, ("a",), 8, "step"), 6), 32, 2)
    assert (
        mean_bits(drawn.train, drawn.test, range(17), 1e-6) < 0 < mean_bits(drawn.train, drawn.train, range(17), 1e-6)
    )


def test_information_order_prefers_what_lasts_to_what_is_loud(splits):
    ranked = rank_frequencies(splits.train, ridge=1e-4, steps=17)
    assert ranked["most information"][0] == 4 and ranked["most energy"][0] == 0
    assert sorted(ranked["most information"]) == ranked["lowest"] == list(range(17))
    assert energy_order(splits.train) == ranked["most energy"]


@pytest.mark.parametrize("kept", [[], [4], [4, 0]])
def test_each_greedy_step_is_the_best_one(splits, kept):
    ridge = 1e-4
    order = information_order(splits.train, ridge, len(kept) + 1)
    assert order[: len(kept)] == kept or kept == [4, 0]  # the third step is judged after the steps really taken
    before = order[: len(kept)]

    def bits(frequencies):  # in-sample bits with the ridge counted as noise in the past
        c = splits.train.covariance.clone()
        p = len(splits.train.frequency)
        c[:, :p, :p] += ridge * torch.eye(p, dtype=torch.float64)
        at = torch.isin(splits.train.frequency, torch.tensor(frequencies)).nonzero()[:, 0]
        cross = c[:, at, p:]
        left = c[:, p:, p:] - cross.mT @ torch.linalg.solve(c[:, at[:, None], at], cross)
        return -torch.logdet(left).sum().item()

    best = max((f for f in range(17) if f not in before), key=lambda f: bits([*before, f]))
    assert order[-1] == best


def test_rule(splits):
    ridges = (1e-4, 1e-2)
    ranked = rank_frequencies(splits.train, ridge=1e-4, steps=17)
    whole, order = ranked["lowest"], ranked["most information"]
    k = choose_k(splits, order, whole, 0.9, ridges)
    aim = 0.9 * best_ridge(splits, whole, ridges)[1]
    assert best_ridge(splits, order[:k], ridges)[1] >= aim
    assert k == 1 or best_ridge(splits, order[: k - 1], ridges)[1] < aim
    assert k <= choose_k(splits, whole, whole, 0.9, ridges)
    share, low, high = retained_share(splits, whole, whole, ridges, seed=0)
    assert share == low == high == 1.0
    table = judge(splits, {"some": order[:k], "all": whole}, whole, ridges, seed=0).set_index("case")
    assert table.loc["some", "low"] <= table.loc["some", "retained"] <= table.loc["some", "high"]
    assert table.loc["all", "retained"] == 1.0 and 0 < table.loc["all", "unexplained"] < 1
    curves = survival_curves(splits, ranked, [1, 4, 17, 40], ridges)
    assert set(curves["k"]) == {1, 4, 17} and curves["order"].nunique() == 3
    others, mean = other_channels(splits, 0.9, ridges, ridge=1e-4, steps=17)
    assert list(others["channel"]) == [0, 1] and mean[0] == pytest.approx(others["retained"].mean())


def test_a_series_of_one_channel_is_measured_on_itself(splits):
    one = Splits(*(part.channels([0]) for part in (splits.train, splits.validation, splits.test)))
    others, mean = other_channels(one, 0.9, (1e-3,), ridge=1e-4, steps=17)
    assert len(others) == 1 and math.isnan(mean[1])


def test_energy(splits):
    table = band_table(splits.train, [4, 0])
    assert table["energy"].sum() == pytest.approx(1.0)
    assert list(table.loc[[4, 0, 1], "place"]) == [1, 2, 0]
    k = energy_k(splits.train, 0.8)
    assert table["energy"][:k].sum() >= 0.8 > table["energy"][: k - 1].sum()
    assert energy_k(splits.train, 1.0) == 17


def test_past_future_errors(splits):
    windows = forecast_task(make_series(), 6).windows("test", 32)
    with pytest.raises(ValueError, match="blocks"):
        past_future(windows, 0)
    with pytest.raises(ValueError, match="ridge"):
        predicted_bits(splits.train, splits.test, [0], 0.0)
    padded = past_future(forecast_task(make_series(), 6).windows("train", 20))
    assert len(padded.frequency) == 32  # the grid of 20 samples
