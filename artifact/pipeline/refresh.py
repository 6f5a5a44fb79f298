"""Renew the committed notebooks from the quick results, and the README's and docs' generated parts: all, or nothing.

    python -m artifact.pipeline.refresh [--dry-run]

A committed notebook has the outputs of its quick result.  Its first cell says what it costs, from the seconds that
were recorded: the quick run's, which the notebook keeps in its metadata, and the reference run's.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
from pathlib import Path

import nbformat

from artifact.files import ROOT
from artifact.pipeline.freshness import faults
from artifact.pipeline.notebooks import (
    NOTEBOOKS,
    RunError,
    notebooks,
    read_notebook,
    read_record,
    result_folder,
    settings,
)
from artifact.pipeline.progress import duration
from artifact.pipeline.readme import renew

COST = re.compile(r"\*\*Cost:\*\*.*?(?= \*\*\w|$)", re.M)


def cost(name: str, quick_seconds: float | None) -> str:
    """The sentence of a notebook's first cell that says how long its recorded runs took."""
    full = read_record(name, "full")
    known = [(quick_seconds, "quick"), (full and full["seconds"], "full")]
    said = ", ".join(f"{duration(seconds)} {profile}" for seconds, profile in known if seconds is not None)
    alone = ", alone on the machine" if settings(name)["timed"] else ""
    cores = f" on {full['machine']['cores']} cores" if full else ""
    return f"**Cost:** {said or 'not recorded yet'}{cores}{alone}."


def with_cost(text: str, name: str, quick_seconds: float | None) -> str:
    """The first cell of a notebook with its sentence about cost renewed; RunError when it has none."""
    if not COST.search(text):
        raise RunError(f"{name}: the first cell has no **Cost:**")
    return COST.sub(cost(name, quick_seconds), text, count=1)


def committed(name: str) -> nbformat.NotebookNode:
    """A notebook as it is now, with the outputs of its quick result and what that took."""
    executed = nbformat.read(result_folder(name, "quick") / "notebook.ipynb", as_version=4)
    outputs = [(cell.outputs, cell.execution_count) for cell in executed.cells if cell.cell_type == "code"]
    notebook = copy.deepcopy(read_notebook(name))
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, (cell.outputs, cell.execution_count) in zip(cells, outputs, strict=True):
        for output in cell.outputs:
            if "text" in output:
                output.text = output.text.replace(str(ROOT), ".")
    seconds = round(read_record(name, "quick")["seconds"])
    notebook.metadata.setdefault("resonance", {})["seconds"] = seconds
    notebook.cells[0].source = with_cost(notebook.cells[0].source, name, seconds)
    return notebook


def refresh(dry_run: bool = False) -> None:
    """Renew every committed notebook and generated part; RunError, and nothing renewed, if one cannot be.

    The quick results must be current.
    """
    found = {name: faults(name, "quick") for name in notebooks()}
    if stale := [f"{name}: {'; '.join(why)}" for name, why in found.items() if why]:
        raise RunError("nothing renewed; run ./run_all.sh first.  Not current:\n  " + "\n  ".join(stale))
    texts = {NOTEBOOKS / f"{name}.ipynb": nbformat.writes(committed(name)) + "\n" for name in found}
    recorded = ROOT / "build" / "test_cost.csv"  # of the last `./run_all.sh test` that passed
    tests = recorded.read_text() if recorded.exists() else None
    quick = {name: round(read_record(name, "quick")["seconds"]) for name in found}
    texts |= renew(tests, quick) | ({ROOT / "paper" / "test_cost.csv": tests} if tests else {})
    changed = {path: not path.exists() or text != path.read_text(encoding="utf-8") for path, text in texts.items()}
    if not dry_run:
        _replace(texts)
    said = "would renew" if dry_run else "renewed"
    for path, new in changed.items():
        print(f"{said if new else 'unchanged'} {path.relative_to(ROOT)}")


def _replace(texts: dict[Path, str]) -> None:
    """Replace all files by new texts; none where one text cannot be written."""
    aside = {path: path.with_name(f".{path.name}.new") for path in texts}
    try:
        for path, new in aside.items():
            new.write_text(texts[path], encoding="utf-8")
        for path, new in aside.items():
            os.replace(new, path)
    finally:
        for new in aside.values():
            new.unlink(missing_ok=True)


def main() -> int:
    """Command line; return 0, or 1 after one clear message."""
    parser = argparse.ArgumentParser(prog="python -m artifact.pipeline.refresh", description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="say what would be renewed, and change nothing")
    try:
        refresh(parser.parse_args().dry_run)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
