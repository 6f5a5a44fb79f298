"""What the code says of itself, read and not imported: its docstrings, and what a verdict of a notebook depends on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import nbformat

from artifact.files import ROOT


class Item(NamedTuple):
    """A public function, class or method."""

    name: str  # within its module, a method's with its class
    signature: str
    doc: str
    source: str


class Module(NamedTuple):
    """A documented module."""

    name: str
    doc: str
    items: list[Item]


class Evidence(NamedTuple):
    """Cells of a notebook, counted from 1 over its code cells, and the functions that they call, with their modules."""

    rule: int | None  # the cell that states the rule
    verdict: int | None
    computed: list[int]  # cells whose statements the verdict depends on
    functions: list[str]


@cache
def modules() -> dict[str, Module]:
    """Every documented module of the library and the artifact, by name."""
    found = {}
    for path in sorted(path for package in ("resonance", "artifact") for path in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(text)
        module = Module(name, ast.get_docstring(tree) or "", list(_items(tree.body, text.splitlines())))
        if module.doc or module.items:
            found[name] = module
    return found


def _items(body: list[ast.stmt], lines: list[str], owner: str = "") -> Iterable[Item]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        doc, source = ast.get_docstring(node) or "", "\n".join(lines[node.lineno - 1 : node.end_lineno])
        is_class = isinstance(node, ast.ClassDef)
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"] if is_class else [node]
        if doc or not owner:
            yield Item(owner + node.name, _signature(made[0], bool(owner) or is_class) if made else "", doc, source)
        if is_class:
            yield from _items(node.body, lines, f"{node.name}.")


def _signature(node: ast.FunctionDef, bound: bool) -> str:
    text = re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args)) if bound else ast.unparse(node.args)
    return f"({text})" + (f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else "")


@cache
def exported() -> dict[str, str]:
    """The module of each name that `resonance` exports."""
    tree = ast.parse((ROOT / "resonance" / "__init__.py").read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"resonance.{node.module}" for node in nodes for alias in node.names}


def evidence(notebook: nbformat.NotebookNode, claim: str) -> Evidence:
    """Where a claim's rule and verdict stand, and what the verdict depends on: a backward slice over statements.

    A verdict whose claim is named by a variable is the first of its kind.  Statements that change an object in place,
    without assigning it, are not followed.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    states = re.compile(rf"^{re.escape(claim)}(, a |: )", re.M)
    rule = next((at for at, cell in enumerate(cells, 1) if states.search(printed_by(cell))), None)
    statements = [(at, node) for at, cell in enumerate(cells, 1) for node in ast.parse(_python(cell.source)).body]
    judged = [(place, text) for place, (_, node) in enumerate(statements) if ".verdict(" in (text := ast.unparse(node))]
    named = [place for place, text in judged if repr(claim) in text]
    chosen = named or [place for place, text in judged if "verdict('" not in text]
    if not chosen:
        return Evidence(rule, None, [], [])
    imports = [node for _, node in statements if isinstance(node, ast.ImportFrom)]
    imported = {a.asname or a.name: f"{node.module}.{a.name}" for node in imports for a in node.names}
    needed: set[str] = set()
    computed, called = set(), set()
    for place in range(chosen[0], -1, -1):
        at, node = statements[place]
        if isinstance(node, ast.Import | ast.ImportFrom) or (place < chosen[0] and not _stored(node) & needed):
            continue
        computed.add(at)
        if isinstance(node, ast.Assign):  # what these names held before is of no account
            needed -= {inner.id for target in node.targets for inner in _plain(target)}
        own = _own(node) | {"experiment"}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and inner.id in imported:
                called.add(imported[inner.id])
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load) and inner.id not in own:
                needed.add(inner.id)
            elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id in imported:
                called.add(f"{imported[inner.value.id]}.{inner.attr}")  # of an imported module
    known = {f"{module.name}.{item.name}" for module in modules().values() for item in module.items}
    called |= {f"{exported()[name]}.{name}" for name in exported() if f"resonance.{name}" in called}
    functions = sorted(name for name in called & known if not name.startswith("artifact.pipeline"))
    return Evidence(rule, statements[chosen[0]][0], sorted(computed), functions)


def _plain(target: ast.expr) -> list[ast.Name]:
    """The names that the target of an assignment binds, without those of which it changes an entry or attribute."""
    if isinstance(target, ast.Tuple | ast.List):
        return [name for part in target.elts for name in _plain(part)]
    return [target] if isinstance(target, ast.Name) else []


def _stored(node: ast.stmt) -> set[str]:
    """Names that a statement assigns, also those that it assigns an entry or attribute of, without its own."""
    found = {inner.name for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef | ast.ClassDef)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Subscript | ast.Attribute) and isinstance(inner.ctx, ast.Store):
            while isinstance(inner, ast.Subscript | ast.Attribute):
                inner = inner.value
            found |= {inner.id} if isinstance(inner, ast.Name) else set()
    return found - _own(node)


def _own(node: ast.stmt) -> set[str]:
    """Names that have a meaning within a statement only: the variables of its comprehensions."""
    targets = [inner.target for inner in ast.walk(node) if isinstance(inner, ast.comprehension)]
    return {name.id for target in targets for name in _plain(target)}


def _python(source: str) -> str:
    """A cell's source without the lines that only IPython understands."""
    return "\n".join(line for line in source.splitlines() if not line.startswith(("%", "!")))


def printed_by(cell: nbformat.NotebookNode) -> str:
    """What a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")
