"""Mutation testing of the numerical core: small changes of its source, one at a time, and whether a test notices.

    pip install --target build/mutation cosmic-ray==8.7.0
    python tests/mutation.py                 # an hour on one core; prints the survivors, writes paper/mutation.csv
    python tests/mutation.py band              # some modules: their rows alone are renewed
    python tests/mutation.py band --count 20   # fewer mutants; writes nothing

The operators are those of cosmic-ray without options: other operators, comparisons and numbers, `not`, loops without an
iteration, exceptions, decorators.  A mutant is one place in the source with one of its replacements; of all places a
sample is drawn by a hash of the line, so that an edit elsewhere changes nothing: at a rate of 90%, 140 give an interval
of 5 points to each side.  Left out is what nothing computed depends on: annotations and the text of messages.

Each mutant runs in a fork of a process that has imported everything but the project, on source that is replaced when it
is imported: the files are never changed.  A mutant is killed by a failing test, or by five times the CPU time of a run
without it.  The tests are the module's own, those of at most LONGEST seconds, the fastest first, Hypothesis with ten
examples that are always the same.  tests/mutants.csv lists the survivors that compute
the same, with the reason.
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import importlib
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import NamedTuple

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT, COUNTS = ROOT / "tests" / "mutants.csv", ROOT / "paper" / "mutation.csv"
# The modules, and the tests of others that check them as well.
MODULES = {
    "band": ("spectral",),
    "spectral": (),
    "engines.linear_time": (),
    "polar": (),
    "memory": (),
    "causal_mixing": ("causal",),
}
COUNT = 140  # mutants a module
LONGEST, WALL = 2.0, 600  # seconds: CPU time of the longest test, all tests of a mutant
EXAMPLES = 10  # of Hypothesis, a test


class Mutant(NamedTuple):
    """One change: the function it is in, the line before and after, the operator, the whole source."""

    function: str
    before: str
    after: str
    line: int
    operator: str
    source: str


def unread(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans, as (line, column) pairs, of annotations and of formatted text."""
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None), node):
            if part is not None and (part is not node or isinstance(node, ast.JoinedStr)):
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def rank(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def mutants(source: str, count: int) -> list[Mutant]:
    """Draw mutants of a source, at most one a place and operator family."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.ast.ast_query import ASTQuery
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    lines, spans, nodes = source.splitlines(), list(unread(ast.parse(source))), list(ast_nodes(get_ast(source)))
    places = defaultdict(list)
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments() or name.endswith("NoOp"):
            continue
        found = ((node, *span) for node in nodes for span in operator().mutation_positions(node))
        for occurrence, (node, start, _) in enumerate(found):
            if not any(first <= start < last for first, last in spans):
                function = ASTQuery(node).get_definition_name() or ""
                line = lines[start[0] - 1]
                column = start[1] - len(line) + len(line.lstrip())
                family = name.split("/")[1].split("_")[0]
                draw = rank(function, line.strip(), column, name)
                places[family, start].append((draw, name, occurrence, function))
    drawn = sorted((rank(min(p)[0]), start, *min(p)[1:]) for (_, start), p in places.items())[:count]
    made = []
    for _, (line, _), name, occurrence, function in sorted(drawn, key=lambda d: d[1:]):
        changed = mutate_code(source, get_operator(name)(), occurrence)
        before, after = lines[line - 1].strip(), changed.splitlines()[line - 1].strip()
        if "Decorator" in name:  # with the line that it decorates, which is then in its place
            before, after = f"{before} {lines[line].strip()}", ""
        made.append(Mutant(function, before, after, line, name.split("/")[1], changed))
    return made


# --------------------------------------------------------------------------- one run of the tests


class Watch:
    """The pytest plugin: Hypothesis repeats itself, fast tests come first, slow ones are left out, times are kept."""

    def __init__(self, times: dict[str, float]):
        self.times, self.now = times, {}

    def pytest_sessionstart(self):
        from hypothesis import settings

        settings.register_profile("mutation", max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
        settings.load_profile("mutation")  # after conftest.py has loaded its own, before the tests are imported

    def pytest_collection_modifyitems(self, items):
        from hypothesis import settings

        items[:] = [item for item in items if self.times.get(item.nodeid, 0.0) <= LONGEST]
        items.sort(key=lambda item: self.times.get(item.nodeid, 0.0))
        for item in items:
            if held := getattr(item.obj, "_hypothesis_internal_use_settings", None):  # a test's own number of examples
                fewer = settings(held, max_examples=min(EXAMPLES, held.max_examples))
                item.obj._hypothesis_internal_use_settings = fewer

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        start = time.process_time()
        result = yield
        self.now[item.nodeid] = time.process_time() - start
        return result


def suite(module: str) -> list[str]:
    """The test files of a module."""
    folders = [name.rpartition(".") for name in (module, *MODULES[module])]
    return [f"{ROOT}/tests/resonance/{folder.replace('.', '/')}/test_{name}.py" for folder, _, name in folders]


def forked(module: str, source: str | None, times: dict[str, float], limit: int) -> tuple[int, float, dict]:
    """Run the module's tests in a fork, on another source: the exit status, its CPU time, and what it tells."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(read)
        code = 99
        try:
            code = child(module, source, times, limit, write)
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, ast.literal_eval(told or "{}")


def child(module: str, source: str | None, times: dict[str, float], limit: int, write: int) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    signal.alarm(WALL)  # a mutant that only waits
    path, whole = str(ROOT / "resonance" / f"{module.replace('.', '/')}.py"), SourceFileLoader.get_code
    if source is not None:
        SourceFileLoader.get_code = lambda self, name: (
            compile(source, path, "exec", dont_inherit=True) if self.path == path else whole(self, name)
        )
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    watch = Watch(times)
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
    code = int(pytest.main([*options, *suite(module)], plugins=[watch]))
    if source is None:
        told = {"times": dict(watch.now), "modules": sorted(sys.modules)}
        with os.fdopen(write, "w") as pipe:
            pipe.write(repr(told))
    return code


def examine(module: str, count: int, known: dict[tuple, str]) -> dict[str, object]:
    """Test the mutants of a module; print the survivors; return its row of the table."""
    code, _, told = forked(module, None, {}, 900)
    assert code == 0, f"the tests of {module} fail without a mutant: {suite(module)}"
    for name in told["modules"]:
        if name.partition(".")[0] not in ("resonance", "artifact", "tests", "conftest", "__main__"):
            try:
                importlib.import_module(name)
            except Exception:  # a module that only its test can import
                continue
    code, usual, _ = forked(module, None, told["times"], 900)
    assert code == 0
    source = (ROOT / "resonance" / f"{module.replace('.', '/')}.py").read_text()
    drawn, killed, equivalent = mutants(source, count), 0, 0
    print(f"{module}: {len(drawn)} mutants, {usual:.1f} s without one", flush=True)
    for mutant in drawn:
        start = time.monotonic()
        key = (module, mutant.function, mutant.before, mutant.after)
        if forked(module, mutant.source, told["times"], int(5 * usual + 10))[0] != 0:
            killed += 1
        elif key in known:
            equivalent += 1
        else:
            print(
                f"  survived: {module}.py:{mutant.line} {mutant.function} [{mutant.operator}], "
                f"{time.monotonic() - start:.0f} s\n    - {mutant.before}\n    + {mutant.after}",
                flush=True,
            )
    rate = killed / max(len(drawn) - equivalent, 1)
    print(f"{module}: {killed} of {len(drawn) - equivalent} killed ({rate:.1%}), {equivalent} equivalent", flush=True)
    return {"module": module, "mutants": len(drawn), "killed": killed, "equivalent": equivalent, "rate": f"{rate:.3f}"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(MODULES), help=f"of {', '.join(MODULES)}; default: all")
    parser.add_argument("--count", type=int, default=COUNT, help="mutants a module")
    arguments = parser.parse_args()
    sys.path.append(str(ROOT / "build" / "mutation"))  # behind the packages of the environment
    sys.path.insert(0, str(ROOT))
    with EQUIVALENT.open() as file:
        known = {tuple(row[:4]): row[4] for row in csv.reader(file)}
    rows = {module: examine(module, arguments.count, known) for module in arguments.modules}
    if arguments.count == COUNT:  # rows of modules that did not run stay as they were
        if COUNTS.exists():
            with COUNTS.open() as file:
                rows = {row["module"]: row for row in csv.DictReader(file)} | rows
        rows = {module: rows[module] for module in MODULES if module in rows}
    total = {key: sum(int(row[key]) for row in rows.values()) for key in ("mutants", "killed", "equivalent")}
    rate = total["killed"] / (total["mutants"] - total["equivalent"])
    print(f"{rate:.1%} of {total['mutants'] - total['equivalent']} killed")
    if arguments.count == COUNT:
        with COUNTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["module", "mutants", "killed", "equivalent", "rate"], lineterminator="\n")
            writer.writeheader()
            writer.writerows([*rows.values(), {"module": "all", **total, "rate": f"{rate:.3f}"}])
    return int(rate < 0.9)


if __name__ == "__main__":
    sys.exit(main())
