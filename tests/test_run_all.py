"""run_all.sh refuses what it does not know, before any work, and says what it knows."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import pytest

from artifact.files import ROOT

SCRIPT = ROOT / "run_all.sh"


def call(*arguments, **environment):
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fly"], "unknown word 'fly'; expected one of: quick full report test setup lab"),
        (["quick", "full"], "two words"),
        (["--only", "77"], "no notebook '77'; known: 00_tour 01_stable_gradients"),
        (["--only"], "--only needs a value"),
        (["--profile", "nope"], "unknown profile 'nope'; known: quick full"),
        (["quick", "--profile", "full"], "disagree"),
        (["--jobs", "many"], "whole number"),
        (["--jobs", "0"], "whole number"),
        (["--jobs", "00"], "whole number"),
        (["--only", ""], "--only needs a value"),
        (["test", "--only", "08"], "'test' takes no options"),
        (["clean", "--force"], "'clean' takes no options but --dry-run"),
        (["refresh", "--", "-n"], "'refresh' takes no options after --"),
        (["report", "--only", "08"], "no --only"),
        (["--profile", "test"], "unknown profile"),
        (["full", "--", "--config", "a=1"], "run_all.sh's own"),
        (["--frobnicate"], "unknown option '--frobnicate'; known: --only"),
    ],
)
def test_what_is_not_known_is_refused(arguments, says):
    done = call(*arguments)
    assert done.returncode == 2 and says in done.stderr


def test_help_names_every_word_and_option():
    done = call("--help")
    assert done.returncode == 0
    words = ["quick", "full", "report", "test", "setup", "lab", "refresh", "compare", "site", "clean"]
    for word in [*words, "--only", "--profile", "--jobs", "--force", "--dry-run", "RESONANCE_DATA"]:
        assert word in done.stdout


def copied(folder):
    """The script in a folder of its own, with what a clone holds and no environment."""
    folder.mkdir(exist_ok=True)
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "full.yaml").write_text("{}")
    for file in (
        "build/setup.log",
        "data/results/quick/claims.csv",
        "data/results/full/claims.csv",
        "figures/quick/a.pdf",
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("x")
    return folder


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def in_folder(folder, *arguments, **environment):
    inherited = {key: value for key, value in os.environ.items() if key != "RESONANCE_DATA"}  # it may be missing here
    return subprocess.run(
        ["bash", str(folder / "run_all.sh"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**inherited, "PYTHON": sys.executable, **environment},
    )


@pytest.mark.parametrize("word", ["quick", "full", "report", "test", "setup", "refresh", "clean", "lab"])
def test_a_dry_run_changes_nothing(tmp_path, word):
    before = files(copied(tmp_path))
    done = in_folder(tmp_path, *([word, "--profile", "quick"] if word == "report" else [word]), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == before and "would" in done.stdout


@pytest.mark.parametrize("word", ["quick", "report", "refresh"])
def test_a_dry_run_in_an_environment_neither_waits_for_another_run_nor_writes(tmp_path, word):
    folder, dry = copied(tmp_path / "checkout"), tmp_path / "dry"
    dry.mkdir()
    says = 'echo "would: $* $(test -d "$RESONANCE_DRY" && echo aside)"'
    environment_of(folder, snakemake=says, python=says, latexmk="", pdflatex="")
    before = files(folder)
    with open(folder / ".run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = in_folder(folder, word, "--dry-run", TMPDIR=str(dry))
    assert done.returncode == 0 and "waiting" not in done.stderr, done.stderr
    assert "would: " in done.stdout and "aside" in done.stdout and "--dry-run" in done.stdout
    assert files(folder) - {".run.lock"} == before and not list(dry.iterdir())


def test_clean_says_what_it_removes_and_keeps_the_reference_run(tmp_path):
    copied(tmp_path)
    said = in_folder(tmp_path, "clean", "--dry-run").stdout.splitlines()
    assert said == ["would remove build", "would remove data/results/quick", "would remove figures/quick"]
    done = in_folder(tmp_path, "clean")
    assert done.returncode == 0, done.stderr
    for path in ("build", "data/results/quick", "figures/quick"):
        assert f"removing {path} (" in done.stdout and not (tmp_path / path).exists()
    assert (tmp_path / "data" / "results" / "full" / "claims.csv").exists()


def environment_of(folder, **programs):
    """A stand-in for .venv that is current, with programs that do what the given lines of bash say."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name, lines in programs.items():
        program = folder / ".venv" / "bin" / name
        program.write_text(f"#!/usr/bin/env bash\n{lines}\n")
        program.chmod(0o755)
    stamp = 'echo "$("$0" --version) $(cat requirements.lock pyproject.toml | cksum) $PWD" >.venv/.complete'
    subprocess.run(["bash", "-c", stamp, sys.executable], cwd=folder, check=True)


def test_lab_passes_its_options_on(tmp_path):
    environment_of(copied(tmp_path), jupyter='echo "jupyter $*"')
    done = in_folder(tmp_path, "lab", "--", "--allow-root", "--no-browser", "--config", "mine.py")
    assert done.stdout == "jupyter lab --allow-root --no-browser --config mine.py notebooks\n"


def test_a_failed_run_shows_its_verdicts_and_only_what_failed(tmp_path):
    """Snakemake's own lines are left out, an error is not; the ledger is merged and summed up whatever failed."""
    noise = "echo Building DAG of jobs... >&2; echo Execute 1 jobs... >&2; echo '[1/1] 01_first starts'"
    programs = {
        "snakemake": f"{noise}; echo 'error: the report is not clean' >&2; exit 1",
        "python": 'echo "python $*"',
        "latexmk": "",
        "pdflatex": "",
    }
    environment_of(copied(tmp_path), **programs)
    done = in_folder(tmp_path, "quick")
    assert done.returncode == 1
    assert done.stderr == "error: the report is not clean\n"
    assert "[1/1] 01_first starts\n" in done.stdout
    merged, summed = (f"python -m artifact.pipeline.report {word} --profile quick\n" for word in ("ledger", "summary"))
    assert merged + summed in done.stdout and "wall time" in done.stdout


def test_without_a_suitable_python_it_says_which_it_needs(tmp_path):
    """In a copy: the checkout's own lock and environment are not touched."""
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "notebooks").mkdir()
    done = subprocess.run(
        ["bash", str(tmp_path / "run_all.sh"), "setup"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHON": "/nonexistent/python"},
    )
    assert done.returncode == 2 and "no Python 3.11 to 3.13 found" in done.stderr


def test_the_script_is_sound_bash():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    assert os.access(SCRIPT, os.X_OK) and os.access(ROOT / ".ci" / "run", os.X_OK)
