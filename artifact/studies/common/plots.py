"""One style for every figure; the figures themselves stand by subject in `plots_gradients`, `plots_cost` and so on.

There each function draws saved results and returns the figure.

Colours are seaborn's colour-blind palette, told apart by marker or line style as well.  Bars are Student intervals
over seeds, at 95%; what a band is stands in the docstring of its figure.
"""

from __future__ import annotations

import os

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from artifact.studies.common.statistics import mean_interval

WIDTH = 6.3  # inches: the report's text width
PALETTE = sns.color_palette("colorblind")
GREY = "0.45"
VERDICT_COLOURS = {
    "holds": PALETTE[2],
    "holds if": PALETTE[8],
    "false as printed": PALETTE[3],
    "not comparable": PALETTE[7],
    "not measured": (0.94, 0.94, 0.94),
}


def use_style() -> None:
    """Set the style of every figure; the same data then give the same bytes."""
    # Matplotlib stamps PDF files with the date unless told a fixed one.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
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
    """Return a figure of one row of panels over the text width."""
    use_style()
    figure, axes = plt.subplots(1, columns, figsize=(WIDTH, height), squeeze=False, **options)
    return figure, axes[0]


def student_interval(values: pd.Series) -> tuple[float, float]:
    """Return the interval that bars show, for seaborn's `errorbar`."""
    return mean_interval(values)[1:]
