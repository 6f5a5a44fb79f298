"""What a past's band tells of the future: held-out bits, the order of frequencies, the rule for k."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA

from artifact.studies.information.predictive import (
    PastFuture,
    Ridges,
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
from resonance.forecasting import Series, forecast_task


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


def test_many_channels_on_several_threads_give_what_each_gives_alone():
    data = torch.randn(3, 500, 208, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = PastFuture(torch.arange(200), (data.mT @ data)[None] / 500, torch.ones(1, dtype=torch.float64))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        _, together = residual_moments(moments, moments, range(200), 0.1)
    finally:
        torch.set_num_threads(threads)
    for channel in range(3):
        alone = moments.channels([channel])
        torch.testing.assert_close(residual_moments(alone, alone, range(200), 0.1)[1], together[:, [channel]])


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
    ridges = Ridges((1e-4, 1e-2), wider=2)
    ranked = rank_frequencies(splits.train, ridge=1e-4, steps=17)
    whole, order = ranked["lowest"], ranked["most information"]
    k = choose_k(splits, order, whole, 0.9, ridges)
    aim = 0.9 * best_ridge(splits, whole, ridges).bits
    assert best_ridge(splits, order[:k], ridges).bits >= aim
    assert k == 1 or best_ridge(splits, order[: k - 1], ridges).bits < aim
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
    others, mean = other_channels(one, 0.9, Ridges((1e-3,)), ridge=1e-4, steps=17)
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
