"""Sound frame by frame and a series step by step: equal to the parallel form, causal, of constant state."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.peers.causal import RotaryAttention
from resonance import LiveAudioNet, LiveForecaster, ResonanceAudioNet
from resonance.audio import SpectrumFrames
from resonance.live import LiveFrames
from resonance.polar import count_parameters

ATTENTION = {"mixing": lambda: RotaryAttention(16, 2)}


def small(**options):
    torch.manual_seed(0)
    settings = {"hop": 20, "frame": 32, "dim": 16, "num_layers": 2, "num_resonators": 4, "longest": 16}
    return LiveAudioNet(4, **{**settings, **options}).eval()


def stepped(model, waves):
    """Return the answers of `step` over the whole hops of waves."""
    hop, state, answers = model.front_end.hop, model.initial_state(len(waves), dtype=waves.dtype), []
    for t in range(waves.shape[1] // hop):
        answer, state = model.step(waves[:, t * hop : (t + 1) * hop], state)
        answers.append(answer)
    return torch.stack(answers, dim=1)


@settings(max_examples=15, deadline=None)
@given(
    samples=st.integers(20, 500),
    hop=st.integers(1, 32),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
    peer=st.booleans(),
)
def test_step_by_step_is_the_parallel_form(samples, hop, batch, seed, peer):
    model = small(hop=hop, **(ATTENTION if peer else {})).double()
    waves = torch.randn(batch, max(samples, hop), generator=torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        torch.testing.assert_close(stepped(model, waves), model(waves), rtol=1e-9, atol=1e-9)
        model, waves = model.float(), waves.float()
        torch.testing.assert_close(stepped(model, waves), model(waves), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [{}, ATTENTION])
def test_no_answer_depends_on_what_is_yet_to_come(options):
    model, waves = small(**options).double(), torch.randn(1, 300).double().requires_grad_(True)
    logits = model(waves)
    assert logits.shape == (1, 15, 4)
    for t in range(15):
        (gradient,) = torch.autograd.grad(logits[0, t].square().sum(), waves, retain_graph=True)
        now = (t + 1) * 20
        assert gradient[0, now - 20 : now].abs().max() > 0
        assert not (gradient[0, now:].abs() > 1e-12).any()


@pytest.mark.parametrize("options", [{}, ATTENTION])
def test_what_stands_behind_a_recording_has_no_effect(options):
    model, lengths = small(**options), torch.tensor([300, 170, 20, 7])
    alone = [torch.randn(1, n) for n in lengths.tolist()]
    together = torch.full((4, 340), math.nan)
    for row, wave in zip(together, alone, strict=True):
        row[: wave.shape[1]] = wave[0]
    logits, count = model(together, lengths), model.frame_count(lengths)
    assert count.tolist() == [15, 8, 1, 1] and logits.shape == (4, 17, 4)
    for row, n, wave in zip(logits, count.tolist(), alone, strict=True):
        own = model(wave)[0]
        torch.testing.assert_close(row[:n], own, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(row[n:], own[-1:].expand(17 - n, -1), rtol=1e-4, atol=1e-5)


def test_padding_gets_no_gradient():
    model, waves = small(), torch.randn(2, 200, requires_grad=True)
    model(waves, torch.tensor([200, 90])).sum().backward()
    assert not waves.grad[1, 90:].any() and waves.grad[1, :80].any()


@settings(max_examples=15, deadline=None)
@given(gain=st.floats(0.01, 50.0), samples=st.integers(20, 400), seed=st.integers(0, 99))
def test_loudness_has_no_effect(gain, samples, seed):
    waves = torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)).double()
    model = small().double()
    torch.testing.assert_close(model(gain * waves), model(waves), rtol=1e-4, atol=1e-5)


def test_silence_one_sample_and_a_long_sound_are_finite():
    model = small()
    assert model(torch.zeros(1, 500)).isfinite().all() and model(torch.ones(1, 1)).shape == (1, 1, 4)
    state = model.initial_state(2)
    sizes = {name: part.shape for name, part in state.items()}
    for _ in range(300):
        answer, state = model.step(torch.zeros(2, 20), state)
    assert answer.isfinite().all() and {name: part.shape for name, part in state.items()} == sizes
    assert all(len(part) == 2 and not part.is_complex() for part in state.values())


def test_frames_are_those_of_the_offline_front_end_but_for_their_level():
    live, offline = LiveFrames(256, 128, floor=0.0), SpectrumFrames(256, 128, floor=0.0)
    waves = torch.randn(2, 1280) * torch.linspace(0.1, 2, 1280)
    power = waves.square().unflatten(1, (10, 128)).mean(-1)
    loudness = power.square().cumsum(1) / power.cumsum(1)
    torch.testing.assert_close(live(waves)[:, 1:] + loudness.log()[:, 1:, None], offline(waves), rtol=1e-3, atol=1e-3)


def test_bad_sound_is_named():
    model = small()
    with pytest.raises(ValueError, match=r"expected waves of \(batch, samples\)"):
        model(torch.zeros(100))
    with pytest.raises(ValueError, match=r"expected waves of \(batch, samples\)"):
        model(torch.zeros(1, 0))
    with pytest.raises(ValueError, match=r"lengths as whole numbers in 1\.\.100"):
        model(torch.zeros(1, 100), torch.tensor([101]))
    with pytest.raises(ValueError, match=r"expected the next samples, \(batch, 20\), got \(1, 21\)"):
        model.step(torch.zeros(1, 21), model.initial_state(1))
    with pytest.raises(ValueError, match="hop=300, frame=256"):
        LiveFrames(256, 300)
    with pytest.raises(ValueError, match="num_classes >= 1"):
        LiveAudioNet(0)


def small_forecaster(**options):
    torch.manual_seed(0)
    return LiveForecaster(5, 2, **{"period": 6, "scales": 2, "longest": 4.0, "harmonics": 3, **options})


def hours(model, x):
    state, forecasts = model.initial_state(len(x), dtype=x.dtype), []
    for t in range(x.shape[1]):
        forecast, state = model.step(x[:, t], state)
        forecasts.append(forecast)
    return torch.stack(forecasts, dim=1)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 150), batch=st.integers(1, 3), seed=st.integers(0, 99), scales=st.integers(1, 4))
def test_hour_by_hour_is_the_parallel_form(n, batch, seed, scales):
    model = small_forecaster(scales=scales).double()
    x = torch.randn(batch, n, 2, generator=torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        assert model(x).shape == (batch, n, 5, 2)
        torch.testing.assert_close(hours(model, x), model(x), rtol=1e-9, atol=1e-9)
        model, x = model.float(), x.float()
        torch.testing.assert_close(hours(model, x), model(x), rtol=1e-3, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(shift=st.floats(-100, 100), scale=st.floats(0.1, 10))
def test_forecasts_move_and_stretch_with_the_series(shift, scale):
    model, x = small_forecaster().double(), torch.randn(1, 40, 2).double()
    torch.testing.assert_close(model(scale * x + shift), scale * model(x) + shift, rtol=1e-7, atol=1e-7)


def test_no_forecast_depends_on_what_is_yet_to_come():
    model, x = small_forecaster().double(), torch.randn(1, 30, 2).double().requires_grad_(True)
    y = model(x)
    for t in (0, 5, 6, 17, 28):
        (gradient,) = torch.autograd.grad(y[0, t].square().sum(), x, retain_graph=True)
        assert gradient[0, t].abs().max() > 0 and gradient[0, t + 1 :].abs().max() <= 1e-12


def test_poles_stand_where_they_are_set():
    model = LiveForecaster(96, 7)
    assert model.mixing.num_resonators == 35 and count_parameters(model) == 2 * 35 + 71 * 96
    expected = torch.logspace(math.log2(3), math.log2(768), 5, base=2).repeat_interleave(7)
    torch.testing.assert_close(model.mixing.time_scales().float(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        model.mixing.frequencies().float(), torch.arange(7.0).repeat(5) / 24, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"scales=0"):
        LiveForecaster(scales=0)
    with pytest.raises(ValueError, match=r"\(batch, 7\), got \(1, 6\)"):
        model.step(torch.zeros(1, 6), model.initial_state(1))
    with pytest.raises(ValueError):
        model(torch.zeros(1, 10, 6))
    moved = model.mixing.set_poles_(torch.full((35,), 8.0), torch.full((35,), 0.25))
    torch.testing.assert_close(moved.time_scales().float(), torch.full((35,), 8.0), rtol=1e-5, atol=0)
    torch.testing.assert_close(moved.frequencies().float(), torch.full((35,), 0.25), rtol=1e-5, atol=0)


@pytest.mark.filterwarnings("ignore")  # of torch, about quantised tensors
def test_no_recording_gives_no_logits_and_a_quantised_network_runs():
    net = LiveAudioNet(3, dim=8, num_layers=1).eval()
    assert net(torch.zeros(0, 800)).shape[::2] == (0, 3)
    waves = torch.randn(2, 800, generator=torch.Generator().manual_seed(0))
    for model in (net, ResonanceAudioNet(3, dim=8, num_layers=1).eval()):
        quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
        torch.testing.assert_close(quantised(waves), model(waves), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_step_by_step_is_the_parallel_form_in_half_precision(dtype):
    waves, x = torch.randn(2, 600 * 20), torch.randn(2, 600, 2)
    for model, signal, run in ((small(), waves, stepped), (small_forecaster(), x, hours)):
        model, signal = model.to(dtype), signal.to(dtype)
        parallel, steps = model(signal), run(model, signal)
        assert parallel.dtype == steps.dtype == dtype
        exact = model.float()(signal.float())
        for found in (parallel, steps):
            assert (found - exact).norm() < 0.03 * exact.norm()


def test_a_step_refuses_integers():
    frames, forecaster = LiveFrames(32, 20), small_forecaster()
    with pytest.raises(TypeError, match=r"the next samples.*int16 / 32768"):
        frames.step(torch.ones(1, 20, dtype=torch.int16), frames.initial_state(1))
    with pytest.raises(TypeError, match="floating dtype"):
        forecaster.step(torch.ones(1, 2, dtype=torch.int64), forecaster.initial_state(1))
