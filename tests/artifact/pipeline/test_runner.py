"""Running notebooks: profiles, parameters, what is said, failures, kill and resume, the same seed twice."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml

from artifact.files import ROOT
from artifact.pipeline import runner


def test_a_profile_reaches_the_notebook(tree, monkeypatch):
    opened = 'from artifact.pipeline.ledger import Experiment\ne = Experiment("01_first")\n'
    saved = '(e.folder / "model").mkdir()\n(e.folder / "model" / "weights").write_text("w")\n'
    tree.add("01_first", f'{opened}{saved}e.measure("01_first", seed)\ne.close()')
    (tree.folder / "notebooks" / "odd.yaml").write_text(yaml.safe_dump({"01_first": {"seed": 7}}))
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01", "--profile", "odd")
    assert done.returncode == 0, done.stderr
    measures = tree.record("01_first", "odd").with_name("measures.csv")
    assert pd.read_csv(measures)["value"].tolist() == [7]
    monkeypatch.setenv("RESONANCE_RESULTS", str(tree.folder))
    exec(tree.result("01_first", "7"), {})
    assert measures.read_text() == (tree.folder / "measures.csv").read_text(), "what the other tests write instead"
    record = json.loads(tree.record("01_first", "odd").read_text())
    assert record["parameters"] == {"seed": 7}
    assert record["files"] == ["claims.csv", "measures.csv", "model/weights", "notebook.ipynb"]


def test_a_failing_notebook_names_its_cell_and_stops_only_what_needs_it(tree):
    tree.add("01_first", "x = 1", "raise KeyError('lost')")
    tree.add("02_second", tree.result("02_second"))
    tree.add("99_last", tree.result("99_last"), after="results")
    done = tree.run(tree.snakemake("results"))
    assert done.returncode != 0
    assert "01_first failed in cell 3 (In [3]): KeyError: 'lost'" in done.stderr
    assert re.search(r"\[\d/3\] 01_first failed in \d+ s; \d left", done.stdout)
    assert re.search(r"\[\d/3\] 02_second starts\n(?:.*\n)*?\[\d/3\] 02_second done in \d+ s; \d left", done.stdout)
    assert tree.record("02_second").exists()
    assert not tree.record("01_first").exists() and not tree.record("99_last").exists()
    assert (tree.folder / "build" / "failed" / "01_first.quick.ipynb").exists()


def test_a_dead_kernel_is_said_and_cleaned_up(tree):
    tree.add("01_first", "import os; os._exit(9)")
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01")
    assert done.returncode == 1 and "01_first failed: DeadKernelError" in done.stderr
    assert not list((tree.folder / "data" / "results" / "quick").iterdir())


def test_a_killed_run_resumes_from_its_last_finished_step(tree):
    names = ("01_first", "02_second")  # which of the two Snakemake starts with is its own affair
    tree.add(names[0], "import time; time.sleep(4)", tree.result(names[0]))
    tree.add(names[1], "import time; time.sleep(4)", tree.result(names[1]))
    partial = {name: tree.folder / "data" / "results" / "quick" / f".{name}.partial" for name in names}
    run = subprocess.Popen(
        tree.snakemake("results"),
        cwd=tree.folder,
        env=tree.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 120
    done = cut = None
    while not (done and cut):
        assert time.time() < deadline and run.poll() is None
        time.sleep(0.2)
        done = next((name for name in names if tree.record(name).exists()), None)
        cut = next((name for name in names if name != done and partial[name].exists()), None)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    time.sleep(6)  # an orphan that lived on would have finished by now
    assert not tree.record(cut).exists(), "a job outlived its workflow"
    first = tree.record(done).read_bytes(), tree.record(done).stat().st_mtime_ns
    resumed = tree.run(tree.snakemake("results"))
    assert resumed.returncode == 0, resumed.stderr
    assert tree.record(cut).exists() and not partial[cut].exists()
    assert (tree.record(done).read_bytes(), tree.record(done).stat().st_mtime_ns) == first
    # Killed after a result was put in place, before Snakemake noted it: the mark of a begun job is left.
    mark = base64.b64encode(str(tree.record(done).relative_to(tree.folder)).encode()).decode()
    (tree.folder / ".snakemake" / "incomplete").mkdir(exist_ok=True)
    (tree.folder / ".snakemake" / "incomplete" / mark).touch()
    again = tree.run(tree.snakemake("results"))
    assert "Nothing to be done" in again.stderr + again.stdout


def test_results_may_be_on_another_file_system(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tmp_path / "figure.pdf").write_text("new")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "figure.pdf").write_text("old")
    monkeypatch.setattr(os, "rename", refuse)
    runner._move(tmp_path / "figure.pdf", tmp_path / "figures" / "figure.pdf")
    assert [path.name for path in tmp_path.rglob("*.pdf")] == ["figure.pdf"]
    assert (tmp_path / "figures" / "figure.pdf").read_text() == "new"


def test_a_place_that_cannot_be_written_is_said(tree):
    tree.add("01_first", tree.result("01_first"))
    (tree.folder / "data" / "results").mkdir(parents=True)
    (tree.folder / "data" / "results" / "quick").write_text("a file, not a folder")
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01")
    assert done.returncode == 1 and done.stderr.startswith("error: 01_first cannot write its results: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("dead", [2, 3])
def test_a_kernel_that_dies_before_it_replies_is_started_again(monkeypatch, dead):
    """Two kernels that start at once may choose the same port."""
    started = []

    def execute(*arguments, **options):
        started.append(arguments)
        if len(started) <= dead:
            raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr("papermill.execute_notebook", execute)
    if dead == 3:
        with pytest.raises(RuntimeError, match="before replying"):
            runner._execute("source", "target", {})
    else:
        runner._execute("source", "target", {})
    assert len(started) == 3


def test_ctrl_c_ends_a_run_at_once_and_in_silence(tree):
    at_work = tree.folder / "at_work"
    tree.add("01_first", f"import pathlib, time; pathlib.Path({str(at_work)!r}).touch(); time.sleep(60)")
    command = [sys.executable, "-m", "artifact.pipeline.runner", "run", "01"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    # A shell starts what runs in the background with this signal ignored, which the tests would pass on.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = subprocess.Popen(command, cwd=tree.folder, env=tree.environment, **options)
    assert run.stdout.readline() == "01_first starts\n"
    deadline = time.time() + 60
    while not at_work.exists():
        assert time.time() < deadline and run.poll() is None
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    said, complaints = run.communicate(timeout=30)
    assert run.returncode == 130 and said == "" and complaints == ""
    assert not tree.record("01_first").exists()


SMALL = {
    "problems": 6,
    "lengths_log2": [6, 7],
    "bound_seeds": 2,
    "depths": [3],
    "depth_seeds": 2,
    "interference_steps": 3,
    "sgd_rates_log2": [-5, -2],
    "adam_rates_log2": [-7, -4],
    "seeds": 2,
    "identification_steps": 3,
    "forecasting_steps": 3,
    "classification_steps": 3,
}


def test_the_same_seed_gives_the_same_results(tree):
    """The stand-ins are enough for it: the proxy named here is none, so nothing is fetched."""
    tree.environment.update(https_proxy="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9", RESONANCE_DATA="")
    source = ROOT / "notebooks" / "01_stable_gradients.ipynb"
    (tree.folder / "notebooks" / source.name).write_bytes(source.read_bytes())
    for profile in ("one", "two"):
        path = tree.folder / "notebooks" / f"{profile}.yaml"
        path.write_text(yaml.safe_dump({"01_stable_gradients": SMALL}))
        done = tree.python("-m", "artifact.pipeline.runner", "run", "01", "--profile", profile)
        assert done.returncode == 0, done.stderr
    folders = [tree.record("01_stable_gradients", profile).parent for profile in ("one", "two")]
    names = sorted(path.name for path in folders[0].glob("*.csv"))
    assert len(names) >= 10
    for name in names:
        a, b = (pd.read_csv(folder / name).drop(columns=["seconds", "profile"], errors="ignore") for folder in folders)
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    figures = [sorted((tree.folder / "figures" / profile).iterdir()) for profile in ("one", "two")]
    assert len(figures[0]) >= 8
    for a, b in zip(*figures, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
