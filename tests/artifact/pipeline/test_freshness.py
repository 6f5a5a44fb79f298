"""What makes a result out of date: by the functions, and by the workflow engine itself."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import tokenize

import nbformat
import pytest

from artifact.files import ROOT
from artifact.pipeline import freshness, notebooks


@pytest.fixture
def tree(tree):
    """The tree, whose notebooks run without kernels: what runs is tested here, not how (as in test_runner.py)."""
    return tree.without_kernels()


@pytest.fixture
def here(tree, monkeypatch):
    """The tree, with the functions of this process at work in it."""
    monkeypatch.setattr(notebooks, "ROOT", tree.folder)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tree.folder / "notebooks")
    monkeypatch.setattr(freshness, "ROOT", tree.folder)
    notebooks.read_notebook.cache_clear()
    yield tree
    notebooks.read_notebook.cache_clear()


def finished(tree, name: str, **record) -> dict:
    """Put a finished result in the tree, as the runner would; return its record."""
    record = {"digest": freshness.digest(name, "quick"), "files": ["measures.csv"], "figures": [], **record}
    record = {"notebook": name, "started": "2026-01-01T00:00:00+00:00", "data": {}, **record}
    folder = tree.record(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "measures.csv").write_text("key,value\n")
    (folder / "provenance.json").write_text(json.dumps(record))
    return record


def edit(path) -> None:
    path.write_text(path.read_text() + "\nchanged = True\n")


# --------------------------------------------------------------------------- modules


def test_dependencies_follow_imports():
    modules = {name: set(freshness.dependencies(name)) for name in notebooks.notebooks()}
    first = modules["01_stable_gradients"]
    assert {"artifact.studies.stable_gradients.gradients", "resonance.layers", "resonance.spectral"} <= first
    assert "artifact.pipeline.ledger" in first and "artifact.studies.stable_gradients.ablation" in first
    assert not [module for module in first if ".complexity" in module]
    assert not [module for module in modules["08_forecasting"] if ".stable_gradients" in module]


def test_a_relative_import_is_resolved_against_its_package(here):
    package = here.folder / "artifact" / "probe"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from .inner import deep as shallow\n")
    (package / "inner" / "__init__.py").write_text("from .leaf import deep\nfrom ..beside import far\n")
    (package / "inner" / "leaf.py").write_text("from ..beside import far\nfrom . import other\ndeep = 1\n")
    (package / "inner" / "other.py").write_text("")
    (package / "beside.py").write_text("far = 2\n")
    leaf = (package / "inner" / "leaf.py").read_text()
    assert freshness.imports(leaf, "artifact.probe.inner.leaf") == {
        "artifact.probe.beside",
        "artifact.probe.inner.other",
    }
    assert freshness.imports("from artifact.probe import shallow") == {"artifact.probe.inner.leaf"}
    assert freshness.imports("from artifact.probe.inner import far") == {"artifact.probe.beside"}
    assert freshness.imports("import artifact.probe.beside, os\nfrom numpy import pi") == {"artifact.probe.beside"}


def test_a_name_of_the_library_is_the_module_that_defines_it():
    assert freshness.imports("from resonance import BandMixing") == {"resonance.layers"}
    assert freshness.imports("from resonance import PolarWeight as P") == {"resonance.polar"}
    assert freshness.imports("from resonance import __version__") == {"resonance"}
    with_all = {"resonance", "resonance.layers"}
    assert with_all <= freshness.imports("import resonance") | freshness.imports(
        (ROOT / "resonance" / "__init__.py").read_text(), "resonance"
    )


def test_a_module_makes_stale_what_imports_it_and_nothing_else(here):
    cells = ["from resonance.polar import PolarWeight", "from resonance import BandMixing", "import pandas"]
    for name, cell in zip(("01_first", "02_second", "03_third"), cells, strict=True):
        here.add(name, cell)
    before = [freshness.digest(name, "quick") for name in notebooks.notebooks()]
    for module, stale in (("polar", [True, True, False]), ("layers", [False, True, False])):
        edit(here.folder / "resonance" / f"{module}.py")
        after = [freshness.digest(name, "quick") for name in notebooks.notebooks()]
        assert [a != b for a, b in zip(before, after, strict=True)] == stale
        before = after


def test_docstrings_and_comments_make_nothing_stale(here):
    here.add("01_first", "from resonance.polar import PolarWeight")
    path = here.folder / "resonance" / "polar.py"
    path.write_text('"""A module."""\n\nMARK = "# no comment"\n\n\nclass PolarWeight:\n    """One\n\n    line."""\n')
    before = freshness.digest("01_first", "quick")
    path.write_text(
        path.read_text().replace("One\n\n    line", "Another").replace("\n\n\nclass", "\n\n# Why.\n\nclass")
    )
    assert freshness.digest("01_first", "quick") == before
    path.write_text(path.read_text().replace("# no", "# a"))
    assert freshness.digest("01_first", "quick") != before


def words(source: str, without: set[tuple[int, int]] = frozenset()) -> list[str]:
    """The tokens of a program, but comments, layout and those that start at a line and column of `without`."""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type not in layout and token.start not in without]


@pytest.mark.parametrize("package", freshness.CODE)
def test_only_docstrings_and_comments_are_left_out(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        source = path.read_text()
        documented = [node for node in ast.walk(ast.parse(source)) if isinstance(node, freshness.DOCUMENTED)]
        docstrings = {
            (node.body[0].lineno, node.body[0].col_offset) for node in documented if ast.get_docstring(node) is not None
        }
        assert words(freshness.statements(source)) == words(source, docstrings), path


def test_tables_and_the_readme_make_nothing_stale():
    used = {freshness.module_file(module) for name in notebooks.notebooks() for module in freshness.dependencies(name)}
    tables = set((ROOT / "artifact" / "studies").glob("*/tables.py"))
    report = {ROOT / "artifact" / "pipeline" / f"{name}.py" for name in ("readme", "report", "tables", "runner")}
    assert len(tables) >= 10 and not used & (tables | report)


def test_prose_and_outputs_make_nothing_stale(here):
    path = here.add("01_first", "x = 1")
    before = freshness.digest("01_first", "quick")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("prose"))
    notebook.cells[1].execution_count = 5
    nbformat.write(notebook, path)
    notebooks.read_notebook.cache_clear()
    assert freshness.digest("01_first", "quick") == before
    here.add("01_first", "x = 2")
    notebooks.read_notebook.cache_clear()
    assert freshness.digest("01_first", "quick") != before


def test_a_parameter_makes_stale_what_runs_with_it(here):
    """A notebook's own value is none of a profile that replaces it; its notes and its order never count."""

    def digests(parameters: str) -> list[str]:
        here.add("01_first", "x = steps", parameters=parameters)
        notebooks.read_notebook.cache_clear()
        return [freshness.digest("01_first", profile) for profile in ("quick", "other")]

    (here.folder / "notebooks" / "other.yaml").write_text("01_first: {steps: 900}\n")
    quick, other = digests("steps = 30\nrate = 0.1")
    assert digests("rate = 0.1  # tried first\nsteps = 30") == [quick, other]
    fewer, same = digests("steps = 20\nrate = 0.1")
    assert fewer != quick and same == other
    assert all(a != b for a, b in zip(digests("steps = 30\nrate = 0.2"), (quick, other), strict=True))
    (here.folder / "notebooks" / "other.yaml").write_text("01_first: {steps: 800}\n")
    assert digests("steps = 30\nrate = 0.1")[0] == quick != digests("steps = 30\nrate = 0.1")[1] != other


