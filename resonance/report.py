"""From the ledger to the report and the README: macros, tables, the PDF, the verdict table.

    python -m resonance.report ledger  --profile quick     # merge the notebooks' ledgers
    python -m resonance.report pdf     --profile quick     # macros, tables, LaTeX; the checked PDF
    python -m resonance.report summary --profile quick     # print the verdicts and where the PDF is
    python -m resonance.report readme                      # renew the generated parts of README.md from `full`

Every number of ours in the report is a macro: \\val{key} is a row of measures.csv, rounded by siunitx.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from .benchmark import AIMS
from .ledger import VERDICTS, merge, read_ledger, read_provenance
from .paths import ROOT, write_text, written_aside
from .runner import RunError, check_profile, is_current

PAPER = ROOT / "paper"
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
METHODS = {
    "Cartesian": "cartesian",
    "polar, one rate": "polar_one_rate",
    "polar, printed ratio": "polar_printed_ratio",
    "polar, phase rate $\\times 5$": "polar_phase_rate_x5",
    "natural polar": "natural_polar",
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


# --------------------------------------------------------------------------- macros


def macros(claims: pd.DataFrame, measures: pd.DataFrame, provenance: list[dict], profile: str) -> str:
    """Return the LaTeX definitions of every number, verdict and fact of a run that the report may use."""
    lines = [rf"\newcommand{{\profile}}{{{profile}}}"]

    def define(kind: str, key: str, text: str) -> None:
        lines.append(rf"\expandafter\def\csname {kind}@{key}\endcsname{{{text}}}")

    for _, row in measures.iterrows():
        define("val", row["key"], f"{row['value']:.12g}")
        define("ci", row["key"], with_interval(row))
    for _, row in claims.iterrows():
        for kind in ("verdict", "rule", "condition", "corrected", "printed", "dataset"):
            define(kind, row["id"], escape(row[kind]))
    first = provenance[0]
    commits = {record["commit"] for record in provenance}
    facts = {
        "device": first["device"].split(",")[0],  # threads differ by notebook: the table has them
        "cores": first["machine"]["cores"],
        "memory": first["machine"]["memory_gib"],
        "system": first["machine"]["system"],
        "commit": commits.pop() if len(commits) == 1 else "by notebook: see the appendix",
        "seconds": round(sum(record["seconds"] for record in provenance)),
        **{f"version.{name}": version for name, version in first["versions"].items()},
    }
    for key, value in facts.items():
        define("fact", key, escape(value))
    datasets = sorted({record["dataset"] for record in provenance if "stand-in" in record["dataset"]})
    define("fact", "standins", escape(", ".join(datasets)))
    return "\n".join(lines) + "\n"


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
    if "identification.cartesian_sgd" in by_key.index:
        rows = [
            {
                "Coordinates and rates": label,
                "SGD": cell(f"identification.{key}_sgd", 2),
                "Adam": cell(f"identification.{key}_adam", 2),
            }
            for label, key in METHODS.items()
        ]
        tables["identification"] = to_latex(pd.DataFrame(rows), "@{}lll@{}")
    return tables


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


def generate(profile: str) -> Path:
    """Write macros and tables of a profile to paper/generated/<profile>/; return that folder."""
    claims, measures = read_ledger(profile)
    provenance = read_provenance(profile)
    folder = PAPER / "generated" / profile
    tables = {
        "verdicts": verdict_table(claims),
        "provenance": provenance_table(provenance, profile),
        "published": published_table(),
        **measure_tables(measures),
    }
    write_text(folder / "macros.tex", macros(claims, measures, provenance, profile))
    for name, text in tables.items():
        write_text(folder / f"{name}.tex", text)
    return folder


# --------------------------------------------------------------------------- the PDF


def tex_command() -> list[str] | None:
    """Return the command that builds a PDF from report.tex in its folder: latexmk, else tectonic, else None."""
    if shutil.which("latexmk") and shutil.which("pdflatex"):
        return ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", "report.tex"]
    if shutil.which("tectonic"):
        return ["tectonic", "--keep-logs", "--print", "report.tex"]
    return None


def build_pdf(profile: str) -> Path:
    """Build, check and put in place the report of a profile; return its path.

    Raises RunError without a TeX, for a LaTeX error, and for a report with undefined references, boxes overfull by
    more than 10 pt or missing glyphs.
    """
    command = tex_command()
    if command is None:
        raise RunError("no TeX found: expected latexmk with pdflatex, or tectonic, on the path")
    generate(profile)
    work = PAPER / "build" / profile / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_text(work / "report.tex", _main_file(profile))
    # The same sources then give the same PDF, and the log is not broken at 79 characters.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "10000"}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, errors="replace")
    log = (work / "report.log").read_text(errors="replace") if (work / "report.log").exists() else done.stdout
    if done.returncode:
        shown = [line for line in log.splitlines() if re.match(r"!|.*:\d+: |l\.\d+", line)]
        raise RunError(
            f"{command[0]} failed:\n" + "\n".join(shown[:20] or (done.stdout + done.stderr).splitlines()[-20:])
        )
    if faults := log_faults(log):
        raise RunError("the report is not clean:\n" + "\n".join(faults[:20]))
    target = PAPER / "build" / profile / "report.pdf"
    os.replace(work / "report.pdf", target)
    if profile == "full":
        with written_aside(PAPER / "report.pdf") as aside:
            shutil.copyfile(target, aside)
    return target


def _main_file(profile: str) -> str:
    return (
        "\\newcommand{\\paperroot}{../../..}\n"
        f"\\newcommand{{\\generated}}{{../../../generated/{profile}}}\n"
        f"\\newcommand{{\\figures}}{{../../../../figures/{profile}}}\n"
        "\\input{../../../report.tex}\n"
    )


def log_faults(log: str) -> list[str]:
    """Return what is wrong with a finished LaTeX run: undefined references, boxes over 10 pt, missing glyphs."""
    faults = re.findall(r"^(?:LaTeX|Package \w+) Warning: (?:Reference|Citation).*undefined.*", log, re.M)
    faults += re.findall(r"^Missing character: .*", log, re.M)
    for points, where in re.findall(r"^Overfull \\[hv]box \((\d+\.?\d*)pt too (.*)", log, re.M):
        if float(points) > 10:
            faults.append(f"Overfull box, {points}pt too {where}")
    return faults


# --------------------------------------------------------------------------- README and console


def summary(profile: str) -> str:
    """Return the verdicts of a profile as text, with the data behind each, and where the PDF stands."""
    claims, _ = read_ledger(profile)
    width = claims["id"].str.len().max()
    judged = claims[claims["verdict"] != "not measured"]
    rows = [("claim", "verdict", "data"), *judged[["id", "verdict", "dataset"]].itertuples(index=False)]
    lines = [f"{claim:<{width}}  {verdict:<16}  {dataset}" for claim, verdict, dataset in rows]
    lines.append("not measured yet: " + ", ".join(claims.loc[claims["verdict"] == "not measured", "id"]))
    counts = claims["verdict"].value_counts()
    total = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    pdf = PAPER / "report.pdf" if profile == "full" else PAPER / "build" / profile / "report.pdf"
    where = f"report: {pdf.relative_to(ROOT)}" if pdf.exists() else "report: not built"
    lines += [f"{len(claims)} claims: {total}", f"figures: figures/{profile}/", where]
    return "\n".join([f"Verdicts, profile {profile}:", *lines])


def readme_parts() -> dict[str, str]:
    """Return the generated parts of README.md, from the reference run."""
    claims, measures = read_ledger("full")
    judged = claims[claims["verdict"] != "not measured"].astype(object)
    judged = judged.where(judged.notna(), "")
    rows = ["| claim | as printed | verdict | condition, or what is true | notebook |", "|---|---|---|---|---|"]
    for _, claim in judged.iterrows():
        cells = [f"`{claim['id']}`", claim["printed"], f"**{claim['verdict']}**", remark_on(claim)]
        cells.append(f"`{claim['notebook']}`")
        rows.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    rest = len(claims) - len(judged)
    verdicts = "\n".join([*rows, "", f"{rest} of {len(claims)} claims are not measured yet."])
    value = measures.set_index("key")
    rows = ["| result | value [95% interval] | command |", "|---|---|---|"]
    for label, key, command, digits in (
        ("ETTh1-96 test MSE, `ResonanceTimeSeriesNet`", "forecast.resonance.mse", "08", 4),
        ("its real parameters", "forecast.resonance.parameters", "08", 0),
        ("ETTh1-96 test MSE, closed-form ridge (control)", "forecast.ridge.mse", "08", 4),
        ("ETTh1-96 test MSE, DLinear", "forecast.dlinear.mse", "08", 4),
        ("operations of a resonance layer, forward, n = 8192 (law: n log n)", "cost.fft.operations", "03", 0),
        ("operations of a Transformer layer, forward, n = 8192", "cost.transformer.operations", "03", 0),
        ("operations of a resonance layer by the linear-time engine, same n", "cost.fast.operations", "03", 0),
        ("time of that Transformer layer over that of the resonance layer, FFT", "cost.speedup.fft", "03", 1),
        ("the same, linear-time engine", "cost.speedup.fast", "03", 1),
        ("frequencies missed, polar SGD with one rate", "identification.polar_one_rate_sgd", "01", 3),
        ("frequencies missed, natural polar SGD", "identification.natural_polar_sgd", "01", 3),
        ("relative error of the corrected phase gradient", "gradients.corrected.phase_error", "01", None),
    ):
        rows.append(f"| {label} | {_plain(value.loc[key], digits)} | `./run_all.sh full --only {command}` |")
    return {"verdicts": verdicts, "results": "\n".join(rows), "performance": performance(value["value"])}


def performance(value: pd.Series) -> str:
    """Return the README's tables of speed and of long contexts."""
    rows = ["| ours | against | n | times faster | aim |", "|---|---|---|---|---|"]
    for ours, peer, n, ratio, aim in speed_rows(value):
        reached = "" if aim is None else f"{aim:g}" if ratio >= aim else f"{aim:g}, missed"
        rows.append(f"| {ours} | {peer} | {n:,} | {ratio:.1f} | {reached} |")
    rows += ["", "| model, one step | n | seconds | peak of the process (GB) |", "|---|---|---|---|"]
    for key, (model, task) in STEPS.items():
        for n in lengths_of(value, f"context.{key}.", ".seconds"):
            seconds, peak = (value[f"context.{key}.{n}.{part}"] for part in ("seconds", "peak"))
            rows.append(f"| {model}, {task} | {n:,} | {seconds:.2f} | {peak:.2f} |")
    return "\n".join(rows)


