"""The committed notebooks: executed once, in order, in the quick profile, with a checked cell and nothing stray."""

from __future__ import annotations

import ast
import re

import pytest

from artifact.datasets import registry
from artifact.files import ROOT
from artifact.pipeline import freshness, notebooks, refresh

NAMES = notebooks.notebooks()


def code_cells(name):
    return [cell for cell in notebooks.read_notebook(name).cells if cell.cell_type == "code" and cell.source.strip()]


def tags(name):
    return [tag for cell in code_cells(name) for tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("name", NAMES)
def test_every_code_cell_has_run_once_in_order(name):
    assert [cell.execution_count for cell in code_cells(name)] == list(range(1, len(code_cells(name)) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_tags(name):
    assert tags(name).count("parameters") == 1 and "nbval-check-output" in tags(name)
    assert "injected-parameters" not in tags(name)
    for cell in code_cells(name):
        if "nbval-check-output" in cell.metadata.get("tags", []):
            assert cell.outputs, "a checked cell without output checks nothing"


@pytest.mark.parametrize("name", NAMES)
def test_outputs_hold_no_error_progress_bar_svg_or_path(name):
    for cell in code_cells(name):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
            assert "image/svg+xml" not in output.get("data", {})
            text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            assert not re.search(r"(?:^|[\s'\"])/(?:home|root|work|tmp|Users)/", text)
            assert "it/s]" not in text


@pytest.mark.parametrize("name", NAMES)
def test_shape_of_a_notebook(name):
    cells = notebooks.read_notebook(name).cells
    assert len(cells) <= 24 and cells[0].cell_type == "markdown" and "Cost" in cells[0].source
    for cell in code_cells(name):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10, f"{node.name} belongs in resonance/"


@pytest.mark.parametrize("name", NAMES)
def test_the_cost_is_the_recorded_one(name):
    """./run_all.sh refresh writes it, from the seconds of the quick run that is committed and of the reference run."""
    assert refresh.cost(name, notebooks.settings(name)["seconds"]) in notebooks.read_notebook(name).cells[0].source


@pytest.mark.parametrize("name", NAMES)
def test_rules_stand_before_results(name):
    """No verdict or measure is recorded before the last rule of the notebook is stated."""
    source = "\n".join(cell.source for cell in code_cells(name))
    rules = [m.start() for m in re.finditer(r"experiment\.rule\(", source)]
    results = [m.start() for m in re.finditer(r"experiment\.(?:verdict|measure|save)\b", source)]
    assert not rules or max(rules) < min(results)


@pytest.mark.parametrize("name", NAMES)
def test_prose_quotes_no_result(name):
    """Decimals in prose are settings, never results: only those that the code of the notebook also holds."""
    code = "\n".join(cell.source for cell in code_cells(name))
    for cell in notebooks.read_notebook(name).cells:
        if cell.cell_type == "markdown":
            for decimal in re.findall(r"(?<![\w.])\d+\.\d+", cell.source):
                assert decimal in code or decimal in {"0.05", "0.95", "0.62"}, decimal


LOADERS = {data.load.__name__: name for name, data in registry.DATASETS.items()}
LOADERS |= {find.__name__: name for name, find in registry.OPTIONAL.items()} | {"load_words": "books"}


@pytest.mark.parametrize("name", NAMES)
def test_the_data_that_a_notebook_loads_are_declared(name):
    """What its cells or its study name are declared, else real data that come later would change nothing; and no more
    than what it names through any study."""

    def named(studies: str) -> set[str]:
        modules = [module for module in freshness.dependencies(name) if module.startswith(studies)]
        sources = [*notebooks.code_cells(name), *(freshness.module_file(module).read_text() for module in modules)]
        found = {loader for source in sources for loader in re.findall(r"\b(?:load|find)_\w+", source)}
        return {LOADERS[loader] for loader in found & set(LOADERS)}

    assert named(f"artifact.studies.{name[3:]}.") <= set(notebooks.settings(name)["data"]) <= named("artifact.studies.")


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_known(name):
    settings = notebooks.settings(name)
    assert set(settings) == {"data", "files", "timed", "after", "seconds"}
    assert set(settings["data"]) <= {*registry.DATASETS, *registry.OPTIONAL} and isinstance(settings["timed"], bool)
    assert settings["after"] in ([], "results")
    assert all((ROOT / file).exists() for file in settings["files"])
