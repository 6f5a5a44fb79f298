"""The layer and the models: the equation, padding, batches, counts, and the printed API."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from artifact.peers.transformer import TransformerEncoder
from resonance import BandMixing, ResonanceLayer, ResonanceNet, ResonanceTimeSeriesNet
from resonance.band import next_power_of_two
from resonance.polar import PolarWeight, arc_gradients_, count_parameters, mixed, parameter_roles


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


def test_interference_starts_near_the_identity():
    torch.manual_seed(0)
    m = BandMixing(4, 32).interference
    assert torch.linalg.matrix_norm(torch.complex(m.re, m.im) - torch.eye(32), 2) < 0.1


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
        for ours, reference in zip(
            *results, strict=True
        ):  # the norm divides by small deviations: relative to the whole
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


def test_nan_in_one_sample_does_not_leak():
    x = torch.randn(3, 32, 4)
    x[1, 5] = float("nan")
    out = ResonanceLayer(4, 6)(x)
    assert torch.isfinite(out[[0, 2]]).all()


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
        (lambda: ResonanceTimeSeriesNet(96)(torch.randn(1, 100, 7)), "lookback=720"),
        (lambda: ResonanceTimeSeriesNet(96, num_frequencies=400), "1..361"),
        (lambda: ResonanceTimeSeriesNet(96, rank=50), "1..49"),
        (lambda: ResonanceNet(4, num_layers=0), "num_layers >= 1"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)


def test_roles_cover_every_parameter_once():
    model = ResonanceNet(4, 3, 8, 2)
    roles = list(parameter_roles(model))
    assert len(roles) == len(list(model.parameters()))
    assert {role for role, _, _ in roles} == {"magnitude", "phase", "interference", "rest"}
    assert {name for _, name, _ in roles} == {name for name, _ in model.named_parameters()}


def test_natural_step_is_the_cartesian_step_to_first_order():
    torch.manual_seed(0)
    weight = PolarWeight(50).double()
    target = torch.randn(2, 50, dtype=torch.float64)
    re, im = weight.pair()
    cartesian = [(part - goal).detach() for part, goal in zip((re, im), target, strict=True)]
    (0.5 * ((re - target[0]) ** 2 + (im - target[1]) ** 2)).sum().backward()
    for _ in range(2):  # phase gradients over r^2
        arc_gradients_(weight)
    rate = 1e-6
    with torch.no_grad():
        for p in weight.parameters():
            p -= rate * p.grad
        moved = [(a - b) / rate for a, b in zip(weight.pair(), (re, im), strict=True)]
    for step, gradient in zip(moved, cartesian, strict=True):
        torch.testing.assert_close(step, -gradient, rtol=1e-4, atol=1e-4)


def test_set_round_trips_and_checks_shapes():
    weight = PolarWeight(3, 2)
    re, im = torch.randn(2, 3, 2)
    for a, b in zip(weight.set_(re, im).pair(), (re, im), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="expected weights of shape"):
        weight.set_(re[:2], im[:2])


def test_transformer_baseline_uses_fused_attention():
    from torch.profiler import ProfilerActivity, profile

    model = TransformerEncoder(4, 32, 1)
    assert isinstance(model.layers[0], nn.TransformerEncoderLayer)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        assert model(torch.randn(2, 16, 4)).shape == (2, 16, 4)
    assert any("flash_attention" in event.key for event in trace.key_averages())


def test_the_mixing_of_a_band_has_every_derivative():
    torch.manual_seed(0)
    spectrum = torch.randn(2, 6, 2, dtype=torch.float64)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in ((3, 2), (3, 2), (3, 3), (3, 3))]
    inputs = [t.requires_grad_(True) for t in (spectrum, *weights)]

    def mix(y, a, b, re, im):
        return mixed(y, (a, b), (re, im))

    y = torch.complex(*spectrum.chunk(2, dim=1))
    exact = torch.complex(*weights[2:]) @ (torch.complex(*weights[:2]) * y)
    torch.testing.assert_close(mix(*inputs), torch.cat([exact.real, exact.imag], dim=1))
    assert torch.autograd.gradcheck(mix, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(mix, inputs)
