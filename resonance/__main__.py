"""The command `resonance`: forecast a CSV of one's own, with intervals, a plot, and a page on how good it is.

    resonance forecast my.csv --horizon 96        (or python -m resonance forecast ...)

It needs the packages of the extra `forecast`: pip install "resonance-nn[forecast]".
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

from . import forecaster
from .forecaster import Forecast, Forecaster
from .series import Series, load_csv
from .training.checkpoint import written_aside

SHOWN = 6  # channels of the plot
BLUE, GREY = "#0072B2", "#555555"


def account(series: Series, coming: Forecast, plot: str) -> str:
    """One page of Markdown: the data, the errors on held-back rows beside both baselines, what limits the forecast."""
    steps, repeat = len(coming.values), coming.held_back["seasonal repeat"].mse
    ends = [] if series.times is None else [str(t.astype("M8[s]")).replace("T", " ") for t in series.times[[0, -1]]]
    span = f" from {ends[0]} to {ends[1]}," if ends else ""
    rows = "\n".join(
        f"| {'**' * (name == coming.method)}{name}{'**' * (name == coming.method)} | {error.mse:.4g} | {error.mae:.4g} "
        f"| {100 * (error.mse / repeat - 1):+.1f}% |"
        for name, error in coming.held_back.items()
        if repeat > 0
    )
    more = f", of which the plot shows {SHOWN}" if len(series.channels) > SHOWN else ""
    return f"""# {series.dataset}: the next {steps} {series.step}s

{len(series.values):,} rows,{span} one every {series.step}, period {series.period}.
{len(series.channels)} channels{more}.

![forecast]({plot})

| method | MSE | MAE | MSE against the seasonal repeat |
|---|---|---|---|
{rows}

Errors on rows that were held back, in units of each channel's standard deviation over the rows before. Every method was
chosen on other rows. The one in bold had the lowest error, was fitted again to every row, and made the forecast.

{chr(10).join(f"- {note}" for note in coming.notes)}
"""


def draw(series: Series, coming: Forecast, path: Path) -> None:
    """The last three horizons of up to SHOWN channels, the forecast and its intervals."""
    import matplotlib.dates

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown, before = series.channels[:SHOWN], min(len(series.values), 3 * len(coming.values))
    times = np.arange(len(series.values)) if series.times is None else series.times
    size = (8, 1 + 1.6 * len(shown))
    figure, panels = plt.subplots(len(shown), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for at, (axes, name) in enumerate(zip(panels[:, 0], shown, strict=True)):
        axes.plot(times[-before:], series.values[-before:, at], color=GREY, lw=1, label="measured")
        axes.plot(coming.times, coming.values[:, at], color=BLUE, lw=1.5, label=f"forecast: {coming.method}")
        low, high, band = coming.lower[:, at], coming.upper[:, at], f"intervals of {coming.level:.0%}"
        axes.fill_between(coming.times, low, high, color=BLUE, alpha=0.2, lw=0, label=band)
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    if series.times is not None:
        axes.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(axes.xaxis.get_major_locator()))
    panels[-1, 0].set_xlabel(f"time ({series.step}s)" if series.times is None else "time")
    panels[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=150)
    plt.close(figure)


def write(series: Series, coming: Forecast, folder: Path) -> None:
    """forecast.csv (a row a step; value, lower and upper of each channel), forecast.png, account.md."""
    import pandas as pd

    parts = {"": coming.values, " lower": coming.lower, " upper": coming.upper}
    columns = {name + part: v[:, at] for at, name in enumerate(coming.channels) for part, v in parts.items()}
    with written_aside(folder / "forecast.csv") as aside:
        pd.DataFrame(columns, pd.Index(coming.times, name="date")).to_csv(aside)
    draw(series, coming, folder / "forecast.png")
    with written_aside(folder / "account.md") as aside:
        aside.write_text(account(series, coming, "forecast.png"), encoding="utf-8")


def forecast(options: argparse.Namespace) -> None:
    """Read, fit, write; raises ValueError, OSError and ImportError with one clear message."""
    names = ("period", "date", "dayfirst", "sep", "decimal", "encoding", "fill")
    import matplotlib  # noqa: F401  before any work: what will be needed at its end
    import pandas  # noqa: F401

    series = load_csv(options.csv, **{name: getattr(options, name) for name in names})
    rows = f"{len(series.values):,} rows, one every {series.step}, period {series.period}"
    print(f"{options.csv}: {rows}, {len(series.channels)} channels", file=sys.stderr)
    coming = Forecaster(options.horizon, coverage=options.coverage).fit(series).predict()
    folder = options.out or Path(f"{options.csv.stem}-forecast")
    write(series, coming, folder)
    print(coming)
    print(f"written: {folder}/forecast.csv, forecast.png, account.md", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    layout = argparse.RawDescriptionHelpFormatter
    command = argparse.ArgumentParser(prog="resonance", description=__doc__, formatter_class=layout)
    one = command.add_subparsers(required=True).add_parser("forecast", help="forecast a CSV of one's own")
    one.set_defaults(run=forecast)
    one.add_argument("csv", type=Path, help="a header, a column of dates, and channels")
    one.add_argument("--horizon", type=int, required=True, help="steps ahead")
    one.add_argument("--coverage", type=float, default=0.9, help="of the intervals (default: 0.9)")
    one.add_argument("--out", type=Path, help="folder of the results (default: NAME-forecast)")
    one.add_argument("--period", type=int, help="steps of the main cycle (default: from the dates)")
    one.add_argument("--date", help="the column of dates (default: found)")
    one.add_argument("--dayfirst", action=argparse.BooleanOptionalAction, help="01/02/2020 is in February")
    one.add_argument("--sep", help="between fields (default: found)")
    one.add_argument("--decimal", help="decimal mark (default: found)")
    one.add_argument("--encoding", help="of the file (default: UTF-8, or what its mark says)")
    one.add_argument("--fill", choices=["linear"], help="interpolate missing rows and values")
    return command


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 after one line that says what is wrong."""
    options = parser().parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    forecaster.PROGRESS.addHandler(handler)
    forecaster.PROGRESS.setLevel(logging.INFO)
    try:
        options.run(options)
    except ImportError as error:
        print(f'resonance: {error.name} is missing: pip install "resonance-nn[forecast]"', file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"resonance: {error}", file=sys.stderr)
        return 2
    finally:
        forecaster.PROGRESS.removeHandler(handler)
        forecaster.PROGRESS.setLevel(logging.NOTSET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
