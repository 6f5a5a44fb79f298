"""The README's code runs as it stands: what a reader copies first."""

from __future__ import annotations

import re
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

from artifact.files import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, flags=re.M)
CODE = [textwrap.dedent(block).strip("\n") for block in BLOCKS if re.search(r"^    (from|import) ", block, flags=re.M)]


@pytest.mark.parametrize("code", CODE, ids=lambda code: re.search(r"import (\w+)", code)[1])
def test_a_block_of_code_runs(code, tmp_path, monkeypatch):
    if "mine.csv" in code:
        dates = pd.date_range("2020-01-01", periods=4000, freq="h", name="date")
        values = np.random.default_rng(0).normal(size=(len(dates), 2))
        pd.DataFrame(values, dates, ["a", "b"]).to_csv(tmp_path / "mine.csv")
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {"torch": torch})  # a later block goes on from an earlier import


def test_there_is_code_to_run():
    assert len(CODE) >= 3
