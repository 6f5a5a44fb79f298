"""The models: counts, padding, the printed interface, and reading and writing a memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from resonance import DocumentClassifier, HolographicMemory, Recollection, ResonanceNet, ResonanceTimeSeriesNet
from resonance.polar import count_parameters


def test_count_of_the_net_is_its_formula():
    k, hidden, layers, inputs = 3, 8, 2, 4
    projections = (inputs + 1) * hidden + (hidden + 1) * inputs
    expected = layers * (2 * k * hidden + 2 * k * k + 2 * hidden) + 2 * hidden + projections
    assert count_parameters(ResonanceNet(inputs, k, hidden, layers, holographic_capacity=0)) == expected
    assert count_parameters(ResonanceNet(inputs, k, hidden, layers)) == expected + hidden + 2  # reading the memory


def test_models_with_fixed_window_ignore_padding():
    torch.manual_seed(0)
    net = ResonanceNet(3, 8, 16, 2, window=64).double().eval()
    x = torch.randn(2, 40, 3, dtype=torch.float64)
    longer = torch.cat([x, torch.randn(2, 17, 3, dtype=torch.float64)], dim=1)
    lengths = torch.tensor([40, 25])
    a, b = net(x, lengths), net(longer, lengths)
    torch.testing.assert_close(a[0], b[0, :40], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(a[1, :25], b[1, :25], rtol=1e-11, atol=1e-11)


def test_printed_api_runs():
    model = ResonanceNet(
        input_dim=512, num_frequencies=64, hidden_dim=256, num_layers=4, holographic_capacity=1000, dropout=0.1
    )
    assert model(torch.randn(2, 128, 512)).shape == (2, 128, 512)
    assert ResonanceTimeSeriesNet(pred_horizon=96)(torch.randn(2, 720, 7)).shape == (2, 96, 7)
    assert ResonanceTimeSeriesNet(pred_horizon=1)(torch.randn(2, 720, 7)).shape == (2, 1, 7)


def test_output_dim_defaults_to_input_dim():
    assert ResonanceNet(5, 2, 8, 1)(torch.randn(1, 8, 5)).shape[-1] == 5
    assert ResonanceNet(5, 2, 8, 1, output_dim=3)(torch.randn(1, 8, 5)).shape[-1] == 3


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small lose time by sharing it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def net(capacity: int = 5, **options) -> ResonanceNet:
    torch.manual_seed(0)
    return ResonanceNet(6, 4, 8, 1, capacity, dropout=0.0, **options).double()


def sequences(batch: int, n: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def opened(model: ResonanceNet) -> ResonanceNet:
    with torch.no_grad():
        model.memory_gate.fill_(1.0)
    return model


def test_the_printed_calls():
    model = ResonanceNet(
        input_dim=512, num_frequencies=64, hidden_dim=256, num_layers=4, holographic_capacity=1000, dropout=0.1
    )
    x = torch.randn(32, 128, 512)
    assert model(x, use_memory=True, store_to_memory=True).shape == x.shape and len(model.holographic_memory) == 32
    pattern = torch.randn(512)
    model.holographic_memory.encode(pattern)
    torch.testing.assert_close(model.holographic_memory.reconstruct(), pattern, rtol=1e-5, atol=1e-5)


def test_storing_writes_the_mean_of_each_sequence_within_its_length():
    model, x = net(), sequences(3)
    lengths = torch.tensor([16, 5, 9])
    x[1, 5:] = float("nan")  # padding
    model(x, lengths, store_to_memory=True)
    means = torch.stack([row[:n].mean(dim=0) for row, n in zip(x, lengths.tolist(), strict=True)])
    torch.testing.assert_close(model.holographic_memory.reconstruct([0, 1, 2]), means, rtol=1e-11, atol=1e-11)
    model(x[:, :5], store_to_memory=True)
    assert model.holographic_memory.keys() == [1, 2, 3, 4, 5]  # of five: the oldest gave way


def test_reading_comes_before_writing():
    a, b, x = opened(net()), opened(net()), sequences(2)
    for model in (a, b):
        model(sequences(3, seed=1), store_to_memory=True)
    both = a(x, use_memory=True, store_to_memory=True)
    torch.testing.assert_close(both, b(x, use_memory=True), rtol=0, atol=0)
    assert len(a.holographic_memory) == 5 and len(b.holographic_memory) == 3
    assert not torch.allclose(a(x, use_memory=True), both)  # now each recalls itself


def test_an_empty_memory_and_a_closed_gate_change_nothing():
    x = sequences(2)
    model = opened(net())
    assert torch.equal(model(x, use_memory=True), model(x))
    model = net()  # the gate as it starts
    model(x, store_to_memory=True)
    assert torch.equal(model(x, use_memory=True), model(x))
    assert not torch.equal(opened(model)(x, use_memory=True), model(x))


def test_without_the_arguments_the_memory_is_neither_read_nor_changed():
    model, x = opened(net()), sequences(2)
    plain = model(x)
    model(sequences(3, seed=1), store_to_memory=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert torch.equal(model(x), plain)
    assert torch.equal(model(x, use_memory=True), model(x, use_memory=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_memory_is_saved_with_the_weights(tmp_path):
    model, x = opened(net()), sequences(2)
    model(sequences(3, seed=1), store_to_memory=True)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(9)
    fresh = ResonanceNet(6, 4, 8, 1, 5, dropout=0.0).double()
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(fresh(x, use_memory=True), model(x, use_memory=True))
    assert fresh.holographic_memory.keys() == [0, 1, 2]


def test_a_model_without_memory_says_so_and_has_no_state():
    model, x = net(0), sequences(1)
    assert model.holographic_memory is None and not list(model.buffers())
    for argument in ("use_memory", "store_to_memory"):
        with pytest.raises(ValueError, match="holographic_capacity=0"):
            model(x, **{argument: True})
    assert count_parameters(net()) - count_parameters(model) == 8 + 2
    with pytest.raises(ValueError, match="holographic_capacity >= 0"):
        net(-1)


def test_gradients_reach_input_gate_sharpness_and_threshold():
    model, x = opened(net()), sequences(2).requires_grad_(True)
    model(sequences(4, seed=1), store_to_memory=True)
    read = model(x, use_memory=True)
    model(sequences(5, seed=2), store_to_memory=True)  # all overwritten before the backward pass
    (read - model(x)).square().sum().backward()
    for tensor in (x, model.memory_gate, model.recollection.log_sharpness, model.recollection.threshold):
        assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0


def test_a_sequence_with_nan_is_not_written():
    model, x = net(), sequences(2)
    x[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        model(x, store_to_memory=True)
    assert len(model.holographic_memory) == 0


@pytest.mark.parametrize("call", [{}, {"use_memory": True}])
def test_compiled_in_one_graph(call):
    model, x = opened(net()).float().eval(), sequences(2).float()
    model(x, store_to_memory=True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, **call), model(x, **call), rtol=1e-5, atol=1e-5)


def test_storing_in_a_compiled_model():
    model, x = net().float().eval(), sequences(2).float()
    torch.compile(model, backend="eager")(x, use_memory=True, store_to_memory=True)
    assert model.holographic_memory.keys() == [0, 1]


@pytest.mark.parametrize("call", [{}, {"use_memory": True}])
def test_export_with_a_batch_and_a_length_of_any_size(call):
    model, x, lengths = opened(net(window=32)).eval(), sequences(5, 30), torch.tensor([30, 7, 1, 12, 30])
    model(x, store_to_memory=True)
    n = {1: torch.export.Dim("n", min=8, max=32)} if not call else {}
    batch = {0: torch.export.Dim("batch", min=2, max=64)}
    dynamic = {"x": batch | n, "lengths": batch, **dict.fromkeys(call)}
    exported = torch.export.export(
        model, (x[:3, -16:].clone(), lengths[:3] // 2 + 1), call, dynamic_shapes=dynamic
    ).module()
    x = x if n else x[:, -16:]
    lengths = lengths.clamp_max(x.shape[1])
    torch.testing.assert_close(exported(x, lengths, **call), model(x, lengths, **call))


def test_an_empty_batch_has_an_empty_result_and_writes_nothing():
    model, x = net(), sequences(2)
    assert model(x[:0], use_memory=True, store_to_memory=True).shape == (0, 16, 6)
    assert model(x[:0], torch.tensor([], dtype=torch.uint8)).shape == (0, 16, 6)
    assert len(model.holographic_memory) == 0
    torch.relu_(model(x)).sum().backward()  # an activation in place behind it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_follows_float64(dtype):
    model, x, lengths = opened(net()), sequences(2), [16, 5]
    expected = model(x, lengths, use_memory=True, store_to_memory=True)
    half = opened(net()).to(dtype)
    found = half(x.to(dtype), lengths, use_memory=True, store_to_memory=True)
    torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0.05)
    assert half.holographic_memory.reconstruct([0]).isfinite().all()


# --------------------------------------------------------------------------- classifiers of token sequences


def documents():
    torch.manual_seed(0)
    model = DocumentClassifier(90, 3, 8, 2, window=32, num_frequencies=6).double().eval()
    return model, torch.randint(90, (4, 20)), torch.tensor([20, 1, 7, 20])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("padding", [0, 100, -100])
def test_a_padded_document_is_itself(dtype, padding):
    model, ids, lengths = documents()
    alone = torch.cat([model(row[None, :n]) for row, n in zip(ids, lengths.tolist(), strict=True)])
    padded = F.pad(ids, (0, 9)).masked_fill(torch.arange(29) >= lengths[:, None], padding)
    found = model(padded.to(dtype), lengths.to(dtype))  # ids out of range behind a document are not read
    torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model(padded.to(dtype), lengths.tolist()), found, rtol=0, atol=0)


def test_documents_of_any_batch_in_one_graph(in_one_graph):
    model, ids, lengths = documents()
    compiled, _ = in_one_graph(model, (ids[:2], lengths[:2]), (ids, lengths))
    for wrong in ((ids + 90, lengths), (ids, lengths - 1)):
        with pytest.raises(RuntimeError, match=r"(ids in 0\.\.89|lengths as whole)"):
            compiled(*wrong)
    assert model(ids[:0], lengths[:0]).shape == model(ids[:0]).shape == (0, 3)
    for part in (model.encode(model.embedding(ids), lengths), model(ids)):
        torch.relu_(part).sum().backward()


def test_documents_that_are_none_are_named():
    model, ids, lengths = documents()
    for wrong in (ids[0], ids[:, :0], ids.tolist()):
        with pytest.raises(ValueError, match=r"ids as a tensor \(batch, n\)"):
            model(wrong)
    for wrong in (ids.double(), ids > 3):
        with pytest.raises(TypeError, match=rf"integer dtype, got {wrong.dtype}"):
            model(wrong, lengths)
    with pytest.raises(ValueError, match=r"1\.\.20, got \[0\]"):
        model(ids, [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"ids in 0\.\.89, got \[90\]"):
        model(ids.index_fill(1, torch.tensor([0]), 90)[:1])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 10**6))
def test_recollection_is_its_formula(dim, count, seed):
    generator = torch.Generator().manual_seed(seed)
    patterns, cue = (torch.randn(m, dim, dtype=torch.float64, generator=generator) for m in (count, 3))
    memory, read = HolographicMemory(dim, count + 2).double(), Recollection().double()
    memory.encode(patterns)
    cosine = F.cosine_similarity(cue[:, None], patterns, dim=-1)
    silent = torch.full((3, 1), 0.5, dtype=torch.float64)
    logits = read.log_sharpness.exp() * torch.cat([silent, cosine], dim=1)
    share = logits.softmax(dim=1)[:, 1:]
    wanted = share @ (patterns / patterns.square().mean(dim=1, keepdim=True).sqrt())
    torch.testing.assert_close(read(memory, cue), wanted, rtol=1e-8, atol=1e-9)
    assert read.weights(memory, cue)[:, count:].abs().max() == 0


def test_recollection_is_sharp_for_what_is_known_and_silent_for_what_is_not():
    memory, read = HolographicMemory(256, 50), Recollection()
    patterns = torch.randn(50, 256, generator=torch.Generator().manual_seed(0))
    memory.encode(patterns)
    known = read(memory, patterns + 0.3 * patterns.roll(1, 0))
    assert (F.cosine_similarity(known, patterns) > 0.99).all()
    assert read(memory, patterns.roll(7, dims=1)).square().mean().sqrt() < 0.1


def test_recollection_of_zeros_is_finite():
    memory, read = HolographicMemory(4, 3).double(), Recollection().double()
    memory.encode(torch.stack([torch.zeros(4), torch.ones(4)]))
    cue = torch.zeros(2, 4, dtype=torch.float64).requires_grad_(True)
    read(memory, cue).sum().backward()
    assert torch.isfinite(cue.grad).all() and torch.isfinite(read.log_sharpness.grad)


def test_recollection_gradcheck():
    memory, read = HolographicMemory(5, 4).double(), Recollection().double()
    memory.encode(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))
    cue = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_(True)

    def recalled(cue, log_sharpness, threshold):
        parameters = {"log_sharpness": log_sharpness, "threshold": threshold}
        return torch.func.functional_call(read, parameters, (memory, cue))

    parameters = [p.detach().clone().requires_grad_(True) for p in read.parameters()]
    assert torch.autograd.gradcheck(recalled, (cue, *parameters))