def _plain(row: pd.Series, digits: int | None) -> str:
    def show(x: float) -> str:
        return f"{x:.1e}" if digits is None else f"{x:,.{digits}f}"

    interval = "" if pd.isna(row["ci_low"]) else f" [{show(row['ci_low'])}, {show(row['ci_high'])}]"
    return show(row["value"]) + interval


def renew_readme(text: str, parts: dict[str, str]) -> str:
    """Return README text with each part between its markers <!-- name --> and <!-- /name --> replaced."""
    for name, part in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, found = re.subn(pattern, lambda m, part=part: m[1] + part + "\n" + m[2], text, flags=re.S)
        if found != 1:
            raise RunError(f"README.md: expected one pair of markers for {name!r}, found {found}")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Command line; return 0, or 1 after one clear message."""
    parser = argparse.ArgumentParser(prog="python -m resonance.report", description=__doc__.splitlines()[0])
    parser.add_argument("word", choices=["ledger", "pdf", "summary", "readme"])
    parser.add_argument("--profile", default="quick")
    options = parser.parse_args(arguments)
    try:
        profile = check_profile(options.profile)
        if options.word == "ledger":
            merge(profile)
        elif options.word == "pdf":
            build_pdf(profile)
        elif options.word == "summary":
            print(summary(profile))
        else:
            readme = ROOT / "README.md"
            write_text(readme, renew_readme(readme.read_text(), readme_parts()))
    except (RunError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
