"""The map of engines: who runs where, and the distance of the choice."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from artifact.studies.complexity import figures
from artifact.studies.complexity.engine_map import as_started, engine_map, measures, worth_running
from resonance.band import make_band
from resonance.spectral import choose_engine


def test_engines_that_cannot_compete_are_not_run():
    assert worth_running(64, 8) == ["fft", "dense", "fast"]
    assert worth_running(4096, 2048) == ["fft"]  # the table of the product would hold 2^24 entries
    assert worth_running(2**18, 16) == ["fft", "fast"]


def test_the_map_names_the_choice_and_its_distance_in_a_process_of_its_own():
    table = as_started([64, 128], "cpu", [4], 1, 1e-4)
    assert set(table["n"]) == {64, 128} and (table["k"] == (table["n"] * table["share"]).round()).all()
    assert set(table["pass"]) == {"forward", "both"} and (table["k"] >= 1).all()
    for _, row in table.iterrows():
        seconds = row[["fft", "dense", "fast"]].astype(float)
        assert row["chosen"] == choose_engine(make_band(row["n"], row["k"]))
        assert row["over_best"] == pytest.approx(seconds[row["chosen"]] / seconds.min())


def test_inputs_too_large_for_a_machine_are_left_out():
    assert engine_map([2**20], channels=[1024], rounds=1).empty


def test_the_figure_has_a_panel_for_each_peer_and_number_of_channels_and_a_number_a_case():
    rows = [
        {"n": n, "k": k, "share": k / n, "d": d, "pass": name}
        | {"fft": 4.0, "dense": math.nan if n == 256 else 8.0, "fast": 2.0, "chosen": "fast", "over_best": 1.0}
        for n in (64, 256)
        for k in (n // 32, n // 2)
        for d in (4, 8)
        for name in ("forward", "both")
    ]
    table = pd.DataFrame(rows)
    panels = figures.engine_map(table).axes[:4]
    assert [text.get_text() for text in panels[0].texts] == ["2.0"] * 4
    assert [text.get_text() for text in panels[2].texts] == ["4.0"] * 2  # none where the product was not run
    found = {key: value for key, value, _ in measures(table)}
    assert found["engines.cases"] == 16 and found["engines.faster"] == 8 and found["engines.slower"] == 0
    assert found["engines.share32.min"] == found["engines.share2.max"] == 2.0 and found["engines.within"] == 100
