"""The notebooks and profiles of the artifact, and what each notebook says of itself.

A notebook's metadata has a table "resonance": `data`, the data sets that it reads; `files`, other files of the
repository that it reads; `timed`, whether it measures time and so must run alone; `after`, "results" when it reads the
merged ledger; `seconds`, what its committed outputs took (written by `refresh`).  A profile is the parameter cell's
own values ("quick") or those with the changes in `notebooks/<profile>.yaml`.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import nbformat
import yaml

from artifact.files import ROOT

NOTEBOOKS = ROOT / "notebooks"


class RunError(RuntimeError):
    """A run that cannot start, or a notebook that failed; the message says all that the user needs."""


def notebooks() -> list[str]:
    """The names of the notebooks, in reading order: NN_subject."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def find_notebook(number: str) -> str:
    """Look up the notebook whose name starts with `number` ("08" or "08_forecasting"); RunError if there is none."""
    found = [name for name in notebooks() if name == number or name.split("_")[0] == number.zfill(2)]
    if len(found) != 1:
        raise RunError(f"unknown notebook {number!r}: expected one of {', '.join(notebooks())}")
    return found[0]


def profiles() -> list[str]:
    """The names of the profiles: quick, and one for each notebooks/<name>.yaml."""
    return ["quick", *sorted(path.stem for path in NOTEBOOKS.glob("*.yaml"))]


def check_profile(profile: str) -> str:
    """Return `profile` when it is known; raise RunError with the names known otherwise."""
    if profile not in profiles():
        raise RunError(f"unknown profile {profile!r}: expected one of {', '.join(profiles())}")
    return profile


@cache
def read_notebook(name: str) -> nbformat.NotebookNode:
    """Read a notebook of `notebooks/`."""
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def settings(name: str) -> dict:
    """What a notebook says of itself: data, files, timed, after, seconds (see the head of this file)."""
    unset = {"data": [], "files": [], "timed": False, "after": [], "seconds": None}
    return {**unset, **read_notebook(name).metadata.get("resonance", {})}


def code_cells(name: str) -> list[str]:
    """The sources of a notebook's code cells."""
    return [cell.source for cell in read_notebook(name).cells if cell.cell_type == "code"]


def parameters_cell(name: str) -> str:
    """The source of the notebook's `parameters` cell; RunError when it has no such cell."""
    cells = [c for c in read_notebook(name).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise RunError(f"{name}: expected one cell tagged 'parameters', found {len(cells)}")
    return cells[0].source


def defaults(name: str) -> dict[str, str]:
    """What the notebook's `parameters` cell assigns: name to source."""
    found = {}
    for node in ast.parse(parameters_cell(name)).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found[target.id] = ast.unparse(node.value)
    return found


def parameters(name: str, profile: str) -> dict:
    """The parameters that a profile sets for a notebook; RunError for one that the notebook does not declare."""
    check_profile(profile)
    if profile == "quick":
        return {}
    changes = yaml.safe_load((NOTEBOOKS / f"{profile}.yaml").read_text()) or {}
    if strangers := set(changes) - set(notebooks()):
        raise RunError(f"{profile}.yaml names no notebook of ours: {', '.join(sorted(strangers))}")
    chosen = changes.get(name) or {}
    known = set(defaults(name))
    if unknown := sorted(set(chosen) - known):
        raise RunError(
            f"{profile}.yaml: {name} has no parameter {', '.join(unknown)}; "
            f"its parameters cell has {', '.join(sorted(known))}"
        )
    return chosen


def result_folder(name: str, profile: str) -> Path:
    """Where a notebook's results are."""
    return ROOT / "data" / "results" / profile / name


def read_record(name: str, profile: str) -> dict | None:
    """The provenance of a notebook's finished result; None where there is no result."""
    path = result_folder(name, profile) / "provenance.json"
    return json.loads(path.read_text()) if path.exists() else None


def recorded_seconds(name: str, profile: str) -> float | None:
    """How long a notebook took in a profile: its last result here, else the run that is committed; None if unknown."""
    record = read_record(name, profile)
    return record["seconds"] if record else settings(name)["seconds"] if profile == "quick" else None