# --------------------------------------------------------------------------- results


def test_each_fault_is_named(here, monkeypatch):
    here.add("01_first", "x = 1", data=["ETTh1", "MNIST"])
    available = {"ETTh1": False, "MNIST": True}
    monkeypatch.setattr(freshness, "data_available", available.get)
    assert freshness.faults("01_first", "quick") == ["no result"]
    finished(here, "01_first", data={"ETTh1": "stand-in", "MNIST": "real"}, figures=["01_a.pdf"])
    assert freshness.faults("01_first", "quick") == ["missing: figures/quick/01_a.pdf"]
    finished(here, "01_first", data={"ETTh1": "stand-in", "MNIST": "real"})
    assert not freshness.faults("01_first", "quick")
    available["MNIST"] = False  # gone again: the result on real data stays
    assert not freshness.faults("01_first", "quick")
    available["ETTh1"] = True
    assert freshness.faults("01_first", "quick") == ["ETTh1 is available now"]
    here.record("01_first").with_name("measures.csv").unlink()
    here.add("01_first", "x = 2", data=["ETTh1", "MNIST"])
    notebooks.read_notebook.cache_clear()
    said = freshness.faults("01_first", "quick")
    assert said[0].startswith("missing: data/results/quick/01_first/measures.csv")
    assert said[1:] == ["code or parameters changed", "ETTh1 is available now"]


