"""Run a notebook of the artifact, headless, and turn what it wrote into a result only when it has ended.

    python -m artifact.pipeline.runner run 08_forecasting --profile quick --threads 1
    python -m artifact.pipeline.runner refresh          # quick results -> the executed notebooks that are committed

`Snakefile` calls this, one job a notebook.  A notebook says what it is in its metadata, under "resonance": `data`,
the data sets that it reads; `files`, other files of the repository that it reads; `timed`, whether it measures time
and so must run alone; `after`, "results" when it reads the merged ledger.  A profile is the parameter cell's own
values ("quick") or those with the changes in `notebooks/<profile>.yaml`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import time
from datetime import UTC, datetime
from functools import cache
from importlib import metadata as distributions
from pathlib import Path

import nbformat
import yaml

from artifact.files import ROOT, write_text
from artifact.studies.common.processes import end_with_parent
from resonance.training.checkpoint import written_aside

NOTEBOOKS = ROOT / "notebooks"
CODE = ("resonance", "artifact")
PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "matplotlib", "papermill")


class RunError(RuntimeError):
    """A run that cannot start, or a notebook that failed; the message says all that the user needs."""


# --------------------------------------------------------------------------- what there is to run


def notebooks() -> list[str]:
    """Return the names of the notebooks, in reading order: NN_subject."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def find_notebook(number: str) -> str:
    """Return the notebook whose name starts with `number` ("08" or "08_forecasting"); raise RunError if none does."""
    found = [name for name in notebooks() if name == number or name.split("_")[0] == number.zfill(2)]
    if len(found) != 1:
        raise RunError(f"unknown notebook {number!r}: expected one of {', '.join(notebooks())}")
    return found[0]


def profiles() -> list[str]:
    """Return the names of the profiles: quick, and one for each notebooks/<name>.yaml."""
    return ["quick", *sorted(path.stem for path in NOTEBOOKS.glob("*.yaml"))]


def check_profile(profile: str) -> str:
    """Return `profile` when it is known; raise RunError with the names known otherwise."""
    if profile not in profiles():
        raise RunError(f"unknown profile {profile!r}: expected one of {', '.join(profiles())}")
    return profile


@cache
def read_notebook(name: str) -> nbformat.NotebookNode:
    """Return a notebook of `notebooks/`."""
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def settings(name: str) -> dict:
    """Return what a notebook says of itself: data, files, timed, after (see the head of this file)."""
    return {"data": [], "files": [], "timed": False, "after": [], **read_notebook(name).metadata.get("resonance", {})}


