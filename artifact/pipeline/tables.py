"""What the report says of a run as a whole: the provenance of the results, and their state."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from artifact.files import PAPER
from artifact.pipeline.freshness import digest
from artifact.pipeline.notebooks import notebooks, settings
from artifact.studies.common.latex import escape, number, to_latex
from artifact.studies.common.statistics import wilson_interval

CORES, MINUTES = 2, 180  # the reference run is to take no longer on so many cores
ONE_STATE = "all made from clean trees, by one state of the code and of its packages"  # if `mixed` finds nothing


def wall(seconds: Mapping[str, float], cores: int = CORES) -> float:
    """Seconds that a run takes: a notebook that times something runs alone, of the others one on each core."""
    return sum(own / (1 if settings(name)["timed"] else cores) for name, own in seconds.items())


def changed_since(record: dict) -> bool:
    """Whether the code, parameters or claims behind a result differ from those that made it."""
    name = record["notebook"]
    return name not in notebooks() or record["digest"] != digest(name, record["profile"])


def provenance_table(provenance: list[dict]) -> str:
    """Which notebook ran on which data, how long, at which commit, and whether the code has changed since."""
    rows = [
        {
            "Notebook": rf"\texttt{{{escape(record['notebook'])}}}",
            "Data": escape(record["dataset"]) or "--",
            "Time (s)": number(record["seconds"]),
            "Threads": number(record["threads"]),
            "Commit": rf"\texttt{{{escape(record['commit'])}}}",
            "Code since": "changed" if changed_since(record) else "same",
        }
        for record in provenance
    ]
    return to_latex(rows, r"@{}l>{\RaggedRight}p{4.2cm}rrll@{}")


def mixed(provenance: list[dict]) -> list[str]:
    """Why the results of a run are not all of one state of the code, notebook by notebook; empty when they are.

    A run of hours is resumed over days, and commits that change no result land in between: what counts is not one
    commit but that every result is there, was made from a clean tree by the code, parameters and rules as they are now,
    and by the same versions of packages.
    """
    records = {record["notebook"]: record for record in provenance}
    versions = [record["versions"] for record in provenance]
    found = []
    for name in dict.fromkeys([*notebooks(), *records]):
        record = records.get(name)
        reasons = {"no result": record is None}
        if record:
            reasons |= {
                "made with uncommitted changes": record["commit"].endswith("+"),
                "made at an unknown commit": record["commit"] == "unknown",
                "the code has changed since": changed_since(record),
                "other packages than most": record["versions"] != max(versions, key=versions.count),
            }
        found += [f"{name}: {reason}" for reason, so in reasons.items() if so]
    return found


def state(provenance: list[dict]) -> str:
    """One sentence on the results of a run: how many, made when and at which commits, and how many are out of date."""
    if not provenance:
        return "No notebook has run."
    days = sorted({record["started"][:10] for record in provenance})
    commits = list(dict.fromkeys(record["commit"] for record in provenance))
    changed = sum(map(changed_since, provenance))
    return (
        f"{len(provenance)} of {len(notebooks())} notebooks ran, "
        + (f"on {days[0]}, " if len(days) == 1 else f"between {days[0]} and {days[-1]}, ")
        + (f"at commit {commits[0]}" if len(commits) == 1 else f"at {len(commits)} commits")
        + (", some with uncommitted changes" if any(commit.endswith("+") for commit in commits) else "")
        + (f"; the code of {changed} of them has changed since." if mixed(provenance) else f"; {ONE_STATE}.")
    )


def uncommitted(provenance: list[dict]) -> str:
    """A sentence for every page, naming the notebooks that ran with uncommitted changes; "" where none did."""
    numbers = [record["notebook"][:2] for record in provenance if record["commit"].endswith("+")]
    many = "s" if len(numbers) > 1 else ""
    return f"Made with uncommitted changes to the code: notebook{many} {', '.join(numbers)}." if numbers else ""


def stand_ins(provenance: list[dict]) -> str:
    """A sentence or two naming the notebooks that ran on stand-in data, and the data replaced; "" where none did."""
    used = [record for record in provenance if "stand-in" in record.get("data", {}).values()]
    if not used:
        return ""
    replaced = dict.fromkeys(name for record in used for name, kind in record["data"].items() if kind == "stand-in")
    return (
        "Stand-in data: "
        + "; ".join(f"{record['notebook']} read {record['dataset']}" for record in used)
        + f". Where the text names {', '.join(replaced)}, the numbers of these notebooks are of the stand-ins."
    )


def fault_table() -> str:
    """The faults that `tests/faults.py` injected, as paper/faults.csv has them; "" where it has not run."""
    path = PAPER / "faults.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else pd.DataFrame()
    heads = {"fault": "Fault", "lost": "What is lost", "message": "What is said", "equal": "Same"}
    rows = [{head: escape(row[name]) for name, head in heads.items()} for _, row in table.iterrows()]
    columns = "".join(rf">{{\RaggedRight}}p{{{width}cm}}" for width in (3.2, 2.6, 7.4, 0.9))
    return to_latex(rows, f"@{{}}{columns}@{{}}")


def mutation_table() -> str:
    """The mutants that `tests/mutation.py` tried, as paper/mutation.csv has them; "" where it has not run."""
    path = PAPER / "mutation.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame()
    rows = []
    for _, row in table.iterrows():
        rate, low, high = (
            number(100 * part) for part in wilson_interval(row["killed"], row["mutants"] - row["equivalent"])
        )
        rows.append(
            {
                "Module": "all" if row["module"] == "all" else rf"\texttt{{{escape(row['module'])}}}",
                "Mutants": number(row["mutants"]),
                "Equivalent": number(row["equivalent"]),
                "Killed": number(row["killed"]),
                r"Rate (\%)": rf"{rate} [{low}, {high}]",
            }
        )
    return to_latex(rows, "@{}lrrrr@{}")
