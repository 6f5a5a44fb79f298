"""A forecaster fed step by step: its readout by ridge regression, its protocol, and the choice by validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from artifact.studies.live.forecasting import (
    choose_live,
    deviation,
    error_after,
    features,
    fit_readout_,
    live_bounds,
    live_moments,
    origins,
    readout,
    serve,
    standardised,
)
from resonance import LiveForecaster
from resonance.forecasting import ForecastTask, Series


def grid(**values):
    """A grid of one value a setting, but for those given."""
    one = {"scales": [2], "longest": [4.0], "harmonics": [3], "variance_power": [0.0], "ridge": [1.0]}
    return one | values


def test_the_readout_is_the_ridge_regression_of_its_features(task):
    from sklearn.linear_model import Ridge

    model = LiveForecaster(6, 2, period=12, scales=2, longest=4.0, harmonics=3)
    rows = standardised(task)
    inputs = features(model, rows[: task.borders[1]])
    fit_readout_(model, live_moments(model, task, "train", inputs), 3.0)
    at = torch.tensor(origins(task, "train"))
    level = model.level(rows[None])[0]
    x = inputs[at].movedim(1, 2).flatten(0, 1)
    y = (rows[at[:, None] + torch.arange(1, 7)] - level[at][:, None]).movedim(1, 2).flatten(0, 1)
    expected = Ridge(alpha=3.0, fit_intercept=False).fit(x.double().numpy(), y.double().numpy()).coef_
    np.testing.assert_allclose(readout(model).numpy(), expected, rtol=1e-3, atol=1e-4)
    with torch.no_grad():  # and the features are what the model weighs
        forecast = torch.einsum("hf,nfc->nhc", readout(model), inputs)
        torch.testing.assert_close(
            model(rows[None])[0, : len(inputs)], level[: len(inputs), None] + forecast, rtol=1e-3, atol=1e-3
        )


def test_weights_follow_the_deviation():
    rows = torch.randn(100, 3)
    torch.testing.assert_close(deviation(rows, 10)[50], rows[41:51].double().std(0, correction=0))
    torch.testing.assert_close(deviation(rows, 10)[4], rows[:5].double().std(0, correction=0))


def test_windows_are_those_of_the_protocol(task):
    for split in ("validation", "test"):
        windows, at = task.windows(split, 24), origins(task, split)
        assert len(windows) == len(at)
        past, future = windows.batch(torch.tensor([0, len(at) - 1]))
        rows = standardised(task)
        for i, t in enumerate((at[0], at[-1])):
            torch.testing.assert_close(past[i, -1], rows[t])
            torch.testing.assert_close(future[i], rows[t + 1 : t + 7])
    assert max(origins(task, "train")) + task.horizon == task.borders[0] - 1, "training must not see validation"


def test_validation_chooses_and_the_served_error_is_the_parallel_one(task):
    tries, best, model = choose_live(task, grid(variance_power=[0.0, 1.0], ridge=[0.1, 1e4]))
    assert len(tries) == 4 and best.ridge == 0.1
    at = torch.tensor(origins(task, "validation"))
    rows = standardised(task)
    with torch.no_grad():
        parallel = model(rows[None])[0, at] - rows[at[:, None] + torch.arange(1, 7)]
    errors, seconds = serve(model, task, "validation")
    assert errors.shape == (2, len(at)) and len(seconds) == at[-1] + 1
    assert errors[0].mean() == pytest.approx(parallel.square().mean().item(), rel=1e-4)
    assert errors[0].mean() == pytest.approx(tries["score"].min(), rel=1e-4)
    after = error_after(model, task, [1, 24, 200], every=3)
    errors, _ = serve(model, task, "test")
    assert (
        after["mse"].iloc[-1] == pytest.approx(errors[0][::3].mean(), rel=0.05)
        and after["mse"].iloc[0] > after["mse"].iloc[1]
    )


def test_a_grid_widens_where_its_best_value_is_an_end(task):
    tries, best, model = choose_live(task, grid(harmonics=[1, 2], ridge=[1e3, 1e4]), wider=2)
    assert set(tries["ridge"]) >= {10.0, 100.0, 1e3, 1e4} and best.ridge < 1e3 and tries["harmonics"].max() > 2
    assert model.mixing.num_resonators == best.scales * best.harmonics
    assert tries["score"].min() == tries.loc[tries["ridge"] == best.ridge, "score"].min()
    assert tries["harmonics"].max() <= live_bounds(task)["harmonics"][1] == 7, "of a period of 12"


def test_the_test_rows_reach_no_choice(task):
    settings = grid(scales=[1, 2], variance_power=[0.0, 1.0], ridge=[1.0, 10.0])
    expected, best, model = choose_live(task, settings)
    values = task.series.values.copy()
    values[task.borders[1] :] = 1e3
    other = Series("toy", values, task.series.channels, 12, "hour")
    changed, same, again = choose_live(ForecastTask(other, 6, task.borders, task.mean, task.std), settings)
    assert same == best and changed.equals(expected)
    torch.testing.assert_close(readout(again), readout(model), rtol=0, atol=0)


def test_a_penalty_must_be_positive():
    with pytest.raises(ValueError, match="ridge > 0"):
        fit_readout_(LiveForecaster(6, 2), None, 0.0)
