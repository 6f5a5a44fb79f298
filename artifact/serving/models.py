"""What the service serves: models of a folder, each described by NAME.json, its weights in NAME.safetensors.

    classifier    sound as it arrives, `LiveAudioNet`
    text          characters one by one, `ResonanceLM`
    forecaster    forecasts with intervals, `ResonanceTimeSeriesNet`

Nothing is unpickled: a description is JSON, weights are read by safetensors and must fit the model described.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resonance.forecasting import level_and_scale
from resonance.language import ResonanceLM
from resonance.live import LiveAudioNet
from resonance.time_series import ResonanceTimeSeriesNet
from resonance.training.checkpoint import load_weights, save_weights, written_aside


class Classifier(LiveAudioNet):
    """`LiveAudioNet` with the names of its classes and the sampling rate in Hz; options: of `LiveAudioNet`."""

    def __init__(self, labels: Sequence[str], rate: int, **options):
        super().__init__(len(labels), **options)
        self.labels, self.rate, self.hop = tuple(labels), rate, self.front_end.hop

    def frame(self, pcm: bytes) -> Tensor:
        """The samples (1, hop) of 2 hop bytes, 16-bit little-endian PCM."""
        return torch.from_numpy(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768)[None]

    def verdict(self, logits: Tensor) -> tuple[str, float]:
        """The likeliest label and its probability, of logits (1, classes)."""
        confidence, at = logits[0].softmax(-1).max(-1)
        return self.labels[at], float(confidence)


class Text(ResonanceLM):
    """`ResonanceLM` over the characters of `symbols`; options: of `ResonanceLM`."""

    def __init__(self, symbols: str, **options):
        super().__init__(len(symbols), **options)
        self.symbols, self._ids = symbols, {symbol: at for at, symbol in enumerate(symbols)}

    def encode(self, text: str) -> Tensor:
        """The ids (1, n) of a text; raises ValueError for an empty one, or one with other characters."""
        unknown = sorted(set(text) - set(self._ids))
        if unknown or not text:
            raise ValueError(f"expected at least one of the {len(self.symbols)} known characters, got {unknown[:5]}")
        return torch.tensor([[self._ids[symbol] for symbol in text]])


class IntervalForecaster(nn.Module):
    """A forecaster and the half widths of its intervals, for any number of channels.

        yhat_h -+ q_h sd(past),    q_h the quantile of |y_h - yhat_h| / sd(past) on validation windows

    Locally weighted split conformal (Lei et al. 2018, section 5.2).  The forecaster is linear and subtracts the level,
    so a posted series may have any units; that its errors are like those of validation is an assumption.
    """

    def __init__(self, lookback: int, horizon: int, coverage: float, **options):
        super().__init__()
        self.lookback, self.horizon, self.coverage = lookback, horizon, coverage
        self.net = ResonanceTimeSeriesNet(horizon, lookback, 1, **options)
        self.register_buffer("half_width", torch.zeros(horizon))  # in deviations of the past

    @torch.no_grad()
    def calibrate_(self, past: Tensor, future: Tensor) -> IntervalForecaster:
        """Set the half widths from windows (count, lookback, 1) and (count, horizon, 1); return this forecaster."""
        scores = ((self.net(past) - future).abs() / past.std(1, correction=0, keepdim=True).clamp_min(1e-6))[..., 0]
        at = min(int(np.ceil((len(scores) + 1) * self.coverage)), len(scores))
        self.half_width.copy_(scores.kthvalue(at, dim=0).values)
        return self

    @torch.inference_mode()
    def forecast(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Forecast, lower and upper ends, (horizon, channels) each, after the last `lookback` of rows (n, channels).

        Raises ValueError for fewer rows.
        """
        if len(values) < self.lookback:
            raise ValueError(f"expected at least lookback={self.lookback} rows, got {len(values)}")
        past = values[-self.lookback :]
        mean, scale = level_and_scale(past)
        x = torch.from_numpy((past - mean) / scale).float().T[..., None]  # (channels, lookback, 1)
        spread = x.std(1, correction=0)  # (channels, 1): 0 of a constant channel, else 1
        centre = self.net(x)[..., 0].T.double().numpy() * scale + mean  # (horizon, channels)
        half = (self.half_width * spread).T.double().numpy() * scale
        return centre, centre - half, centre + half


KINDS: dict[str, type[nn.Module]] = {"classifier": Classifier, "text": Text, "forecaster": IntervalForecaster}


def save_model(folder: str | Path, name: str, settings: dict[str, Any], weights: nn.Module) -> None:
    """Write a model of `KINDS`: the arguments of its constructor as JSON, and its weights as safetensors."""
    folder = Path(folder)
    save_weights(weights, folder / f"{name}.safetensors")
    (folder / f"{name}.safetensors").chmod(0o644)  # a container reads it as another user
    with written_aside(folder / f"{name}.json") as aside:
        aside.write_text(json.dumps(settings), encoding="utf-8")


def load_models(folder: str | Path) -> dict[str, nn.Module]:
    """Read every model of `KINDS` that a folder describes, ready to be served, by name.

    Raises ValueError where none is there, a description is wrong, or weights do not fit; FileNotFoundError without
    weights.
    """
    folder, models = Path(folder), {}
    for name, kind in KINDS.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        try:
            model = kind(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected the arguments of a {name} in {path}: {error}") from error
        load_weights(model, folder / f"{name}.safetensors")
        models[name] = model.eval()
    if not models:
        raise ValueError(f"expected one of {', '.join(f'{name}.json' for name in KINDS)} in {folder}, found none")
    return models
