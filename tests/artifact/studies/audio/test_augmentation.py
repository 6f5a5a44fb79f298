"""Changes of recordings that leave the spoken word."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.audio.augmentation import AudioAugmentation

STILL = {"speed": 0.0, "shift": 0, "mask": 0.0, "noise_db": (math.inf, math.inf), "tilt_db": 0.0}


def test_nothing_changes_when_every_range_is_zero():
    waves, lengths = torch.randn(3, 700), torch.tensor([700, 333, 2])
    waves = waves * (torch.arange(700) < lengths[:, None])
    same, still = AudioAugmentation(1000, **STILL)(waves, lengths, torch.Generator())
    torch.testing.assert_close(same, waves, rtol=1e-4, atol=1e-5)
    assert still.tolist() == lengths.tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), longest=st.integers(50, 900))
def test_augmentation_is_seeded_bounded_and_zero_behind(seed, longest):
    augmentation = AudioAugmentation(longest)
    lengths = torch.tensor([600, 301, 77])
    waves = torch.randn(3, 600) * (torch.arange(600) < lengths[:, None])
    first, second = (augmentation(waves, lengths, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    changed, count = first
    assert changed.isfinite().all() and int(count.min()) >= 2 and int(count.max()) <= longest
    assert changed.shape[1] == int(count.max())
    assert not changed[torch.arange(changed.shape[1]) >= count[:, None]].any()


def test_speed_scales_pitch_and_duration():
    t = torch.arange(4000.0)
    wave = torch.sin(2 * math.pi * 0.05 * t)[None]
    augmentation = AudioAugmentation(8000, **{**STILL, "speed": 0.2})
    for seed in range(5):
        faster, count = augmentation(wave, torch.tensor([4000]), torch.Generator().manual_seed(seed))
        factor = 4000 / count.item()
        assert 0.8 < factor < 1.25
        peak = torch.fft.rfft(faster[0, : count.item()]).abs().argmax().item() / count.item()
        assert peak == pytest.approx(0.05 * factor, abs=2 / 3000)


def test_noise_has_the_power_asked_for():
    waves = torch.randn(64, 4000)
    augmentation = AudioAugmentation(5000, **{**STILL, "noise_db": (20.0, 20.0)})
    noisy, _ = augmentation(waves, torch.full((64,), 4000), torch.Generator().manual_seed(1))
    ratio = (noisy - waves).square().mean() / waves.square().mean()
    assert 10 * math.log10(ratio) == pytest.approx(-20.0, abs=0.1)


def test_tilt_changes_the_ends_of_the_band_as_asked():
    impulse = torch.zeros(256, 512)
    impulse[:, 0] = 1.0
    augmentation = AudioAugmentation(512, **{**STILL, "tilt_db": 6.0})
    tilted, _ = augmentation(impulse, torch.full((256,), 512), torch.Generator().manual_seed(0))
    decibels = 20 * torch.fft.rfft(tilted).abs().log10()
    torch.testing.assert_close(decibels[:, 0], -decibels[:, -1], rtol=1e-3, atol=1e-3)
    assert decibels.abs().max() <= 6.001 and decibels[:, -1].max() > 5 and decibels[:, -1].min() < -5


def test_bad_augmentations_are_named():
    with pytest.raises(ValueError, match="mask < 1"):
        AudioAugmentation(100, mask=1.0)
    with pytest.raises(ValueError, match="a length each"):
        AudioAugmentation(100)(torch.randn(2, 50), torch.tensor([50]), torch.Generator())
