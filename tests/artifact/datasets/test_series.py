"""Time series: the stand-in, the seasonal series, and how far one looks back on them."""

from __future__ import annotations

import pytest

from artifact.datasets.files import DataUnavailableError
from artifact.datasets.series import ETTH1, ETTH2, load_co2, load_etth1, load_etth2


def test_co2_has_no_gaps():
    series = load_co2()
    assert series.values.shape == (2284, 1) and (series.values > 300).all()


def test_etth2_is_a_file_of_its_own():
    assert (ETTH2.name, ETTH2.url) == ("ETTh2.csv", ETTH1.url.replace("ETTh1.csv", "ETTh2.csv"))
    assert ETTH2.sha256 != ETTH1.sha256 and ETTH2.licence == ETTH1.licence


@pytest.mark.parametrize("load", [load_etth1, load_etth2])
def test_without_the_file_the_stand_in_is_co2(nowhere, load):
    with pytest.raises(DataUnavailableError, match="ETTh"):
        load()
    series = load(allow_stand_in=True)
    assert series.stand_in and "stand-in" in series.dataset and len(series.values) == 2284
