"""Frames of a waveform, tokens, and the audio model with its padding."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance import ResonanceAudioNet, SpectrumFrames
from resonance.audio import FrameTokens, delays_
from resonance.layers import BandMixing
from resonance.polar import count_parameters


def small(**options):
    return ResonanceAudioNet(4, frame=64, hop=32, dim=16, num_layers=2, num_frequencies=5, window=32, **options).eval()


# --------------------------------------------------------------------------- the model


def test_the_printed_constructor_at_its_printed_size():
    torch.manual_seed(0)
    model = ResonanceAudioNet(num_classes=50)
    waves = torch.randn(2, 5 * 44100)
    logits = model(waves)
    assert logits.shape == (2, 50) and logits.isfinite().all()
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.tokens(waves).shape == (2, 429, 128)


def test_parameters_are_those_of_the_docstring():
    dim, k, width, classes, bins, layers = 16, 5, 32, 4, 33, 2
    expected = (bins + 1) * dim + layers * (2 * k * dim + 2 * k * k + 2 * dim * width + 5 * dim + width)
    assert count_parameters(small()) == expected + 2 * dim + (dim + 1) * classes


def test_what_stands_behind_a_recording_has_no_effect():
    torch.manual_seed(0)
    model, lengths = small(), torch.tensor([900, 500, 64, 10])
    alone = [torch.randn(1, n) for n in lengths.tolist()]
    together = torch.full((4, 1000), math.nan)
    for row, wave in zip(together, alone, strict=True):
        row[: wave.shape[1]] = wave[0]
    torch.testing.assert_close(model(together, lengths), torch.cat([model(w) for w in alone]), rtol=1e-4, atol=1e-5)
    tokens, count = model.tokens(together, lengths), model.frame_count(lengths)
    assert count.tolist() == [27, 14, 1, 1]
    for row, n, wave in zip(tokens, count.tolist(), alone, strict=True):
        torch.testing.assert_close(row[:n], model.tokens(wave)[0], rtol=1e-4, atol=1e-5)
        assert not row[n:].any()


def test_padding_gets_no_gradient():
    model, waves = small(), torch.randn(2, 700, requires_grad=True)
    model(waves, torch.tensor([700, 300])).sum().backward()
    assert not waves.grad[1, 300:].any() and waves.grad[1, :288].any()


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.01, 50.0), samples=st.integers(64, 1024), seed=st.integers(0, 99))
def test_loudness_has_no_effect(gain, samples, seed):
    waves = torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(0)
    model = small()
    torch.testing.assert_close(model(gain * waves), model(waves), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("front_end", [None, SpectrumFrames(32, 32)])
def test_whole_models_of_other_precision(dtype, front_end):
    torch.manual_seed(0)
    model, waves, lengths = small(front_end=front_end), 30 * torch.randn(2, 900), [900, 300]
    expected = model(waves, lengths)
    other = copy.deepcopy(model).to(dtype)
    torch.testing.assert_close(other(waves.to(dtype), lengths).float(), expected, rtol=0.1, atol=0.1)
    assert other(torch.zeros(1, 500, dtype=dtype)).isfinite().all()


def test_no_waves_and_activations_in_place():
    torch.manual_seed(0)
    model, waves, lengths = small(), torch.randn(5, 800), torch.tensor([800, 64, 300, 1, 799])
    assert model(waves[:0]).shape == model(waves[:0], lengths[:0]).shape == (0, 4)
    for part in (model.embedding(waves, lengths), model.tokens(waves, lengths), model(waves)):
        torch.relu_(part).sum().backward()


@pytest.mark.parametrize("lengths", [None, [800]])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("model", [small(), SpectrumFrames(64, 32), FrameTokens(SpectrumFrames(), 3)])
def test_integers_are_refused_with_their_range(model, dtype, lengths):
    arguments = (torch.ones(1, 800, dtype=dtype),) + (
        (lengths,) if lengths and not isinstance(model, SpectrumFrames) else ()
    )
    with pytest.raises(TypeError, match=f"{dtype}.* int16 / 32768 or .uint8 - 128.0. / 128"):
        model(*arguments)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast_is_close(dtype):
    torch.manual_seed(0)
    model, waves = small(), torch.randn(2, 800)
    with torch.autocast("cpu", dtype):
        low = model(waves)
    torch.testing.assert_close(low.float(), model(waves), rtol=0.1, atol=0.1)


def test_bad_input_is_named():
    model = small()
    with pytest.raises(ValueError, match=r"waves of \(batch, samples\)"):
        model(torch.randn(500))
    with pytest.raises(ValueError, match=r"1\.\.500, got \[0, 501\]"):
        model(torch.randn(2, 500), torch.tensor([0, 501]))
    with pytest.raises(ValueError, match=r"got \(4000, 2\), as if \(samples, channels\): transpose them"):
        model(torch.randn(4000, 2))
    with pytest.raises(TypeError, match="ndarray"):
        model(np.zeros((1, 500)))
    with pytest.raises(ValueError, match="longer than window=32"):
        model(torch.randn(1, 64 + 32 * 32))
    with pytest.raises(ValueError, match="num_layers"):
        ResonanceAudioNet(10, num_layers=0)


# --------------------------------------------------------------------------- frames and tokens


def test_tokens_are_of_size_one_at_the_start_of_training():
    waves = torch.randn(4, 900) * torch.tensor([[1e-3], [0.1], [1.0], [30.0]])
    embedding = FrameTokens(SpectrumFrames(64, 32), 8)
    scaled = (embedding.spectrum(waves) - embedding.level) / embedding.spread
    assert scaled.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.5)
    torch.testing.assert_close(scaled.mean(dim=(1, 2)), scaled.mean().expand(4), rtol=0.2, atol=0.1)


# --------------------------------------------------------------------------- phases


def test_phases_that_start_as_delays_delay():
    """On a signal within the band, unit weights with the phases of whole delays shift each channel around the grid."""
    mixing, delay = BandMixing(3, 9, interference=False, window=32), torch.tensor([0.0, 3.0, -2.0])
    with torch.no_grad():
        mixing.weight.magnitude.fill_(1.0)
    delays_(mixing, delay)
    band = torch.fft.rfft(torch.randn(1, 32, 3), dim=1)
    band[:, 9:] = 0
    x = torch.fft.irfft(band, n=32, dim=1)
    expected = torch.stack([x[..., c].roll(int(d), dims=1) for c, d in enumerate(delay)], dim=-1)
    torch.testing.assert_close(mixing(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="window"):
        delays_(BandMixing(3, 9), delay)


# --------------------------------------------------------------------------- frames


@given(st.integers(1, 700), st.sampled_from([(64, 32), (64, 64), (50, 20), (33, 1)]))
@settings(max_examples=30, deadline=None)
def test_frames_are_counted_before_they_are_made(samples, sizes):
    frames = SpectrumFrames(*sizes)
    spectrum = frames(torch.randn(1, samples))
    assert spectrum.shape == (1, frames.frame_count(samples), frames.bins)
    assert frames.frame_count(torch.tensor([samples])).tolist() == [spectrum.shape[1]]


def test_a_frame_is_the_windowed_transform_of_numpy():
    frames, wave = SpectrumFrames(50, 20), torch.randn(1, 130)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(50) / 50)
    for t in range(frames.frame_count(130)):
        power = np.abs(np.fft.rfft(wave[0, 20 * t : 20 * t + 50].numpy() * window)) ** 2 / 25
        np.testing.assert_allclose(frames(wave)[0, t].numpy(), np.log(1e-6 + power), rtol=1e-3, atol=1e-3)


def test_a_tone_stands_on_its_bin():
    wave = torch.sin(2 * math.pi * 1000 / 8000 * torch.arange(2000))[None]
    assert (SpectrumFrames(256, 128)(wave).argmax(-1) == 32).all()  # 32 x 8000 / 256 = 1000 Hz


@pytest.mark.parametrize("call", [lambda: SpectrumFrames(10, 11), lambda: SpectrumFrames(10, 0)])
def test_a_hop_beyond_the_frame_is_refused(call):
    with pytest.raises(ValueError, match="hop <= frame"):
        call()


@pytest.mark.parametrize("shape", [(3,), (2, 0), (1, 2, 3)])
def test_waves_of_a_wrong_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"\(batch, samples\)"):
        SpectrumFrames()(torch.zeros(shape))
