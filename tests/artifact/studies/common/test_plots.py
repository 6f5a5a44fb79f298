"""What figures share: the plots of a table of seeds, the typeface, and the ticks of a logarithmic axis."""

from __future__ import annotations

import re
import warnings
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from artifact.files import PAPER, ROOT
from artifact.studies.common.plots import FONT, PALETTE, mean_curve, panels, plain_ticks, seeds_with_interval
from artifact.studies.common.statistics import mean_interval, share_interval


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


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


def test_every_text_is_legible_and_of_the_typeface_of_the_report(caplog):
    figure, (left, right) = panels(2)
    seeds_with_interval(left, scores(3), "score", "task", group="method", looks=LOOKS)
    left.legend(title="method")
    left.set(title="title, 5 µs – “9”", xlabel=r"$\frac{1}{2}\|\ell/\lambda\|$, $D \times D$")
    mean_curve(right, pd.DataFrame({"n": [2, 4e5], "t": [-1e-3, 1.0]}), "n", "t", LOOKS["ours"])
    right.set(xscale="log", yscale="symlog")
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a missing character
        figure.savefig(file, format="pdf")
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert len(texts) > 15 and min(text.get_fontsize() for text in texts) >= 7
    assert {text.get_fontname() for text in texts} == {FONT}
    embedded = set(re.findall(rb"/BaseFont /(?:[A-Z]{6}\+)?([\w-]+)", file.getvalue()))
    assert b"LMRoman8TrueType" in embedded  # and, for mathematics, Computer Modern, from which Latin Modern comes
    assert embedded <= {b"LMRoman8TrueType", b"Cmmi10", b"Cmsy10", b"Cmr10", b"Cmex10"}
    assert not caplog.records  # matplotlib logs a font that it does not find


@pytest.mark.parametrize("path", sorted((ROOT / "artifact/studies").glob("*/figures.py")), ids=lambda p: p.parent.name)
def test_no_study_sets_smaller_text_or_another_typeface(path):
    source = path.read_text()
    assert all(float(size) >= 7 for size in re.findall(r"(?:font|label)size\W{1,4}([\d.]+)", source))
    assert not re.search(r"\b(?:family|fontfamily|fontname)=[\"']", source)


def test_figures_are_printed_at_their_own_size():
    texts = [path.read_text() for path in PAPER.rglob("*.tex") if not {"build", "generated"} & set(path.parts)]
    widths = re.findall(r"\\includegraphics(\[[^\]]*\])?\{\d\d_", "\n".join(texts))
    assert len(widths) > 50 and set(widths) == {r"[width=\linewidth]"}


@pytest.mark.parametrize("limits", [(0.005, 0.06), (400, 150_000), (2.4, 62), (0.614, 0.661), (3, 6), (1, 1000)])
def test_a_logarithmic_axis_has_labels_in_plain_numbers(limits):
    _, (axes,) = panels(1)
    axes.set(xscale="log", xlim=limits)
    plain_ticks(axes.xaxis)
    ticks = axes.get_xticks()
    assert 3 <= len(ticks) <= 6 and limits[0] <= min(ticks) and max(ticks) <= limits[1]
    assert axes.get_xlim() == limits and len(axes.get_xticks(minor=True)) == 0
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert [float(label.replace("k", "e3")) for label in labels] == pytest.approx(ticks)
