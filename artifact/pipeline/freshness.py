"""What a result is made from, and whether it is out of date.

Snakemake compares the times of files, then their contents; a clone sets arbitrary times, and an edit of prose changes
them without changing a result.  So each notebook's job depends on a stamp, whose content is all that makes its result
out of date, and on the merged ledger where the notebook reads it.

In a dry run RESONANCE_DRY names a folder for the stamps, and nothing else is written, touched or downloaded.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import os
import time
import tokenize
import warnings
from functools import cache
from pathlib import Path

from artifact.files import ROOT, write_text
from artifact.pipeline.notebooks import (
    code_cells,
    defaults,
    notebooks,
    parameters,
    parameters_cell,
    read_record,
    result_folder,
    settings,
)

CODE = ("resonance", "artifact")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


# --------------------------------------------------------------------------- modules


def module_file(name: str) -> Path | None:
    """The file of a module of the repository by its dotted name; None for another package, or for no module."""
    path = ROOT.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None) if name.split(".")[0] in CODE else None


@cache
def imports(source: str, module: str = "") -> frozenset[str]:
    """The modules of the repository that some source imports; for a name of a package, the module that defines it.

    `module` is the dotted name of the source, against which its relative imports are resolved.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if module_file(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            base = _origin(node, module)
            found |= {home for alias in node.names if (home := _home(base, alias.name))}
    return frozenset(found)


def _origin(node: ast.ImportFrom, module: str) -> str:
    """The dotted name after `from`, with the dots of a relative import resolved."""
    if not node.level:
        return node.module
    is_package = module_file(module).name == "__init__.py"
    parents = module.rsplit(".", node.level - is_package)[:1]
    return ".".join(parents + ([node.module] if node.module else []))


def _home(base: str, name: str) -> str | None:
    """The module that defines what `from base import name` gives; None outside the repository."""
    if module_file(f"{base}.{name}"):
        return f"{base}.{name}"
    file = module_file(base)
    if file is None or file.name != "__init__.py":
        return base if file else None
    for node in ast.parse(file.read_text()).body:  # a package: where does it have the name from?
        for alias in node.names if isinstance(node, ast.ImportFrom) else []:
            if name == (alias.asname or alias.name):
                return _home(_origin(node, base), alias.name) or base
    return base


def dependencies(name: str) -> list[str]:
    """The modules of the repository that a notebook depends on, by its imports and theirs."""
    lines = [line for cell in code_cells(name) for line in cell.splitlines() if not line.startswith(("%", "!"))]
    pending, seen = set(imports("\n".join(lines))), set()
    while pending:
        module = pending.pop()
        if module not in seen:
            seen.add(module)
            pending |= imports(module_file(module).read_text(), module)
    return sorted(seen)


# --------------------------------------------------------------------------- results


def digest(name: str, profile: str) -> str:
    """A digest of all that a result is made from but its data: code cells, parameters, modules, the claims it judges.

    Outputs and prose of the notebook, docstrings and comments of modules are not part of it, nor are those of the
    notebook's own parameters that the profile replaces.
    """
    hasher = hashlib.sha256()
    with (ROOT / "paper" / "claims.csv").open(newline="", encoding="utf-8") as file:
        claims = [row for row in csv.DictReader(file) if row["notebook"] == name[:2]]
    cells = [cell for cell in code_cells(name) if cell != parameters_cell(name)]
    chosen = defaults(name) | {key: repr(value) for key, value in parameters(name, profile).items()}
    hasher.update(json.dumps([cells, chosen, claims], sort_keys=True).encode())
    files = [ROOT / file for file in settings(name)["files"]]
    for module in dependencies(name):
        hasher.update(statements(module_file(module).read_text(encoding="utf-8")).encode())
    for path in files:
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


@cache
def statements(source: str) -> str:
    """Python source without docstrings and comments, which change no result."""
    lines: list[str | None] = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() or None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]  # on lines of its own
            lines[first.lineno - 1 : first.end_lineno] = [None] * (first.end_lineno - first.lineno + 1)
    return "\n".join(line for line in lines if line is not None)


@cache
def data_available(dataset: str) -> bool:
    """Whether the real files of a data set are available; looked up once a process, for it may ask the network.

    A dry run does not look for them.
    """
    from artifact.datasets.registry import available

    if "RESONANCE_DRY" in os.environ:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notebook says itself what it reads
        return available(dataset)