def declared_parameters(name: str) -> set[str]:
    """Return the names that the notebook's `parameters` cell assigns; raise RunError when it has no such cell."""
    cells = [c for c in read_notebook(name).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise RunError(f"{name}: expected one cell tagged 'parameters', found {len(cells)}")
    tree = ast.parse(cells[0].source)
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def parameters(name: str, profile: str) -> dict:
    """Return the parameters that a profile sets for a notebook; raise RunError for one that it does not declare."""
    check_profile(profile)
    if profile == "quick":
        return {}
    changes = yaml.safe_load((NOTEBOOKS / f"{profile}.yaml").read_text()) or {}
    if strangers := set(changes) - set(notebooks()):
        raise RunError(f"{profile}.yaml names no notebook of ours: {', '.join(sorted(strangers))}")
    chosen = changes.get(name) or {}
    known = declared_parameters(name)
    if unknown := sorted(set(chosen) - known):
        raise RunError(
            f"{profile}.yaml: {name} has no parameter {', '.join(unknown)}; "
            f"its parameters cell has {', '.join(sorted(known))}"
        )
    return chosen


# --------------------------------------------------------------------------- what a result depends on


def _module(name: str) -> Path | None:
    """Return the file of a module of the repository by its dotted name, or None: another package, or not a module."""
    path = ROOT.joinpath(*name.split("."))
    found = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    return found[0] if found and name.split(".")[0] in CODE else None


def _homes(package: str) -> dict[str, str]:
    """Return where the names that a package's __init__ imports are defined."""
    tree = ast.parse(_module(package).read_text())
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    return {alias.asname or alias.name: f"{package}.{node.module}" for node in nodes for alias in node.names}


def _imports(source: str, module: str = "") -> set[str]:
    """Return the modules of the repository that some source imports; for a name of a package, the module it is from."""
    package = module.rpartition(".")[0] if not module or _module(module).stem != "__init__" else module
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if _module(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                if _module(f"{base}.{alias.name}"):
                    found.add(f"{base}.{alias.name}")
                elif file := _module(base):
                    found.add(_homes(base).get(alias.name, base) if file.stem == "__init__" else base)
    return found


def dependencies(name: str) -> list[str]:
    """Return the modules of the repository that a notebook depends on, by its imports and theirs."""
    code = [c.source for c in read_notebook(name).cells if c.cell_type == "code"]
    source = "\n".join(line for cell in code for line in cell.splitlines() if not line.startswith(("%", "!")))
    pending, seen = _imports(source), set()
    while pending:
        module = pending.pop()
        if module not in seen:
            seen.add(module)
            pending |= _imports(_module(module).read_text(), module)
    return sorted(seen)


def digest(name: str, profile: str) -> str:
    """Return a digest of all that a result is made from: code cells, parameters, modules, the printed claims.

    Outputs and prose of the notebook are not part of it.
    """
    hasher = hashlib.sha256()
    code = [c.source for c in read_notebook(name).cells if c.cell_type == "code"]
    hasher.update(json.dumps([code, parameters(name, profile)], sort_keys=True).encode())
    files = ["paper/claims.csv", *settings(name)["files"]]
    for path in [*(_module(module) for module in dependencies(name)), *(ROOT / file for file in files)]:
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def result_folder(name: str, profile: str) -> Path:
    """Return where a notebook's results stand."""
    return ROOT / "data" / "results" / profile / name


def is_current(name: str, profile: str) -> bool:
    """Return whether a whole result is there, made from the code and parameters as they are now.

    A result on stand-in data is out of date as soon as the real data is to be had.
    """
    record = result_folder(name, profile) / "provenance.json"
    if not record.exists():
        return False
    provenance = json.loads(record.read_text())
    files = [record.parent / file for file in provenance["files"]]
    files += [ROOT / "figures" / profile / file for file in provenance["figures"]]
    if provenance["digest"] != digest(name, profile) or not all(file.exists() for file in files):
        return False
    if "stand-in" in provenance["dataset"]:
        return not all(_available(dataset) for dataset in settings(name)["data"])
    return True


def _available(dataset: str) -> bool:
    """Return whether the real files of a data set are to be had."""
    from artifact.datasets.registry import available

    return available(dataset)


def stamp(name: str, profile: str) -> str:
    """Return the path of a file that is newer than a notebook's result exactly when the result is out of date.

    Snakemake compares times of files; a clone or a checkout sets them at random, and an edit of prose sets them for
    nothing.  The stamp's time follows the digest instead.
    """
    path = ROOT / "build" / "stamps" / profile / f"{name}.sha256"
    content = digest(name, profile) + "\n"
    current = is_current(name, profile)
    if not path.exists() or path.read_text() != content or not current:
        write_text(path, content)
    if current:
        os.utime(path, (0, 0))
    return str(path.relative_to(ROOT))


def settle(profile: str) -> None:
    """Put the times of a clone's result files in the order of the graph, where their contents agree.

    A clone gives its files times at random.  Where the ledger on disk is what its notebooks merge to, and the
    notebooks that read it were made from it, nothing is out of date, and the times shall say so.
    """
    results = ROOT / "data" / "results" / profile
    ledger = [results / "claims.csv", results / "measures.csv"]
    records = {name: results / name / "provenance.json" for name in notebooks()}
    readers = [path for name, path in records.items() if settings(name)["after"] == "results"]
    sources = [path for path in records.values() if path not in readers and path.exists()]
    if not sources or not all(path.exists() for path in [*ledger, *readers]):
        return
    times = [max(p.stat().st_mtime for p in [*sources, ROOT / "paper" / "claims.csv"])]
    times += [f(p.stat().st_mtime for p in group) for group in (ledger, readers) if group for f in (min, max)]
    if times == sorted(times):
        return
    from artifact.pipeline.ledger import merged

    if any(path.read_text() != table.to_csv(index=False) for path, table in zip(ledger, merged(profile), strict=True)):
        return
    merged_at = max(times[0], time.time() - 2)  # not in the future: what is written from now on is newer
    for path in ledger:
        os.utime(path, (merged_at, merged_at))
    for path in readers:
        if json.loads(path.read_text()).get("ledger") == _ledger_digest(profile):
            os.utime(path, (merged_at + 1, merged_at + 1))


def _ledger_digest(profile: str) -> str:
    folder = ROOT / "data" / "results" / profile
    texts = [(folder / f"{name}.csv").read_bytes() for name in ("claims", "measures")]
    return hashlib.sha256(b"".join(texts)).hexdigest()


# --------------------------------------------------------------------------- running


def run(name: str, profile: str, threads: int) -> None:
    """Run one notebook in a profile and put its result in place; raise RunError, naming the cell, when it fails."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    chosen = parameters(name, profile)
    known_digest = digest(name, profile)
    final = result_folder(name, profile)
    partial = final.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "figures").mkdir(parents=True)
    os.environ.update(
        RESONANCE_PROFILE=profile,
        RESONANCE_RESULTS=str(partial),
        RESONANCE_FIGURES=str(partial / "figures"),
        RESONANCE_THREADS=str(threads),
        OMP_NUM_THREADS=str(threads),
        PYTHONHASHSEED="0",
        PYTHONWARNINGS="ignore:IProgress not found",  # tqdm's, about widgets that no headless run shows
    )
    started = time.time()
    executed = partial / "notebook.ipynb"
    try:
        papermill.execute_notebook(
            NOTEBOOKS / f"{name}.ipynb",
            executed,
            parameters=chosen,
            kernel_name="python3",
            cwd=NOTEBOOKS,
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
    except Exception as error:
        kept = ROOT / "build" / "failed" / f"{name}.{profile}.ipynb"
        kept.parent.mkdir(parents=True, exist_ok=True)
        if executed.exists():
            os.replace(executed, kept)
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, PapermillExecutionError):
            where = f"cell {error.cell_index + 1} (In [{error.exec_count}])"
            what = f"failed in {where}: {error.ename}: {error.evalue}\n{error.source}"
        else:  # the kernel died, say for want of memory
            what = f"failed: {type(error).__name__}: {error}"
        raise RunError(f"{name} {what}\nThe notebook as far as it got: {kept.relative_to(ROOT)}") from None
    figures = sorted(path.name for path in (partial / "figures").iterdir())
    _place_figures(partial / "figures", ROOT / "figures" / profile, name[:2])
    files = sorted(path.name for path in partial.iterdir())
    provenance = {
        "notebook": name,
        "profile": profile,
        "digest": known_digest,
        "parameters": chosen,
        "files": files,
        "figures": figures,
        "seconds": round(time.time() - started, 1),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        **_surroundings(name, partial, threads),
    }
    if settings(name)["after"] == "results":
        provenance["ledger"] = _ledger_digest(profile)
    write_text(partial / "provenance.json", json.dumps(provenance, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)


def _place_figures(source: Path, target: Path, number: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    new = {path.name for path in source.iterdir()}
    for path in source.iterdir():
        os.replace(path, target / path.name)
    for old in target.glob(f"{number}_*"):
        if old.name not in new:
            old.unlink()
    source.rmdir()


def _data_at_hand(name: str) -> str:
    """Return the data of a notebook that judges no claim, saying of each whether a stand-in took its place."""
    return ", ".join(d if _available(d) else f"{d} (stand-in)" for d in settings(name)["data"])


def _surroundings(name: str, partial: Path, threads: int) -> dict:
    """Return the machine, versions, commit and data behind a result."""
    import pandas as pd
    import psutil

    from artifact.pipeline.ledger import commit, device_name

    claims = pd.read_csv(partial / "claims.csv") if (partial / "claims.csv").exists() else pd.DataFrame()
    return {
        "commit": commit(),
        "dataset": claims["dataset"].iloc[0] if len(claims) else _data_at_hand(name),
        "device": device_name(),
        "threads": threads,
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        },
        "versions": {"python": platform.python_version(), **{p: distributions.version(p) for p in PACKAGES}},
    }


# --------------------------------------------------------------------------- the committed notebooks


def refresh() -> None:
    """Copy the quick results' executed notebooks into `notebooks/`, without what varies from run to run."""
    for name in notebooks():
        if not is_current(name, "quick"):
            raise RunError(f"{name}: no current quick result; run ./run_all.sh first")
        notebook = nbformat.read(result_folder(name, "quick") / "notebook.ipynb", as_version=4)
        notebook.metadata.pop("papermill", None)
        for cell in notebook.cells:
            for key in ("papermill", "execution", "collapsed"):
                cell.metadata.pop(key, None)
            if not cell.metadata.get("tags", True):
                cell.metadata.pop("tags")
            for output in cell.get("outputs", []):
                if "text" in output:
                    output.text = re.sub(re.escape(str(ROOT)), ".", output.text)
        with written_aside(NOTEBOOKS / f"{name}.ipynb") as aside:
            nbformat.write(notebook, aside)
        print(f"refreshed notebooks/{name}.ipynb")


def main(arguments: list[str] | None = None) -> int:
    """Command line; return 0, or 1 after one clear message."""
    parser = argparse.ArgumentParser(prog="python -m artifact.pipeline.runner", description=__doc__.splitlines()[0])
    words = parser.add_subparsers(dest="word", required=True)
    one = words.add_parser("run", help="run one notebook")
    one.add_argument("notebook")
    one.add_argument("--profile", default="quick")
    one.add_argument("--threads", type=int, default=1)
    find = words.add_parser("find", help="print a notebook's full name from its number, after checking the profile")
    find.add_argument("notebook")
    find.add_argument("--profile", default="quick")
    words.add_parser("refresh", help="renew the committed notebooks from the quick results")
    options = parser.parse_args(arguments)
    try:
        if options.word == "run":
            end_with_parent()
            run(find_notebook(options.notebook), check_profile(options.profile), options.threads)
        elif options.word == "find":
            check_profile(options.profile)
            print(find_notebook(options.notebook))
        else:
            refresh()
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
