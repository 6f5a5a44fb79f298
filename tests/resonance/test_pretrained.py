"""Models in files: what comes back is equal bit for bit, whatever the model, and what does not fit says why."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import resonance as r
from resonance.comb import CombForecaster
from resonance.pretrained import FORMAT, configuration
from resonance.settings import placed
from resonance.training.checkpoint import save_weights

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
LONG = {"hidden_dim": 4, "num_frequencies": 4, "local_frequencies": 3}
AUDIO = {"frame": 64, "hop": 32, "dim": 4, "num_layers": 1, "window": 64}
VISION = {"patch_size": 4, "hidden_dim": 4, "num_layers": 1, "num_frequencies": (2, 1)}
MODELS = {  # a constructor and an input
    "BandMixing": (lambda: r.BandMixing(3, frequencies=np.array([0, 2, 5]), window=16), torch.randn(2, 12, 3)),
    "CausalMixing": (lambda: r.CausalMixing(3, 4, longest=64), torch.randn(2, 12, 3)),
    "CausalResonance": (lambda: r.CausalResonance(3, num_resonators=4), torch.randn(2, 12, 3)),
    "DocumentClassifier": (lambda: r.DocumentClassifier(10, 2, 4, window=8, num_frequencies=3), IDS),
    "HierarchicalEmbedding": (lambda: r.HierarchicalEmbedding(200, 6), IDS),
    "HierarchicalHead": (lambda: r.HierarchicalHead(200, 6, levels=2), (torch.randn(2, 5, 6), IDS)),
    "HolographicRecall": (lambda: r.HolographicRecall(4, 2, features=8), torch.randn(2, 12, 4)),
    "LearnedSelection": (lambda: r.LearnedSelection(6, 2), (torch.randn(2, 6, 3), torch.randn(2, 6, 3))),
    "LiveAudioNet": (lambda: r.LiveAudioNet(3, dim=4, num_layers=1), torch.randn(2, 800)),
    "LiveForecaster": (lambda: r.LiveForecaster(4, 2, period=6, scales=2, harmonics=3), torch.randn(2, 12, 2)),
    "LongContextResonanceNet": (lambda: r.LongContextResonanceNet(3, 64, 16, 2, **LONG), torch.randn(2, 40, 3)),
    "MultimodalResonanceNet": (
        lambda: r.MultimodalResonanceNet(50, (32, 32), 8, 1, vision_frequencies=(1, 1), num_classes=3),
        (torch.rand(2, 3, 32, 32), torch.randn(2, 900), IDS),
    ),
    "PatchEmbedding": (lambda: r.PatchEmbedding(1, 4, 3), torch.rand(2, 1, 8, 12)),
    "PlaneMixing": (lambda: r.PlaneMixing(3, (2, 3), interference=False), torch.randn(2, 8, 9, 3)),
    "ResonanceAudioNet": (lambda: r.ResonanceAudioNet(3, **AUDIO), torch.randn(2, 900)),
    "ResonanceLM": (lambda: r.ResonanceLM(10, 4, 1, 3, recall_heads=2), IDS),
    "ResonanceLayer": (lambda: r.ResonanceLayer(3, 4, window=16), torch.randn(2, 12, 3)),
    "ResonanceNet": (lambda: r.ResonanceNet(3, 5, 8, 2, 7, output_dim=2, window=16), torch.randn(2, 12, 3)),
    "ResonanceTimeSeriesNet": (
        lambda: r.ResonanceTimeSeriesNet(6, 24, 2, taper=np.float64(0.3)),
        torch.randn(2, 24, 2),
    ),
    "ResonanceVisionNet": (lambda: r.ResonanceVisionNet(4, **VISION), torch.rand(2, 3, 16, 20)),
    "TurningMixing": (lambda: r.TurningMixing(8, 3, heads=2, turns="space"), torch.randn(2, 12, 8)),
}
# A store, parts without a map of their own, and what has a module, no weights or no names for its arguments.
OTHERS = {"HolographicMemory", "Interference", "Recollection"}
OTHERS |= {"EnergySelection", "PolarWeight", "SelectiveMixing", "SpectrumFrames"}


def trained(name: str, seed: int) -> nn.Module:
    """A model whose every parameter and floating buffer is far from a fresh one's."""
    torch.manual_seed(seed)
    model = MODELS[name][0]()
    with torch.no_grad():
        for part in (*model.parameters(), *model.buffers()):
            if part.is_floating_point():
                part += 0.1 * torch.randn_like(part)
    return model.eval()


