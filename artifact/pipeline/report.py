"""From the ledger to the paper, its supplement, the README and docs/results.md: macros, tables, the PDFs.

    python -m artifact.pipeline.report ledger  --profile quick     # merge the notebooks' ledgers
    python -m artifact.pipeline.report pdf     --profile quick     # macros, tables, LaTeX; the checked PDFs
    python -m artifact.pipeline.report summary --profile quick     # print the verdicts and where the PDFs are
    python -m artifact.pipeline.report readme                      # renew the README and docs/results.md from `full`

Every number of ours in either document is a macro: \\val{key} is a row of measures.csv, rounded by siunitx.  A run
need not have measured everything: what the reference run has and this run lacks prints as "not measured"; a key,
figure or fact that neither has is a LaTeX error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from artifact.files import PAPER, ROOT, write_text
from artifact.pipeline.ledger import MEASURE_COLUMNS, VERDICTS, merge, read_ledger, read_provenance, verdict_key
from artifact.pipeline.notebooks import RunError, check_profile, notebooks, read_notebook
from artifact.pipeline.provenance import texts as provenance_files
from artifact.pipeline.readme import against_table, listed_results, renew
from artifact.pipeline.runner import PACKAGES
from artifact.pipeline.tables import (
    MINUTES,
    changed_since,
    fault_table,
    mutation_table,
    provenance_table,
    stand_ins,
    state,
    uncommitted,
    wall,
)
from artifact.pipeline.verdicts import audit_table, change_table, remark_on, verdict_table, word_for_word
from artifact.studies.common.latex import Cells, escape, with_interval

DOCUMENTS = ("supplement", "paper")  # in this order: the paper reads the supplement's numbers from its .aux
USES, DRAWS = r"\\(?:val|valint|ci|ifmeasured)(?:\[\d\])?\{([\w.-]+)\}", r"\\includegraphics\[[^\]]*\]\{(\d\d_\w+)\}"
PARTS = ["value", "ci_low", "ci_high"]
FACTS = ("device", "cores", "memory", "system", "seconds", "minutes", "limit")

# --------------------------------------------------------------------------- macros and tables


def macros(claims: pd.DataFrame, measures: pd.DataFrame, provenance: list[dict], profile: str) -> str:
    """The LaTeX definitions of every number, verdict, fact and figure of a run, and what it could have had besides."""
    lines = [rf"\newcommand{{\profile}}{{{profile}}}"]

    def define(kind: str, key: str, text: object = "") -> None:
        lines.append(rf"\expandafter\def\csname {kind}@{key}\endcsname{{{text}}}")

    for _, row in measures.iterrows():
        define("val", row["key"], f"{row['value']:.12g}")
        define("ci", row["key"], sensible(row))
    for key in sorted(known_keys() - set(measures["key"])):
        define("known@val", key)
        define("known@ci", key)
    for _, row in claims.iterrows():
        judged = row["verdict"] != "not measured"
        for kind in ("verdict", "rule", "printed", "dataset"):
            define(kind, row["id"], escape(row[kind]) if judged else r"\notmeasured")
        define("wordforword", row["id"], escape(word_for_word(row).strip()) or r"\unskip")
        remark = remark_on(row) if judged else ""
        define("remark", row["id"], f"({escape(remark)})" if remark else r"\unskip")
        for kind in ("condition", "corrected", "bar", "peer"):  # nothing, and no space before it, where there is none
            define(kind, row["id"], escape(row[kind]) or r"\unskip")
    facts = facts_of(provenance)
    for key, value in facts.items():
        define("fact", key, escape(value))
    for key in (*FACTS, *(f"version.{name}" for name in ("python", *PACKAGES))):
        if key not in facts:
            define("known@fact", key)
    named = {Path(name).stem for record in provenance for name in record["figures"]}
    drawn = named & {path.stem for path in (PAPER.parent / "figures" / profile).glob("*.pdf")}
    for name in sorted(drawn):
        define("figure", name)
    numbers = {notebook[:2]: notebook for notebook in notebooks()}
    for name in sorted(known_figures() - drawn):
        define("known@figure", name, escape(numbers.get(name[:2], name)))
    if said := uncommitted(provenance):  # at the foot of every page, whatever its style
        mark = rf"\color{{red!70!black}}\footnotesize {escape(said)}"
        lines.append(rf"\AddToHook{{shipout/foreground}}{{\put(25mm,\dimexpr8mm-\paperheight\relax){{{mark}}}}}")
    return "\n".join(lines) + "\n"


def sensible(row: pd.Series) -> str:
    """A measure with its interval, all three with as many places as half the interval's width has two figures.

    At most four figures of the value are printed; without an interval, or with one of no width, as `with_interval` has.
    """
    value, low, high = row[PARTS]
    if not high > low or (0 <= 1000 * low < value and high > 1000 * value):
        return with_interval(row)
    places = 1 - math.floor(math.log10((high - low) / 2))
    if value:
        places = min(places, 3 - math.floor(math.log10(abs(value))))
    value, low, high = (rf"\num[round-mode=places,round-precision={max(0, places)}]{{{x:.12g}}}" for x in row[PARTS])
    return f"{value} [{low}, {high}]"


def known_keys() -> set[str]:
    """The keys that the reference run measured, those of a notebook that is just being run again included, and those
    that will be measured when a notebook is next run: those that it or the list of results names, and what the sections
    use under the first word of a key, "forecast" say, of a notebook whose reference result is out of date."""
    paths = (ROOT / "data" / "results" / "full").glob("**/measures.csv")
    reference = pd.concat([pd.read_csv(path) for path in paths] or [pd.DataFrame(columns=MEASURE_COLUMNS)])
    stale = _out_of_date()
    words = {key.split(".")[0] for key in reference.loc[reference["notebook"].isin(stale), "key"]}
    words |= {
        word for name, text in _sources() if name in stale for word in re.findall(r'measure\(\s*f?"(\w+)\.', text)
    }
    measured = set(reference["key"]) | {key for key in _used(USES) if key.split(".")[0] in words}
    named = {key for _, text in _sources() for key in re.findall(r'measure\(\s*"([\w.]+)"', text)}
    named |= {verdict_key(name) for name in (*VERDICTS, "all")} | set(listed_results()["key"])
    return measured | named | _used_without_reference(USES)


def known_figures() -> set[str]:
    """The names of the figures that the reference run drew, and of those that a notebook draws when it is next run."""
    drawn = {path.stem for path in (ROOT / "figures" / "full").glob("*.pdf")}
    numbers = {notebook[:2] for notebook in _out_of_date()}
    drawn |= {name for name in _used(DRAWS) if name[:2] in numbers}
    named = {f"{name[:2]}_{key}" for name, text in _sources() for key in re.findall(r'figure\(\s*"(\w+)"', text)}
    return drawn | named | _used_without_reference(DRAWS)


def _sources() -> list[tuple[str, str]]:
    """Every notebook's name, and the source of its code."""
    return [
        (name, "\n".join(c.source for c in read_notebook(name).cells if c.cell_type == "code")) for name in notebooks()
    ]


