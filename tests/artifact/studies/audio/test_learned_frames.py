"""Learned frames: they start as the transform, do not depend on a phase, and serve a model as its front end."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from artifact.studies.audio.learned_frames import LearnedFrames
from resonance import ResonanceAudioNet, SpectrumFrames


def small() -> ResonanceAudioNet:
    torch.manual_seed(0)
    options = {"dim": 16, "num_layers": 2, "num_frequencies": 5, "window": 32}
    return ResonanceAudioNet(4, front_end=LearnedFrames(64, 32, 20), **options).eval()


def test_they_start_as_the_transform():
    waves = torch.randn(2, 777)
    torch.testing.assert_close(LearnedFrames(64, 16)(waves), SpectrumFrames(64, 16)(waves), rtol=1e-3, atol=1e-3)
    assert LearnedFrames(64, 16, 20)(waves).shape == (2, 45, 20)
    assert LearnedFrames(64, 16)(waves[:, :30]).shape == (2, 1, 33)


def test_the_modulus_forgets_a_common_phase():
    frames, waves = LearnedFrames(32, 16, 9), torch.randn(1, 200)
    before = frames(waves)
    with torch.no_grad():
        frames.weight.phase += 1.234
    torch.testing.assert_close(frames(waves), before, rtol=1e-3, atol=1e-3)


def test_what_stands_behind_a_recording_has_no_effect():
    model, lengths = small(), torch.tensor([900, 500, 64, 10])
    alone = [torch.randn(1, n) for n in lengths.tolist()]
    together = torch.full((4, 1000), math.nan)
    for row, wave in zip(together, alone, strict=True):
        row[: wave.shape[1]] = wave[0]
    torch.testing.assert_close(model(together, lengths), torch.cat([model(w) for w in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precision(dtype):
    model, waves, lengths = small(), 30 * torch.randn(2, 900), [900, 300]
    other = copy.deepcopy(model).to(dtype)
    torch.testing.assert_close(other(waves.to(dtype), lengths).float(), model(waves, lengths), rtol=0.1, atol=0.1)
    assert other(torch.zeros(1, 500, dtype=dtype)).isfinite().all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="bins >= 2"):
        LearnedFrames(64, 32, 1)
    with pytest.raises(TypeError, match="int16 / 32768"):
        LearnedFrames(64, 32)(torch.ones(1, 800, dtype=torch.int16))
