"""Tables of the report, from the ledger: every cell is LaTeX, every number of ours a measure.

The README's tables (`readme`) share the rows.
"""

from __future__ import annotations

import math
import re

import pandas as pd

from .ablation import ARMS, CARTESIAN, OPTIMIZERS
from .ablation_tasks import METRICS
from .benchmark import AIMS
from .paths import PAPER
from .runner import is_current

FORECASTERS = {
    "naive": "Seasonal naive",
    "ridge": "Ridge, closed form",
    "dlinear": "DLinear",
    "resonance": "ResonanceTimeSeriesNet",
}
GROWTHS = {
    "fft": "Resonance layer, FFT",
    "dense": "Resonance layer, one product a transform",
    "fast": "Resonance layer, linear-time engine",
    "proportional": "Resonance layer, $k = n/4$",
    "transformer": "Transformer layer",
}
FLOORS = ("bytes", "products")
PAIRS = {
    "mixing.fft": ("BandMixing", "torch.fft"),
    "mixing.linear": ("BandMixing", "nn.Linear"),
    "layer.fnet": ("ResonanceLayer", "FNet layer"),
    "layer.transformer": ("ResonanceLayer", "Transformer layer"),
    "block.fnet": ("ResonanceLayer + feed-forward", "FNet layer"),
    "block.transformer": ("ResonanceLayer + feed-forward", "Transformer layer"),
}
STEPS = {
    "resonance.train": ("resonance", "training"),
    "transformer.train": ("Transformer", "training"),
    "resonance.stream": ("resonance", "streamed inference"),
}


# --------------------------------------------------------------------------- text for LaTeX

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def escape(text: object) -> str:
    """Return text that LaTeX prints as it is; "" for a missing value."""
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return ""
    return "".join(_SPECIAL.get(character, character) for character in str(text))


def number(value: float, figures: int = 3) -> str:
    """Return a siunitx number rounded to significant figures; "--" for a missing one."""
    if pd.isna(value):
        return "--"
    if value == int(value) and abs(value) < 1e7:
        return rf"\num{{{int(value)}}}"
    return rf"\num[round-mode=figures,round-precision={figures}]{{{value:.12g}}}"


def with_interval(row: pd.Series, figures: int = 4) -> str:
    """Return a measure with its interval, "0.358 [0.357, 0.359]", or alone where it has none."""
    text = number(row["value"], figures)
    if pd.isna(row["ci_low"]):
        return text
    return f"{text} [{number(row['ci_low'], figures)}, {number(row['ci_high'], figures)}]"


# --------------------------------------------------------------------------- tables


def to_latex(table: pd.DataFrame, columns: str) -> str:
    """Return a booktabs tabular of a table whose cells are LaTeX already."""
    return table.style.hide(axis="index").to_latex(hrules=True, column_format=columns)


def remark_on(claim: pd.Series) -> str:
    """Return what stands beside a verdict: the condition, why it cannot be compared, or what is true."""
    column = {"holds if": "condition", "not comparable": "rule"}.get(claim["verdict"], "corrected")
    return "" if pd.isna(claim[column]) else str(claim[column]).removeprefix("not comparable: ")


def verdict_table(claims: pd.DataFrame) -> str:
    """Every claim, its verdict, and the condition or corrected statement."""
    rows = []
    for _, claim in claims.iterrows():
        judged = claim["verdict"] != "not measured"
        rows.append(
            {
                "Claim": rf"\texttt{{{escape(claim['id'])}}}",
                "As printed": escape(claim["printed"]),
                "Verdict": rf"\textbf{{{claim['verdict']}}}" if judged else claim["verdict"],
                "Condition, or what is true": escape(remark_on(claim)),
            }
        )
    body = to_latex(pd.DataFrame(rows), r"@{}l>{\RaggedRight}p{5.4cm}>{\RaggedRight}p{2.1cm}>{\RaggedRight}p{5.0cm}@{}")
    # More than a page long: the same rows in a longtable, its head on each page.
    body = body.replace(r"\midrule", r"\midrule\endhead", 1)
    body = body.replace(
        r"\toprule", r"\caption{Every printed claim, with its printed figures in brackets.}\\\toprule", 1
    )
    return body.replace(r"\begin{tabular}", r"\begin{longtable}").replace(r"\end{tabular}", r"\end{longtable}")


def provenance_table(provenance: list[dict], profile: str) -> str:
    """Which notebook ran on what, when, how long, and whether the code has changed since."""
    rows = [
        {
            "Notebook": rf"\texttt{{{escape(record['notebook'])}}}",
            "Data": escape(record["dataset"]) or "--",
            "Time (s)": number(record["seconds"]),
            "Threads": number(record["threads"]),
            "Commit": rf"\texttt{{{escape(record['commit'])}}}",
            "Code since": "same" if is_current(record["notebook"], profile) else "changed",
        }
        for record in provenance
    ]
    return to_latex(pd.DataFrame(rows), r"@{}l>{\RaggedRight}p{4.2cm}rrll@{}")


