"""Each file of examples/ runs as it stands, in a folder of its own, and prints what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from artifact.files import ROOT

PRINTS = {  # what the last line, or one before it, says
    "associative_memory": r"pattern 7, relative error \d\.\de-0[4-9][\s\S]*: False, 63 left",
    "drop_in_encoder": r"accuracy on new sequences: (?:[6-9]\d|100)\.\d%",
    "forecast_an_array": r"Returned: \w+[\s\S]*the next hour:",
    "own_training_loop": r"epoch 4: loss 0?\.\d+|epoch 4: loss 1\.\d+",
    "stream_long_input": r"largest difference: \d\.\de-0[5-9]",
    "write_text": r"at the end: [01]\.\d\d nats a character\nimport ",
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(path, folder) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(path)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs(path, tmp_path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 40 and source.startswith('"""') and "artifact" not in source
    assert re.search(PRINTS[path.stem], run(path, tmp_path))


def test_a_training_loop_goes_on_where_it_was(tmp_path):
    path = ROOT / "examples" / "own_training_loop.py"
    first = run(path, tmp_path)
    assert run(path, tmp_path) == "goes on after epoch 4\n" and first.count("epoch") == 4
    assert not list(tmp_path.rglob("*.part"))
