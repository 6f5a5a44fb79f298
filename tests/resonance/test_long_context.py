"""Long contexts: the reversible stack is its plain definition, streaming is the forward pass, bridges carry."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from resonance import LongContextResonanceNet, long_context
from resonance.polar import count_parameters


def small(seed: int = 0, **changes) -> LongContextResonanceNet:
    torch.manual_seed(seed)
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


def test_the_layers_keep_their_bands_and_nothing_else():
    model, saved = small(num_layers=3), []
    n, layer = 128, model.layers[0]
    h = torch.randn(1, n, 8, dtype=torch.float64, requires_grad=True)
    parts = [w for layer in model.layers for w in (*layer.weights(), layer.norm.weight, layer.norm.bias)]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        long_context.Bridged.apply(h, list(model.layers), *parts)
    bridge, local = 2 * layer.bridge.num_frequencies * 8, 2 * layer.local.num_frequencies * 8
    bands = 3 * (2 * bridge + n // layer.chunk_size * local)
    assert sum(saved) == n * 8 + sum(w.numel() for w in parts) + bands


@pytest.mark.parametrize("watched", [False, True])
def test_autocast_leaves_the_layers_in_the_precision_of_their_weights(watched):
    model = small().float()
    x, seen = torch.randn(1, 100, 3), []
    if watched:
        model.layers[0].norm.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    model.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
        streamed = torch.cat(list(model.stream([x])), dim=1)
    y.float().square().mean().backward()
    assert set(seen) == {torch.float32}
    assert (y.float() - model(x)).norm() < 0.02 * model(x).norm() and (streamed - y).abs().max() < 0.02
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


# --------------------------------------------------------------------------- nothing else's tensors


X = torch.randn(2, 100, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module, y: torch.Tensor, **options) -> torch.Tensor:
    parts = torch.autograd.grad(y.square().sum(), list(model.parameters()), **options)
    return torch.cat([part.flatten() for part in parts])


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["no_grad", "inference", "leaf", "view", "strided"])
def test_the_input_stays_as_it_is_and_the_same_call_gives_the_same(kind):
    model = small()
    model.input_projection, model.input_dim = nn.Identity(), 8  # the stack's input is then the caller's tensor
    base = torch.randn(2, 200, 8, dtype=torch.float64)
    leaf = base[:, ::2].clone() if kind == "leaf" else base
    x = leaf.requires_grad_(kind in ("leaf", "view"))
    x = x if kind == "leaf" else x[:, :100] if kind == "view" else x[:, ::2]
    before = x.detach().clone()
    with torch.inference_mode(kind == "inference"), torch.set_grad_enabled(kind not in ("no_grad", "inference")):
        once, again = model(x), model(x)
    assert torch.equal(x, before) and torch.equal(once, again) and once.is_contiguous()
    if not x.requires_grad:
        return
    (once.sum() + x.square().sum()).backward()  # the input is used elsewhere as well
    reference = before.clone().requires_grad_(True)
    (plain(model, reference).sum() + reference.square().sum()).backward()
    close(leaf.grad[:, :100], reference.grad)
    assert torch.equal(x, before)


def test_whatever_a_hook_keeps_stays_as_it_was_and_is_whole():
    model, kept = small(), []

    def keep(module, inputs, outputs):
        for t in (*inputs, *(outputs if isinstance(outputs, tuple) else [outputs])):
            kept.append((module, t, t.detach().clone()))

    for module in model.modules():
        module.register_forward_hook(keep)
        module.register_full_backward_hook(keep)
    model(X.clone().requires_grad_(True)).square().sum().backward()
    assert all(torch.equal(t, copied) for _, t, copied in kept)
    seen = [t.shape for module, t, _ in kept if module is model.layers[1].norm]
    assert seen == [(2, 100, 8)] * 4  # its input and output, and their gradients, once
    reference = small()
    close(torch.cat([p.grad.flatten() for p in model.parameters()]), gradients(reference, reference(X)))


@pytest.mark.parametrize("place", ["input_projection", "norm", "output_projection", ""])
def test_hooks_outside_the_layers_see_what_stays(place):
    model, reference, kept = small(), small(), []
    module = model.get_submodule(place)
    module.register_forward_hook(lambda m, i, o: kept.extend((t, t.detach().clone()) for t in (*i, o)))
    module.register_full_backward_hook(lambda m, i, o: kept.extend((t, t.detach().clone()) for t in (*i, *o)))
    model(X.clone().requires_grad_(True)).square().sum().backward()
    assert len(kept) == 4 and all(torch.equal(t, copied) for t, copied in kept)
    close(torch.cat([p.grad.flatten() for p in model.parameters()]), gradients(reference, plain(reference, X)))


def test_what_is_saved_for_the_backward_pass_is_not_written_later():
    model, kept = small(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append((t, t.clone())) or t, lambda t: t):
        gradients(model, model(X))
    assert kept and all(torch.equal(t, copied) for t, copied in kept)


def test_hooks_that_store_saved_tensors_elsewhere():
    model = small()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True).copy(), torch.from_numpy):
        y = model(X)
    close(gradients(model, y), gradients(model, plain(model, X)))


@pytest.mark.parametrize("name", [name for name, _ in small().layers.named_parameters()])
def test_a_weight_changed_before_the_backward_pass_is_an_error(name):
    model = small()
    y = model(X)
    with torch.no_grad():
        model.layers.get_parameter(name).mul_(1.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradients(model, y)


def test_an_optimiser_step_or_a_changed_activation_before_the_backward_pass_is_an_error():
    model, kept = small(), []
    optimizer = torch.optim.Adam(model.parameters())
    first, second = model(X), model(X)
    first.sum().backward(retain_graph=True)
    optimizer.step()
    model.norm.register_forward_pre_hook(lambda m, i: kept.append(i[0]))
    third = model(X)
    kept[0].detach().mul_(2.0)
    for y in (first, second, third):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_two_forward_passes_before_the_backward_passes_and_gradients_that_add_up():
    model, other = small(), X.flip(1)
    expected = gradients(model, model(X)) + gradients(model, model(other))
    (model(X).square().sum() + model(other).square().sum()).backward()
    together = torch.cat([p.grad.flatten() for p in model.parameters()])
    first, second = model(X), model(other)
    model.zero_grad()
    second.square().sum().backward()
    first.square().sum().backward()
    close(together, expected)
    close(torch.cat([p.grad.flatten() for p in model.parameters()]), expected)


def test_a_second_backward_pass_is_the_first_again_or_says_why_it_cannot_be():
    model = small()
    y = model(X)
    once = gradients(model, y, retain_graph=True)
    assert torch.equal(gradients(model, y), once)
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        gradients(model, y)


def test_gradients_of_gradients_are_refused_and_given_by_functional_transforms():
    model = small()
    with pytest.raises(RuntimeError, match=r"create_graph=True needs the activations of each layer.*torch\.func"):
        gradients(model, model(X), create_graph=True)
    direction = torch.randn_like(X)
    x = X.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(plain(model, x).square().sum(), x, create_graph=True)
    (reference,) = torch.autograd.grad((grad * direction).sum(), x)
    _, ours = torch.func.jvp(torch.func.grad(lambda x: model(x).square().sum()), (X,), (direction,))
    close(ours, reference)


def test_functional_calls_use_the_weights_that_they_are_given():
    model, reference = small(), small()
    with torch.no_grad():
        for p in reference.parameters():
            p.add_(0.1 * torch.randn_like(p))
    given = {name: p.detach().clone().requires_grad_(True) for name, p in reference.named_parameters()}
    y = torch.func.functional_call(model, given, (X,))
    expected = gradients(reference, plain(reference, X))
    ours = torch.autograd.grad(y.square().sum(), list(given.values()))
    close(torch.cat([part.flatten() for part in ours]), expected)
    transformed = torch.func.grad(lambda w: torch.func.functional_call(model, w, (X,)).square().sum())(given)
    close(torch.cat([part.flatten() for part in transformed.values()]), expected)
    a_sample = torch.func.vmap(lambda x: model(x[None])[0])(X)
    close(a_sample, model(X))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_around_the_network(reentrant):
    model, x = small(), X.clone().requires_grad_(True)
    checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
    expected = gradients(model, model(X))
    assert torch.equal(torch.cat([p.grad.flatten() for p in model.parameters()]), expected)


def test_shared_weights_and_hooks_on_parameters_count_once():
    model = small()
    model.layers[1] = model.layers[0]
    model.layers[2].norm.weight = model.layers[0].norm.weight
    model.layers[0].bridge.interference.re.register_hook(lambda g: 3.0 * g)
    close(gradients(model, model(X)), gradients(model, plain(model, X)))


@pytest.mark.parametrize("norm", [nn.Identity(), nn.RMSNorm(8, dtype=torch.float64)])
def test_another_norm_in_the_layers(norm):
    model = small()
    for layer in model.layers:
        layer.norm = copy.deepcopy(norm)
    close(gradients(model, model(X)), gradients(model, plain(model, X)))


def test_half_precision_is_as_near_as_plain_autograd_comes():
    """Over seeds: which of the two rounds better in one network is chance, and differs between CPUs."""
    errors = []
    for seed in range(6):
        model, reference = small(seed=seed).bfloat16(), small(seed=seed).bfloat16().double()
        x = X.bfloat16()
        exact = gradients(reference, plain(reference, x.double()))
        both = (gradients(model, y).double() for y in (model(x), plain(model, x)))
        errors.append([(found - exact).norm() / exact.norm() for found in both])
    ours, theirs = torch.tensor(errors).square().mean(0).sqrt()
    assert ours < 1.5 * theirs < 0.05


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_compute_the_same_in_training_and_in_evaluation(copied):
    model = small()
    y = model(X)
    twin = copied(model).eval()
    with torch.no_grad():
        assert torch.equal(twin(X), y)
    y.sum().backward()


@pytest.mark.filterwarnings("ignore")
def test_compiled_and_exported_in_one_graph():
    model = small(num_layers=1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    close(gradients(model, compiled(X)), gradients(model, model(X)))
    close(torch.export.export(model, (X,), strict=False).module()(X), model(X))


def test_shapes_on_the_meta_device():
    model = small().to("meta")
    assert model(X.to("meta")).shape == X.shape


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
        (lambda m: LongContextResonanceNet(3, 8, 16), ValueError, "chunk_size=16 and max_context_length=8"),
        (lambda m: LongContextResonanceNet(3, 64, 16, 0), ValueError, "num_layers >= 1"),
        (lambda m: LongContextResonanceNet(3, 64, 16), ValueError, "at most N//2+1=9"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, error, says):
    with pytest.raises(error) as refused:
        call(small())
    assert says in str(refused.value)