def faults(name: str, profile: str) -> list[str]:
    """Why the result of a notebook is out of date, or not there; empty when it is current.

    A result on stand-in data, or without optional data, is out of date as soon as the real data are available.  One on
    real data stays when they are gone: nothing better could take its place.
    """
    record = read_record(name, profile)
    if record is None:
        return ["no result"]
    files = [result_folder(name, profile) / file for file in record["files"]]
    files += [ROOT / "figures" / profile / file for file in record["figures"]]
    found = [f"missing: {file.relative_to(ROOT)}" for file in files if not file.exists()]
    if record["digest"] != digest(name, profile):
        found.append("code or parameters changed")
    lacking = [dataset for dataset, used in record.get("data", {}).items() if used != "real"]
    return found + [f"{dataset} is available now" for dataset in lacking if data_available(dataset)]


# --------------------------------------------------------------------------- for Snakemake


def stamp(name: str, profile: str) -> str:
    """Write the file that a notebook's job depends on; return its path.

    It is older than any result when the result is current.  Otherwise it is newer, and its content new to Snakemake,
    which keeps the checksum of the stamp that each result was made from: it names the faults and the result that has
    them, so that the same fault of a later result is another content.
    """
    if not (found := faults(name, profile)):
        return _put_stamp(profile, name, "current\n", current=True)
    result = (read_record(name, profile) or {}).get("started", "none")
    content = "\n".join([digest(name, profile), f"result of {result}", *found]) + "\n"
    return _put_stamp(profile, name, content, current=False)


def ledger_stamp(profile: str) -> str:
    """Write the file that the merged ledger depends on, newer than the ledger when that is not what `merged` gives."""
    names = [name for name in notebooks() if read_record(name, profile)]
    content = "\n".join([ledger_digest(profile), "merge of:", *names]) + "\n"
    return _put_stamp(profile, "ledger", content, current=_ledger_agrees(profile))


def _put_stamp(profile: str, name: str, content: str, *, current: bool) -> str:
    """Write a stamp if it is missing, or if what it stands for has become out of date; return its path."""
    path = Path(os.environ.get("RESONANCE_DRY", ROOT / "build" / "stamps")) / profile / f"{name}.txt"
    same = path.exists() and (current or (path.read_text() == content and path.stat().st_mtime != 0))
    if not same:
        write_text(path, content)
    if current:
        os.utime(path, (0, 0))
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def settle(profile: str) -> None:
    """Put the times of a clone's result files in the order of the graph, where their contents agree.

    A clone gives its files arbitrary times.  Where the ledger on disk is what its notebooks merge to, and the
    notebooks that read it were made from it, nothing is out of date, and the times shall say so.  A dry run leaves
    them, and may plan to merge a clone's ledger once more.
    """
    if "RESONANCE_DRY" in os.environ:
        return
    results = ROOT / "data" / "results" / profile
    records = {name: results / name / "provenance.json" for name in notebooks()}
    readers = [path for name, path in records.items() if settings(name)["after"] == "results"]
    sources = [path for path in records.values() if path not in readers and path.exists()]
    ledger = _ledger(profile)
    if not sources or not all(path.exists() for path in [*ledger, *readers]):
        return
    times = [max(p.stat().st_mtime for p in [*sources, ROOT / "paper" / "claims.csv"])]
    times += [f(p.stat().st_mtime for p in group) for group in (ledger, readers) if group for f in (min, max)]
    if times == sorted(times) or not _ledger_agrees(profile):
        return
    merged_at = max(times[0], time.time() - 2)  # not in the future: what is written from now on is newer
    for path in ledger:
        os.utime(path, (merged_at, merged_at))
    for path in readers:
        if json.loads(path.read_text()).get("ledger") == ledger_digest(profile):
            os.utime(path, (merged_at + 1, merged_at + 1))


def _ledger(profile: str) -> list[Path]:
    return [ROOT / "data" / "results" / profile / f"{name}.csv" for name in ("claims", "measures")]


def _ledger_agrees(profile: str) -> bool:
    """Whether the merged ledger on disk is what the finished notebooks merge to."""
    from artifact.pipeline.ledger import merged

    if not all(path.exists() for path in _ledger(profile)):
        return False
    tables = zip(_ledger(profile), merged(profile), strict=True)
    return all(path.read_text() == table.to_csv(index=False) for path, table in tables)


def ledger_digest(profile: str) -> str:
    """A digest of the merged ledger of a profile."""
    texts = [path.read_bytes() for path in _ledger(profile) if path.exists()]
    return hashlib.sha256(b"".join(texts)).hexdigest()