def _used_without_reference(pattern: str) -> set[str]:
    """What the sections use, where the reference run lacks a notebook and so cannot tell a gap from a typing error."""
    complete = all((ROOT / "data" / "results" / "full" / name).is_dir() for name in notebooks())
    return set() if complete else _used(pattern)


def _out_of_date() -> set[str]:
    """The notebooks whose reference result was made by other code, parameters or rules: it may lack what is new."""
    paths = (ROOT / "data" / "results" / "full").glob("*/provenance.json")
    return {record["notebook"] for record in (json.loads(path.read_text()) for path in paths) if changed_since(record)}


def _used(pattern: str) -> set[str]:
    """What the text of the two documents uses."""
    return {name for path in tex_sources() for name in re.findall(pattern, path.read_text())}


def tex_sources() -> list[Path]:
    """The text of the two documents: both, the paper's article/, the supplement's sections/, the shared statements/."""
    return sorted(PAPER.glob("*.tex")) + sorted(PAPER.glob("*/*.tex"))


def facts_of(provenance: list[dict]) -> dict[str, object]:
    """The machine and versions behind the results of a run, their state, and the stand-in data used."""
    facts = {"state": state(provenance), "standins": stand_ins(provenance)}
    if not provenance:
        return facts
    first = provenance[0]
    return facts | {
        "device": first["device"].split(",")[0],  # threads differ by notebook: the table has them
        "cores": first["machine"]["cores"],
        "memory": first["machine"]["memory_gib"],
        "system": first["machine"]["system"],
        "seconds": round(sum(record["seconds"] for record in provenance)),
        "minutes": round(wall({record["notebook"]: record["seconds"] for record in provenance}) / 60),
        "limit": MINUTES,
        **{f"version.{name}": version for name, version in first["versions"].items()},
    }


