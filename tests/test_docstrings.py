"""The examples in the docstrings run as they stand, with the names of the library; every public model has one."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from torch import nn

import resonance

NAMES = {name: getattr(resonance, name) for name in resonance.__all__}
MODELS = {name for name, thing in NAMES.items() if isinstance(thing, type) and issubclass(thing, nn.Module)}
PARTS = {"EnergySelection", "Interference", "LearnedSelection", "PatchEmbedding", "Recollection"}  # of other models
OTHERS = {"Forecaster", "NaturalPolarTrainer", "analysis", "from_pretrained", "natural_polar_step"}
FINDER = doctest.DocTestFinder(recurse=False)
FOUND = {name: test for name in NAMES if (test := FINDER.find(NAMES[name], name, globs={})[0]).examples}


def test_every_public_model_has_a_short_one():
    assert FOUND.keys() - {"ResonanceTrainer"} == MODELS - PARTS | OTHERS  # one class has two names
    assert all(len(test.examples) <= 5 for test in FOUND.values())


@pytest.mark.parametrize("name", sorted(FOUND.keys() - {"ResonanceTrainer"}))
def test_an_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner, said = doctest.DocTestRunner(verbose=False), []
    for seed in (0, 1):  # what it says holds for any weights
        torch.manual_seed(seed)
        FOUND[name].globs = {"np": np, "torch": torch} | NAMES
        assert not runner.run(FOUND[name], out=said.append, clear_globs=False).failed, "".join(said)
