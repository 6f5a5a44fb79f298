"""The trained peers of the forecaster: what they compute, and how they are trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.peers.forecasting import (
    FITS,
    Budget,
    PatchTransformer,
    SeasonalNaive,
    Thinned,
    instance_norm,
    ridge_path,
    shuffled,
    train_dlinear,
    train_fits,
    train_patch_transformer,
)
from resonance.forecasting import Series, evaluate, forecast_task
from resonance.polar import count_parameters


def toy_task(horizon=6, steps=500, channels=2, seed=0):
    generator = np.random.default_rng(seed)
    t = np.arange(steps)[:, None]
    values = np.sin(2 * np.pi * t / 12 + np.arange(channels)) + 0.1 * generator.standard_normal((steps, channels))
    return forecast_task(Series("toy", values, tuple("ab"[:channels]), period=12, step="step"), horizon)


# --------------------------------------------------------------------------- FITS


def test_fits_has_the_published_size():
    model = FITS(360, 96)
    assert model.cut == 106 and model.weight_re.shape == (106, 134)
    assert count_parameters(model) == 28676


@settings(max_examples=20, deadline=None)
@given(lookback=st.integers(24, 61), horizon=st.integers(1, 40))
def test_fits_is_its_equation_at_any_length(lookback, horizon):
    """By explicit DFT sums, no FFT, odd lengths and the Nyquist bin included."""
    torch.manual_seed(lookback)
    model = FITS(lookback, horizon, period=12, harmonics=2).double()
    for part in model.parameters():
        torch.nn.init.normal_(part)
    past = torch.randn(3, lookback, 2, dtype=torch.float64)
    total = lookback + horizon
    z = ((past - past.mean(1, keepdim=True)) / (past.var(1, keepdim=True) + 1e-5).sqrt()).numpy()
    k = np.arange(model.cut)[:, None]
    spectrum = np.einsum("kl,blc->bkc", np.exp(-2j * np.pi * k * np.arange(lookback) / lookback), z)
    weight = (model.weight_re + 1j * model.weight_im).detach().numpy()
    bias = (model.bias_re + 1j * model.bias_im).detach().numpy()
    y = np.einsum("kj,bkc->bjc", weight, spectrum) + bias[:, None]
    j, t = np.arange(weight.shape[1])[:, None], np.arange(lookback, total)
    twice = np.where((j == 0) | (2 * j == total), 1.0, 2.0)
    wave = np.einsum("jt,bjc->btc", twice * np.exp(2j * np.pi * j * t / total), y).real / total
    future = (total / lookback) * torch.from_numpy(wave)
    expected = past.mean(1, keepdim=True) + (past.var(1, keepdim=True) + 1e-5).sqrt() * future
    torch.testing.assert_close(model(past), expected)


def test_fits_with_the_right_weights_continues_a_wave_exactly():
    """Lookback 48 doubled: bin k of the past is bin 2k of the whole."""
    model = FITS(48, 48, period=12, harmonics=3).double()
    with torch.no_grad():
        for part in model.parameters():
            part.zero_()
        for k in range(min(model.cut, model.weight_re.shape[1] // 2)):
            model.weight_re[k, 2 * k] = 1.0
    t = torch.arange(96, dtype=torch.float64)
    wave = (5.0 + 3.0 * torch.cos(2 * math.pi * t / 12 + 0.7))[None, :, None]
    torch.testing.assert_close(model(wave[:, :48]), wave[:, 48:])


# --------------------------------------------------------------------------- patch Transformer


@pytest.mark.parametrize(("dim", "depth"), [(8, 1), (16, 2), (32, 2), (64, 3)])
def test_patch_transformer_builds_in_four_sizes_with_the_printed_count(dim, depth):
    model = PatchTransformer(96, 24, 3, dim, depth)
    patches = (96 - 16) // 8 + 2
    assert model.position.shape == (patches, dim)
    printed = depth * (12 * dim**2 + 13 * dim) + patches * dim * (24 + 1) + (16 + 3) * dim + 24
    assert count_parameters(model) == printed
    assert model(torch.randn(2, 96, 3)).shape == (2, 24, 3)


def test_patch_transformer_treats_every_channel_alone_and_alike():
    torch.manual_seed(0)
    model = PatchTransformer(40, 7, 3).eval()
    past = torch.randn(2, 40, 3)
    changed = past.clone()
    changed[..., 1] += torch.randn(2, 40)
    torch.testing.assert_close(model(changed)[..., [0, 2]], model(past)[..., [0, 2]])
    assert not torch.allclose(model(changed)[..., 1], model(past)[..., 1])
    torch.testing.assert_close(model(past[..., [2, 0, 1]]), model(past)[..., [2, 0, 1]])


def test_patch_transformer_sees_the_whole_past():
    torch.manual_seed(0)
    model = PatchTransformer(45, 3, 1).eval()
    past = torch.randn(1, 45, 1, requires_grad=True)
    model(past).sum().backward()
    assert (past.grad.abs() > 0).all()


@pytest.mark.parametrize("build", [lambda: FITS(48, 6), lambda: PatchTransformer(48, 6, 2)])
def test_peers_keep_the_units_of_the_past(build):
    torch.manual_seed(0)
    model = build().eval()
    past = torch.randn(4, 48, 2)
    torch.testing.assert_close(model(3.0 * past + 7.0), 3.0 * model(past) + 7.0, rtol=1e-3, atol=1e-3)


def test_peers_name_what_they_expected():
    with pytest.raises(ValueError, match="lookback=48 steps, got 47"):
        FITS(48, 6)(torch.zeros(1, 47, 2))
    with pytest.raises(ValueError, match="lookback=48 steps, got 50"):
        PatchTransformer(48, 6, 2)(torch.zeros(1, 50, 2))
    with pytest.raises(ValueError, match="patch of 16 steps, got 12"):
        PatchTransformer(12, 6, 2)
    with pytest.raises(ValueError, match="3 heads divide, got 50"):
        PatchTransformer(48, 6, 2, 50)


def test_instance_norm_of_a_constant_past_is_finite():
    z, mean, deviation = instance_norm(torch.full((2, 30, 1), 4.0))
    assert z.abs().max() == 0 and (mean == 4.0).all() and (deviation > 0).all()


# --------------------------------------------------------------------------- ridge, windows, training


def test_ridge_path_is_the_augmented_least_squares():
    windows = toy_task().windows("train", 24)
    past, future = windows.batch(torch.arange(len(windows)))
    level = past.mean(dim=1, keepdim=True)
    x, y = ((part - level).movedim(1, 0).flatten(1).T.double() for part in (past, future))
    for penalty, model in ridge_path(windows, [0.5, 40.0]):
        augmented = torch.cat([x, penalty**0.5 * torch.eye(24, dtype=torch.float64)])
        target = torch.cat([y, torch.zeros(24, 6, dtype=torch.float64)])
        expected = torch.linalg.lstsq(augmented, target).solution.T
        torch.testing.assert_close(model.matrix.double(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model(past[:5]), level[:5] + model.matrix @ (past[:5] - level[:5]))


def test_seasonal_naive_repeats_the_last_period():
    past = torch.arange(24.0).reshape(1, 24, 1)
    assert SeasonalNaive(7, 5)(past).flatten().tolist() == [19, 20, 21, 22, 23, 19, 20]


def test_thinned_windows_are_every_fourth_and_all_exist():
    windows = toy_task().windows("validation", 24)
    thinned = Thinned(windows.series, windows.lookback, windows.horizon)
    assert len(thinned) == len(range(0, len(windows), 4))
    past, _ = next(thinned.batches(len(thinned)))
    torch.testing.assert_close(past, windows.batch(torch.arange(0, len(windows), 4))[0])


@pytest.mark.parametrize("steps", [3, 50])
def test_an_epoch_has_its_steps_however_few_the_windows(steps):
    windows = toy_task().windows("train", 24)
    batches = list(shuffled(windows, Budget(1, steps, 64), torch.Generator().manual_seed(0)))
    assert len(batches) == steps
    assert steps < 50 or sum(len(past) for past, _ in batches) > len(windows)


@pytest.mark.parametrize(
    ("train", "options"),
    [
        (train_dlinear, {"rate": 1e-2}),
        (train_fits, {"rate": 5e-3, "period": 12}),
        (train_patch_transformer, {"rate": 1e-2, "dim": 16, "depth": 1}),
    ],
)
def test_peers_learn_the_toy_and_repeat_bitwise(train, options):
    task = toy_task()
    windows, validation = task.windows("train", 24), task.windows("validation", 24)
    budget = Budget(3, 40, 16)
    first, again = (train(windows, validation, budget, seed=3, **options) for _ in range(2))
    level = evaluate(lambda past: past.mean(dim=1, keepdim=True).expand(-1, 6, -1), validation)[0]
    assert first.validation_mse < 0.3 * level and first.epoch > 0 and not first.model.training
    assert first.validation_mse == again.validation_mse
    assert first.validation_mse != train(windows, validation, budget, seed=4, **options).validation_mse
    assert first.validation_mse == evaluate(first.model, validation, 128)[0]
