"""The benchmark of causal resonance against attention."""

from __future__ import annotations

import pandas as pd
import pytest

from artifact.studies.causal import benchmark as causal_benchmark


def test_benchmark_tables():
    table = causal_benchmark.layers([64, 128, 192], resonators=[4], rounds=3)
    auto = table[table["engine"] == "auto"]
    assert (table["low"] < table["ratio"]).all() and (table["ratio"] < table["high"]).all()
    assert (auto["products_floor"] > 0).all() and (auto["seconds"] > auto["bytes_floor"]).all()
    slopes = causal_benchmark.growth(table, shortest=1)
    assert set(slopes["case"]) == {"auto.k4", "fft.k4", "attention"} and (slopes["low"] <= slopes["high"]).all()
    steps = causal_benchmark.steps([64, 128], k=4, rounds=1)
    assert (steps["ratio"] * steps["seconds"]).to_list() == pytest.approx(steps["peer_seconds"].to_list())
    assert steps["state_bytes"].nunique() == 1 and steps["state_bytes"][0] == 4 * (128 * 4 * 2 + 128)
    assert steps["cache_bytes"].to_list() == [2 * 4 * 128 * (n + 1) + 8 for n in (64, 128)]
    choice = causal_benchmark.engines([32], batches=[2], k=4, rounds=1)
    assert choice["over_best"][0] >= 1


def test_the_sublayer_is_timed_in_both_settings_and_each_has_its_keys():
    table = causal_benchmark.in_both_settings([32, 64], [4], 2)
    assert table.groupby("setting", sort=False).size().to_dict() == {"fresh": 4, "kept": 4}
    nothing, engines = pd.DataFrame(), pd.DataFrame({"over_best": [1.0]})
    steps = causal_benchmark.steps([32], k=4, rounds=2)
    found = {key: rest for key, *rest in causal_benchmark.measures(table, nothing, engines, steps)}
    for start in ("causal", "causal.fresh"):
        ratio, _, (low, high) = found[f"{start}.auto.k4.ratio.64"]
        assert low < ratio < high and found[f"{start}.attention.ms.64"][0] > 0
    assert "causal.auto.k4.bytes.64" in found and "causal.fresh.auto.k4.bytes.64" not in found
    _, _, (low, high) = found["causal.step.ratio.32"]
    assert low < found["causal.step.ratio.32"][0] < high


def test_a_ratio_without_a_peer_is_missing():
    row = causal_benchmark._against([1.0, 2.0], None, 3.0)
    assert row["seconds"] == 1.5 and row["ratio"] is None and row["reached"] is None
