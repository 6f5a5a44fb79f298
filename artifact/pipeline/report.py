"""From the ledger to the report and the README: macros, tables, the PDF, the verdict table.

    python -m artifact.pipeline.report ledger  --profile quick     # merge the notebooks' ledgers
    python -m artifact.pipeline.report pdf     --profile quick     # macros, tables, LaTeX; the checked PDF
    python -m artifact.pipeline.report summary --profile quick     # print the verdicts and where the PDF is
    python -m artifact.pipeline.report readme                      # renew the generated parts of README.md from `full`

Every number of ours in the report is a macro: \val{key} is a row of measures.csv, rounded by siunitx.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from artifact.files import PAPER, ROOT, write_text
from artifact.pipeline.ledger import VERDICTS, merge, read_ledger, read_provenance
from artifact.pipeline.readme import readme_parts, renew_readme
from artifact.pipeline.runner import RunError, check_profile
from artifact.pipeline.tables import (
    escape,
    measure_tables,
    provenance_table,
    published_table,
    verdict_table,
    with_interval,
)
from artifact.studies.audio.tables import audio_tables
from artifact.studies.causal.tables import causal_tables
from artifact.studies.documents.tables import documents_tables
from artifact.studies.efficiency.tables import equal_quality_tables
from artifact.studies.forecasting.tables import forecasting_tables
from artifact.studies.language.tables import language_tables
from artifact.studies.large_vocabulary.tables import vocabulary_tables
from artifact.studies.live.tables import live_tables
from artifact.studies.multimodal.tables import multimodal_tables
from artifact.studies.recall.tables import recall_study_tables
from artifact.studies.vision.tables import vision_tables
from resonance.training.checkpoint import written_aside

# --------------------------------------------------------------------------- macros


# Tables that have a module of their own: each takes the measures by key, and gives LaTeX by name.
SUBJECTS = (
    audio_tables,
    causal_tables,
    documents_tables,
    equal_quality_tables,
    forecasting_tables,
    language_tables,
    live_tables,
    multimodal_tables,
    recall_study_tables,
    vision_tables,
    vocabulary_tables,
)


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
    for subject in SUBJECTS:
        tables |= subject(measures.set_index("key"))
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


# --------------------------------------------------------------------------- console


def summary(profile: str) -> str:
    """Return the verdicts of a profile as text, with the data behind each, and where the PDF stands."""
    claims, _ = read_ledger(profile)
    width = claims["id"].str.len().max()
    judged = claims[claims["verdict"] != "not measured"]
    rows = [("claim", "verdict", "data"), *judged[["id", "verdict", "dataset"]].itertuples(index=False)]
    lines = [f"{claim:<{width}}  {verdict:<16}  {dataset}" for claim, verdict, dataset in rows]
    if len(judged) < len(claims):
        lines.append("not measured yet: " + ", ".join(claims.loc[claims["verdict"] == "not measured", "id"]))
    counts = claims["verdict"].value_counts()
    total = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    pdf = PAPER / "report.pdf" if profile == "full" else PAPER / "build" / profile / "report.pdf"
    where = f"report: {pdf.relative_to(ROOT)}" if pdf.exists() else "report: not built"
    lines += [f"{len(claims)} claims: {total}", f"figures: figures/{profile}/", where]
    return "\n".join([f"Verdicts, profile {profile}:", *lines])


def main(arguments: list[str] | None = None) -> int:
    """Command line; return 0, or 1 after one clear message."""
    parser = argparse.ArgumentParser(prog="python -m artifact.pipeline.report", description=__doc__.splitlines()[0])
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
