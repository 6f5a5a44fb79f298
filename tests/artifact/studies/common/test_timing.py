"""Steps in turn, copies and products, peaks of fresh processes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from artifact.files import ROOT
from artifact.studies.common import probe
from artifact.studies.common.timing import KEEPING, alternated, copy_step, pass_of, product_step, rounds_of


def test_a_pass_gives_every_gradient_and_starts_afresh():
    model, x = nn.Linear(3, 3), torch.randn(2, 3)
    step = pass_of(model, x)
    step()
    first = model.weight.grad.clone()
    step()
    assert torch.equal(model.weight.grad, first) and x.grad is None


def test_steps_take_turns():
    called = []
    times = alternated({name: lambda name=name: called.append(name) for name in "ab"}, rounds=2, min_seconds=1e-5)
    assert set(times) == {"a", "b"} and all(t > 0 for t in times.values())
    turns = [name for i, name in enumerate(called) if i == 0 or called[i - 1] != name]
    assert "".join(turns) == "ababab"  # the warm-up, then two rounds


def test_a_slow_step_runs_once_a_round():
    called = []
    taken = rounds_of({"slow": lambda: (called.append(0), time.sleep(2e-3))}, rounds=3, min_seconds=1e-3)
    assert len(called) == 2 + 3 and min(taken["slow"]) >= 2e-3 and len(taken["slow"]) == 3


def test_floors_copy_and_multiply():
    copy, product = copy_step(5), product_step(4)
    assert torch.isfinite(copy()).all() and product().shape == (4, 4)


def test_resident_bytes_see_an_allocation():
    """In a process of its own: this one keeps what it freed, and allocates without growing."""
    code = """
import torch
from artifact.studies.common.timing import resident_bytes
before = resident_bytes(peak=False)
held = torch.ones(2**24)
now = resident_bytes(peak=False)  # before the peak: to read one takes memory, too
print(now - before, resident_bytes(peak=True) - now)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    grown, above = map(int, done.stdout.split())
    assert grown > 2**25 and above >= 0


@pytest.mark.parametrize(("call", "environment"), [("keep_freed_memory()", {}), ("", KEEPING)])
def test_freed_memory_is_kept(call, environment):
    """By a call or by the environment a large result is not mapped anew, and the resident size does not fall."""
    code = f"""
import torch
from artifact.studies.common.timing import keep_freed_memory, resident_bytes
{call}
held = torch.ones(2**25)
full = resident_bytes(peak=False)
del held
print(full - resident_bytes(peak=False))
"""
    options = {"capture_output": True, "text": True, "check": True, "cwd": ROOT, "env": {**os.environ, **environment}}
    done = subprocess.run([sys.executable, "-c", code], **options)
    assert platform.libc_ver()[0] != "glibc" or int(done.stdout) < 2**25


SMALL = {"input_dim": 4, "dim": 8, "layers": 1, "frequencies": 3, "chunk": 64}


@pytest.mark.parametrize(
    ("model", "task"), [(m, "train") for m in probe.MODELS] + [("long context", "stream"), ("resonance", "infer")]
)
def test_every_model_of_the_probe_runs(model, task):
    row = probe.run(model, task, 100, warm=False, **SMALL)
    assert row["seconds"] > 0 and row["peak"] >= row["start"] > 0 and row["parameters"] > 0


def test_a_fresh_process_measures_and_stops_at_its_limits():
    row = probe.measure("long context", "train", 100, warm=False, **SMALL)
    assert row["outcome"] == "ran" and row["peak"] > row["start"]
    assert probe.measure("resonance", "train", 2**22, limit_bytes=2**30, **SMALL)["outcome"] == "memory"
    assert probe.measure("resonance", "train", 100, limit_seconds=0.05, **SMALL)["outcome"] == "time"
    with pytest.raises(RuntimeError, match="only the model 'long context' streams"):
        probe.measure("fnet", "stream", 100, **SMALL)


def test_chunks_are_the_same_each_time():
    chunks = probe.Chunks(40, 16, 4)
    first, second = list(chunks), list(chunks)
    assert [c.shape[1] for c in first] == [16, 16, 8]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
