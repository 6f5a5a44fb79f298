"""run_all.sh refuses what it does not know, before any work, and says what it knows."""

from __future__ import annotations

import os
import subprocess

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
        (["--only", "77"], "no notebook '77'; known: 01_stable_gradients"),
        (["--only"], "--only needs a value"),
        (["--profile", "nope"], "unknown profile 'nope'; known: quick full"),
        (["quick", "--profile", "full"], "disagree"),
        (["--jobs", "many"], "whole number"),
        (["--jobs", "0"], "whole number"),
        (["--jobs", "00"], "whole number"),
        (["--only", ""], "--only needs a value"),
        (["test", "--only", "08"], "'test' takes no options"),
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
    words = ["quick", "full", "report", "test", "setup", "lab", "refresh", "clean"]
    for word in [*words, "--only", "--profile", "--jobs", "--force", "--dry-run", "RESONANCE_DATA"]:
        assert word in done.stdout


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
