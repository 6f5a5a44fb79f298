"""The committed notebooks: renewed all or not at all, with prose as it is now and costs as they were recorded."""

from __future__ import annotations

import json

import nbformat
import pytest

from artifact.pipeline import freshness, notebooks, refresh
from artifact.pipeline.notebooks import RunError


@pytest.fixture
def here(tree, monkeypatch):
    """The tree with two notebooks that have run, and the functions of this process at work in it."""
    for module in (notebooks, freshness, refresh):
        monkeypatch.setattr(module, "ROOT", tree.folder)
    for module in (notebooks, refresh):
        monkeypatch.setattr(module, "NOTEBOOKS", tree.folder / "notebooks")
    monkeypatch.setattr(refresh, "renew", lambda tests, quick: {})
    for name in ("01_first", "02_second"):
        path = tree.add(name, "print('made')")
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# Question\n\n**Cost:** hours. **Data:** none."))
        nbformat.write(notebook, path)
        executed = nbformat.from_dict(json.loads(json.dumps(notebook)))
        executed.cells[0].source = "# Old prose\n\n**Cost:** hours. **Data:** none."
        for count, cell in enumerate(executed.cells[1:], 1):
            cell.execution_count = count
            cell.outputs = [nbformat.v4.new_output("stream", text=f"in {tree.folder}/data\n")]
        for profile, seconds in (("quick", 31.4), ("full", 431.0)):
            folder = tree.record(name, profile).parent
            folder.mkdir(parents=True)
            nbformat.write(executed, folder / "notebook.ipynb")
            record = {"digest": freshness.digest(name, "quick"), "files": ["notebook.ipynb"], "figures": []}
            record |= {"seconds": seconds, "machine": {"cores": 2}, "started": "2026-01-01", "data": {}}
            (folder / "provenance.json").write_text(json.dumps(record))
    notebooks.read_notebook.cache_clear()
    yield tree
    notebooks.read_notebook.cache_clear()


def contents(tree) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tree.folder / "notebooks").iterdir()}


def test_a_renewed_notebook_has_new_outputs_its_own_prose_and_its_cost(here, capsys):
    refresh.refresh()
    assert capsys.readouterr().out.splitlines() == [
        "renewed notebooks/01_first.ipynb",
        "renewed notebooks/02_second.ipynb",
    ]
    notebook = nbformat.read(here.folder / "notebooks" / "01_first.ipynb", as_version=4)
    assert notebook.cells[0].source == "# Question\n\n**Cost:** 31 s quick, 7 min full on 2 cores. **Data:** none."
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2]
    assert notebook.cells[2].outputs[0].text == "in ./data\n"
    assert notebook.metadata.resonance["seconds"] == 31
    assert freshness.digest("01_first", "quick") == json.loads(here.record("01_first").read_text())["digest"]


def test_the_recorded_cost_of_the_tests_is_renewed_too(here):
    (here.folder / "build").mkdir()
    (here.folder / "build" / "test_cost.csv").write_text("seconds,cores\n500,2\n")
    refresh.refresh()
    assert (here.folder / "paper" / "test_cost.csv").read_text() == "seconds,cores\n500,2\n"


def test_a_dry_run_changes_nothing(here, capsys):
    before = contents(here)
    refresh.refresh(dry_run=True)
    assert contents(here) == before and "would renew notebooks/01_first.ipynb" in capsys.readouterr().out


def test_all_or_nothing(here):
    before = contents(here)
    here.record("02_second").with_name("notebook.ipynb").unlink()
    with pytest.raises(RunError, match=r"nothing renewed[\s\S]*02_second: missing: .*notebook\.ipynb"):
        refresh.refresh()
    assert contents(here) == before


def test_a_first_cell_without_its_cost_is_refused(here):
    with pytest.raises(RunError, match="01_first: the first cell has no"):
        refresh.with_cost("# Question", "01_first", 1.0)
