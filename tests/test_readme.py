"""The code of the README and of docs/ runs as it is printed: what a reader copies first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

from artifact.files import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}


def code_of(text: str) -> list[str]:
    """The indented blocks of a page that import something."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, flags=re.M)
    return [textwrap.dedent(block).strip("\n") for block in blocks if re.search(r"^    (from|import) ", block, re.M)]


BLOCKS = {page: code_of(text) for page, text in TEXTS.items()}
BLOCKS["drop_in.md"] = ["\n\n".join(BLOCKS["drop_in.md"])]  # one script
CODE = [pytest.param(code, id=f"{page}-{at}") for page, blocks in BLOCKS.items() for at, code in enumerate(blocks)]


@pytest.mark.parametrize("code", CODE)
def test_a_block_of_code_runs(code, tmp_path, monkeypatch):
    if "mine.csv" in code:
        dates = pd.date_range("2020-01-01", periods=4000, freq="h", name="date")
        values = np.random.default_rng(0).normal(size=(len(dates), 2))
        pd.DataFrame(values, dates, ["a", "b"]).to_csv(tmp_path / "mine.csv")
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    if "init_process_group" in code:
        (tmp_path / "block.py").write_text(code)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "block.py"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, timeout=300)
        return
    torch.manual_seed(0)
    exec(compile(code, "a block of the README or docs", "exec"), {})


def test_there_is_code_to_run():
    assert len(CODE) >= 6 and "README.md-0" in [case.id for case in CODE]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_figures_of_a_page_exist(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", TEXTS[path.name]):
        assert (path.parent / target).exists(), target


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 120