def output(model: nn.Module, inputs) -> torch.Tensor:
    found = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    return found[0] if isinstance(found, tuple) else found


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and p.dtype == q.dtype and torch.equal(p, q) for (a, p), (b, q) in pairs)


def test_every_public_model_is_here():
    assert set(MODELS) | OTHERS == {
        name for name in r.__all__ if isinstance(c := getattr(r, name), type) and issubclass(c, nn.Module)
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_bit_for_bit(name, tmp_path):
    model = trained(name, 0)
    r.save_pretrained(model, tmp_path, about={"units": ["m", "s"], "mean": 0.1})
    before = torch.get_rng_state()
    found = r.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)  # a loaded model moves no random source
    assert type(found) is type(model) and not found.training and equal(found, model)
    assert torch.equal(output(found, MODELS[name][1]), output(model, MODELS[name][1]))
    assert configuration(tmp_path)["about"] == {"units": ["m", "s"], "mean": 0.1}
    assert not equal(MODELS[name][0](), model)  # a fresh one would not have passed
    r.save_pretrained(found, tmp_path / "again.safetensors")  # what was loaded can be saved
    assert equal(r.from_pretrained(tmp_path / "again.safetensors"), model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["ResonanceNet", "LiveForecaster", "HierarchicalHead"])
def test_a_model_keeps_its_dtypes(name, dtype, tmp_path):
    model = trained(name, 0).to(dtype)
    next(model.parameters()).data = next(model.parameters()).data.float()  # and one of its own
    r.save_pretrained(model, tmp_path)
    assert equal(r.from_pretrained(tmp_path), model)


def test_a_memory_keeps_its_patterns(tmp_path):
    memory, patterns = r.HolographicMemory(8, 5), torch.randn(3, 8)
    keys = memory.encode(patterns, key=[4, 1, 7])
    r.save_pretrained(memory, tmp_path)
    found = r.from_pretrained(tmp_path, r.HolographicMemory)
    assert found.keys() == keys and torch.equal(found.reconstruct(keys), memory.reconstruct(keys))


def test_wrapped_models_and_classes_of_ones_own(tmp_path):
    class Mine(nn.Module):
        @placed
        def __init__(self, size, *, frequencies=range(3), device=None, dtype=None):
            super().__init__()
            self.mixing = r.BandMixing(size, frequencies=frequencies)

    for wrapped in (torch.compile(Mine(4), backend="eager"), nn.DataParallel(Mine(4, frequencies=range(2, 5)))):
        r.save_pretrained(wrapped, tmp_path)
        found = r.from_pretrained(tmp_path, Mine)
        assert type(found) is Mine and equal(found, getattr(wrapped, "_orig_mod", None) or wrapped.module)
    with pytest.raises(ValueError, match=r"expected a model of resonance at .*, found Mine"):
        r.from_pretrained(tmp_path)


