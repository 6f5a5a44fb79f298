"""Growth laws, slopes, operation counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from artifact.peers.transformer import transformer_layer
from artifact.pipeline.ledger import printed_claims
from artifact.studies.common.growth import (
    LAWS,
    count_operations,
    fit_laws,
    measure_growth,
    slope,
)
from artifact.studies.complexity import figures as plots_cost
from artifact.studies.complexity.printed import PRINTED_POINTS
from artifact.studies.scoreboard import figures as plots_scoreboard
from resonance.layers import ResonanceLayer

LENGTHS = 2.0 ** np.arange(6, 15)


def preferred(n, cost):
    table = fit_laws(n, cost)
    return table.loc[table["aicc"].idxmin(), "law"]


@given(st.sampled_from(list(LAWS)), st.floats(1e-6, 1e3), st.floats(0, 1e3), st.integers(0, 10**6))
def test_the_true_law_is_preferred(name, a, c, seed):
    noise = 1 + 0.001 * np.random.default_rng(seed).standard_normal(len(LENGTHS))
    offset = min(c, a * LAWS[name](LENGTHS[0]))  # a constant that hides the law proves nothing
    assert preferred(LENGTHS, (a * LAWS[name](LENGTHS) + offset) * noise) == name


def test_slope_of_a_power_law_with_its_interval():
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(len(LENGTHS))
    exponent, low, high = slope(LENGTHS, 3 * LENGTHS**1.5 * noise)
    assert low < 1.5 < high and high - low < 0.05 and exponent == pytest.approx(1.5, abs=0.02)


def test_printed_points_are_those_of_the_claim():
    text = printed_claims().loc["T3.table", "printed_figure"]
    expected = "; ".join(f"{r.n:.0f}: {r.time:g} ms {r.memory:.0f} MB" for r in PRINTED_POINTS.itertuples())
    assert text == expected


def test_printed_points_tell_no_law_from_another():
    table = fit_laws(PRINTED_POINTS["n"], PRINTED_POINTS["time"]).set_index("law")
    assert table.loc["n^2", "r2"] > 0.95 and table["r2"].idxmax() == "n"
    assert slope(PRINTED_POINTS["n"], PRINTED_POINTS["time"])[0] == pytest.approx(1.073, abs=0.001)


@pytest.mark.parametrize(("n", "cost"), [([1, 2, 3], [1, 2, 3]), (LENGTHS, LENGTHS * 0), (LENGTHS, LENGTHS * np.nan)])
def test_bad_points_are_refused(n, cost):
    with pytest.raises(ValueError, match="expected"):
        fit_laws(n, cost)


def test_counts_are_the_formula():
    d, k, n = 8, 5, 64
    dense = count_operations(ResonanceLayer(d, k, engine="dense"), torch.randn(1, n, d))
    assert dense == d * (8 * n * k + 8 * k * k)
    fft = count_operations(ResonanceLayer(d, k, engine="fft"), torch.randn(1, n, d))
    assert fft == d * (5 * n * np.log2(n) + 8 * k * k)


def interference_share(n, k):
    """8 k^2 / (5 n log2 n), operations of the k x k matrix over those of the transforms (prop:operations).

    Bounded as n grows if and only if k = O(sqrt(n log n)): k << n is not enough.
    """
    return 8 * k**2 / (5 * n * np.log2(n))


def test_k_small_beside_n_is_not_the_condition_of_n_log_n():
    n = 2.0 ** np.array([14, 20, 26])
    small = [interference_share(x, x / np.log2(x)) for x in n]
    assert small == pytest.approx([9.55, 210, 6109], rel=0.01)  # k / n falls, the interference takes over
    sharp = [interference_share(x, np.sqrt(x * np.log2(x))) for x in n]
    assert sharp == pytest.approx([1.6] * 3)
    layer, k = ResonanceLayer(4, 40, engine="fft"), 40
    counted = count_operations(layer, torch.randn(1, 512, 4)) / (4 * 5 * 512 * 9) - 1
    assert counted == pytest.approx(interference_share(512, k))


def test_fused_attention_is_counted():
    d, n = 32, 64
    count = count_operations(transformer_layer(d), torch.randn(1, n, d))
    assert count == 24 * n * d * d + 4 * n * n * d


def test_counted_growth_decides_as_the_theorem_says():
    laws = {}
    for name, layer in {
        "fft": lambda n: ResonanceLayer(4, 8, engine="fft"),
        "dense": lambda n: ResonanceLayer(4, 8, engine="dense"),
        "proportional": lambda n: ResonanceLayer(4, int(n) // 4, engine="fft"),
    }.items():
        laws[name] = preferred(LENGTHS, [count_operations(layer(n), torch.randn(1, int(n), 4)) for n in LENGTHS])
    assert laws == {"fft": "n log n", "dense": "n", "proportional": "n^2"}


def test_measure_growth_respects_limits_and_draws():
    models = {
        "resonance, fft": lambda n: ResonanceLayer(4, 3, engine="fft"),
        "Transformer layer": lambda n: transformer_layer(4),
    }
    table = measure_growth(models, [8, 16], dim=4, limits={"Transformer layer": 8}, rounds=1, min_run_time=0.001)
    assert table.groupby("model")["n"].max().to_dict() == {"Transformer layer": 8, "resonance, fft": 16}
    assert (table["seconds"] > 0).all()
    assert plots_cost.growth(table).axes


def test_figures_are_byte_identical(tmp_path, monkeypatch):
    from artifact.pipeline.ledger import Experiment

    for variable in ("RESULTS", "FIGURES"):
        monkeypatch.setenv(f"RESONANCE_{variable}", str(tmp_path))
    experiment = Experiment("03_complexity")
    written = []
    for _ in range(2):
        experiment.figure("fit", plots_cost.printed_fit(fit_laws(PRINTED_POINTS["n"], PRINTED_POINTS["time"])))
        written.append([(tmp_path / f"03_fit.{suffix}").read_bytes() for suffix in ("pdf", "png")])
    assert written[0] == written[1]


def test_scoreboard_draws_every_verdict():
    from artifact.pipeline.ledger import VERDICTS

    claims = pd.DataFrame({"id": list(VERDICTS), "printed": "x", "verdict": list(VERDICTS)})
    shown = {text.get_text() for text in plots_scoreboard.scoreboard(claims).axes[0].texts}
    assert set(VERDICTS) <= shown
