"""Long contexts: the reversible stack is its plain definition, streaming is the forward pass, bridges carry."""

from __future__ import annotations

import copy

import pytest
import torch

from resonance import LongContextResonanceNet, long_context
from resonance.polar import count_parameters


def small(**changes) -> LongContextResonanceNet:
    torch.manual_seed(0)
    options = {"max_context_length": 128, "chunk_size": 16, "num_layers": 3, "hidden_dim": 8}
    return LongContextResonanceNet(3, **(options | {"num_frequencies": 6, "local_frequencies": 4} | changes)).double()


def plain(model: LongContextResonanceNet, x: torch.Tensor) -> torch.Tensor:
    h = model.input_projection(x)
    for layer in model.layers:
        h = layer(h)
    return model.output_projection(model.norm(h))


@pytest.fixture(autouse=True)
def short_spans(monkeypatch):
    monkeypatch.setattr(long_context, "SPAN", 32)  # several spans a sequence


@pytest.mark.parametrize("n", [1, 15, 16, 17, 64, 100, 128])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_reversible_stack_is_its_definition(n, batch):
    model = small()
    twin = copy.deepcopy(model)
    x, g = torch.randn(2, batch, n, 3, dtype=torch.float64)
    a, b = (x.clone().requires_grad_(True) for _ in range(2))
    ours, reference = model(a), plain(twin, b)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-10)
    ours.backward(g)
    reference.backward(g)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-8, atol=1e-9)


def test_frozen_parameters_get_no_gradient():
    model = small()
    model.layers[1].bridge.requires_grad_(False)
    model(torch.randn(1, 40, 3, dtype=torch.float64)).sum().backward()
    assert model.layers[1].bridge.weight.phase.grad is None and model.layers[1].norm.weight.grad is not None


def test_float32_gradients_survive_the_walk_back():
    model = small(num_layers=6)
    single = copy.deepcopy(model).float()
    x = torch.randn(1, 128, 3, dtype=torch.float64)
    model(x).square().sum().backward()
    single(x.float()).square().sum().backward()
    for p, q in zip(single.parameters(), model.parameters(), strict=True):
        assert (p.grad - q.grad).norm() <= 1e-4 * q.grad.norm()


@pytest.mark.parametrize("lengths", [[16] * 8, [32, 48, 16], [16, 16, 5], [7]])
def test_streaming_is_the_forward_pass(lengths):
    model = small()
    x = torch.randn(2, sum(lengths), 3, dtype=torch.float64)
    streamed = torch.cat(list(model.stream(x.split(lengths, dim=1))), dim=1)
    torch.testing.assert_close(streamed, model(x), rtol=1e-10, atol=1e-10)
    assert torch.is_grad_enabled()


def test_the_first_output_depends_on_the_last_token_through_bridges_alone():
    model = small()
    x = torch.randn(1, 128, 3, dtype=torch.float64, requires_grad=True)
    model(x)[0, 0].sum().backward()
    assert x.grad[0, -1].norm() > 1e-6
    x.grad = None
    for layer in model.layers:
        layer.gain = 0.0
    model(x)[0, 0].sum().backward()
    assert x.grad[0, 16:].norm() == 0 and x.grad[0, :16].norm() > 0


def test_training_keeps_no_activation_a_layer():
    kept = {}
    for layers in (1, 6):
        model = small(num_layers=layers)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: s.append(t.numel()) or t, lambda t: t):
            out = model(torch.randn(1, 128, 3, dtype=torch.float64))
        kept[layers] = sum(size for size in saved if size >= 128 * 8)
        assert torch.isfinite(out).all()
    assert kept[1] == kept[6] > 0


def test_the_layers_keep_their_bands_and_nothing_else(monkeypatch):
    """What the reversible function keeps, outside autograd's own saving, is what each layer's forward pass returns."""
    forward, kept = long_context.Bridged._layer_forward, []

    def watched(*arguments):
        collected, bridge, local = result = forward(*arguments)
        kept.extend([collected.numel(), bridge.numel(), *(band.numel() for span in local for band in span)])
        return result

    monkeypatch.setattr(long_context.Bridged, "_layer_forward", staticmethod(watched))
    model = small(num_layers=3)
    n, dim = 128, model.layers[0].norm.normalized_shape[0]
    model(torch.randn(1, n, 3, dtype=torch.float64)).sum().backward()
    layer = model.layers[0]
    bridge, local = 2 * layer.bridge.num_frequencies * dim, 2 * layer.local.num_frequencies * dim
    chunks = -(-n // layer.chunk_size)
    assert sum(kept) == 3 * (2 * bridge + chunks * local) < 3 * n * dim


def test_autocast_leaves_the_layers_in_the_precision_of_their_weights():
    torch.manual_seed(0)
    model = small().float()
    x, seen = torch.randn(1, 100, 3), []
    model.layers[0].norm.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
        streamed = torch.cat(list(model.stream([x])), dim=1)
    y.float().square().mean().backward()
    assert set(seen) == {torch.float32}
    assert (y.float() - model(x)).norm() < 0.02 * model(x).norm() and (streamed - y).abs().max() < 0.02
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_second_backward_is_refused_not_wrong():
    out = small()(torch.randn(1, 40, 3, dtype=torch.float64)).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError):
        out.backward()


def test_the_printed_call_and_its_count():
    model = LongContextResonanceNet(input_dim=512, max_context_length=262144, chunk_size=2048, num_layers=6)
    k, kl, d = 64, 32, 256
    layer = 2 * (k + kl) * d + 2 * k * k + 2 * kl * kl + 2 * d
    assert count_parameters(model) == 6 * layer + 2 * d + 513 * d + 257 * 512
    with torch.no_grad():
        assert model(torch.randn(1, 5000, 512)).shape == (1, 5000, 512)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m: m(torch.randn(1, 129, 3)), ValueError, "n=129 tokens is longer than max_context_length=128"),
        (lambda m: m(torch.randn(1, 20, 4)), ValueError, "(batch, n, 3)"),
        (lambda m: list(m.stream(iter([torch.randn(1, 16, 3)]))), TypeError, "one-shot iterator"),
        (lambda m: list(m.stream([])), ValueError, "at least one chunk"),
        (lambda m: list(m.stream([torch.randn(1, 8, 3).double()] * 2)), ValueError, "multiple of chunk_size=16"),
        (lambda m: list(m.stream([torch.randn(1, 64, 3).double()] * 3)), ValueError, "n=192"),
        (lambda m: LongContextResonanceNet(3, 8, 16), ValueError, "shorter than chunk_size=16"),
        (lambda m: LongContextResonanceNet(3, 64, 16, 0), ValueError, "num_layers >= 1"),
        (lambda m: LongContextResonanceNet(3, 64, 16), ValueError, "at most N//2+1=9"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, error, says):
    with pytest.raises(error) as refused:
        call(small())
    assert says in str(refused.value)
