"""The figure of `99_scoreboard`: every claim and its verdict (style: `plots`)."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from artifact.studies.common.plots import VERDICT_COLOURS, WIDTH, use_style


def scoreboard(claims: pd.DataFrame) -> Figure:
    """The verdict of every claim: one row a claim, one colour and one word a verdict."""
    use_style()
    figure, axes = plt.subplots(figsize=(WIDTH, 0.2 * len(claims) + 0.3))
    kinds = list(VERDICT_COLOURS)
    codes = claims["verdict"].map(kinds.index).to_numpy()[:, None]
    axes.imshow(
        codes,
        cmap=ListedColormap(list(VERDICT_COLOURS.values())),
        vmin=-0.5,
        vmax=len(kinds) - 0.5,
        aspect="auto",
        extent=(0, 1, len(claims) - 0.5, -0.5),
    )
    for row, (_, claim) in enumerate(claims.iterrows()):
        axes.text(-0.02, row, claim["id"], ha="right", va="center", fontsize=7.5)
        axes.text(
            0.5,
            row,
            claim["verdict"],
            ha="center",
            va="center",
            fontsize=7.5,
            color="0.4" if claim["verdict"] == "not measured" else "k",
        )
        axes.text(
            1.03, row, textwrap.shorten(claim["printed"], 88, placeholder=" ..."), ha="left", va="center", fontsize=7
        )
    axes.hlines(np.arange(len(claims) + 1) - 0.5, 0, 1, color="white", lw=1.5)
    axes.set(xlim=(-0.9, 5.1))
    axes.axis("off")
    return figure