def study_tables(measures: pd.DataFrame) -> dict[str, str]:
    """The tables of every study that has a `tables.py`, by name; one without rows says which notebook would fill it."""
    subjects = {notebook[3:]: notebook for notebook in notebooks()}
    cells, found = Cells(measures.set_index("key")), {}
    for path in sorted((ROOT / "artifact" / "studies").glob("*/tables.py")):
        study = path.parent.name
        for name, text in importlib.import_module(f"artifact.studies.{study}.tables").tables(cells).items():
            if name in found:
                raise ValueError(f"two studies make a table {name!r}; the second is {study}")
            found[name] = text or rf"\notmeasuredin{{{escape(subjects.get(study, study))}}}" + "\n"
    return found


def generate(profile: str) -> Path:
    """Write macros and tables of a profile to paper/generated/<profile>/; return that folder."""
    claims, measures = read_ledger(profile)
    provenance = read_provenance(profile)
    folder = PAPER / "generated" / profile
    texts = {
        "macros": macros(claims, measures, provenance, profile),
        "audit": audit_table(claims),
        "against": against_table(measures.set_index("key")),
        "verdicts": verdict_table(claims),
        "changes": change_table(claims),
        "provenance": provenance_table(provenance) or "No notebook has run.\n",
        "faults": fault_table() or "No fault has been injected.\n",
        "mutation": mutation_table() or "\\notmeasured\n",
    }
    tables = study_tables(measures)
    if twice := set(texts) & set(tables):
        raise ValueError(f"a study makes a table of the pipeline's own: {', '.join(sorted(twice))}")
    for name, text in (texts | tables).items():
        write_text(folder / f"{name}.tex", text)
    return folder


# --------------------------------------------------------------------------- the PDFs


def tex_command() -> list[str] | None:
    """The command that builds a PDF from the file named after it, in its folder: latexmk, else tectonic, else None."""
    if shutil.which("latexmk") and shutil.which("pdflatex"):
        return ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error"]
    if shutil.which("tectonic"):
        return ["tectonic", "--keep-logs", "--keep-intermediates", "--print"]
    return None


def build_pdf(profile: str) -> list[Path]:
    """Build, check and put in place supplement and paper of a profile; return their paths.

    Raises RunError without a TeX, for a LaTeX error, and for a document with undefined references, boxes overfull by
    more than 10 pt or missing glyphs.  Its first line, the reason, is kept for `summary`.  Both are put in place, or
    neither.
    """
    folder, reason = PAPER / "build" / profile, _reason_file(profile)
    targets = [folder / f"{name}.pdf" for name in DOCUMENTS]
    for target in targets:
        target.unlink(missing_ok=True)
    try:
        if (command := tex_command()) is None:
            raise RunError("TeX is missing: expected latexmk with pdflatex, or tectonic, on the path")
        work = prepare(profile)
        built = [_run_tex(command, work, name) for name in DOCUMENTS]
    except Exception as error:
        write_text(reason, (str(error) or type(error).__name__).splitlines()[0] + "\n")
        raise
    for made, target in zip(built, targets, strict=True):
        os.replace(made, target)
        if profile == "full":
            from resonance.training.checkpoint import written_aside  # not above: it brings torch, which no merge needs

            with written_aside(PAPER / target.name) as aside:
                shutil.copyfile(target, aside)
    reason.unlink(missing_ok=True)
    return targets


