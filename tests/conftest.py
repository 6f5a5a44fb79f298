"""Shared fixtures, and the rule for notebooks whose data is not available here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from artifact.datasets.registry import OPTIONAL, available
from artifact.files import ROOT
from artifact.pipeline import notebooks

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
settings.register_profile("untimed", deadline=None)  # a loaded machine is no fault
settings.load_profile("untimed")


SLOW = {"test_freshness.py": 60, "test_runner.py": 60, "test_report.py": 40}  # seconds, about: the workflow engine


def _seconds(item) -> float:
    """About how long the file of a test takes: notebooks by their recorded runs; 0 for all that take few seconds."""
    path = Path(item.path)
    return (notebooks.settings(path.stem)["seconds"] or 60) if path.suffix == ".ipynb" else SLOW.get(path.name, 0)


def pytest_collection_modifyitems(items):
    """Put what takes longest first, so that all cores are at work to the end (with --no-loadscope-reorder).

    Skip a notebook's cells, with the reason, where its real data is not available: its checked cell is about it.
    """
    items.sort(key=_seconds, reverse=True)
    missing: dict[str, list[str]] = {}
    for item in items:
        path = Path(item.path)
        if path.suffix != ".ipynb":
            continue
        if path.stem not in missing:
            needed = [name for name in notebooks.settings(path.stem)["data"] if name not in OPTIONAL]
            missing[path.stem] = [name for name in needed if not available(name)]
        if missing[path.stem]:
            item.add_marker(
                pytest.mark.skip(reason=f"{path.stem} needs {', '.join(missing[path.stem])}: not available")
            )


@pytest.fixture
def in_one_graph():
    """Check that a model compiles in one graph and exports with a dynamic batch; give back both."""

    def check(model, inputs: tuple, others: tuple):
        batch = {0: torch.export.Dim("batch", min=2, max=64)}
        dynamic = [batch if isinstance(x, torch.Tensor) else None for x in inputs]
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        exported = torch.export.export(model, inputs, dynamic_shapes=tuple(dynamic)).module()
        for arguments in (inputs, others):
            for call in (compiled, exported):
                torch.testing.assert_close(call(*arguments), model(*arguments))
        return compiled, exported

    return check


IN_PROCESS = """
import json

def execute_notebook(source, target, parameters, **options):
    notebook, names = json.loads(source.read_text()), {}
    for cell in notebook["cells"]:
        exec("".join(cell["source"]), names)
    target.write_text(json.dumps(notebook))
"""


class Tree:
    """A copy of the artifact's code in a folder of its own, to run and to break."""

    def __init__(self, folder: Path):
        self.folder = folder
        for package in ("resonance", "artifact"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "paper").mkdir()
        shutil.copy(ROOT / "paper" / "claims.csv", folder / "paper")
        (folder / "notebooks").mkdir()
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("RESONANCE_", "PYTEST"))}
        self.environment.update(PYTHONPATH=str(folder), RESONANCE_DATA=os.environ.get("RESONANCE_DATA", ""))

    def without_kernels(self) -> Tree:
        """Execute notebooks in the runner's own process from now on: for tests of what runs, not of how.

        A kernel, and papermill before it, take longer to start than all else that such a test does.
        """
        (self.folder / "papermill.py").write_text(IN_PROCESS)
        return self

    def add(self, name: str, *cells: str, parameters: str = "seed = 0", **settings) -> Path:
        """Write a small notebook: a parameters cell, then the given code cells."""
        import nbformat
        from nbformat.v4 import new_code_cell, new_notebook

        first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(cells=[first, *map(new_code_cell, cells)])
        notebook.metadata.update(kernelspec=kernel, resonance=settings)
        path = self.folder / "notebooks" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    @staticmethod
    def result(name: str, value: str = "1.0") -> str:
        """Code of a cell that records one measure as an `Experiment` would, with no package to import."""
        return (
            "import os, pathlib\n"
            "measures = pathlib.Path(os.environ['RESONANCE_RESULTS']) / 'measures.csv'\n"
            f"measures.write_text('key,value,unit,ci_low,ci_high,notebook\\n{name},%s,,,,{name}\\n' % {value})"
        )

    def python(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Run python in the tree; the result carries stdout, stderr and the exit status."""
        return self.run([sys.executable, *arguments], **options)

    def run(self, command: list[str], **options) -> subprocess.CompletedProcess:
        """Run a command in the tree; the result carries stdout, stderr and the exit status."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300, **options
        )

    def snakemake(self, *arguments: str) -> list[str]:
        """Return the command that runs the tree's workflow."""
        options = ["--cores", "1", "--nolock", "--rerun-triggers", "mtime", "--ignore-incomplete", "--keep-going"]
        return [sys.executable, "-m", "snakemake", *arguments, *options]

    def record(self, name: str, profile: str = "quick") -> Path:
        """Return the provenance file of a notebook's result."""
        return self.folder / "data" / "results" / profile / name / "provenance.json"


@pytest.fixture
def tree(tmp_path) -> Tree:
    return Tree(tmp_path)
