"""Profiles and parameters of notebooks: what is not known is refused before anything runs."""

from __future__ import annotations

import pytest
import yaml

from artifact.pipeline import notebooks
from artifact.pipeline.notebooks import RunError


def test_profiles_and_parameters_are_checked():
    assert notebooks.profiles()[0] == "quick" and "full" in notebooks.profiles()
    for name in notebooks.notebooks():
        assert notebooks.parameters(name, "quick") == {}
        assert set(notebooks.parameters(name, "full")) <= set(notebooks.defaults(name))
    with pytest.raises(RunError, match="expected one of quick"):
        notebooks.check_profile("nope")
    with pytest.raises(RunError, match="expected one of 00_"):
        notebooks.find_notebook("77")


def test_an_unknown_parameter_is_refused_before_anything_runs(tree):
    tree.add("01_first", tree.result("01_first"))
    (tree.folder / "notebooks" / "odd.yaml").write_text(yaml.safe_dump({"01_first": {"sead": 1}}))
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01", "--profile", "odd")
    assert done.returncode == 1 and "has no parameter sead; its parameters cell has seed" in done.stderr
    assert not (tree.folder / "data").exists()


def test_a_missing_parameters_cell_is_refused(tree):
    import nbformat

    path = tree.add("01_first", tree.result("01_first"))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].metadata.pop("tags")
    nbformat.write(notebook, path)
    (tree.folder / "notebooks" / "odd.yaml").write_text(yaml.safe_dump({"01_first": {"seed": 1}}))
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01", "--profile", "odd")
    assert done.returncode == 1 and "one cell tagged 'parameters'" in done.stderr
