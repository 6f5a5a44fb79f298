"""Grids that widen, and what they say of the values chosen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from artifact.studies.forecasting.choice import (
    CLOSED_FORMS,
    ClosedForms,
    best_point,
    beyond,
    bounds,
    trained_grid,
    tuned_values,
    widened_grid,
)
from resonance.forecasting import Series, evaluate, forecast_task
from resonance.time_series import choose_closed_form

INF = float("inf")
ENDS = {"ridge": (0.0, INF), "taper": (0.0, INF), "rank": (1, 10), "lookback": (24, 720), "rate": (0.0, INF)}


@pytest.mark.parametrize(
    ("values", "best", "ends", "unit", "further"),
    [
        ([1, 10, 100], 10, (0, INF), 0, None),  # inside
        ([1, 10, 100], 100, (0, INF), 0, 1000),
        ([1, 10, 100], 1, (0, INF), 0, 0.1),
        ([0, 0.5, 1], 1, (0, INF), 0, 1.5),  # by its step
        ([0, 0.5], 0, (0, INF), 0, None),  # no taper is an end of the setting
        ([8, 16], 16, (1, 20), 1, 20),  # cut to the full rank
        ([8, 16], 8, (1, 20), 1, 4),
        ([336, 720], 336, (48, 720), 24, 168),  # whole days
        ([336, 720], 720, (48, 720), 24, None),
        ([5], 5, (0, INF), 0, None),  # not tuned
    ],
)
def test_beyond(values, best, ends, unit, further):
    assert beyond(values, best, ends, unit) == further


def test_a_grid_widens_along_every_setting_until_the_best_is_inside():
    def score(ridge, taper):
        return (np.log10(ridge) - 3) ** 2 + (taper - 0.5) ** 2

    tries = widened_grid(score, {"ridge": [1, 10], "taper": [0.0, 0.5]}, ENDS, {}, wider=4)
    assert best_point(tries) == (1000.0, 0.5)
    table = tuned_values(tries, ENDS).set_index("setting")
    assert table["inside"].all() and not table["bound"].any() and table.loc["ridge", "highest"] == 10000
    assert len(tries) < 5 * 3, "new values with the best of the others alone"
    around = [(ridge, 0.5) for ridge in (1, 10, 100, 1000, 10000)] + [(1000.0, taper) for taper in (0.0, 0.5, 1.0)]
    assert set(around) <= set(zip(tries["ridge"], tries["taper"], strict=True))
    short = widened_grid(score, {"ridge": [1, 10], "taper": [0.0, 0.5]}, ENDS, {}, wider=1)
    assert not tuned_values(short, ENDS).set_index("setting").loc["ridge", "inside"]


def test_a_bound_of_the_setting_is_told_from_an_end_of_the_grid():
    tries = widened_grid(lambda rank, ridge: -rank + ridge, {"rank": [2, 8], "ridge": [1, 2]}, ENDS, {"rank": 1}, 1)
    table = tuned_values(tries, ENDS).set_index("setting")
    assert table.loc["rank", "value"] == 10 and table.loc["rank", "bound"] and not table["inside"].any()
    assert table.loc["ridge", "value"] == 0.5 and not table.loc["ridge", "bound"]


def test_a_trained_method_is_trained_once_at_every_try():
    calls = []

    def score(lookback, rate):
        calls.append((lookback, rate))
        return abs(lookback - 400) / 1000 + abs(np.log10(rate) + 2)

    tries = trained_grid(score, [336, 720], [0.0001, 0.001], ENDS, unit=24, wider=3)
    assert best_point(tries) == (336, 0.01) and len(calls) == len(set(calls)) == len(tries)
    assert set(tries["lookback"]) == {168, 336, 720}
    assert tuned_values(tries, ENDS)["inside"].all()
    one = trained_grid(score, [336], [0.01], ENDS, unit=24, wider=3)
    assert len(one) == 1 and tuned_values(one, ENDS).empty


def test_closed_forms_agree_with_the_library_and_with_their_models():
    generator = np.random.default_rng(0)
    t = np.arange(500)[:, None]
    values = np.sin(2 * np.pi * t / 12 + np.arange(2)) + 0.3 * generator.standard_normal((500, 2))
    task = forecast_task(Series("toy", values, ("a", "b"), 12, "step"), 6)
    forms = ClosedForms(task)
    points = {"ridge": (24, 5.0), "weighted": (24, 0.5, 1.0, 5.0), "reduced": (24, 0.5, 1.0, 2, 5.0)}
    for key, point in points.items():
        error = evaluate(forms.model(key, point), task.windows("validation", 24))[0]
        assert forms.score(key)(*point) == pytest.approx(error, rel=1e-4), key
    ours = (24, 0.5, 1.0, 2, 5.0)
    errors, setting = choose_closed_form(task, [ours])
    assert forms.score("resonance")(*ours) == pytest.approx(errors[setting], rel=1e-12)
    assert forms.score("resonance")(24, 0.5, 1.0, 5, 5.0) == INF, "four bins have four ranks"
    assert set(CLOSED_FORMS) == {"resonance", *points}


def test_an_infinite_score_is_never_the_best():
    tries = pd.DataFrame({"lookback": [24, 48], "rank": [2, 4], "score": [INF, 1.0]})
    assert best_point(tries) == (48, 4)
    assert set(bounds(forecast_task(Series("s", np.arange(400.0)[:, None], ("a",), 12, "step"), 6), 48, 4)) >= {"rank"}
