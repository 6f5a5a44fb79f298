"""Every public layer and model: by device and dtype, in half precision, of an empty batch, compiled and exported."""

from __future__ import annotations

import copy
from inspect import signature

import onnxruntime
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

import resonance as r

LOCAL = {"num_frequencies": 4, "local_frequencies": 4}
FUSED = {"vision_frequencies": (2, 2), "audio_frequencies": 4, "text_frequencies": 3, "patch_size": 8}


def real(*shape):
    return lambda batch: torch.randn(batch, *shape)


def whole(top, *shape, start=0):
    return lambda batch: torch.randint(start, top, (batch, *shape))


class Reading(nn.Module):
    """A memory of three patterns, read by cues."""

    def __init__(self, **at):
        super().__init__()
        self.memory, self.recollection = r.HolographicMemory(4, 8, **at), r.Recollection(**at)

    def forward(self, cue):
        return self.recollection(self.memory, cue)


def turned(layer):
    """A turning layer whose tokens turn it: at the start they do not."""
    nn.init.eye_(layer.turn)
    nn.init.ones_(layer.anchor)
    return layer


# name: (how to make it, at a device and in a dtype; an input of a given batch each)
MODELS = {
    "dense": (lambda **at: r.BandMixing(4, 5, engine="dense", **at), real(20, 4)),
    "fast": (lambda **at: r.BandMixing(4, 5, engine="fast", **at), real(20, 4)),
    "fft": (lambda **at: r.BandMixing(4, frequencies=[0, 2, 16], engine="fft", **at), real(20, 4)),
    "layer": (lambda **at: r.ResonanceLayer(4, 5, window=64, **at), real(20, 4), whole(21, start=1)),
    "plane": (lambda **at: r.PlaneMixing(4, 3, engine="fft", **at), real(7, 8, 4)),
    "learned": (lambda **at: r.SelectiveMixing(4, r.LearnedSelection(9, 4, **at), 9, **at), real(20, 4)),
    "energy": (lambda **at: r.SelectiveMixing(4, r.EnergySelection(9, 4), 9, **at), real(20, 4)),
    "causal": (lambda **at: r.CausalMixing(4, 3, **at), real(50, 4)),
    "turning": (lambda **at: turned(r.TurningMixing(8, 3, 2, **at)), real(20, 8)),
    "turning in space": (lambda **at: turned(r.TurningMixing(8, 3, 2, turns="space", **at)), real(20, 8)),
    "turning on a grid": (lambda **at: turned(r.TurningMixing(8, 3, 2, grid=12, **at)), real(20, 8)),
    "sublayer": (lambda **at: r.CausalResonance(4, 3, engine="fft", **at), real(20, 4), whole(21, start=1)),
    "recall": (lambda **at: r.HolographicRecall(4, 2, features=8, **at), real(20, 4)),
    "language": (lambda **at: r.ResonanceLM(9, 8, 1, 3, **at), whole(9, 20)),
    "sequence": (lambda **at: r.ResonanceNet(3, 4, 8, 1, **at), real(16, 3), whole(17, start=1)),
    "document": (lambda **at: r.DocumentClassifier(30, 3, 8, window=64, num_frequencies=4, **at), whole(30, 40)),
    "long": (lambda **at: r.LongContextResonanceNet(3, 64, 16, 1, hidden_dim=8, **LOCAL, **at), real(64, 3)),
    "embedding": (lambda **at: r.HierarchicalEmbedding(100, 8, **at), whole(100, 7)),
    "head": (lambda **at: r.HierarchicalHead(100, 8, **at), real(8), whole(100)),
    "patches": (lambda **at: r.PatchEmbedding(3, 4, 8, **at), real(3, 8, 12)),
    "vision": (
        lambda **at: r.ResonanceVisionNet(5, patch_size=4, hidden_dim=8, num_layers=1, engine="fft", **at),
        real(3, 64, 64),
    ),
    "frames": (lambda **at: r.SpectrumFrames(16, 8, **at), real(100)),
    "audio": (
        lambda **at: r.ResonanceAudioNet(5, frame=32, hop=16, dim=8, num_layers=1, num_frequencies=4, **at),
        real(300),
    ),
    "live audio": (
        lambda **at: r.LiveAudioNet(5, hop=16, frame=32, dim=8, num_layers=1, num_resonators=3, **at),
        real(320),
    ),
    "live series": (lambda **at: r.LiveForecaster(6, 2, period=4, scales=2, harmonics=2, **at), real(20, 2)),
    "series": (lambda **at: r.ResonanceTimeSeriesNet(6, 24, 2, num_frequencies=4, level_steps=4, **at), real(24, 2)),
    "fused": (
        lambda **at: r.MultimodalResonanceNet(48, (32, 32), 8, 1, num_classes=5, **FUSED, **at),
        real(3, 32, 32),
        real(900),
        whole(48, 7),
    ),
    "memory": (Reading, real(4)),
}
SLOW = {"language", "document", "sequence", "fused", "long", "live audio", "live series", "learned", "patches", "head"}


