"""Bands of several modalities, cross-modal mixing, and the multimodal network."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance.band import next_power_of_two
from resonance.layers import BandMixing
from resonance.multimodal import (
    MODALITIES,
    CrossModalMixing,
    CrossModalResonance,
    Line,
    MultimodalResonanceNet,
    PaddedLine,
    Plane,
)
from resonance.plane import plane_frequencies
from resonance.polar import count_parameters

SMALL = {"num_classes": 10, "in_channels": 1, "patch_size": 4, "dropout": 0.0}
BANDS = {"vision_frequencies": (4, 4), "audio_frequencies": 16, "text_frequencies": 5}
EVERY = {"vision": (2, 1, 28, 28), "audio": (2, 5248)}


def small():
    torch.manual_seed(0)
    return MultimodalResonanceNet(48, (28, 28), 16, 2, **SMALL, **BANDS).eval()


def example(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in EVERY.items()}
    return inputs | {"text": torch.randint(48, (2, 7), generator=generator)}


# --------------------------------------------------------------------------- bands on a plane


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
def test_a_plane_is_the_two_dimensional_fft_in_amplitudes(rows, columns, k_rows, k_columns):
    x = torch.randn(2, rows, columns, 3, dtype=torch.float64)
    plane = Plane(k_rows, k_columns)
    full = torch.fft.fft2(x, dim=(1, 2)) / (rows * columns)
    wanted = plane_frequencies(k_rows, k_columns).tolist()
    held = [2 * abs(fy) < rows and 2 * fx < columns for fy, fx in wanted]
    expected = torch.stack(
        [full[:, fy % rows, fx % columns] * inside for (fy, fx), inside in zip(wanted, held, strict=True)], dim=1
    )
    found = torch.complex(*plane.analysis(x).chunk(2, dim=1))
    torch.testing.assert_close(found, expected)
    assert found.shape[1] == plane.size and plane.holds_all((rows, columns)) == all(held)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9))
def test_a_line_is_the_fft_in_amplitudes(n, k):
    x = torch.randn(2, n, 3, dtype=torch.float64)
    line, grid = Line(k), next_power_of_two(n)
    full = torch.fft.rfft(x, n=grid, dim=1)[:, :k] / n
    found = torch.complex(*line.analysis(x).chunk(2, dim=1))
    torch.testing.assert_close(found[:, : full.shape[1]], full)
    assert found.shape[1] == k and not found[:, full.shape[1] :].any()
    if k > grid // 2:
        torch.testing.assert_close(line.synthesis(line.analysis(x), (n,)), x)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4))
def test_the_whole_band_of_an_odd_plane_gives_it_back(rows, columns):
    shape = 2 * rows + 1, 2 * columns + 1
    x = torch.randn(2, *shape, 3, dtype=torch.float64)
    plane = Plane(9, 9)
    torch.testing.assert_close(plane.synthesis(plane.analysis(x), shape), x)


def test_synthesis_is_the_real_part_of_the_sum_of_waves():
    """One amplitude at (f, g) is a wave over the plane: twice its real part, once at DC."""
    plane, shape = Plane(3, 4), (8, 9)
    r, c = torch.meshgrid(torch.arange(8).double(), torch.arange(9).double(), indexing="ij")
    for place, (f, g) in enumerate(plane_frequencies(3, 4).tolist()):
        amplitudes = torch.zeros(1, 2 * plane.size, 1, dtype=torch.float64)
        amplitudes[0, place], amplitudes[0, plane.size + place] = 0.3, -0.7
        angle = 2 * math.pi * (f * r / 8 + g * c / 9)
        wave = 2 * (0.3 * angle.cos() + 0.7 * angle.sin()) if f or g else torch.full_like(angle, 0.3)
        torch.testing.assert_close(plane.synthesis(amplitudes, shape)[0, :, :, 0], wave)


def test_bands_refuse_no_frequency():
    for make in (lambda: Line(0), lambda: Plane(0, 3), lambda: Plane(3, 0)):
        with pytest.raises(ValueError, match="at least 1 frequency"):
            make()


# --------------------------------------------------------------------------- the layer


def test_a_modality_alone_is_band_mixing():
    mixing = CrossModalMixing(4, {"text": Line(6), "vision": Plane(3, 3)}).double()
    alone = BandMixing(4, 6).double()
    alone.weight.load_state_dict(mixing.weights["text"].state_dict())
    alone.interference.re.data = mixing.interference.re.data[:6, :6]
    alone.interference.im.data = mixing.interference.im.data[:6, :6]
    for n in (10, 13, 16, 64):
        x = torch.randn(2, n, 4, dtype=torch.float64)
        torch.testing.assert_close(mixing({"text": x})["text"], alone(x))


def test_the_sum_over_blocks_is_the_printed_formula():
    """Blocks computed one by one, with complex numbers and FFTs."""
    bands = {"a": Line(5), "b": Line(4), "c": Line(3)}
    mixing = CrossModalMixing(2, bands).double()
    lengths = {"a": 12, "b": 8, "c": 21}
    x = {name: torch.randn(1, n, 2, dtype=torch.float64) for name, n in lengths.items()}
    m = torch.complex(*mixing.interference.pair())
    grids = {name: next_power_of_two(n) for name, n in lengths.items()}
    scale = {name: lengths[name] / math.sqrt(grids[name]) for name in bands}
    weighted = {}
    for name, band in bands.items():
        spectrum = torch.fft.rfft(x[name], n=grids[name], dim=1, norm="ortho")[:, : band.size]
        weighted[name] = torch.complex(*mixing.weights[name].pair()) * spectrum / scale[name]
    starts = {"a": 0, "b": 5, "c": 9}
    for present in (("a",), ("a", "c"), ("a", "b", "c")):
        found = mixing({name: x[name] for name in present})
        for to in present:
            rows = slice(starts[to], starts[to] + bands[to].size)
            total = 0
            for source in present:
                columns = slice(starts[source], starts[source] + bands[source].size)
                share = 1 if source == to else 1 / (len(present) - 1)
                total = total + share * (m[rows, columns] @ weighted[source])
            total = total * scale[to]
            total[:, 0] = total[:, 0].real + 0j  # the imaginary part of a mean has no effect
            full = torch.zeros(1, grids[to] // 2 + 1, 2, dtype=torch.complex128)
            full[:, : bands[to].size] = total
            expected = torch.fft.irfft(full, n=grids[to], dim=1, norm="ortho")[:, : lengths[to]]
            torch.testing.assert_close(found[to], expected)


def test_a_constant_carries_over_as_that_constant_whatever_the_lengths():
    mixing = CrossModalMixing(1, {"a": Line(1), "b": Line(1)}).double()
    mixing.weights["a"].set_(torch.ones(1, 1), torch.zeros(1, 1))
    mixing.weights["b"].set_(torch.zeros(1, 1), torch.zeros(1, 1))
    mixing.interference.re.data.fill_(1.0)
    mixing.interference.im.data.zero_()
    for n, to in itertools.product((1, 5, 64), (2, 32)):
        x = {"a": torch.full((1, n, 1), 3.0).double(), "b": torch.zeros(1, to, 1).double()}
        torch.testing.assert_close(mixing(x)["b"], torch.full((1, to, 1), 3.0).double())


def test_mixing_is_linear_and_gradients_are_right():
    mixing = CrossModalMixing(2, {"a": Line(3), "b": Plane(2, 2)}).double()
    x = {"a": torch.randn(1, 6, 2), "b": torch.randn(1, 3, 5, 2)}
    x = {name: value.double().requires_grad_() for name, value in x.items()}
    twice = mixing({name: 2 * value for name, value in x.items()})
    for name, value in mixing(x).items():
        torch.testing.assert_close(twice[name], 2 * value)
    torch.autograd.gradcheck(lambda a, b: tuple(mixing({"a": a, "b": b}).values()), (x["a"], x["b"]))


def test_a_missing_modality_has_no_part_in_the_gradient():
    layer = CrossModalResonance(4, {"a": Line(3), "b": Line(3), "c": Line(3)})
    out = layer({"a": torch.randn(2, 8, 4), "b": torch.randn(2, 5, 4)})
    sum(value.square().sum() for value in out.values()).backward()
    for part in (layer.mixing.interference.re.grad, layer.mixing.interference.im.grad):
        assert part[6:].abs().max() == 0 and part[:, 6:].abs().max() == 0
        assert part[:3, 3:6].abs().min() > 0 and part[3:6, :3].abs().max() > 0
    assert layer.mixing.weights["c"].magnitude.grad is None


def test_short_grids_lack_frequencies_and_long_ones_are_unchanged_by_what_is_beyond():
    mixing = CrossModalMixing(2, {"a": Line(9)}).double()
    x = torch.randn(1, 4, 2, dtype=torch.float64)  # 3 frequencies
    before = mixing({"a": x})["a"]
    mixing.interference.re.data[3:] = 7.0
    mixing.weights["a"].magnitude.data[3:] = 7.0
    torch.testing.assert_close(mixing({"a": x})["a"], before)


@pytest.mark.parametrize(
    "tokens, message",
    [
        ({}, "at least one of a, b, got none"),
        ({"z": torch.zeros(1, 4, 2)}, "at least one of a, b, got z"),
        ({"a": torch.zeros(1, 4, 3)}, r"a tokens \(batch, n, 2\), got \(1, 4, 3\)"),
        ({"b": torch.zeros(1, 4, 2)}, r"b tokens \(batch, rows, columns, 2\)"),
    ],
)
def test_the_layer_names_what_it_expected(tokens, message):
    with pytest.raises(ValueError, match=message):
        CrossModalResonance(2, {"a": Line(2), "b": Plane(2, 2)})(tokens)


# --------------------------------------------------------------------------- the network


@torch.inference_mode()
def test_the_printed_call():
    """The constructor of the source, at its printed size, without a table of 500,000 x 768 numbers."""
    net = MultimodalResonanceNet(text_vocab_size=500000, vision_input_size=(224, 224), hidden_dim=768, num_layers=8)
    net.eval()
    image, ids = torch.randn(1, 3, 224, 224), torch.tensor([[0, 499_999, 7]])
    assert net(vision=image, text=ids).shape == (1, 1000)
    assert net(vision=image, text=ids, audio=torch.randn(1, 2000)).shape == (1, 1000)
    assert count_parameters(net) < 0.1 * 500_000 * 768


def test_any_subset_gives_finite_logits_and_unit_vectors():
    net, inputs = small(), example()
    outputs = []
    for names in itertools.chain.from_iterable(itertools.combinations(MODALITIES, size) for size in (1, 2, 3)):
        part = {name: inputs[name] for name in names}
        logits, vectors = net(**part), net.embed(**part)
        assert logits.shape == (2, 10) and logits.isfinite().all()
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
        outputs.append(logits)
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.combinations(outputs, 2))


def test_a_zero_tensor_is_not_a_missing_modality():
    net, inputs = small(), example()
    missing = net(vision=inputs["vision"])
    assert (net(vision=inputs["vision"], audio=torch.zeros(2, 5248)) - missing).abs().max() > 1e-3
    torch.testing.assert_close(net(vision=inputs["vision"], audio=None), missing)


def test_each_sample_is_its_own():
    net, inputs = small(), example()
    both = net(**inputs)
    one = net(**{name: x[:1] for name, x in inputs.items()})
    torch.testing.assert_close(both[:1], one, atol=1e-5, rtol=1e-4)


def test_audio_does_not_hear_the_level():
    net, inputs = small(), example()
    torch.testing.assert_close(net(audio=inputs["audio"]), net(audio=4 * inputs["audio"]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [(28, 28), (24, 32), (40, 20)])
def test_other_sizes_and_lengths(size):
    net = small()
    out = net(vision=torch.randn(2, 1, *size), audio=torch.randn(2, 300), text=torch.ones(2, 1, dtype=torch.long))
    assert out.shape == (2, 10) and out.isfinite().all()


def test_the_network_names_what_it_expected():
    net = small()
    with pytest.raises(ValueError, match="at least one of vision, audio, text, got none"):
        net()
    with pytest.raises(ValueError, match=r"one batch size .*'vision': 2, 'text': 3"):
        net(vision=torch.zeros(2, 1, 28, 28), text=torch.zeros(3, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="multiples of patch_size=4"):
        MultimodalResonanceNet(9, (30, 28), 8, 1, **SMALL)
    with pytest.raises(ValueError, match="above the band"):
        MultimodalResonanceNet(9, (8, 8), 8, 1, **SMALL, vision_frequencies=(4, 4))


def test_bfloat16_autocast_is_close():
    net, inputs = small(), example()
    with torch.autocast("cpu", torch.bfloat16):
        half = net(**inputs)
    torch.testing.assert_close(half.float(), net(**inputs), atol=0.05, rtol=0.05)


# --------------------------------------------------------------------------- padding


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(1, 21), min_size=1, max_size=4), st.integers(0, 5))
def test_each_part_of_a_padded_line_is_the_line_that_it_is_alone(k, counts, more):
    line, n = Line(k), max(counts) + more
    x, z = torch.randn(len(counts), n, 3).double(), torch.randn(len(counts), 2 * k, 3).double()
    padded = PaddedLine(k, torch.tensor(counts), x)
    found, back = padded.analysis(x), padded.synthesis(z, (n,))
    for i, count in enumerate(counts):
        torch.testing.assert_close(found[i], line.analysis(x[i : i + 1, :count])[0])
        torch.testing.assert_close(back[i, :count], line.synthesis(z[i : i + 1], (count,))[0])
        assert not back[i, count:].any()


def padded_example():
    """Inputs with NaN and wrong ids behind their lengths, the lengths, and each sample alone."""
    inputs, lengths = example(), {"audio": torch.tensor([5248, 700]), "text": torch.tensor([3, 7])}
    alone = []
    for i in range(2):
        cut = {name: inputs[name][i : i + 1, : int(n[i])] for name, n in lengths.items()}
        alone.append({"vision": inputs["vision"][i : i + 1], **cut})
    for name, wrong in (("audio", math.nan), ("text", -100)):
        inside = torch.arange(inputs[name].shape[1]) < lengths[name][:, None]
        inputs[name] = inputs[name].masked_fill(~inside, wrong)
    return inputs, lengths, alone


@pytest.mark.parametrize("names", [("text",), ("audio",), ("audio", "text"), ("vision", "audio"), MODALITIES])
def test_padding_has_no_effect(names):
    net, (inputs, lengths, alone) = small(), padded_example()
    lengths = {name: n for name, n in lengths.items() if name in names}
    found = net(**{name: inputs[name] for name in names}, lengths=lengths)
    expected = torch.cat([net(**{name: one[name] for name in names}) for one in alone])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    if len(names) == 1:
        narrow = lengths[names[0]].to(torch.uint16)
        torch.testing.assert_close(net(**{names[0]: inputs[names[0]]}, lengths=narrow), found, atol=0, rtol=0)


def test_lengths_that_are_none_are_named():
    net, (inputs, lengths, _) = small(), padded_example()
    with pytest.raises(ValueError, match="lengths by name, for 2 modalities"):
        net(**inputs, lengths=lengths["text"])
    for wrong in ({"vision": [1, 1]}, {"text": [1, 1]}):
        with pytest.raises(ValueError, match=f"lengths of audio or text present, got {next(iter(wrong))}"):
            net(vision=inputs["vision"], audio=inputs["audio"], lengths=wrong)
    with pytest.raises(ValueError, match=r"1\.\.7, got \[0\]"):
        net(text=inputs["text"], lengths=[0, 3])
    with pytest.raises(TypeError, match="int16"):
        net(audio=example()["audio"].short())


def test_a_graph_of_any_batch_empty_batches_meta_and_activations_in_place():
    net, (inputs, lengths, _) = small(), padded_example()
    arguments, batch = inputs | {"lengths": lengths}, {0: torch.export.Dim("batch", min=2, max=64)}
    dynamic = dict.fromkeys(inputs, batch) | {"lengths": dict.fromkeys(lengths, batch)}
    exported = torch.export.export(net, (), arguments, dynamic_shapes=dynamic).module()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    thrice = {name: x.repeat(3, *[1] * (x.ndim - 1)) for name, x in inputs.items()}
    thrice["lengths"] = {name: n.repeat(3) for name, n in lengths.items()}
    torch.testing.assert_close(exported(**thrice), net(**thrice))
    torch.testing.assert_close(compiled(**arguments), net(**arguments))
    assert net(**{name: x[:0] for name, x in inputs.items()}, lengths={"text": []}).shape == (0, 10)
    for part in (net(**arguments), net.embed(**arguments), *net.trunk(net.tokens(example())).values()):
        torch.relu_(part).sum().backward(retain_graph=True)
    with torch.device("meta"):
        meta = MultimodalResonanceNet(48, (28, 28), 16, 2, **SMALL, **BANDS)
    assert meta(**{name: x.to("meta") for name, x in inputs.items()}).shape == (2, 10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_follows_float32(dtype):
    net, (inputs, lengths, _) = small(), padded_example()
    expected = net(**inputs, lengths=lengths)
    half = {name: x.to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}
    torch.testing.assert_close(net.to(dtype)(**half, lengths=lengths).float(), expected, atol=0.05, rtol=0.05)
