"""What `15_causal` measures of the layer: the band layer as its limit, a learned filter, the numbers and tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from artifact.studies.causal import benchmark as causal_benchmark
from artifact.studies.causal import study as causal_study
from artifact.studies.causal.study import undamped
from artifact.studies.causal.tables import tables
from artifact.studies.common.latex import Cells
from resonance import BandMixing
from resonance.engines.chunked import by_chunks, make_powers
from resonance.forecasting import Series, forecast_task


def test_the_band_layer_is_what_undamped_resonators_say_after_the_window():
    """Proposition "limit", first part: N samples, then silence; the second period is the band layer, exactly."""
    torch.manual_seed(0)
    n, k, d = 32, 6, 3
    mixing = BandMixing(d, k, interference=False).double()
    x = torch.randn(2, n, d, dtype=torch.float64)
    pole, readout = undamped(mixing, n, 1.0)
    heard = torch.cat([x, torch.zeros_like(x)], dim=1).permute(2, 0, 1).contiguous()
    powers = make_powers(pole, 17)
    y, _ = by_chunks(heard, powers, readout, torch.zeros(d, dtype=torch.float64), None)
    torch.testing.assert_close(y[..., n:].permute(1, 2, 0), mixing(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("decay", [1e-1, 1e-2, 1e-3])
def test_and_the_limit_of_damped_ones_on_a_periodic_signal(decay):
    """Proposition "limit", second part: an N-periodic signal; the distance is within its bound."""
    torch.manual_seed(0)
    n, k, d = 16, 5, 2
    mixing = BandMixing(d, k, interference=False).double()
    x = torch.randn(1, n, d, dtype=torch.float64)
    r = math.exp(-decay / n)
    pole, readout = undamped(mixing, n, r)
    periods = math.ceil(36 / decay) + 1  # e^-36 is left of the first
    heard = x.repeat(1, periods, 1).permute(2, 0, 1).contiguous()
    y, _ = by_chunks(heard, make_powers(pole, 65), readout * (1 - r**n), torch.zeros(d, dtype=torch.float64), None)
    error = (y[..., -n:].permute(1, 2, 0) - mixing(x)).abs()
    bound = (1 - r**n) * readout.norm(dim=-1).sum(1) * x.abs().sum(1)  # (1, d)
    assert (error <= bound[:, None] + 1e-9).all() and error.max() > 0.01 * bound.max()


def test_the_study_finds_what_the_report_says_and_its_tables_print_it():
    torch.manual_seed(0)
    equal, leaks = causal_study.equalities(300, dim=3, k=4), causal_study.leaks(40)
    assert len(equal) == 8 and equal["reached"].all() and (equal["error"] > 0).all()
    assert (leaks["past"] == 40 * 41 / 2).all() and (leaks.loc[leaks["engine"] == "chunked", "future"] == 0).all()
    limit = causal_study.limit([1, 10], n=16, k=4)
    assert (limit["error"] <= limit["bound"] + 1e-9).all() and limit["error"].is_monotonic_decreasing
    errors, gains = pd.DataFrame({"mse": [1.0, 2.0, 3.0, 4.0]}), pd.DataFrame({"layer": ["trained"] * 2})
    gains = gains.assign(frequency=[0.05, 0.1], gain=[1.0, 2.0])
    found = causal_study.measures(equal, leaks, limit, errors, gains, 12)
    speeds = causal_benchmark.layers([32, 64], resonators=[4], rounds=1).assign(setting="kept")
    steps, engines = causal_benchmark.steps([32], k=4, rounds=1), pd.DataFrame({"over_best": [1.1]})
    found += causal_benchmark.measures(speeds, causal_benchmark.growth(speeds), engines, steps)
    by_key = pd.DataFrame([(key, value) for key, value, *_ in found], columns=["key", "value"]).set_index("key")
    assert by_key.index.is_unique and by_key["value"].map(math.isfinite).all()
    assert by_key.loc["causal.filter.peak", "value"] == pytest.approx(10)
    found = tables(Cells(by_key.rename(index=lambda key: key.replace("k4", "k16"))))
    ours = {name: table for name, table in found.items() if not name.startswith("causal_relatives")}
    assert set(ours) == {"causal", "causal_steps"} and r"\num{32}" not in ours["causal"] and all(ours.values())
    assert not any(tables(Cells(by_key.iloc[:0])).values())


def test_a_filter_trained_on_waves_advances_them():
    generator = np.random.default_rng(0)
    hours = np.arange(3000)
    wave = np.sin(2 * np.pi * hours / 20 + np.cumsum(0.05 * generator.standard_normal(3000)))
    values = np.stack([wave, wave + 0.5 * generator.standard_normal(3000)], axis=1)
    task = forecast_task(Series("waves", values, ("a", "b"), 20, "hour"), 7)
    torch.manual_seed(0)
    start, model, errors = causal_study.fit_filter(task, k=8, longest=128, ahead=7, steps=250, rate=0.05)
    mse = errors.set_index("forecast")["mse"]
    assert mse["learned filter"] < 0.8 * mse.drop("learned filter").min()
    # What foretells a wave is an advance at its frequency.
    answer = torch.complex(*model.response(torch.tensor([1 / 20])))[0, 0].item()
    assert abs(answer - np.exp(2j * np.pi * 7 / 20)) < 0.2
    poles, gains = causal_study.read_filter({"at the start": start, "trained": model}, points=100)
    assert len(poles) == 16 and len(gains) == 200 and (np.hypot(poles["re"], poles["im"]) < 1).all()
