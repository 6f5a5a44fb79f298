"""The three models that `19_deployment` trains and serves, each saved as the service reads it."""

from __future__ import annotations

from pathlib import Path

import torch

from artifact.datasets.characters import Corpus
from artifact.datasets.speech import Speech
from artifact.serving.models import IntervalForecaster, Text, save_model
from artifact.studies.audio.tasks import OFFICIAL, DigitTask
from artifact.studies.language.study import adamw, cross_entropy, loss_on, scheduled, update, windows
from artifact.studies.live.speech import LIVE, outputs, train_live
from resonance.forecasting import ForecastTask
from resonance.time_series import Setting


def save_classifier(folder: Path, speech: Speech, *, steps: int, rate: float, seed: int) -> dict[str, float]:
    """Train the network of `14_live` on the official training part and save it; accuracy on the test, in %."""
    train, test = DigitTask(speech).pair(OFFICIAL)
    model = train_live(LIVE, train, rate=rate, steps=steps, seed=seed)
    accuracy = outputs(model, test).at_share(1.0).double().mean().item()
    save_model(folder, "classifier", {"labels": [str(digit) for digit in range(10)], "rate": speech.rate}, model)
    return {"accuracy": 100 * accuracy, "recordings": len(test)}


def save_text(
    folder: Path, corpus: Corpus, *, steps: int, rate: float, seed: int, context: int = 128, batch: int = 16
) -> dict[str, float]:
    """Train a small language model of characters and save it; loss in nats a character on the test."""
    torch.manual_seed(seed)
    settings = {"hidden_dim": 64, "num_layers": 2, "num_resonators": 16}
    model = Text("".join(corpus.vocabulary.symbols), **settings)
    batches = windows(corpus.parts["train"], context, batch, torch.Generator().manual_seed(seed))
    optimizer = adamw(model, rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * scheduled((step + 1) / steps)
        cross_entropy(model, *next(batches)).backward()
        update(model, optimizer)
    save_model(folder, "text", {"symbols": model.symbols, **settings}, model)
    return {"loss": loss_on(model, corpus.parts["report"], context, 32768)}


@torch.no_grad()
def save_forecaster(
    folder: Path, task: ForecastTask, *, lookback: int, ridge: float, coverage: float
) -> dict[str, float]:
    """Fit a forecaster in closed form, set its intervals on validation, save it; its test error and coverage."""
    setting = Setting(lookback, 0.5, 1.0, min(16, task.horizon // 2 + 1), ridge)  # the band of the future has so many
    fitted = setting.fitted(task, setting.moments(task))
    options = {"rank": fitted.rank, "level_steps": fitted.level_steps, "taper": fitted.taper}
    model = IntervalForecaster(lookback, task.horizon, coverage, **options)
    model.net.load_state_dict(fitted.state_dict())
    model.calibrate_(*_each_channel(task, "validation", lookback))
    past, future = _each_channel(task, "test", lookback)
    error = (model.net(past) - future)[..., 0]
    held = error.abs() <= model.half_width * past.std(1, correction=0)
    settings = {"lookback": lookback, "horizon": task.horizon, "coverage": coverage, **options}
    save_model(folder, "forecaster", settings, model)
    return {"mse": error.double().square().mean().item(), "coverage": 100 * held.double().mean().item()}


def _each_channel(task: ForecastTask, split: str, lookback: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every fourth window of a split, each channel a series of its own: (count, lookback, 1), (count, horizon, 1)."""
    windows = task.windows(split, lookback)
    parts = windows.batch(torch.arange(0, len(windows), 4))
    past, future = (part.movedim(2, 1).flatten(0, 1)[..., None].contiguous() for part in parts)
    return past, future
