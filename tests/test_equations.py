"""From paper and supplement to the code and back: each equation and theorem names objects that name it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re

import pytest

from artifact.files import ROOT

SECTIONS = {
    f"{path.parent.name}/{path.stem}": path.read_text() for path in sorted((ROOT / "paper").glob("*/*.tex"))
}  # the paper's article/ and the supplement's sections/; what both print stands once, in statements/
LABEL = r"(?:eq|thm|prop):[a-z][a-z0-9-]*"
LABELS = [
    (section, label) for section, text in SECTIONS.items() for label in re.findall(rf"\\label{{({LABEL})}}", text)
]
CODE = re.compile(rf"\\code{{({LABEL})}}{{([^}}]*)}}")
NAMES = {label: names.split(", ") for text in SECTIONS.values() for label, names in CODE.findall(text)}
NUMBERED = re.compile(r"\\begin{(equation|theorem|proposition)}(.*?)\\end{\1}", re.S)


def object_of(name: str):
    """Import the object of a dotted name: the longest prefix that is a module, then attributes."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def mentioned() -> dict[str, set[str]]:
    """Labels in the docstrings of the code, with the modules that mention them; read, not imported."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found: dict[str, set[str]] = {}
    for folder in ("resonance", "artifact"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
            for text in filter(None, map(ast.get_docstring, nodes)):
                for label in re.findall(rf"\b{LABEL}\b", text):
                    found.setdefault(label, set()).add(str(path.relative_to(ROOT)))
    return found


def test_labels_are_unique_and_many():
    labels = [label for _, label in LABELS]
    assert len(labels) == len(set(labels)) >= 36


@pytest.mark.parametrize(("section", "label"), LABELS, ids=[label for _, label in LABELS])
def test_a_label_names_code_that_names_it(section, label):
    text = SECTIONS[section]
    beside = text[text.index(rf"\label{{{label}}}") :][:2000]
    assert rf"\code{{{label}}}" in beside, f"no \\code{{{label}}} beside the label in {section}.tex"
    for name in NAMES[label]:
        assert name.startswith(("resonance.", "artifact.studies.")) and "._" not in name
        doc = inspect.getdoc(object_of(name)) or ""
        assert re.search(rf"\b{label}(?![\w-])", doc), f"the docstring of {name} does not name {label}"


def test_code_names_only_labels_of_the_report():
    assert set(NAMES) == {label for _, label in LABELS}


def test_docstrings_name_only_labels_of_the_report():
    unknown = {label: paths for label, paths in mentioned().items() if label not in NAMES}
    assert not unknown


@pytest.mark.parametrize("section", SECTIONS)
def test_a_numbered_statement_has_a_label(section):
    for _, body in NUMBERED.findall(SECTIONS[section]):
        assert r"\label{" in body, body[:200]
