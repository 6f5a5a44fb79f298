"""The layer: its equation, engines, padding, batches, counts, errors; and the pointwise block."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from resonance import BandMixing, ResonanceLayer, ResonanceNet
from resonance.band import next_power_of_two
from resonance.layers import AsSelfAttention, FeedForward
from resonance.polar import count_parameters


def by_numpy_like_complex(mixing: BandMixing, x: torch.Tensor, grid: int) -> torch.Tensor:
    """The layer's equation in complex arithmetic with torch.fft: an independent oracle."""
    k = mixing.num_frequencies
    spectrum = torch.fft.rfft(x, n=grid, dim=1, norm="ortho")[:, :k]
    spectrum = spectrum * torch.polar(mixing.weight.magnitude, mixing.weight.phase)
    if mixing.interference is not None:
        spectrum = torch.complex(mixing.interference.re, mixing.interference.im) @ spectrum
    full = torch.zeros(x.shape[0], grid // 2 + 1, x.shape[2], dtype=spectrum.dtype)
    full[:, :k] = spectrum
    full[:, 0] = full[:, 0].real + 0j
    if grid % 2 == 0:
        full[:, -1] = full[:, -1].real + 0j
    return torch.fft.irfft(full, n=grid, dim=1, norm="ortho")[:, : x.shape[1]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 130), st.data(), st.booleans(), st.sampled_from(["fft", "dense", "fast", "auto"]))