def test_the_same_fault_of_a_later_result_is_another_stamp(here):
    here.add("01_first", "x = 1")
    said = []
    for started in ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"):
        finished(here, "01_first", started=started)
        path = here.folder / freshness.stamp("01_first", "quick")
        assert path.stat().st_mtime == 0
        here.record("01_first").with_name("measures.csv").unlink()
        freshness.stamp("01_first", "quick")
        assert path.stat().st_mtime > here.record("01_first").stat().st_mtime
        said.append(path.read_text())
        written = path.stat().st_mtime_ns
        freshness.stamp("01_first", "quick")
        assert path.stat().st_mtime_ns == written, "nothing has changed since"
    assert said[0] != said[1] and "missing: " in said[0]


# --------------------------------------------------------------------------- the workflow engine

# The tree's registry of data asks a folder of the tree: what stands there is available.
REGISTRY = """
from pathlib import Path
OPTIONAL = {"ESC-50": None}
available = lambda dataset: (Path(__file__).parents[2] / "real" / dataset).exists()
"""


def started(tree) -> dict[str, str]:
    """When each result of the tree was made: a result made again differs."""
    return {path.parent.name: path.read_text() for path in tree.folder.glob("data/results/quick/*/provenance.json")}


def test_the_engine_reruns_what_stand_ins_and_lost_files_make_stale_and_nothing_else(tree):
    """Offline first; then the data come, go, a file is lost, and lost again: each time, exactly what is affected."""
    (tree.folder / "artifact" / "datasets" / "registry.py").write_text(REGISTRY)
    (tree.folder / "real").mkdir()
    tree.add("01_first", "x = 1", data=["ETTh1"])
    tree.add("02_second", "x = 1", data=["MNIST", "ESC-50"])
    targets = [f"data/results/quick/{name}/provenance.json" for name in ("01_first", "02_second")]

    def rerun() -> set[str]:
        before = started(tree)
        done = tree.run(tree.snakemake(*targets))
        assert done.returncode == 0, done.stderr
        changed = {name for name, text in started(tree).items() if before.get(name) != text}
        assert bool(changed) == ("Nothing to be done" not in done.stderr + done.stdout)
        return changed

    assert rerun() == {"01_first", "02_second"}
    assert json.loads(tree.record("01_first").read_text())["data"] == {"ETTh1": "stand-in"}
    assert rerun() == set()
    (tree.folder / "real" / "ETTh1").touch()
    assert rerun() == {"01_first"}
    assert json.loads(tree.record("01_first").read_text())["data"] == {"ETTh1": "real"}
    (tree.folder / "real" / "ETTh1").unlink()
    assert rerun() == set(), "a result on real data stays when they are gone"
    assert json.loads(tree.record("02_second").read_text())["data"] == {"MNIST": "stand-in", "ESC-50": "absent"}
    (tree.folder / "real" / "ESC-50").touch()
    assert rerun() == {"02_second"}
    for _ in range(2):  # the second loss is the same fault, of a later result
        tree.record("02_second").with_name("notebook.ipynb").unlink()
        assert rerun() == {"02_second"}


