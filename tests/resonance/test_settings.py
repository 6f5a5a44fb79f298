"""Settings that travel with weights: refused where they differ, whatever way the weights take; device and dtype."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from resonance import (
    BandMixing,
    EnergySelection,
    HolographicMemory,
    LearnedSelection,
    LiveAudioNet,
    LiveForecaster,
    LongContextResonanceNet,
    MultimodalResonanceNet,
    PatchEmbedding,
    PlaneMixing,
    ResonanceAudioNet,
    ResonanceLayer,
    ResonanceNet,
    ResonanceTimeSeriesNet,
    SelectiveMixing,
)
from resonance.settings import ENTRY, without_settings
from resonance.training.checkpoint import load_weights, save_weights, set_weights


def by_file(model, state, tmp_path):
    save_file(state, tmp_path / "state.safetensors")
    model.load_state_dict(load_file(tmp_path / "state.safetensors"))


def by_library(model, state, tmp_path):
    save_weights(state, tmp_path / "state.safetensors")
    load_weights(model, tmp_path / "state.safetensors")


def by_pickle(model, state, tmp_path):
    torch.save(state, tmp_path / "state.pt")
    model.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), assign=True)


def in_half(model, state, tmp_path):
    model.load_state_dict({name: value.half() for name, value in state.items()})


def averaged(model, state, tmp_path):
    model.load_state_dict({name: (value.double() + value.double()) / 2 for name, value in state.items()})


WAYS = [by_file, by_library, by_pickle, in_half, averaged]


def selective(selection):
    return SelectiveMixing(3, selection, 8)


def long(chunk_size):
    return LongContextResonanceNet(3, 4096, chunk_size, 1, hidden_dim=4, num_frequencies=4, local_frequencies=4)


def fused(vision):
    return MultimodalResonanceNet(50, hidden_dim=4, num_layers=1, vision_frequencies=vision, patch_size=4)


def series(taper, level_steps):
    return ResonanceTimeSeriesNet(12, 48, 2, taper=taper, level_steps=level_steps)


def sound(hop):
    return ResonanceAudioNet(3, frame=32, hop=hop, dim=4, num_layers=1, num_frequencies=4)


def live_sound(hop):
    return LiveAudioNet(3, frame=32, hop=hop, dim=4, num_layers=1)


PAIRS = {
    "frequencies": (
        lambda: BandMixing(3, frequencies=[0, 1, 7, 24]),
        lambda: BandMixing(3, 4),
        "[0, 1, 7, 24]",
        "range(0, 4)",
    ),
    "window": (lambda: BandMixing(3, 4, window=1000), lambda: BandMixing(3, 4, window=100), "=1000", "=100"),
    "no window": (lambda: ResonanceLayer(3, 4, window=64), lambda: ResonanceLayer(3, 4), "window=64", "window=None"),
    "memory": (
        lambda: HolographicMemory(3, 4, aperture=9),
        lambda: HolographicMemory(3, 4, aperture=9, complex_patterns=True),
        "complex_patterns=False",
        "complex_patterns=True",
    ),
    "selection": (lambda: selective(LearnedSelection(8, 3)), lambda: selective(LearnedSelection(8, 5)), "k=3", "k=5"),
    "energy": (lambda: selective(EnergySelection(8, 3)), lambda: selective(EnergySelection(8, 5)), "k=3", "k=5"),
    "plane": (lambda: PlaneMixing(3, (2, 5)), lambda: PlaneMixing(3, (5, 2)), "[2, 5]", "[5, 2]"),
    "patches": (lambda: PatchEmbedding(1, 4, 3), lambda: PatchEmbedding(4, 2, 3), "patch_size=4", "patch_size=2"),
    "chunks": (lambda: long(1000), lambda: long(1024), "chunk_size=1000", "chunk_size=1024"),
    "modalities": (lambda: fused((2, 3)), lambda: fused((3, 2)), "'vision': [2, 3]", "'vision': [3, 2]"),
    "taper": (lambda: series(0.0, 24), lambda: series(0.5, 24), "taper=0.0", "taper=0.5"),
    "level": (lambda: series(0.0, 12), lambda: series(0.0, 24), "level_steps=12", "level_steps=24"),
    "hop": (lambda: sound(32), lambda: sound(16), "hop=32", "hop=16"),
    "live hop": (lambda: live_sound(32), lambda: live_sound(16), "hop=32", "hop=16"),
    "live": (lambda: LiveForecaster(4, 2, period=24), lambda: LiveForecaster(4, 2, period=12), "=24", "=12"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PAIRS)
def test_weights_of_other_settings_are_refused_with_both_values(name, way, tmp_path):
    source, target, *values = PAIRS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same, other = source(), target()
        way(same, source().state_dict(), tmp_path)
        before = copy.deepcopy(other.state_dict())
        with pytest.raises(ValueError if way is by_library else RuntimeError) as error:
            way(other, same.state_dict(), tmp_path)
        if way is by_library:
            assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
        assert all(value in str(error.value) for value in values)
        other.load_state_dict(without_settings(same.state_dict()))
        set_weights(other, without_settings(same.state_dict()))
    for ours, reference in zip(other.parameters(), same.parameters(), strict=True):
        assert torch.equal(ours, reference)


def test_windows_of_one_grid_have_one_meaning():
    model = BandMixing(3, 4, window=1000)
    model.load_state_dict(BandMixing(3, 4, window=1024).state_dict())
    assert model.window == 1000


def test_weights_without_settings_load_with_a_warning():
    model, older = ResonanceNet(3, 4, 8, 2), dict(ResonanceNet(3, 4, 8, 2).named_parameters())
    older |= dict(model.named_buffers())
    for load in (model.load_state_dict, lambda weights: set_weights(model, weights)):
        with pytest.warns(UserWarning, match="no settings"):
            load(older)
    assert torch.equal(model.norm.weight, older["norm.weight"])


def test_settings_are_small_real_tensors_of_their_own():
    state = ResonanceNet(3, 4, 8, 2, window=50).state_dict()
    entries = [value for name, value in state.items() if name.endswith(ENTRY)]
    assert len(entries) == 3 and len({value.data_ptr() for value in entries}) == 3  # two mixings and the memory
    assert all(isinstance(value, torch.Tensor) and value.dtype == torch.uint8 for value in entries)


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: ResonanceNet(3, 4, 8, 2, window=50), (2, 40, 3)),
        (lambda: series(0.5, 24), (2, 48, 2)),
        (lambda: sound(16), (2, 200)),
        (lambda: live_sound(16), (2, 200)),
        (lambda: fused((2, 3)), (2, 3, 8, 8)),
    ],
)
def test_a_model_made_on_meta_computes_what_its_weights_say(make, shape, assign):
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    with torch.device("meta"):
        empty = make().eval()
    if not assign:
        empty.to_empty(device="cpu")
        for part in (*empty.parameters(), *empty.buffers()):  # memory as it may come
            part.data.fill_(77)
    empty.load_state_dict(model.state_dict(), assign=assign)
    assert torch.equal(empty(x), model(x))
    assert torch.equal(copy.deepcopy(empty)(x), model(x))


def test_averages_of_state_dicts_keep_the_settings():
    layer = BandMixing(4, 3, window=30)
    average = {name: 0.9 * part + 0.1 * part for name, part in layer.state_dict().items()}
    layer.load_state_dict(average)
    with pytest.raises(RuntimeError, match="window=64"):
        BandMixing(4, 3, window=64).load_state_dict(average)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda entry: entry[:30], r"found b'\{\"frequencies\": "),
        (lambda entry: entry[:1], r"found b'\{'"),
        (lambda entry: entry + 128, r"found b'\\x"),  # no text
        (lambda entry: torch.tensor(list(b"7"), dtype=torch.uint8), "found b'7'"),  # JSON, but no settings
        (lambda entry: {"frequencies": 3}, "found dict"),
    ],
)
def test_damaged_settings_are_refused_in_words(damage, found):
    layer = BandMixing(4, 3, window=30)
    before = [part.detach().clone() for part in layer.parameters()]
    state = BandMixing(4, 3, window=30).state_dict()
    state[ENTRY] = damage(state[ENTRY])
    with pytest.raises(ValueError, match="_extra_state: expected settings as JSON in a uint8 tensor, " + found):
        set_weights(layer, state)
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="expected settings as JSON in a uint8 tensor, " + found):
        layer.load_state_dict(state)
