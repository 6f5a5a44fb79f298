"""Time series: the stand-in, the seasonal series, and how far one looks back on them."""

from __future__ import annotations

from artifact.datasets.series import load_co2, load_etth1


def test_co2_has_no_gaps():
    series = load_co2()
    assert series.values.shape == (2284, 1) and (series.values > 300).all()


def test_without_etth1_the_stand_in_is_co2(nowhere):
    series = load_etth1(allow_stand_in=True)
    assert series.stand_in and "stand-in" in series.dataset and len(series.values) == 2284
