"""Each file of examples/ runs as it stands, in a folder of its own, and prints what it promises."""

from __future__ import annotations

import os
import re
import string
import subprocess
import sys

import pytest

from artifact.files import ROOT
from artifact.pipeline import freshness, notebooks
from resonance import ResonanceLM, from_pretrained, save_pretrained
from resonance.pretrained import configuration

PRINTS = {  # what the last line, or one before it, says
    "associative_memory": r"pattern 7, relative error \d\.\de-0[4-9][\s\S]*: False, 63 left",
    "drop_in_encoder": r"accuracy on new sequences: (?:[6-9]\d|100)\.\d%",
    "forecast_an_array": r"Returned: \w+[\s\S]*the next hour:",
    "pretrained": r"ResonanceLM of noise, 4\.20 nats[\s\S]*\nThe king[\s\S]{250,}",
    "own_training_loop": r"epoch 4: loss 0?\.\d+|epoch 4: loss 1\.\d+",
    "stream_long_input": r"largest difference: \d\.\de-0[5-9]",
    "write_text": r"at the end: [01]\.\d\d nats a character\nimport ",
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(path, folder, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(path), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs(path, tmp_path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 40 and source.startswith('"""') and "artifact" not in source
    arguments = []
    if path.stem == "pretrained":  # the file of another model: that of the reference run has its own test
        about = {"data": "noise", "loss": 4.2, "letters": string.printable}
        save_pretrained(ResonanceLM(len(string.printable), 8, 1, 4), tmp_path / "own.safetensors", about=about)
        arguments = ["own.safetensors"]
    assert re.search(PRINTS[path.stem], run(path, tmp_path, *arguments))


def test_a_training_loop_goes_on_where_it_was(tmp_path):
    path = ROOT / "examples" / "own_training_loop.py"
    first = run(path, tmp_path)
    assert run(path, tmp_path) == "goes on after epoch 4\n" and first.count("epoch") == 4
    assert not list(tmp_path.rglob("*.part"))


WEIGHTS = {"08_forecasting": "forecaster", "13_language": "characters", "14_live": "digits"}


@pytest.mark.parametrize("notebook", WEIGHTS)
def test_the_reference_run_leaves_a_model(notebook, tmp_path):
    """Once its result is of the code that saves one; what says so in the meantime is the result's own digest."""
    path = notebooks.result_folder(notebook, "full") / f"{WEIGHTS[notebook]}.safetensors"
    record = notebooks.read_record(notebook, "full")
    assert any(f'"{path.name}"' in cell for cell in notebooks.code_cells(notebook))
    if path.name not in record["files"]:
        assert record["digest"] != freshness.digest(notebook, "full"), "a current result without its model"
        pytest.skip("the reference result is older than the code that saves a model")
    assert from_pretrained(path).training is False and configuration(path)["about"]["data"] in record["dataset"]
    assert sum(each.stat().st_size for each in path.parents[1].glob("*/*.safetensors")) < 5e6
    if notebook == "13_language":
        assert "The king" in run(ROOT / "examples" / "pretrained.py", tmp_path)
