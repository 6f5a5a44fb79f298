"""Running notebooks: profiles, parameters, dependencies, failures, kill and resume, the same seed twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pandas as pd
import pytest
import yaml

from artifact.files import ROOT
from artifact.pipeline import runner
from artifact.pipeline.runner import RunError


def write_results(value: str = "1.0") -> str:
    return f'from artifact.pipeline.ledger import Experiment\ne = Experiment("01_first")\ne.measure("a", {value})\ne.close()'


def test_profiles_and_parameters_are_checked():
    assert runner.profiles()[0] == "quick" and "full" in runner.profiles()
    for name in runner.notebooks():
        assert runner.parameters(name, "quick") == {}
        assert set(runner.parameters(name, "full")) <= runner.declared_parameters(name)
    with pytest.raises(RunError, match="expected one of quick"):
        runner.check_profile("nope")
    with pytest.raises(RunError, match="expected one of 01_"):
        runner.find_notebook("77")


def test_an_unknown_parameter_is_refused_before_anything_runs(tree):
    tree.add("01_first", write_results())
    (tree.folder / "notebooks" / "odd.yaml").write_text(yaml.safe_dump({"01_first": {"sead": 1}}))
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01", "--profile", "odd")
    assert done.returncode == 1 and "has no parameter sead; its parameters cell has seed" in done.stderr
    assert not (tree.folder / "data").exists()


def test_a_missing_parameters_cell_is_refused(tree):
    import nbformat

    path = tree.add("01_first", write_results())
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].metadata.pop("tags")
    nbformat.write(notebook, path)
    (tree.folder / "notebooks" / "odd.yaml").write_text(yaml.safe_dump({"01_first": {"seed": 1}}))
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01", "--profile", "odd")
    assert done.returncode == 1 and "one cell tagged 'parameters'" in done.stderr


def test_a_profile_reaches_the_notebook(tree):
    tree.add("01_first", write_results("seed"))
    (tree.folder / "notebooks" / "odd.yaml").write_text(yaml.safe_dump({"01_first": {"seed": 7}}))
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01", "--profile", "odd")
    assert done.returncode == 0, done.stderr
    measures = pd.read_csv(tree.record("01_first", "odd").with_name("measures.csv"))
    assert measures["value"].tolist() == [7]
    assert json.loads(tree.record("01_first", "odd").read_text())["parameters"] == {"seed": 7}


def test_dependencies_follow_imports():
    modules = {name: set(runner.dependencies(name)) for name in runner.notebooks()}
    assert {"gradients", "layers", "spectral", "ledger"} <= modules["01_stable_gradients"]
    assert "ablation" in modules["01_stable_gradients"] and "complexity" not in modules["01_stable_gradients"]
    assert "ablation" not in modules["08_forecasting"] and "data" in modules["08_forecasting"]


def test_a_module_makes_stale_what_imports_it_and_nothing_else(tree):
    tree.add("01_first", "from resonance.polar import PolarWeight")
    tree.add("02_second", "from resonance import BandMixing")
    tree.add("03_third", "from resonance.training.checkpoint import ROOT")
    code = "from resonance import runner; print(*(runner.digest(n, 'quick') for n in runner.notebooks()))"
    before = tree.python("-c", code).stdout.split()
    for module in ("polar", "layers"):
        with open(tree.folder / "resonance" / f"{module}.py", "a") as file:
            file.write("\n# changed\n")
        after = tree.python("-c", code).stdout.split()
        changed = [a != b for a, b in zip(before, after, strict=True)]
        assert changed == {"polar": [True, True, False], "layers": [False, True, False]}[module]
        before = after


def test_prose_and_outputs_make_nothing_stale(tree):
    import nbformat

    path = tree.add("01_first", write_results())
    code = "from resonance import runner; print(runner.digest('01_first', 'quick'))"
    before = tree.python("-c", code).stdout
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("prose"))
    notebook.cells[1].execution_count = 5
    nbformat.write(notebook, path)
    assert tree.python("-c", code).stdout == before != ""


def test_a_failing_notebook_names_its_cell_and_stops_only_what_needs_it(tree):
    tree.add("01_first", "x = 1", "raise KeyError('lost')")
    tree.add("02_second", write_results())
    tree.add("99_last", write_results(), after="results")
    done = subprocess.run(
        tree.snakemake("results"), cwd=tree.folder, env=tree.environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert "01_first failed in cell 3 (In [3]): KeyError: 'lost'" in done.stderr
    assert tree.record("02_second").exists()
    assert not tree.record("01_first").exists() and not tree.record("99_last").exists()
    assert (tree.folder / "build" / "failed" / "01_first.quick.ipynb").exists()


def test_a_dead_kernel_is_said_and_cleaned_up(tree):
    tree.add("01_first", "import os; os._exit(9)")
    done = tree.python("-m", "artifact.pipeline.runner", "run", "01")
    assert done.returncode == 1 and "01_first failed: DeadKernelError" in done.stderr
    assert not list((tree.folder / "data" / "results" / "quick").iterdir())


@pytest.mark.parametrize("judges", [True, False])
def test_a_stand_in_gives_way_to_the_real_data(tree, judges):
    """Offline first, then with the data: the result is out of date, though no code has changed."""
    cell = 'from artifact.pipeline.ledger import Experiment\ne = Experiment("01_first", dataset="x (stand-in)")\n'
    if judges:
        cell += 'e.rule("S.timeseries", "r")\ne.verdict("S.timeseries", "holds")\n'
    tree.add("01_first", cell + "e.close()", data=["ETTh1"])
    offline = "from resonance import data, runner; data.available = lambda name: False; "
    done = tree.python("-c", offline + "raise SystemExit(runner.main(['run', '01']))")
    assert done.returncode == 0, done.stderr
    code = (
        "from resonance import data, runner; data.available = lambda name: {}; "
        "print(runner.is_current('01_first', 'quick'))"
    )
    assert tree.python("-c", code.format(False)).stdout.strip() == "True"
    assert tree.python("-c", code.format(True)).stdout.strip() == "False"


def test_a_killed_run_resumes_from_its_last_finished_step(tree):
    names = ("01_first", "02_second")  # which of the two Snakemake starts with is its own affair
    tree.add(names[0], "import time; time.sleep(6)", write_results())
    tree.add(names[1], "import time; time.sleep(6)", write_results().replace('"a"', '"b"'))
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
    time.sleep(9)  # an orphan that lived on would have finished by now
    assert not tree.record(cut).exists(), "a job outlived its workflow"
    first = tree.record(done).read_bytes(), tree.record(done).stat().st_mtime_ns
    resumed = subprocess.run(
        tree.snakemake("results"), cwd=tree.folder, env=tree.environment, capture_output=True, text=True, timeout=300
    )
    assert resumed.returncode == 0, resumed.stderr
    assert tree.record(cut).exists() and not partial[cut].exists()
    assert (tree.record(done).read_bytes(), tree.record(done).stat().st_mtime_ns) == first
    again = subprocess.run(
        tree.snakemake("results"), cwd=tree.folder, env=tree.environment, capture_output=True, text=True, timeout=300
    )
    assert "Nothing to be done" in again.stderr + again.stdout


def test_a_lost_figure_or_file_makes_a_result_stale(tree):
    tree.add("01_first", write_results())
    assert tree.python("-m", "artifact.pipeline.runner", "run", "01").returncode == 0
    code = "from resonance import runner; print(runner.is_current('01_first', 'quick'))"
    assert tree.python("-c", code).stdout.strip() == "True"
    tree.record("01_first").with_name("measures.csv").unlink()
    assert tree.python("-c", code).stdout.strip() == "False"


def test_a_clone_with_results_has_nothing_to_do(tree):
    """File times are at random after a clone: contents decide, for the ledger and for who reads it too."""
    tree.add("01_first", write_results())
    tree.add("99_last", "x = 1", after="results")
    command = tree.snakemake("results")
    options = {"cwd": tree.folder, "env": tree.environment, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tree.folder / ".snakemake")
    shutil.rmtree(tree.folder / "build")
    results = tree.folder / "data" / "results" / "quick"
    for age, path in enumerate((tree.record("99_last"), results / "claims.csv", tree.record("01_first"))):
        os.utime(path, (1e9 + age, 1e9 + age))  # the wrong way round
    again = subprocess.run(command, **options)
    assert "Nothing to be done" in again.stderr + again.stdout
    measures = results / "measures.csv"
    measures.write_text(measures.read_text().replace("1.0", "2.0"))
    assert "Nothing to be done" not in (lambda d: d.stderr + d.stdout)(subprocess.run([*command, "-n"], **options))


SMALL = {
    "problems": 6,
    "lengths_log2": [6, 7],
    "bound_seeds": 2,
    "depths": [3],
    "depth_seeds": 2,
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


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_the_slurm_call_of_the_readme_plans_the_whole_graph(tree, profile):
    for name in ("01_first", "02_second"):
        tree.add(name, write_results())
    (tree.folder / "notebooks" / "full.yaml").write_text("{}")
    call = ["results", "-n", "--executor", "slurm", "--jobs", "8", "--config", f"profile={profile}"]
    call += ["--default-resources", "slurm_account=lab", "slurm_partition=cpu", "runtime=120"]
    done = subprocess.run(
        tree.snakemake(*call), cwd=tree.folder, env=tree.environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "slurm_account=lab" in done.stdout + done.stderr
    for name in ("01_first", "02_second"):
        assert name in done.stdout + done.stderr