def made(name):
    torch.manual_seed(0)
    make, *inputs = MODELS[name]
    model = make().eval()
    if name == "memory":
        for pattern in torch.randn(3, 4):
            model.memory.encode(pattern)
    return model, lambda batch: tuple(draw(batch) for draw in inputs)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "frames"])  # without weights
def test_device_and_dtype_are_those_of_torchs_layers(name):
    make = MODELS[name][0]
    torch.manual_seed(0)
    plain = make().state_dict()
    torch.manual_seed(0)
    double = make(dtype=torch.float64, device=torch.device("cpu"))
    for (key, ours), reference in zip(double.state_dict().items(), plain.values(), strict=True):
        assert torch.equal(ours, reference.double() if reference.is_floating_point() else reference), key
        assert (ours.dtype == torch.float64) == reference.is_floating_point()
    empty = make(device="meta")
    assert all(part.is_meta for part in (*empty.parameters(), *empty.buffers()))
    assert isinstance(empty, nn.Module) and empty.state_dict().keys() == plain.keys()
    with pytest.raises(TypeError, match=r"floating dtype, got torch.int32"):
        make(dtype=torch.int32)


def test_every_module_with_weights_takes_a_device_and_a_dtype():
    modules = [c for c in map(r.__dict__.get, r.__all__) if isinstance(c, type) and issubclass(c, nn.Module)]
    bare = {"EnergySelection", "SpectrumFrames"}  # without weights
    assert {c.__name__ for c in modules if not {"device", "dtype"} <= signature(c).parameters.keys()} == bare


