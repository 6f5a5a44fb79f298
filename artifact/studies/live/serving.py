"""The cost of serving: time of a frame and of an hour, size of the state; forecasters rerun on their window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from artifact.datasets.recordings import Recordings
from artifact.peers.causal import state_after
from artifact.studies.audio.tasks import digit_model
from artifact.studies.common.timing import seconds_of
from artifact.studies.forecasting.choice import ClosedForms, best_point, bounds, tuned_values, widened_grid
from artifact.studies.forecasting.study import block_interval, block_means, parameters, rank_limit
from artifact.studies.live.forecasting import standardised
from artifact.studies.live.speech import FRAME_MS, HOP, LIVE, MODELS, OFFLINE, TRANSFORMER, share_for
from resonance.forecasting import ForecastTask, window_errors
from resonance.live import LiveAudioNet, LiveForecaster
from resonance.time_series import Setting

# --------------------------------------------------------------------------- sound


@torch.inference_mode()
def frame_seconds(models: dict[str, nn.Module], test: Recordings, count: int) -> pd.DataFrame:
    """Seconds of every frame of `count` recordings, by method: the models take turns on each recording.

    An offline model is run on the recording from its beginning each time.  One more recording is the warm-up.
    """
    rows = []
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: count + 1].tolist()
    for place, i in enumerate(order):
        wave = test.waves[i : i + 1, : int(test.lengths[i])]
        for name, model in models.items():
            seconds = _frame_by_frame(model.eval(), wave)
            if place:
                rows += [(name, t + 1, s) for t, s in enumerate(seconds)]
    return pd.DataFrame(rows, columns=["method", "frame", "seconds"])


def _frame_by_frame(model: nn.Module, wave: Tensor) -> list[float]:
    live, seconds = isinstance(model, LiveAudioNet), []
    state = model.initial_state(1) if live else None
    for end in range(HOP, wave.shape[1] + 1, HOP):
        started = time.perf_counter()
        if live:
            _, state = model.step(wave[:, end - HOP : end], state)
        else:
            model(wave[:, :end])
        seconds.append(time.perf_counter() - started)
    return seconds


def real_time(times: pd.DataFrame) -> pd.DataFrame:
    """p50, p99 and the maximum in milliseconds by method, and the length of a frame over p50 and p99."""
    milliseconds = 1000 * times.groupby("method", sort=False)["seconds"].quantile([0.5, 0.99, 1.0]).unstack()
    table = milliseconds.set_axis(["p50", "p99", "most"], axis=1).reset_index()
    return table.assign(factor_p50=FRAME_MS / table["p50"], factor_p99=FRAME_MS / table["p99"])


@torch.inference_mode()
def context_seconds(durations: Iterable[float], *, longest_offline: float = 64.0) -> pd.DataFrame:
    """Median time of a frame, and numbers in the state, after so many seconds of sound without a pause.

    Columns: method, received, seconds, kept.  Models are untrained, since their time is the same, and caches are filled
    with noise; an offline model stores the samples themselves.
    """
    rows, samples = [], torch.randn(1, HOP)
    for duration in durations:
        frames = round(1000 * duration / FRAME_MS)
        for name in (LIVE, TRANSFORMER):
            model = MODELS[name]().eval()
            state = state_after(model, frames)
            kept = sum(part.numel() for part in state.values())
            rows.append((name, duration, seconds_of(partial(model.step, samples, state)), kept))
        if duration <= longest_offline:
            model, wave = digit_model(window=max(128, 2 * frames)).eval(), torch.randn(1, frames * HOP)
            rows.append((OFFLINE, duration, seconds_of(partial(model, wave)), frames * HOP))
    return pd.DataFrame(rows, columns=["method", "received", "seconds", "kept"])


# --------------------------------------------------------------------------- forecasts

LIVE_FORECASTER, RIDGE, WINDOWED = "live resonators", "ridge, window", "resonance (08), window"
FORECASTERS = {LIVE_FORECASTER: "live", RIDGE: "ridge", WINDOWED: "windowed"}


@dataclass(frozen=True)
class Windowed:
    """A forecaster that is run on its whole window again at every step."""

    model: Callable[[Tensor], Tensor]
    lookback: int
    validation_mse: float


def window_peers(
    task: ForecastTask, grids: Mapping[str, Mapping[str, Sequence[float]]], *, wider: int = 0
) -> tuple[dict[str, Windowed], pd.DataFrame]:
    """The ridge and the forecaster of `08_forecasting`, in closed form, with the lowest validation errors.

    grids: of each, by its key in 08; they widen as there.  Returns the two, and their tuned values (`tuned_values`).
    """
    forms, peers, tuned = ClosedForms(task), {}, []
    for key, name in (("ridge", RIDGE), ("resonance", WINDOWED)):
        ends = bounds(task, max(grids[key]["lookback"]), rank_limit(task, key))
        units = {"lookback": task.series.period, "rank": 1}
        tries = widened_grid(forms.score(key), grids[key], ends, units, wider)
        point = best_point(tries)
        model = forms.model(key, point) if key == "ridge" else _closed_form(forms, Setting(*point))
        peers[name] = Windowed(model, point[0], tries["score"].min())
        tuned.append(tuned_values(tries, ends).assign(method=name))
    return peers, pd.concat(tuned)


def _closed_form(forms: ClosedForms, setting: Setting) -> nn.Module:
    return setting.fitted(forms.task, forms.moments(setting))


@torch.inference_mode()
def window_seconds(peer: Windowed, task: ForecastTask, count: int = 500) -> np.ndarray:
    """Seconds of each of the last `count` updates of the series, the window cut anew each time."""
    rows, seconds = standardised(task), []
    for t in range(len(rows) - count, len(rows)):
        started = time.perf_counter()
        peer.model(rows[None, t + 1 - peer.lookback : t + 1])
        seconds.append(time.perf_counter() - started)
    return np.array(seconds)


def forecast_scores(
    task: ForecastTask,
    live: LiveForecaster,
    validation_mse: float,
    served: tuple[np.ndarray, np.ndarray],
    peers: dict[str, Windowed],
) -> pd.DataFrame:
    """Test errors, with intervals over blocks of its time, and the time of an update, by method.

    served: the result of `serve`.  Columns: method, parameters, kept (numbers in the state), validation_mse, mse and
    mae with low and high, ratio of our mse to it with low and high, p50 and p99 in milliseconds.
    """
    kept = sum(part.numel() for part in live.initial_state(1).values())
    tested = {LIVE_FORECASTER: (live, kept, validation_mse, served[0], served[1][-500:])}
    for name, peer in peers.items():
        errors = window_errors(peer.model, task.windows("test", peer.lookback))
        kept = peer.lookback * len(task.series.channels)
        tested[name] = (peer.model, kept, peer.validation_mse, errors, window_seconds(peer, task))
    ours, rows = served[0][0], []
    for name, (model, kept, validation, errors, seconds) in tested.items():
        row = {"method": name, "parameters": parameters(model), "kept": kept, "validation_mse": validation}
        for figure, values in zip(("mse", "mae"), errors, strict=True):
            mean, low, high = block_interval(values, task.horizon)
            row |= {figure: mean, f"{figure}_low": low, f"{figure}_high": high}
        drawn = block_means(np.stack([ours, errors[0]]), task.horizon)
        low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
        row |= {"ratio": ours.mean() / errors[0].mean(), "ratio_low": low, "ratio_high": high}
        rows.append(row | {f"p{q}": 1000 * float(np.quantile(seconds, q / 100)) for q in (50, 99)})
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------- the targets


@torch.inference_mode()
def parallel_gap(audio: LiveAudioNet, test: Recordings, forecaster: LiveForecaster, task: ForecastTask) -> dict:
    """The largest difference between `step` and `forward`, of logits and of forecasts.

    Over the first 20 recordings, and the first 2,000 steps of the series; relative to the root mean square.
    """

    def gap(model: nn.Module, whole: Tensor, parts: Iterable[Tensor]) -> float:
        state, gaps = model.initial_state(1), []
        for part, expected in zip(parts, whole[0], strict=True):
            y, state = model.step(part, state)
            gaps.append((y[0] - expected).abs().max())
        return float(max(gaps) / whole.square().mean().sqrt())

    waves = [wave[None, : n // HOP * HOP] for wave, n in zip(test.waves[:20], test.lengths[:20].tolist(), strict=True)]
    speech = max(gap(audio.eval(), audio(wave), wave.split(HOP, dim=1)) for wave in waves)
    rows = standardised(task)[:2000]
    return {"equal.speech": speech, "equal.hours": gap(forecaster, forecaster(rows[None]), rows[:, None])}


def against_targets(
    curves: pd.DataFrame, speed: pd.DataFrame, growth: pd.DataFrame, scores: pd.DataFrame, level: float
) -> pd.DataFrame:
    """The six targets of `14_live`: target, measured, unit, limit, reached.

    curves: `accuracy_over_time` by method and seed; speed: `real_time`, by method; growth: `context_seconds`; scores:
    `forecast_scores`.
    """
    shares = curves[curves["kind"] == "share"].groupby(["method", "received"])["accuracy"].mean().unstack("method")
    loss = 100 * (shares.loc[1.0, OFFLINE] - shares.loc[1.0, LIVE])
    needed = {name: share_for(shares[name], level) for name in (LIVE, OFFLINE)}
    ours = growth[growth["method"] == LIVE].sort_values("received")["seconds"].to_numpy()
    forecasts = scores.set_index("method")
    p99, update = speed.loc[LIVE, "p99"], forecasts.loc[LIVE_FORECASTER, "p99"]
    early = needed[LIVE] < 1 and needed[LIVE] <= needed[OFFLINE]
    above = forecasts.loc[RIDGE, "ratio_high"]
    rows = [
        ("real_time", p99, "ms", f"below {FRAME_MS / 10:g}", p99 < FRAME_MS / 10),
        ("constant", ours[-1] / ours[0], "times", "at most 1.5", ours[-1] <= 1.5 * ours[0]),
        ("near", loss, "points", "at most 2", loss <= 2),
        ("early", 100 * needed[LIVE], "% received", "below 100, and not above the offline network's", early),
        ("forecast", above, "", "below 1", above < 1),
        ("update", update, "ms", "below 1", update < 1),
    ]
    return pd.DataFrame(rows, columns=["target", "measured", "unit", "limit", "reached"])
