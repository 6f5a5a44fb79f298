"""The benchmark of causal resonance against attention."""

from __future__ import annotations

import pytest

from artifact.studies.causal import benchmark as causal_benchmark


def test_benchmark_tables():
    table = causal_benchmark.layers([64, 128, 192], resonators=[4], rounds=1)
    auto = table[table["engine"] == "auto"]
    assert (table["ratio"] * table["seconds"]).to_list() == pytest.approx(table["peer_seconds"].to_list())
    assert (auto["products_floor"] > 0).all() and (auto["seconds"] > auto["bytes_floor"]).all()
    slopes = causal_benchmark.growth(table, shortest=1)
    assert set(slopes["case"]) == {"auto.k4", "fft.k4", "attention"} and (slopes["low"] <= slopes["high"]).all()
    steps = causal_benchmark.steps([64, 128], k=4, rounds=1)
    assert steps["state_bytes"].nunique() == 1 and steps["state_bytes"][0] == 4 * (128 * 4 * 2 + 128)
    assert steps["cache_bytes"].to_list() == [2 * 4 * 128 * (n + 1) + 8 for n in (64, 128)]
    choice = causal_benchmark.engines([32], batches=[2], k=4, rounds=1)
    assert choice["over_best"][0] >= 1