def measure_tables(measures: pd.DataFrame) -> dict[str, str]:
    """Return the tables that consist of measures, by name; one for each notebook that has run."""
    by_key = measures.set_index("key")

    def cell(key: str, figures: int = 4) -> str:
        return with_interval(by_key.loc[key], figures) if key in by_key.index else "--"

    tables = {}
    if "forecast.resonance.mse" in by_key.index:
        rows = [
            {
                "Method": label,
                "Parameters": cell(f"forecast.{key}.parameters"),
                "Validation MSE": number(by_key.loc[f"forecast.{key}.validation_mse", "value"], 4),
                "Test MSE [95\\% interval]": cell(f"forecast.{key}.mse"),
                "Test MAE": number(by_key.loc[f"forecast.{key}.mae", "value"], 4),
            }
            for key, label in FORECASTERS.items()
        ]
        tables["forecasting"] = to_latex(pd.DataFrame(rows), "@{}lrrlr@{}")
    if "cost.fft.slope" in by_key.index:
        rows = [
            {"Model": label, "Exponent of time in $n$": cell(f"cost.{key}.slope", 3)} for key, label in GROWTHS.items()
        ]
        tables["growth"] = to_latex(pd.DataFrame(rows), "@{}ll@{}")
    if "efficiency.length" in by_key.index:
        tables["speed"] = speed_table(by_key["value"])
    if "context.longest" in by_key.index:
        tables["context"] = context_table(by_key["value"])
    if "ablation.cells" in by_key.index:
        tables["ablation"] = ablation_table(by_key)
    return tables


def ablation_table(by_key: pd.DataFrame) -> str:
    """Every arm's test score on every task under each optimiser, and its paired difference from Cartesian weights."""

    def places(value: float) -> str:
        return rf"\num{{{round(value, 4) + 0.0:.4f}}}"  # + 0.0: no minus before zeros

    rows = []
    for task in METRICS:
        for arm in ARMS:
            row = {"Task": task if arm is CARTESIAN else "", "Weights": arm.name.replace("x5", r"$\times 5$")}
            for optimizer in OPTIMIZERS:
                key = f"ablation.{task}.{optimizer.lower()}.{arm.key}"
                row[optimizer], row[f"{optimizer} minus Cartesian"] = places(by_key.loc[key, "value"]), ""
                if arm is not CARTESIAN:
                    value, low, high = by_key.loc[f"{key}.minus_{CARTESIAN.key}", ["value", "ci_low", "ci_high"]]
                    row[f"{optimizer} minus Cartesian"] = f"{places(value)} [{places(low)}, {places(high)}]"
            rows.append(row)
    body = to_latex(pd.DataFrame(rows), "@{}llrlrl@{}")
    for task in list(METRICS)[1:]:
        body = body.replace(f"\n{task} ", f"\n\\addlinespace\n{task} ", 1)
    return body


def speed_rows(value: pd.Series) -> list[tuple[str, str, int, float, float | None]]:
    """Return (ours, peer, n, times faster, aim) of every comparison that was timed."""
    rows = []
    for pair, (ours, peer) in PAIRS.items():
        for n in lengths_of(value, f"speed.{pair}."):
            aim = AIMS.get((ours, peer), {}).get(n)
            rows.append((ours, peer, n, value[f"speed.{pair}.{n}"], aim))
    return rows


def lengths_of(value: pd.Series, prefix: str, suffix: str = "") -> list[int]:
    """Return the lengths n of the measures <prefix>n<suffix>, in order."""
    found = (re.fullmatch(re.escape(prefix) + r"(\d+)" + re.escape(suffix), key) for key in value.index)
    return sorted(int(match[1]) for match in found if match)


def speed_table(value: pd.Series) -> str:
    """How many times faster than each peer, with the aim, and the mixing's distance from its floors."""
    rows = []
    for ours, peer, n, ratio, aim in speed_rows(value):
        floors = [value.get(f"speed.floor.{kind}.{n}") if peer == PAIRS["mixing.fft"][1] else None for kind in FLOORS]
        rows.append(
            {"Ours": ours, "Against": peer, "$n$": number(n, 7), "Times faster": number(ratio)}
            | {"Aim": "--" if aim is None else number(aim)}
            | {f"Over {kind}": "--" if x is None else number(x) for kind, x in zip(FLOORS, floors, strict=True)}
        )
    return to_latex(pd.DataFrame(rows), "@{}llrrrrr@{}")


def context_table(value: pd.Series) -> str:
    """Seconds and peak memory of each step that ran."""
    rows = []
    for key, (model, task) in STEPS.items():
        for n in lengths_of(value, f"context.{key}.", ".seconds"):
            seconds, peak = (value[f"context.{key}.{n}.{part}"] for part in ("seconds", "peak"))
            rows.append(
                {"Model": model, "Step": task, "$n$": number(n, 7)}
                | {"Seconds": number(seconds), "Peak (GB)": number(peak)}
            )
    return to_latex(pd.DataFrame(rows), "@{}llrrr@{}")


def published_table() -> str:
    """Published errors on ETTh1 at horizon 96, with where each was read."""
    rows = [
        {
            "Method": rf"{row['method']}~\cite{{{row['key']}}}",
            "MSE": rf"\printednum{{{row['mse']:.3f}}}",
            "MAE": rf"\printednum{{{row['mae']:.3f}}}",
            "Read from": escape(row["read_from"]),
        }
        for _, row in pd.read_csv(PAPER / "published.csv").iterrows()
    ]
    return to_latex(pd.DataFrame(rows), "@{}lrrl@{}")
