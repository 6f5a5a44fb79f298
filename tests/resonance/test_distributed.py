"""Sequences split over processes: equal to one process, and what is exchanged, refused and lost.

The checks are those of split_rank.py, all by one group of processes: most of a process is its start.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from artifact.files import ROOT

RANK = Path(__file__).with_name("split_rank.py")
CHECKS = re.findall(r"^@check\ndef (\w+)", RANK.read_text(), flags=re.M)


def ranks(folder: Path, size: int, *names: str) -> list[subprocess.Popen]:
    """Start the processes of a group."""
    run = [sys.executable, str(RANK), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return [subprocess.Popen([*run, str(rank), str(size), *names], **options) for rank in range(size)]


@pytest.fixture(scope="module", params=[2, 4])
def found(request, tmp_path_factory) -> list[dict[str, str]]:
    """What each check found, by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = ranks(folder, request.param)
    try:
        said = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    files = [folder / f"{rank}.json" for rank in range(request.param)]
    assert all(file.exists() for file in files), said
    return [json.loads(file.read_text()) for file in files]


@pytest.mark.parametrize("name", CHECKS)
def test_split_over_processes(found, name):
    assert [rank.get(name, "an earlier check failed") for rank in found] == [""] * len(found)


@pytest.mark.parametrize(("how", "size"), [("SIGKILL", 3), ("SIGSTOP", 2)])
def test_the_others_end_with_a_clear_error_when_a_rank_is_lost(tmp_path, how, size):
    processes = ranks(tmp_path, size, how)
    try:
        for rank in {*range(size)} - {1}:
            said = processes[rank].communicate(timeout=60)[0]
            assert processes[rank].returncode == 0, said
            error = json.loads((tmp_path / f"{rank}.json").read_text())[how]
            assert f"rank {rank} could not exchange bands: another rank has ended" in error, error
    finally:
        for process in processes:
            process.kill()
    assert not (tmp_path / "1.json").exists()
