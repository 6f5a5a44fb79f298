"""A run killed at any moment and resumed gives bitwise what the run gives that was not: really killed, by SIGKILL."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from artifact.files import ROOT


class Runs:
    """Runs of `killable.py`, each in a folder."""

    def __init__(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(Path(__file__).with_name("killable.py"))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT)

    def run(self, folder: Path, kill_after: tuple[int, float] | None = None, kill_at: int | None = None) -> bool:
        """Start or go on with the run in a folder; return whether it ended by itself, and not by the kill."""
        order = {"folder": str(folder), "kill_after": kill_after, "kill_at": kill_at}
        print(json.dumps(order), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        assert status in (0, signal.SIGKILL), "the run failed: its traceback is above"
        return status == 0


@pytest.fixture(scope="module")
def runs():
    runs = Runs()
    yield runs
    runs.process.stdin.close()
    runs.process.wait(timeout=30)


def losses(folder: Path) -> dict[int, set[str]]:
    """Return every loss that was computed at each step, before and after kills."""
    found: dict[int, set[str]] = {}
    for line in (folder / "losses.txt").read_text().splitlines():
        step, loss = line.split()
        found.setdefault(int(step), set()).add(loss)
    return found


@pytest.fixture(scope="module")
def reference(runs, tmp_path_factory):
    """The run that is never stopped."""
    folder = tmp_path_factory.mktemp("reference")
    assert runs.run(folder)
    return folder


def assert_same(folder: Path, reference: Path) -> None:
    assert losses(folder) == losses(reference)
    ours, theirs = ((f / "result.json").read_text() for f in (folder, reference))
    assert ours == theirs  # history, best epoch, best weights, steps skipped


def test_the_reference_run_has_something_to_lose(reference):
    result = json.loads((reference / "result.json").read_text())
    found = losses(reference)
    assert result["skipped"] == 1 and found[9] == {"nan"}
    assert len(found) == 5 * len(result["train"]) and all(len(values) == 1 for values in found.values())
    assert len(set().union(*found.values())) == len(found)  # no two losses alike: an order repeated would show


def test_killed_at_random_moments(runs, reference, tmp_path):
    draw, kills = random.Random(0), 0
    while not runs.run(tmp_path, kill_after=(draw.randint(3, 7), draw.uniform(0.0, 0.01))):
        kills += 1
    assert kills >= 2
    assert_same(tmp_path, reference)


@pytest.mark.parametrize("steps", range(1, 13))
def test_killed_after_each_step(runs, reference, tmp_path, steps):
    """In and between epochs, with and without a checkpoint at the step; once more after the restart."""
    for _ in range(2):
        assert not runs.run(tmp_path, kill_after=(steps, 0.0))
    assert runs.run(tmp_path)
    assert_same(tmp_path, reference)


@pytest.mark.parametrize("points", [range(1, 19), range(19, 40)], ids=["first", "second"])
def test_killed_at_every_point_of_writing(runs, reference, tmp_path, points):
    """Throughout the first checkpoint, and throughout the second, which replaces it."""
    for point in points:
        folder = tmp_path / str(point)
        folder.mkdir()
        assert not runs.run(folder, kill_at=point)
        assert runs.run(folder)
        assert_same(folder, reference)
        left = sorted(path.name.split("-")[0] for path in (folder / "checkpoint").iterdir())
        assert left == ["best", "checkpoint.json", "state", "weights"]


def test_scalars_of_a_killed_run_hold_each_step_once(runs, reference, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert not runs.run(tmp_path, kill_after=(8, 0.0))
    assert runs.run(tmp_path)
    series = []
    for folder in (tmp_path, reference):
        events = EventAccumulator(str(folder / "scalars"))
        events.Reload()
        series.append({tag: [(e.step, repr(e.value)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]})
    assert series[0] == series[1]
    assert [step for step, _ in series[0]["loss"]] == list(range(1, len(losses(reference)) + 1))
    assert len(series[0]["validation"]) == len(json.loads((tmp_path / "result.json").read_text())["validation"])
