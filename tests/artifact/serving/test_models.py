"""Models of the service: saved and read back, refused when they do not fit, intervals in the past's own units."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from artifact.serving.models import IntervalForecaster, load_models


def test_models_are_read_as_they_were_saved(folder, models):
    assert set(models) == {"classifier", "text", "forecaster"}
    again = load_models(folder)
    for name, model in models.items():
        assert not model.training
        for (key, one), other in zip(model.state_dict().items(), again[name].state_dict().values(), strict=True):
            assert torch.equal(one, other), key


def test_a_folder_may_hold_one_model(folder, tmp_path):
    for path in folder.glob("text.*"):
        shutil.copy(path, tmp_path)
    assert list(load_models(tmp_path)) == ["text"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"classifier\.json, text\.json, forecaster\.json"):
        load_models(tmp_path)


@pytest.mark.parametrize("change", [{"hidden_dim": 8}, {"symbols": "ab"}, {"unknown": 1}, None])
def test_a_description_that_does_not_fit_is_refused(folder, tmp_path, change):
    for path in folder.glob("text.*"):
        shutil.copy(path, tmp_path)
    settings = json.loads((tmp_path / "text.json").read_text())
    (tmp_path / "text.json").write_text("{" if change is None else json.dumps(settings | change))
    with pytest.raises(ValueError, match="text"):
        load_models(tmp_path)


def test_pickled_weights_are_not_read(folder, tmp_path):
    shutil.copy(folder / "text.json", tmp_path)
    ran = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (ran.touch, ())

    (tmp_path / "text.safetensors").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match="safetensors"):
        load_models(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-9, 5.0), (1e12, -3e12)])
def test_forecasts_follow_the_units_of_the_series(models, scale, shift):
    model, rows = models["forecaster"], np.random.default_rng(0).normal(size=(60, 2))
    plain, moved = model.forecast(rows), model.forecast(scale * rows + shift)
    for one, other in zip(plain, moved, strict=True):
        assert one.shape == (6, 2)
        np.testing.assert_allclose((other - shift) / scale, one, rtol=0, atol=2e-5 + 1e-13 * abs(shift) / scale)


def test_a_constant_channel_is_continued_without_width(models):
    found = models["forecaster"].forecast(np.full((48, 1), 7.0))
    for part in found:
        np.testing.assert_allclose(part, 7.0, atol=1e-5)


def test_intervals_hold_their_share_of_validation():
    torch.manual_seed(0)
    model = IntervalForecaster(lookback=24, horizon=3, coverage=0.8, level_steps=24, rank=2)
    past, future = torch.randn(500, 24, 1), torch.randn(500, 3, 1)
    model.calibrate_(past, future)
    with torch.no_grad():
        held = (model.net(past) - future)[..., 0].abs() <= model.half_width * past.std(1, correction=0)
    assert ((held.double().mean(0) - 0.8).abs() < 0.005).all()
