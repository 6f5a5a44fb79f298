"""R^2 of the printed timings, in every reading."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from artifact.studies.common.growth import LAWS, fit_laws
from artifact.studies.complexity.printed import CORRELATION, PRINTED_POINTS, READINGS, r2_by_reading

N, TIME = PRINTED_POINTS["n"], PRINTED_POINTS["time"]


def table(cost):
    return r2_by_reading(N, cost).pivot(index="reading", columns="law", values="r2")


def test_the_true_law_fits_perfectly_in_every_reading_and_no_other_does():
    for name, law in LAWS.items():
        r2 = table(3 * law(N.to_numpy(dtype=float)))
        np.testing.assert_allclose(r2[name], 1, atol=1e-9)
        assert (r2.drop(columns=name) < 1 - 1e-4).all(axis=None)


def test_the_reading_word_for_word_is_the_squared_correlation():
    r2 = table(TIME).loc[CORRELATION]
    for name, law in LAWS.items():
        assert r2[name] == pytest.approx(stats.pearsonr(law(N.to_numpy(dtype=float)), TIME)[0] ** 2)
    np.testing.assert_allclose(r2[list(LAWS)], fit_laws(N, TIME)["r2"])


def test_no_reading_depends_on_the_unit_of_time():
    np.testing.assert_allclose(table(TIME), table(1000 * TIME))
    assert next(iter(READINGS.values())) == CORRELATION


def test_the_printed_figures_come_out_in_some_readings_and_plain_n_fits_best_in_all():
    r2 = table(TIME)
    come_out = (r2["n log n"] > 0.95) & (r2["n^2"] < 0.62)
    assert come_out.any() and not come_out[CORRELATION]
    assert (r2.idxmax(axis=1) == "n").all()
