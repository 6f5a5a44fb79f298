"""The study of codebook traces: the same traces for all, channels, tuning, and what is read out of the rows."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from artifact.studies.codebooks import study, theory
from artifact.studies.codebooks.study import COUPLED, FOURIER, OURS, SCHEMES, Case, prepared, read, received, summary


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_reads_a_light_load(scheme):
    band = {"blocks": 4, "width": 2} if scheme == COUPLED else {}
    row = read(Case(scheme, 5, 0.6 if "keys" in scheme else 0.1, 500, 3, 0.05, **band))
    assert row["right"] == 1 and row["rate"] == pytest.approx(row["offered"])


def test_decoders_of_the_same_keys_get_the_same_symbols():
    first, *others = [prepared(Case(scheme, 5, 0.6, 100, 7))[0] for scheme in study.DECODERS]
    assert all((symbols == first).all() for symbols in others)
    assert (prepared(Case(OURS, 5, 0.6, 100, 8))[0] != first).any()


def test_noise_and_few_bits_have_the_variance_that_decoders_are_given():
    rng = np.random.default_rng(0)
    trace = math.sqrt(50) * rng.standard_normal((1, 200_000), dtype=np.float32)
    for snr, bits in ((4.0, 0), (math.inf, 3), (4.0, 3)):
        got, variance = received(trace, 50, rng, snr=snr, bits=bits)
        error = got - trace
        assert error.var() == pytest.approx(variance, rel=0.03)
        assert abs(float((error * trace).mean())) < 0.02 * 50  # the error is noise: not a share of the trace
    assert received(trace, 50, rng, snr=math.inf, bits=0)[1] == 0


def test_loads_are_multiples_of_blocks():
    assert Case(OURS, 2, 1.0, 500, 0).symbols == 500
    symbols = Case(COUPLED, 5, 1.4, 500, 0, blocks=8, width=3).symbols
    assert symbols % 8 == 0 and symbols == pytest.approx(1.4 * 500 / math.log2(5), abs=4)


def test_summary_by_hand():
    rows = pd.DataFrame(
        {
            "scheme": list("aaaabbbb"),
            "offered": [1.0, 1.0, 2.0, 2.0] * 2,
            "right": [1.0, 1.0, 1.0, 0.9, 0.9, 1.0, 1.0, 1.0],
            "rate": [1.0, 1.0, 2.0, 1.6, 0.8, 1.0, 0.1, 0.1],
        }
    )
    found = summary(rows, ["scheme"]).set_index("scheme")
    assert found["best"].tolist() == pytest.approx([1.8, 0.9])
    assert found["exact"].tolist() == [1.0, 0.0]  # b: an error at a lighter load counts
    assert found["share"].tolist() == pytest.approx([0.025**0.5] * 2)


def test_tuning_widens_and_uses_no_trace_of_a_result():
    tries = study.tuned([5], [0.02, 0.1], 60, rate=0.5, traces=2, wider=1)
    assert len(tries) >= 2 and set(tries["m"]) == {5} and study.chosen(tries)[5] in set(tries["penalty"])


def test_curves_and_limits_have_a_row_a_trace():
    options = {"band": (2, 2), "traces": 2, "slow_traces": 1, "seed": 1, "processes": 1}
    rows = study.curves({5: 0.05}, [0.6, 0.9], 60, schemes=SCHEMES, **options)
    assert len(rows) == 2 * (1 * len(study.SLOW) + 2 * (len(SCHEMES) - len(study.SLOW)))
    law = study.expected(rows)
    assert set(law["scheme"]) == {OURS, "matched filter"} and (law["rate"] > 0).all()
    rows = study.limited(5, [0.7], 120, decibels=[20], bits=[4], traces=1, seed=1, processes=1)
    assert len(rows) == 6 and rows["rate"].max() <= rows["limit"].max()
    assert rows["limit"].iloc[0] == pytest.approx(theory.shannon_rate(100))
    rows = study.larger(5, [0.7], [(60, 2, 2)], traces=2, seed=1, processes=1)
    assert set(rows["scheme"]) == {FOURIER, COUPLED} and len(rows) == 4
    taken = study.seconds(5, [0.7], 60, [OURS, FOURIER, COUPLED], 0.05, seed=1, rounds=1)
    assert set(taken["scheme"]) == {OURS, FOURIER} and (taken["seconds"] > 0).all()