@pytest.mark.parametrize("name", MODELS)
def test_fake_tensors_have_the_shape_and_leave_nothing_behind(name):
    model, draw = made(name)
    x = draw(2)
    y = model(*x)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert model(*map(mode.from_tensor, x)).shape == y.shape
    assert torch.equal(model(*x), y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_one_graph_serves_every_batch(name, in_one_graph):
    model, draw = made(name)
    in_one_graph(model, draw(3), draw(5))


TAKE_LENGTHS = [
    "layer",
    "causal",
    "turning",
    "turning in space",
    "sublayer",
    "recall",
    "sequence",
    "document",
    "embedding",
    "audio",
    "live audio",
]
TYPES = torch.int16, torch.uint16, torch.uint32, torch.uint64, torch.float32


@pytest.mark.parametrize("name", TAKE_LENGTHS)
def test_lengths_of_any_integer_type(name):
    model, draw = made(name)
    x = draw(2)[0]
    lengths = torch.tensor([x.shape[1], x.shape[1] // 2])
    expected = model(x, lengths)
    for other in (lengths.tolist(), lengths.numpy().astype("uint16"), *map(lengths.to, TYPES)):
        assert torch.equal(model(x, other), expected)


@pytest.mark.parametrize("name", MODELS)
def test_meta_half_precision_empty_batches_and_changes_in_place(name):
    model, draw = made(name)
    x = draw(2)
    y = model(*x)
    with torch.device("meta"):
        there = MODELS[name][0]().eval()
    on_meta = there(*(part.to("meta") for part in x))
    assert on_meta.is_meta and on_meta.shape == y.shape and on_meta.dtype == y.dtype
    assert model(*draw(0)).shape == (0, *y.shape[1:])
    low = copy.deepcopy(model).bfloat16()
    x = [part.bfloat16() if part.is_floating_point() else part for part in x]
    found, expected = low(*x).float(), low.float()(*(part.float() if part.is_floating_point() else part for part in x))
    assert (found - expected).norm() <= 0.05 * expected.norm()
    if y.requires_grad:
        x, leaves = draw(2), list(model.parameters())
        after, behind = (torch.autograd.grad(f(model(*x)).square().sum(), leaves, allow_unused=True) for f in IN_PLACE)
        for one, other in zip(after, behind, strict=True):
            assert_close(one, other) if other is not None else None
            assert (one is None) == (other is None)
        assert any(g is not None and g.any() for g in behind)


IN_PLACE = torch.sigmoid_, torch.sigmoid


@pytest.mark.parametrize("name", MODELS)
def test_no_samples_or_tokens_are_refused_and_a_lookup_of_none_is_empty(name):
    model, draw = made(name)
    x = [part[:, :0] if part.dim() > 1 else part for part in draw(2)]
    if name == "embedding":
        assert model(*x).shape == (2, 0, 8)
    else:
        with pytest.raises(ValueError, match=r"expected|at least 1 sample"):
            model(*x)


# All that take a sequence but long contexts and several modalities; those left out here are tested in their own files.
LENGTHS = [
    "dense",
    "layer",
    "causal",
    "turning",
    "sublayer",
    "recall",
    "document",
    "embedding",
    "frames",
    "audio",
    "live audio",
]
LENGTHS += ["language", "live series"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LENGTHS)
def test_export_with_any_batch_and_length(name):
    model, draw = made(name)
    x = draw(3)
    n = x[0].shape[1]
    batch, length = torch.export.Dim("batch", min=2, max=64), torch.export.Dim("n", min=n // 2, max=n)
    sizes = ({0: batch, 1: length}, *({0: batch} for _ in x[1:]))
    exported = torch.export.export(model, x, dynamic_shapes=sizes).module()
    for batch, n in ((2, x[0].shape[1]), (5, x[0].shape[1] - 3)):
        whole, *lengths = draw(batch)
        x = (whole[:, :n], *(part.clamp_max(n) for part in lengths))
        assert_close(exported(*x), model(*x))


@pytest.mark.filterwarnings("ignore")
def test_export_refuses_an_open_length_where_it_decides_the_operations():
    model, x = made("long")[0], torch.randn(2, 48, 3)
    with pytest.raises(torch._dynamo.exc.UserError, match=r"Constraints violated \(n\)"):
        torch.export.export(model, (x,), dynamic_shapes=({1: torch.export.Dim("n", min=17, max=64)},), strict=False)


def test_a_memory_on_meta_says_so():
    memory = r.HolographicMemory(4, 8, device="meta")
    for call in (lambda: memory.encode(torch.ones(4)), memory.reconstruct, memory.keys, lambda: memory.forget(0)):
        with pytest.raises(RuntimeError, match="got one on the meta device"):
            call()
    with pytest.raises(RuntimeError, match="got one on the meta device"):
        memory.recall(torch.ones(4))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in MODELS if name not in SLOW])
def test_onnx_equals_torch_for_every_batch(name, tmp_path, monkeypatch):
    monkeypatch.setattr("resonance.recall.CHUNK", 8)  # its triangular system is written out: small in a test
    model, draw = made(name)
    x, batch = draw(3), {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.onnx.export(model, x, dynamo=True, verbose=False, dynamic_shapes=(batch,) * len(x))
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for x in (draw(1), draw(5)):
        given = {node.name: part.numpy() for node, part in zip(session.get_inputs(), x, strict=True)}
        assert_close(torch.from_numpy(session.run(None, given)[0]), model(*x), rtol=1e-4, atol=1e-4)