def test_mixing_is_its_equation(n, data, interference, engine):
    grid = next_power_of_two(n)
    k = data.draw(st.integers(1, grid // 2 + 1))
    torch.manual_seed(n * 1000 + k)
    mixing = BandMixing(3, k, engine=engine, interference=interference).double()
    x = torch.randn(2, n, 3, dtype=torch.float64)
    torch.testing.assert_close(mixing(x), by_numpy_like_complex(mixing, x, grid), rtol=1e-11, atol=1e-11)


def test_mixing_is_linear_and_gradcheck_holds():
    torch.manual_seed(0)
    mixing = BandMixing(2, 4).double()
    x, y = torch.randn(2, 1, 9, 2, dtype=torch.float64)
    torch.testing.assert_close(mixing(2 * x - 3 * y), 2 * mixing(x) - 3 * mixing(y))
    parameters = tuple(mixing.parameters())
    names = [name for name, _ in mixing.named_parameters()]

    def call(x, *values):
        return torch.func.functional_call(mixing, dict(zip(names, values, strict=True)), x)

    leaves = [x.clone().requires_grad_(True), *(p.detach().clone().requires_grad_(True) for p in parameters)]
    assert torch.autograd.gradcheck(call, leaves)


def test_an_index_set_is_the_wide_band_with_the_rest_at_zero():
    torch.manual_seed(0)
    chosen = torch.tensor([0, 2, 7, 16])
    some, wide = BandMixing(3, frequencies=chosen).double(), BandMixing(3, 17).double()
    with torch.no_grad():
        wide.weight.magnitude.zero_()[chosen] = some.weight.magnitude
        wide.weight.phase.zero_()[chosen] = some.weight.phase
        for part in ("re", "im"):
            matrix = getattr(wide.interference, part).zero_()
            matrix[chosen[:, None], chosen] = getattr(some.interference, part)
    x = torch.randn(2, 32, 3, dtype=torch.float64)
    torch.testing.assert_close(some(x), wide(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("k", [1, 513])
def test_fast_and_fft_agree_to_1e_5_forward_and_backward(k):
    torch.manual_seed(0)
    a, b = BandMixing(8, k, engine="fast"), BandMixing(8, k, engine="fft")
    b.load_state_dict(a.state_dict())
    x, g = torch.randn(2, 2, 1024, 8)  # a gradient of its own: that of y^2 hardly depends on a phase
    results = []
    for mixing in (a, b):
        leaf = x.clone().requires_grad_(True)
        y = mixing(leaf)
        y.backward(g)
        results.append([y, leaf.grad, *(p.grad for p in mixing.parameters())])
    for ours, reference in zip(*results, strict=True):
        assert (ours - reference).norm() <= 1e-5 * reference.norm()


@pytest.mark.parametrize("engine", ["fast", "fft"])
def test_mixing_keeps_only_the_band_and_the_layer_only_its_input(engine):
    n = 997

    def sizes(module):
        kept, x = [], torch.randn(1, n, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            module(x)
        return x, [t for t in kept if t.numel() >= n * 16]

    assert sizes(BandMixing(16, 4, engine=engine))[1] == []
    x, kept = sizes(ResonanceLayer(16, 4, engine=engine))
    assert {t.data_ptr() for t in kept} == {x.data_ptr()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_layer_under_autocast(dtype):
    torch.manual_seed(0)
    layer, x = ResonanceLayer(8, 9), torch.randn(2, 200, 8)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    y.float().square().mean().backward()
    assert (y.float() - layer(x)).norm() < 0.02 * layer(x).norm()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.filterwarnings("ignore")
def test_the_layer_compiles_in_one_graph_forward_and_backward():
    torch.manual_seed(0)
    layer = ResonanceLayer(4, 5)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for n in (300, 300, 257):  # the last length is new: compiled again, or with n a symbol
        results = []
        for call in (layer, compiled):
            x = torch.linspace(-1, 1, n * 4).view(1, n, 4).requires_grad_(True)
            layer.zero_grad()
            y = call(x)
            y.square().sum().backward()
            results.append([y, x.grad, layer.mixing.weight.phase.grad])
        # LayerNorm divides by small deviations: the error is relative to the whole.
        for ours, reference in zip(*results, strict=True):
            assert (ours - reference).norm() < 1e-5 * reference.norm()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 127, 129])
def test_edge_lengths_at_both_ends_of_k(n):
    for k in {1, next_power_of_two(n) // 2 + 1}:
        x = torch.randn(2, n, 3, requires_grad=True)
        ResonanceLayer(3, k)(x).sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("interference", [True, False])
def test_parameter_count(interference):
    k, d = 16, 24
    assert count_parameters(BandMixing(d, k, interference=interference)) == 2 * k * d + 2 * k * k * interference
    assert all(not p.is_complex() for p in ResonanceLayer(d, k).parameters())


def test_a_samples_output_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    layer = ResonanceLayer(8, 5).eval()
    x = torch.randn(4, 50, 8)
    torch.testing.assert_close(layer(x)[2:3], layer(x[2:3]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padded_to", [20, 33, 64])
def test_padding_changes_nothing_within_a_window(padded_to):
    torch.manual_seed(0)
    layer = ResonanceLayer(8, 9, window=64).double().eval()
    x = torch.randn(1, 20, 8, dtype=torch.float64)
    padded = torch.full((1, padded_to, 8), float("nan"), dtype=torch.float64)
    padded[:, :20] = x
    out = layer(padded, lengths=torch.tensor([20]))
    torch.testing.assert_close(out[:, :20], layer(x, lengths=torch.tensor([20])), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(out[:, :20], layer(x), rtol=1e-12, atol=1e-12)


def test_nan_in_the_padding_reaches_no_gradient():
    torch.manual_seed(0)
    lengths = torch.tensor([10, 6])
    x = torch.randn(2, 10, 4)
    x[1, 6:] = float("nan")
    for model in (ResonanceLayer(4, 3), ResonanceNet(4, 3, 8, 2, dropout=0.0)):
        out = model(x, lengths=lengths)
        (out[0].sum() + out[1, :6].sum()).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_feed_forward_is_its_formula():
    torch.manual_seed(0)
    block, x = FeedForward(4, 6, dropout=0.5).eval(), torch.randn(2, 3, 4)
    inner = F.gelu(F.layer_norm(x, (4,)) @ block.widen.weight.T + block.widen.bias)
    torch.testing.assert_close(block(x), x + inner @ block.narrow.weight.T + block.narrow.bias)
    assert FeedForward(4).widen.out_features == 16 and not torch.equal(block.train()(x), block(x))


def test_nan_in_one_sample_does_not_leak():
    x = torch.randn(3, 32, 4)
    x[1, 5] = float("nan")
    out = ResonanceLayer(4, 6)(x)
    assert torch.isfinite(out[[0, 2]]).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: BandMixing(4, 64)(torch.randn(1, 16, 4)), "at most N//2+1=9"),
        (lambda: BandMixing(4, 3)(torch.randn(1, 16, 5)), "(batch, n, 4)"),
        (lambda: BandMixing(4, 3, window=8)(torch.randn(1, 9, 4)), "window=8"),
        (lambda: BandMixing(4, 9, window=8), "at most N//2+1=5"),
        (lambda: BandMixing(4, frequencies=[1, 9])(torch.randn(1, 16, 4)), "frequency 9 is above the band"),
        (lambda: BandMixing(4), "both or neither"),
        (lambda: BandMixing(4, 3, frequencies=[1]), "both or neither"),
        (lambda: BandMixing(4, 3, engine="warp"), "auto, fft, dense, fast"),
        (lambda: BandMixing(0, 3), "dim >= 1"),
        (lambda: ResonanceLayer(4, 3)(torch.randn(2, 8, 4), lengths=torch.tensor([8])), "one length a sample"),
        (lambda: ResonanceLayer(4, 3)(torch.randn(2, 8, 4), lengths=torch.tensor([8, 9])), "1..8"),
        (lambda: ResonanceNet(4, num_layers=0), "num_layers >= 1"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)


# --------------------------------------------------------------------------- precision, tracing, what follows the layer


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("engine", ["fft", "dense", "fast"])
def test_whole_layers_in_half_precision(engine, dtype, tolerance):
    torch.manual_seed(0)
    x = torch.randn(2, 65, 16)
    for layer in (ResonanceLayer(16, 9, engine=engine, window=100), BandMixing(16, 9, engine=engine), FeedForward(16)):
        exact = layer(x)
        y = layer.to(dtype)(x.to(dtype))
        y.float().square().sum().backward()
        assert y.dtype == dtype and (y.float() - exact).norm() < tolerance * exact.norm()
        assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.parametrize("make", [BandMixing, ResonanceLayer])
@pytest.mark.parametrize("interference", [True, False])
def test_an_input_of_another_precision_is_refused_with_both_dtypes(make, interference):
    layer = make(4, 3, interference=interference)
    with pytest.raises(TypeError, match=r"torch.float32, got torch.float64"):
        layer(torch.randn(1, 8, 4).double())
    with pytest.raises(TypeError, match=r"torch.bfloat16, got torch.float32"):
        layer.bfloat16()(torch.randn(1, 8, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(layer.float()(torch.randn(1, 8, 4).bfloat16())).all()


@pytest.mark.parametrize("n", [1, 2, 15, 16])
@pytest.mark.parametrize("engine", ["fft", "dense", "fast"])
def test_an_activation_in_place_behind_a_layer(engine, n):
    torch.manual_seed(0)
    for layer in (BandMixing(4, 1, engine=engine, window=16), ResonanceLayer(4, 1, engine=engine)):
        grads = []
        for activation in (F.relu_, F.relu):
            x = torch.linspace(-1, 1, 2 * n * 4).reshape(2, n, 4).requires_grad_(True)
            activation(layer(x)).square().sum().backward()
            grads.append(x.grad)
        torch.testing.assert_close(*grads)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["auto", "fft"])
def test_an_exported_layer_takes_every_batch_and_length_of_its_window(engine):
    torch.manual_seed(0)
    layer, x = ResonanceLayer(4, 5, engine=engine, window=60).eval(), torch.randn(3, 50, 4)
    batch, n = torch.export.Dim("batch", min=1), torch.export.Dim("n", min=1, max=60)
    lengths = torch.tensor([50, 9, 1])
    exported = torch.export.export(layer, (x, lengths), dynamic_shapes=({0: batch, 1: n}, {0: batch})).module()
    for size, length in ((3, 50), (1, 60), (2, 1), (5, 33)):
        x, lengths = torch.randn(size, length, 4), torch.randint(1, length + 1, (size,))
        torch.testing.assert_close(exported(x, lengths), layer(x, lengths))


# --------------------------------------------------------------------------- in the place of attention


def encoder(batch_first: bool, norm_first: bool, late: bool) -> nn.TransformerEncoder:
    """A torch encoder with mixings in the place of attention, replaced before its layers are copied or `late`."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first, norm_first=norm_first)
    whole = nn.TransformerEncoder(layer, 2) if late else None
    for part in whole.layers if late else [layer]:
        part.self_attn = AsSelfAttention(BandMixing(8, 5, window=32), batch_first=batch_first)
    return whole or nn.TransformerEncoder(layer, 2)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_mixing_stands_where_torchs_encoder_has_attention(batch_first, norm_first, late):
    model, x = encoder(batch_first, norm_first, late), torch.randn(3, 20, 8)
    padding = torch.arange(20) >= torch.tensor([20, 12, 1])[:, None]
    x[1, 12:] = 1e6

    def call(x, **options):
        return model(x, **options) if batch_first else model(x.transpose(0, 1), **options).transpose(0, 1)

    for training in (True, False):
        model.train(training)
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                y = call(x, src_key_padding_mask=padding)
                torch.testing.assert_close(y[1:2, :12], call(x[1:2, :12]), rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(y[:1], call(x[:1]), rtol=1e-4, atol=1e-4)
    attention, z = model.layers[0].self_attn, x if batch_first else x.transpose(0, 1)
    y = attention(z, z, z)[0]
    assert torch.equal(y if batch_first else y.transpose(0, 1), attention.mixing(x))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attn_mask": torch.zeros(6, 6)}, "attn_mask"),
        ({"is_causal": True}, "is_causal"),
        ({"need_weights": True}, "need_weights"),
        ({"key": torch.zeros(2, 6, 4)}, "key"),
        ({"value": torch.zeros(2, 6, 4)}, "value"),
        ({"key_padding_mask": torch.zeros(6, 2).bool()}, r"\(2, 6\), got \(6, 2\)"),
        ({"key_padding_mask": torch.tensor([[1, 0, 0, 0, 0, 1], [0] * 6])}, r"no token behind the padding.*got \[1\]"),
    ],
)
def test_what_attention_takes_and_a_mixing_does_not_is_refused_by_name(options, says):
    with pytest.raises(ValueError, match=says):
        AsSelfAttention(BandMixing(4, 3))(torch.randn(2, 6, 4), average_attn_weights=False, **options)
