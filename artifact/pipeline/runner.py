"""Run a notebook of the artifact, headless, and turn what it wrote into a result only when it has ended.

    python -m artifact.pipeline.runner run 08_forecasting --profile quick --threads 1

`Snakefile` calls this, one job a notebook.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import platform
import shutil
import sys
import threading
import time
from datetime import UTC, datetime
from importlib import metadata as distributions
from pathlib import Path

from artifact.files import ROOT, write_text
from artifact.pipeline import progress
from artifact.pipeline.freshness import data_available, digest, ledger_digest
from artifact.pipeline.machine import commit, device_name
from artifact.pipeline.notebooks import (
    NOTEBOOKS,
    RunError,
    check_profile,
    find_notebook,
    parameters,
    result_folder,
    settings,
)
from artifact.studies.common.processes import end_with_parent

PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "matplotlib", "papermill")


def run(name: str, profile: str, threads: int) -> None:
    """Run one notebook in a profile and put its result in place; raise RunError, naming the cell, when it fails."""
    chosen = parameters(name, profile)
    provenance = {
        "notebook": name,
        "profile": profile,
        "digest": digest(name, profile),
        "parameters": chosen,
        "data": {d: used_data(d) for d in settings(name)["data"]},
    }
    final = result_folder(name, profile)
    partial = final.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "figures").mkdir(parents=True)
    except OSError as error:
        raise RunError(f"{name} cannot write its results: {error}") from None
    os.environ.update(
        RESONANCE_PROFILE=profile,
        RESONANCE_RESULTS=str(partial),
        RESONANCE_FIGURES=str(partial / "figures"),
        RESONANCE_THREADS=str(threads),
        OMP_NUM_THREADS=str(threads),
        PYTHONHASHSEED="0",
        PYTHONWARNINGS="ignore:IProgress not found",  # tqdm's, about widgets that no headless run shows
    )
    print(progress.starts(name), flush=True)
    started = time.time()
    try:
        _execute(NOTEBOOKS / f"{name}.ipynb", partial / "notebook.ipynb", chosen)
        seconds = _put_in_place(partial, provenance, started, threads)
    except BaseException as error:
        kept = ROOT / "build" / "failed" / f"{name}.{profile}.ipynb"
        try:
            _move(partial / "notebook.ipynb", kept)
            where = f"\nThe notebook as far as it got: {kept.relative_to(ROOT)}"
        except OSError:  # nothing was written, or the disk is full
            where = ""
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt):
            raise
        print(progress.ends(name, time.time() - started, "failed"), flush=True)
        raise RunError(f"{name} {_reason(error)}{where}") from None
    print(progress.ends(name, seconds), flush=True)


def used_data(dataset: str) -> str:
    """What a notebook gets for a data set: "real", "stand-in", or "absent" where it does without."""
    from artifact.datasets.registry import OPTIONAL

    return "real" if data_available(dataset) else "absent" if dataset in OPTIONAL else "stand-in"


def _put_in_place(partial: Path, provenance: dict, started: float, threads: int) -> float:
    """Make the result of a notebook of what it wrote; return the seconds that it took."""
    name, profile = provenance["notebook"], provenance["profile"]
    final = result_folder(name, profile)
    figures = sorted(path.name for path in (partial / "figures").iterdir())
    _place_figures(partial / "figures", ROOT / "figures" / profile, name[:2])
    seconds = round(time.time() - started, 1)
    provenance |= {
        "files": sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file()),
        "figures": figures,
        "seconds": seconds,
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        **_surroundings(partial, threads),
    }
    if provenance["dataset"] is None:  # the notebook judges no claim
        used = provenance["data"].items()
        provenance["dataset"] = ", ".join(d if kind == "real" else f"{d} ({kind})" for d, kind in used)
    if settings(name)["after"] == "results":
        provenance["ledger"] = ledger_digest(profile)
    write_text(partial / "provenance.json", json.dumps(provenance, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    return seconds


def _execute(source: Path, target: Path, chosen: dict) -> None:
    """Execute a notebook by papermill; raise what papermill raises, or KeyboardInterrupt immediately on Ctrl-C.

    It runs in a thread of its own: in the main thread, Ctrl-C would be papermill's, which reports a dead kernel.
    """
    import papermill

    raised: list[BaseException] = []
    start = functools.partial(
        papermill.execute_notebook,
        source,
        target,
        parameters=chosen,
        kernel_name="python3",
        cwd=NOTEBOOKS,
        progress_bar=False,
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
    )

    def work(tries: int = 3) -> None:
        try:
            start()
        except BaseException as error:
            if tries > 1 and "before replying to kernel_info" in str(
                error
            ):  # another kernel took its port: nothing ran
                work(tries - 1)
            else:
                raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():  # a signal that the system gives to another thread would not end an endless wait
        thread.join(0.5)
    if raised:
        raise raised[0]


def _reason(error: BaseException) -> str:
    """What went wrong in a notebook: the cell and its error, or that the kernel died, say for want of memory."""
    from papermill.exceptions import PapermillExecutionError

    if not isinstance(error, PapermillExecutionError):
        return f"failed: {type(error).__name__}: {error}"
    where = f"cell {error.cell_index + 1} (In [{error.exec_count}])"
    return f"failed in {where}: {error.ename}: {error.evalue}\n{error.source}"


def _move(source: Path, target: Path) -> None:
    """Move a file, whole or not at all, to what may be another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.part")
    try:
        shutil.move(source, aside)
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def _place_figures(source: Path, target: Path, number: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    new = {path.name for path in source.iterdir()}
    for path in source.iterdir():
        _move(path, target / path.name)
    for old in target.glob(f"{number}_*"):
        if old.name not in new:
            old.unlink()
    source.rmdir()


def _surroundings(partial: Path, threads: int) -> dict:
    """The machine, versions, commit and data behind a result."""
    import psutil

    dataset = None
    if (partial / "claims.csv").exists():
        with (partial / "claims.csv").open(newline="", encoding="utf-8") as file:
            dataset = next((row["dataset"] for row in csv.DictReader(file)), None)
    return {
        "commit": commit(),
        "dataset": dataset,
        "device": device_name(threads),
        "threads": threads,
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        },
        "versions": {"python": platform.python_version(), **{p: distributions.version(p) for p in PACKAGES}},
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; return 0, or 1 after one clear message, or 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m artifact.pipeline.runner", description=__doc__.splitlines()[0])
    parser.add_argument(
        "word", choices=["run", "find"], help="find: print a notebook's full name, checking the profile"
    )
    parser.add_argument("notebook", help="its number or name")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        check_profile(options.profile)
        if options.word == "find":
            print(find_notebook(options.notebook))
        else:
            end_with_parent()
            run(find_notebook(options.notebook), options.profile, options.threads)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        os._exit(130)  # immediately, without a traceback: the kernel ends with this process
    return 0


if __name__ == "__main__":
    sys.exit(main())