def prepare(profile: str) -> Path:
    """Write the generated files and the main files of a profile; return the folder in which LaTeX is to run."""
    generate(profile)
    work = PAPER / "build" / profile / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    folders = {"paperroot": "", "generated": f"/generated/{profile}", "figures": f"/../figures/{profile}"}
    lines = [rf"\newcommand{{\{name}}}{{../../..{folder}}}" for name, folder in folders.items()]
    for name in DOCUMENTS:
        write_text(work / f"{name}.tex", "\n".join([*lines, rf"\input{{../../../{name}.tex}}"]) + "\n")
    return work


def _run_tex(command: list[str], work: Path, name: str) -> Path:
    # The same sources then give the same PDF, and the log is not broken at 79 characters.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "10000"}
    done = subprocess.run(
        [*command, f"{name}.tex"], cwd=work, env=environment, capture_output=True, text=True, errors="replace"
    )
    path = work / f"{name}.log"
    log = path.read_text(errors="replace") if path.exists() else done.stdout
    if done.returncode:
        shown = [line for line in log.splitlines() if re.match(r"!|.*:\d+: |l\.\d+", line)]
        shown = shown[:20] or (done.stdout + done.stderr).splitlines()[-20:] or [f"{command[0]} gave no message"]
        raise RunError(f"the LaTeX run of {name}.tex failed: " + "\n".join(shown))
    if faults := log_faults(log):
        raise RunError(f"{name}.tex is not clean: " + "\n".join(faults[:20]))
    return work / f"{name}.pdf"


def _reason_file(profile: str) -> Path:
    return PAPER / "build" / profile / "not_built.txt"


def log_faults(log: str) -> list[str]:
    """What is wrong with a finished LaTeX run: undefined references, boxes over 10 pt, missing glyphs."""
    faults = re.findall(r"^(?:LaTeX|Package \w+) Warning: (?:Reference|Citation).*undefined.*", log, re.M)
    faults += re.findall(r"^Missing character: .*", log, re.M)
    boxes = re.findall(r"^Overfull \\[hv]box \((\d+\.?\d*)pt too (.*)", log, re.M)
    return faults + [f"Overfull box, {points}pt too {where}" for points, where in boxes if float(points) > 10]


# --------------------------------------------------------------------------- console


def summary(profile: str) -> str:
    """The verdicts of a profile as text, with the data behind each, and where the PDFs are or why there are none."""
    claims, _ = read_ledger(profile)
    width = claims["id"].str.len().max()
    judged = claims[claims["verdict"] != "not measured"]
    rows = [("claim", "verdict", "data"), *judged[["id", "verdict", "dataset"]].itertuples(index=False)]
    lines = [f"{claim:<{width}}  {verdict:<16}  {dataset}" for claim, verdict, dataset in rows]
    if len(judged) < len(claims):
        lines.append("not measured yet: " + ", ".join(claims.loc[claims["verdict"] == "not measured", "id"]))
    counts = claims["verdict"].value_counts()
    total = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    lines += [f"{len(claims)} claims: {total}", f"figures: figures/{profile}/", f"report: {_where_pdf(profile)}"]
    return "\n".join([f"Verdicts, profile {profile}:", *lines])


def _where_pdf(profile: str) -> str:
    """The paths of paper and supplement of a profile, or "not built" and the reason."""
    folder = PAPER if profile == "full" else PAPER / "build" / profile
    pdfs = [folder / f"{name}.pdf" for name in reversed(DOCUMENTS)]
    shown, there = ", ".join(str(pdf.relative_to(PAPER.parent)) for pdf in pdfs), all(pdf.exists() for pdf in pdfs)
    if _reason_file(profile).exists():
        earlier = f" ({shown} are from an earlier run)" if there else ""
        return f"not built: {_reason_file(profile).read_text().strip()}{earlier}"
    if there:
        return shown
    finished = {record["notebook"] for record in read_provenance(profile)}
    lacking = [name for name in notebooks() if name not in finished]
    if tex_command() is None:
        return "not built: TeX is missing"
    return f"not built: no result yet of {', '.join(lacking)}" if lacking else "not built: it was not asked for"


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
            for path, text in provenance_files().items() if profile == "full" else ():
                write_text(path, text)
        elif options.word == "summary":
            print(summary(profile))
        else:
            for path, text in renew().items():
                write_text(path, text)
    except (RunError, OSError) as error:  # a file that is missing, or cannot be written
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