def test_saving_leaves_the_random_state_and_the_model_as_they_are(tmp_path):
    model = trained("ResonanceNet", 0).train()
    before = torch.get_rng_state()
    r.save_pretrained(model, tmp_path)
    assert torch.equal(torch.get_rng_state(), before) and model.training and equal(model, trained("ResonanceNet", 0))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: nn.Linear(2, 2), TypeError, "expected a model of resonance .* got Linear"),
        (lambda: r.LiveAudioNet(mixing=lambda: r.CausalResonance(64, 2)), TypeError, "JSON holds, got LiveAudio"),
        (lambda: r.SelectiveMixing(3, r.LearnedSelection(8, 2), 8), TypeError, "JSON holds, got Selective"),
        (lambda: r.PolarWeight(2, 3), ValueError, "unexpected keyword argument 'shape'"),
        (lambda: exchanged(r.ResonanceNet(3, 5, 8, 1, 0)), ValueError, r"expected layers.0.norm.weight of .*\(8,\)"),
        (lambda: exchanged(r.ResonanceNet(3, 5, 8, 1, 0), nn.Identity()), ValueError, "expected also .*layers.0.norm"),
    ],
)
def test_what_could_not_come_back_is_not_written(make, error, says, tmp_path):
    kept = trained("BandMixing", 0)
    r.save_pretrained(kept, tmp_path)
    with pytest.raises(error, match=says):
        r.save_pretrained(make(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert equal(r.from_pretrained(tmp_path), kept)  # the file before is whole


def exchanged(model: nn.Module, norm: nn.Module | None = None) -> nn.Module:
    model.layers[0].norm = norm or nn.LayerNorm(9)
    return model


# --------------------------------------------------------------------------- files that do not fit


SMALL = {"input_dim": 3, "num_frequencies": 5, "hidden_dim": 8, "num_layers": 1, "holographic_capacity": 0}


def changed(tmp_path, **entries) -> None:
    """Write a model's file with entries of its configuration replaced."""
    r.save_pretrained(r.ResonanceNet(**SMALL), tmp_path)
    found = configuration(tmp_path) | entries
    save_file(
        load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors", {"resonance": json.dumps(found)}
    )


def test_no_file_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none", tmp_path / "none.safetensors"):
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            r.from_pretrained(path)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_part_of_a_file_is_refused(share, tmp_path_factory):
    path = tmp_path_factory.mktemp("part") / "model.safetensors"
    r.save_pretrained(r.ResonanceLayer(3, 4), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    for read in (r.from_pretrained, configuration):
        with pytest.raises(ValueError, match="expected a whole file of save_pretrained at"):
            read(path)


def test_weights_alone_are_refused(tmp_path):
    save_weights(r.ResonanceLayer(3, 4), tmp_path / "a.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "b.safetensors")
    for name in "ab":
        with pytest.raises(ValueError, match=f"expected '{FORMAT}' at .*{name}.safetensors, found 'weights alone'"):
            r.from_pretrained(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"format": "resonance model 2"}, f"expected '{FORMAT}' at .*, found 'resonance model 2'"),
        ({"model": "Transformer"}, "expected a model of resonance at .*, found Transformer"),
        ({"model": "save_pretrained"}, "expected a model of resonance at .*, found save_pretrained"),  # no other call
        ({"version": "9.9", "arguments": {"input_dim": 3, "heads": 2}}, r"those of 9.9: .* unexpected .*'heads'"),
        ({"arguments": {"num_layers": 2}}, "missing 1 required positional argument: 'input_dim'"),
        ({"arguments": {"input_dim": 3, "num_layers": 0}}, "expected num_layers >= 1"),
        ({"arguments": SMALL | {"num_layers": 2}}, "is of another model"),
        ({"model": "ResonanceLayer", "arguments": {"dim": 8, "num_frequencies": 5}}, "expected also"),
        (
            {"arguments": SMALL | {"window": 99}},
            "expected weights of window=99, found weights of window=None",
        ),
    ],
)
def test_another_configuration_is_refused(entries, says, tmp_path):
    changed(tmp_path, **entries)
    with pytest.raises(ValueError, match=rf"(?s){says}"):
        r.from_pretrained(tmp_path)


def test_another_class_than_asked_for_is_refused(tmp_path):
    r.save_pretrained(trained("ResonanceLM", 0), tmp_path)
    assert type(r.from_pretrained(tmp_path, r.ResonanceLM)) is r.ResonanceLM
    with pytest.raises(ValueError, match=r"expected LiveAudioNet at .*, found ResonanceLM"):
        r.from_pretrained(tmp_path, r.LiveAudioNet)


def test_a_class_that_is_not_exported_is_given(tmp_path):
    model = CombForecaster(12, 24, 6)
    r.save_pretrained(model, tmp_path)
    assert equal(r.from_pretrained(tmp_path, CombForecaster), model)
    with pytest.raises(ValueError, match=r"expected a model of resonance at .*, found CombForecaster"):
        r.from_pretrained(tmp_path)
