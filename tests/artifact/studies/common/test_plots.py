"""The two plots that figures share: what they draw of a table of seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from artifact.studies.common.plots import PALETTE, mean_curve, panels, seeds_with_interval
from artifact.studies.common.statistics import mean_interval, share_interval

LOOKS = {"ours": (PALETTE[0], "o", "-"), "theirs": (PALETTE[1], "s", "--")}


def scores(seeds):
    rows = [(m, task, seed) for m in LOOKS for task in ("one", "two") for seed in range(seeds)]
    table = pd.DataFrame(rows, columns=["method", "task", "seed"])
    return table.assign(score=np.random.default_rng(0).random(len(table)))


def drawn(axes, size):
    return [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == size]


def test_every_seed_its_mean_and_its_interval_are_drawn():
    _, (axes,) = panels(1)
    table = scores(4)
    seeds_with_interval(axes, table, "score", "method")
    for place, (method, own) in enumerate(table.groupby("method", sort=False)):
        (seeds,) = (xy for xy in drawn(axes, 8) if xy[0, 1] == place)
        np.testing.assert_allclose(seeds[:, 0], own["score"])
        (ends,) = (xy for xy in drawn(axes, 2) if xy[0, 1] == place)
        (mean,) = (xy for xy in drawn(axes, 1) if xy[0, 1] == place)
        np.testing.assert_allclose([*mean[:, 0], *ends[:, 0]], mean_interval(own["score"]))
        assert axes.get_yticklabels()[place].get_text() == method
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first level on top


@pytest.mark.parametrize("vertical", [False, True])
def test_groups_lie_side_by_side_and_are_labelled(vertical):
    _, (axes,) = panels(1)
    seeds_with_interval(axes, scores(2), "score", "task", group="method", looks=LOOKS, order=["two"], vertical=vertical)
    places = {xy[0, 1 - vertical] for xy in drawn(axes, 2)}
    assert len(places) == 2 and all(abs(place) < 0.5 for place in places)
    assert axes.get_legend_handles_labels()[1] == list(LOOKS)
    assert len(drawn(axes, 2)) == 2  # the seeds of each group; two seeds have no interval


def test_a_level_that_is_its_own_group_stays_in_its_place():
    _, (axes,) = panels(1)
    seeds_with_interval(axes, scores(3), "score", "method", group="method", looks=LOOKS)
    assert {xy[0, 1] for xy in drawn(axes, 6)} == {0.0, 1.0}


def test_a_curve_is_the_mean_with_its_band():
    _, (axes,) = panels(1)
    table = pd.DataFrame({"n": [1, 1, 1, 2, 2, 2], "loss": [1.0, 2, 3, 2, 3, 4]})
    mean_curve(axes, table, "n", "loss", LOOKS["ours"], label="ours")
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 2], [2, 3]])
    ends = axes.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([ends.min(), ends.max()], [mean_interval([1, 2, 3])[1], mean_interval([2, 3, 4])[2]])


def test_intervals_of_proportions_stay_inside():
    _, (left, right) = panels(2)
    table = pd.DataFrame({"x": 1, "percent": [99.0, 100, 98], "share": [0.99, 1, 0.98]})
    mean_curve(left, table, "x", "percent", LOOKS["ours"])
    seeds_with_interval(right, table, "share", "x", whole=1)
    ends = left.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([ends.min(), ends.max()], share_interval([99, 100, 98], 100)[1:])
    (drawn_ends,) = (xy[:, 0] for xy in drawn(right, 2))
    np.testing.assert_allclose(drawn_ends, share_interval([0.99, 1, 0.98])[1:])
    assert ends.max() < 100 < mean_interval([99, 100, 98])[2]