def test_a_dry_run_plans_the_same_and_writes_or_touches_no_file(tree, tmp_path_factory):
    tree.add("01_first", tree.result("01_first"), data=["ETTh1"])
    tree.add("02_second", tree.result("02_second"))
    assert tree.run(tree.snakemake("results")).returncode == 0
    tree.add("02_second", tree.result("02_second") + "\n# edited")
    shutil.rmtree(tree.folder / "build")

    def files() -> dict:
        paths = [path for path in tree.folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
        return {path: path.stat().st_mtime_ns for path in paths}

    before = files()
    tree.environment.update(RESONANCE_DRY=str(tmp_path_factory.mktemp("dry")), PYTHONDONTWRITEBYTECODE="1")
    done = tree.run([*tree.snakemake("results"), "-n"])
    assert done.returncode == 0, done.stderr
    plan = done.stdout + done.stderr
    assert files() == before and "notebook 02_second" in plan and "notebook 01_first" not in plan


def test_a_clone_with_results_has_nothing_to_do(tree):
    """File times are at random after a clone: contents decide, for the ledger and for who reads it too."""
    tree.add("01_first", tree.result("01_first"))
    tree.add("99_last", "x = 1", after="results")
    command = tree.snakemake("results")
    done = tree.run(command)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tree.folder / ".snakemake")
    shutil.rmtree(tree.folder / "build")
    results = tree.folder / "data" / "results" / "quick"
    for age, path in enumerate((tree.record("99_last"), results / "claims.csv", tree.record("01_first"))):
        os.utime(path, (1e9 + age, 1e9 + age))  # the wrong way round
    again = tree.run(command)
    assert "Nothing to be done" in again.stderr + again.stdout
    measures = results / "measures.csv"
    measures.write_text(measures.read_text().replace("1.0", "2.0"))
    planned = tree.run([*command, "-n"])
    assert "Nothing to be done" not in planned.stderr + planned.stdout


def test_the_report_follows_its_text_and_every_table(tree):
    """Each file that a part of the report comes from makes the PDF, and no notebook, run again."""
    tree.add("01_first", tree.result("01_first"))
    assert tree.run(tree.snakemake("results")).returncode == 0
    pdfs = [tree.folder / "paper" / "build" / "quick" / f"{name}.pdf" for name in ("paper", "supplement")]
    sources = [tree.folder / "paper" / name for name in ("paper.tex", "statements/one.tex")]
    sources += sorted(tree.folder.glob("artifact/studies/*/tables.py"))
    for path in sources[:2]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("text\n")
    assert len(sources) > 12
    sources = [sources[0], sources[1], sources[-1], tree.folder / "artifact" / "pipeline" / "readme.py"]

    def planned() -> str:
        done = tree.run([*tree.snakemake("report"), "-n"])
        return done.stdout + done.stderr

    for pdf in pdfs:
        pdf.parent.mkdir(parents=True, exist_ok=True)
        pdf.write_text("old")
    assert "Nothing to be done" in planned()
    for source in sources:
        edit(source)
        os.utime(source, (pdf.stat().st_mtime + 10,) * 2)
        plan = planned()
        assert "rule pdf" in plan or "paper and supplement, profile" in plan, source
        assert "notebook 01_first" not in plan, source
        os.utime(source, (1e9, 1e9))
    assert "Nothing to be done" in planned(), "of the last file alone came the last plan"


def test_the_report_is_planned_from_the_results_as_they_are(tree):
    """`report` runs no notebook again, though it has no result or an old one; the ledger then holds those there are."""
    for name in ("01_first", "02_second"):
        tree.add(name, tree.result(name))
    tree.add("99_last", "x = 1", after="results")
    frozen = ["--config", "frozen=1"]
    assert tree.run(tree.snakemake("results")).returncode == 0
    shutil.rmtree(tree.record("01_first").parent)
    tree.add("02_second", tree.result("02_second") + "\n# edited")
    done = tree.run(tree.snakemake("results", *frozen))
    assert done.returncode == 0, done.stderr
    assert not tree.record("01_first").exists()
    measures = (tree.folder / "data" / "results" / "quick" / "measures.csv").read_text()
    assert "02_second" in measures and "01_first" not in measures
    again = tree.run(tree.snakemake("results", *frozen))
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_the_slurm_call_of_the_readme_plans_the_whole_graph(tree, profile):
    for name in ("01_first", "02_second"):
        tree.add(name, tree.result(name))
    (tree.folder / "notebooks" / "full.yaml").write_text("{}")
    call = ["results", "-n", "--executor", "slurm", "--jobs", "8", "--config", f"profile={profile}"]
    call += ["--default-resources", "slurm_account=lab", "slurm_partition=cpu", "runtime=120"]
    done: subprocess.CompletedProcess = tree.run(tree.snakemake(*call))
    assert done.returncode == 0, done.stderr
    assert "slurm_account=lab" in done.stdout + done.stderr
    for name in ("01_first", "02_second"):
        assert name in done.stdout + done.stderr
