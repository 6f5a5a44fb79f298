"""Tables of the report, from the ledger: every cell is LaTeX, every number of ours a measure.

The README's tables (`readme`) share the rows.
"""

from __future__ import annotations

import math
import re

import pandas as pd

from artifact.files import PAPER
from artifact.pipeline.runner import is_current
from artifact.studies.efficiency.benchmark import AIMS
from artifact.studies.holographic_capacity.capacity import PRINTED, SCHEMES
from artifact.studies.stable_gradients.ablation import ARMS, CARTESIAN, OPTIMIZERS
from artifact.studies.stable_gradients.tasks import METRICS

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
SPEED_KEYS = {"ResonanceLayer": "layer", "ResonanceLayer + feed-forward": "block", "BandMixing": "mixing"}
SHORT = {
    "BandMixing": "mixing",
    "ResonanceLayer": "layer",
    "ResonanceLayer + feed-forward": "layer, feed-forward",
    "FNet layer": "FNet",
    "Transformer layer": "Transformer",
}
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

SIGNALS = {"ar1": "AR(1), $0{.}9$", "one_over_f": "$1/f$", "white": "white", "band": "band $\\abs f<n/8$"}
SHARES = {"1": "$1$", "2": "$1/2$", "4": "$1/4$", "8": "$1/8$", "16": "$1/16$"}  # n/k: k/n
TRAPS = {
    "generic": "whole band, random weights",
    "half_band": "$k=n/2$ counted on both sides",
    "one_sided": "$k=n/2$ counted on one side",
    "residual": "residual block, $k=n/2$ on both sides",
    "zero_weight": "one zero weight",
    "half_rank": "interference of half rank, random",
    "dc_swap": "unitary interference, DC swapped with $f=5$",
    "small_weight": "one weight of $1/1000$",
    "generic_rounded": "whole band, output rounded to bfloat16",
    "small_weight_rounded": "one weight of $1/1000$, output rounded",
}
KEPT = {
    "lowest": "lowest, by the rule",
    "energy": "most energy, by the rule",
    "information": "most information, by the rule",
    "lowest_same_k": "lowest, as many",
    "energy_same_k": "most energy, as many",
    "energy_rule": "lowest that hold 95\\% of the energy",
    "whole": "whole band",
}
SLOPES = {
    "jump": ("jump", "$-1/2$"),
    "kink": ("kink", "$-3/2$"),
    "second": ("jump in the second derivative", "$-5/2$"),
    "ends": ("smooth, ends differ", "$-1/2$"),
    "mirrored": ("the same, mirrored", "$-3/2$"),
    "padded": ("smooth and periodic, zero-padded", "$-1/2$"),
    "s05": ("random, $s=1/2$", "$-1/2$"),
    "s10": ("random, $s=1$", "$-1$"),
    "s20": ("random, $s=2$", "$-2$"),
    "s30": ("random, $s=3$", "$-3$"),
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
    if "information.n" in by_key.index:
        tables |= information_tables(by_key)
    if "context.longest" in by_key.index:
        tables["context"] = context_table(by_key["value"])
    if "capacity.fhrr.512.error" in by_key.index:
        tables["capacity"] = capacity_table(by_key["value"])
    if "ablation.cells" in by_key.index:
        tables["ablation"] = ablation_table(by_key)
    return tables


def information_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """What each signal retains by k/n, what each map loses, what each choice of frequencies keeps, measured slopes."""
    value = by_key["value"]
    retained = [
        {"Signal": label}
        | {head: number(value[f"information.retained.{key}.{share}"]) for share, head in SHARES.items()}
        for key, label in SIGNALS.items()
    ]
    lost = [
        {"Map": label, "Real rank": number(value[f"information.rank.{key}"])}
        # Below a billionth of a bit stands rounding.
        | {"Bits lost": number(round(value[f"information.lost.{key}"], 9))}
        for key, label in TRAPS.items()
    ]
    past = [
        {"Frequencies kept": label, "$k$": number(value[f"information.past.{key}.k"])}
        | {"Bits": number(value[f"information.past.{key}.bits"])}
        | {"Share of the whole band's": _past_share(by_key.loc[f"information.past.{key}.retained"])}
        | {"Variance left": number(value[f"information.past.{key}.unexplained"])}
        for key, label in KEPT.items()
    ]
    slopes = [
        {"Signal": label, "Theory": theory, "Measured": with_interval(by_key.loc[f"approximation.slope.{key}"], 3)}
        for key, (label, theory) in SLOPES.items()
    ]
    return {
        "retained": to_latex(pd.DataFrame(retained), "@{}lrrrrr@{}"),
        "traps": to_latex(pd.DataFrame(lost), "@{}lrr@{}"),
        "past": to_latex(pd.DataFrame(past), "@{}lrrlr@{}"),
        "slopes": to_latex(pd.DataFrame(slopes), "@{}lll@{}"),
    }


def _past_share(row: pd.Series) -> str:
    """The whole band's share of itself is 1, whatever the bootstrap."""
    return with_interval(row, 3) if row["ci_low"] < row["ci_high"] else number(row["value"])


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
    """How many times faster than each peer, with the aim, and how many times its two floors ours takes."""
    rows = []
    for ours, peer, n, ratio, aim in speed_rows(value):
        floors = [value[f"floor.{SPEED_KEYS[ours]}.{kind}.{n}"] for kind in ("bytes", "products")]
        rows.append(
            {"Ours": SHORT[ours], "Against": SHORT.get(peer, peer), "$n$": number(n, 7)}
            | {"Times faster": number(ratio), "Aim": "--" if aim is None else number(aim)}
            | {"Bytes": number(floors[0], 2), "Products": number(floors[1], 2)}
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


def capacity_table(value: pd.Series) -> str:
    """Error of every scheme at the printed dimensions, under the printed errors and their bounds, and reals stored."""
    dims = PRINTED["dim"].tolist()
    heads = [rf"${dim},\;{n}$" for dim, n in zip(dims, PRINTED["n"], strict=True)]

    def row(name: str, cells: list[str], reals: str) -> dict[str, str]:
        return {
            "Scheme, at $D,\\;N$": name,
            **dict(zip(heads, cells, strict=True)),
            f"Reals$/D^2$, $D={dims[-1]}$": reals,
        }

    rows = [row("Printed", [rf"\printednum{{{error}}}" for error in PRINTED["error"]], "--")]
    for name, key in (("Least error in the printed bits", "best"), ("Least error in one complex64 trace", "trace")):
        rows.append(row(name, [number(value[f"capacity.printed.{dim}.{key}"]) for dim in dims], "--"))
    for name, key in SCHEMES.items():
        errors = [number(value[f"capacity.{key}.{dim}.error"], 2) for dim in dims]
        reals = number(value[f"capacity.{key}.{dims[-1]}.reals"] / dims[-1] ** 2, 2)
        rows.append(row(name[0].upper() + name[1:], errors, reals))
    return to_latex(pd.DataFrame(rows), "@{}lrrrr@{}")


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
