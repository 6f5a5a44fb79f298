"""The style of every figure, and the plots that most of them share; each study's `figures.py` draws its results.

Colours are seaborn's colour-blind palette, each with a marker or line style of its own.  Bars and bands are 95%
intervals over seeds, Student's or, of proportions, one that stays inside, where nothing else is said.  Figures are as
wide as the report's text and printed at their own size, so that the sizes below are those on paper: 7 pt or more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from artifact.studies.common.statistics import mean_interval, share_interval

WIDTH = 6.3  # inches: the report's text width
PALETTE = sns.color_palette("colorblind")
GREY = "0.45"
FONT = "LM Roman 8 TrueType"  # Latin Modern, as the report's text: fonts/README.md
font_manager.fontManager.addfont(Path(__file__).parent / "fonts" / "lmroman8.ttf")
logging.getLogger("fontTools.ttLib").setLevel(logging.ERROR)  # it warns of the dates in matplotlib's Computer Modern
VERDICT_COLOURS = {
    "holds": PALETTE[2],
    "holds if": PALETTE[8],
    "works": PALETTE[9],
    "false as printed": PALETTE[3],
    "not comparable": PALETTE[7],
    "not measured": (0.94, 0.94, 0.94),
}


def use_style() -> None:
    """Set the style of every figure; the same data then give the same bytes."""
    # Matplotlib writes the date into PDF files unless it is given a fixed one.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "font.family": [FONT],
            "mathtext.fontset": "custom",
            "mathtext.rm": FONT,
            "mathtext.it": "cmmi10",
            "mathtext.cal": "cmsy10",
            "mathtext.fallback": "cm",  # Greek and symbols; a root sign logs a warning there, so roots are powers
            "axes.formatter.use_mathtext": True,
            "text.hinting": "none",  # letters stand where they do in the PDF
            "font.size": 8,
            "axes.titlesize": 9,
            "axes.labelsize": 8,
            "xtick.labelsize": 7.5,
            "ytick.labelsize": 7.5,
            "legend.fontsize": 7.5,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "pdf.fonttype": 42,
            "svg.hashsalt": "resonance",
            "savefig.dpi": 200,
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
        }
    )


def panels(columns: int, height: float = 2.5, **options) -> tuple[Figure, np.ndarray]:
    """A figure of one row of panels over the text width."""
    use_style()
    figure, axes = plt.subplots(1, columns, figsize=(WIDTH, height), squeeze=False, **options)
    return figure, axes[0]


def plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis, within the limits that it has by now, by three plain numbers or more."""
    low, high = axis.get_view_interval()
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.floor(np.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), None):
        ticks = MaxNLocator(4).tick_values(low, high) if steps is None else np.outer(decades, steps).ravel()
        ticks = ticks[(low <= ticks) & (ticks <= high)]
        if len(ticks) > 2:
            break
    thousand = 1000 if ticks[-1] >= 10_000 else np.inf  # from where on "10k" is written
    axis.set_ticks(ticks, [f"{tick / 1000:g}k" if tick >= thousand else f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


Look = tuple  # (colour, marker, line style)


def seeds_with_interval(
    axes: Axes,
    table: pd.DataFrame,
    value: str,
    level: str,
    *,
    group: str | None = None,
    looks: Mapping[str, Look] | None = None,
    order: Iterable | None = None,
    vertical: bool = False,
    whole: float | None = None,
) -> None:
    """Draw each seed as a point, and the mean of each level with its interval over three seeds or more.

    table: a row a seed.  level: the column that gives the rows of the axis (columns where `vertical`), from the top, in
    `order` or that of the table; levels that are not in `order` are left out.
    group: a column that splits each level, drawn side by side in the order of `looks` and labelled for a legend (the
    same column as `level`: each level in its own look).
    whole: for proportions, what all of them is, so that the interval stays inside: see `interval_of`.
    """
    levels = list(dict.fromkeys(table[level]) if order is None else order)
    split = group not in (None, level)
    looks = {None: (PALETTE[0], "o")} if group is None else looks
    for at, (name, (colour, marker, *_)) in enumerate(looks.items()):
        own = table if group is None else table[table[group] == name]
        mean_marker, size = (marker, 5) if split else ("_" if vertical else "|", 10)
        dark = "k" if group is None else colour
        style = {"marker": mean_marker, "ms": size, "mew": 1.3, "color": dark, "ls": "none", "zorder": 3}
        if split:
            axes.plot([], [], label=name, **style)
        for place, key in enumerate(levels):
            seeds = own.loc[own[level] == key, value]
            if seeds.empty:
                continue
            place = place + 0.5 * ((at + 0.5) / len(looks) - 0.5) * split
            mean, *interval = interval_of(seeds, value, whole)
            for x, options in (
                (seeds, {"marker": marker, "ms": 3.5, "mew": 0, "alpha": 0.5, "color": colour, "ls": "none"}),
                (interval if len(seeds) > 2 else [], {"lw": 1.3, "color": dark, "zorder": 3}),
                ([mean], style),
            ):
                points = (np.asarray(x, dtype=float), np.full(len(x), place))
                axes.plot(*(points[::-1] if vertical else points), **options)
    ticks, edges = range(len(levels)), (-0.5, len(levels) - 0.5)
    if vertical:
        axes.set(xticks=ticks, xticklabels=levels, xlim=edges)
    else:
        axes.set(yticks=ticks, yticklabels=levels, ylim=edges[::-1])


def interval_of(values: Iterable[float], column: str, whole: float | None = None) -> tuple[float, float, float]:
    """Mean and interval over seeds: of Student, or of proportions of `whole`, which is 100 for a column "percent"."""
    whole = 100 if column == "percent" else whole
    return mean_interval(values) if whole is None else share_interval(values, whole)


def mean_curve(
    axes: Axes, table: pd.DataFrame, x: str, y: str, look: Look, *, whole: float | None = None, **options
) -> None:
    """Draw the mean of y over seeds against x as a line, with the band of its interval over three or more.

    table: a row a seed and x; whole: as in `interval_of`; options: of the line, its label for instance.
    """
    colour, marker, line = look
    style = {"color": colour, "marker": marker, "ls": line, "ms": 3.5, "lw": 1.2} | options
    curve = pd.DataFrame({place: interval_of(seeds, y, whole) for place, seeds in table.groupby(x)[y]}).T
    axes.plot(curve.index, curve[0], **style)
    if table.groupby(x)[y].size().min() > 2:
        axes.fill_between(curve.index, curve[1], curve[2], color=colour, alpha=0.15, lw=0)


def mean_bars(axes: Axes, table: pd.DataFrame, x: str, y: str, *, whole: float | None = None, **look) -> None:
    """Draw the mean of y over seeds at each x, its interval over two or more as a bar.

    whole: as in `interval_of`; look: of `errorbar`.
    """
    curve = pd.DataFrame({place: interval_of(seeds, y, whole) for place, seeds in table.groupby(x)[y]})
    mean, low, high = curve.to_numpy()
    bars = np.nan_to_num(np.vstack([mean - low, high - mean]))
    axes.errorbar(curve.columns, mean, bars, **{"ls": "", "ms": 4, "lw": 1.1} | look)
