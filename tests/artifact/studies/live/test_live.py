"""Live: speech frame by frame and a series hour by hour, equal to the parallel form, causal, and measured right."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.datasets.speech import Speech
from artifact.peers.live import RotaryAttention
from artifact.studies.audio.tasks import OFFICIAL, DigitTask
from artifact.studies.live import figures as plots_live
from artifact.studies.live.forecasting import (
    choose_live,
    deviation,
    error_after,
    features,
    fit_readout_,
    heard_rows,
    live_moments,
    origins,
    readout,
    serve,
)
from artifact.studies.live.serving import (
    LIVE_FORECASTER,
    RIDGE,
    WINDOWED,
    context_seconds,
    forecast_scores,
    frame_seconds,
    marks,
    parallel_gap,
    real_time,
    window_peers,
)
from artifact.studies.live.speech import (
    AT_THE_END,
    HOP,
    KEYS,
    LIVE,
    MODELS,
    NO_MIXING,
    OFFLINE,
    TRANSFORMER,
    Heard,
    accuracy_heard,
    decisions,
    frame_targets,
    heard,
    share_for,
    threshold_for,
    train_live,
)
from artifact.studies.live.tables import FORECASTERS, METHODS, live_tables
from resonance import LiveAudioNet, LiveForecaster
from resonance.audio import SpectrumFrames
from resonance.forecasting import ForecastTask, Series, forecast_task
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


def toy_speech(takes=12, seed=0):
    """Two words (a low and a high tone) of three speakers, of unequal length."""
    source = np.random.default_rng(seed)
    rows = [(word, speaker, take) for word in range(2) for speaker in range(3) for take in range(takes)]
    waves = []
    for word, speaker, _ in rows:
        t = np.arange(source.integers(1000, 2500))
        tone = np.sin(2 * np.pi * (0.05 + 0.1 * word) * t + source.uniform(0, 6))
        waves.append((0.1 * (speaker + 1) * (tone + 0.1 * source.standard_normal(len(t)))).astype(np.float32))
    labels, speakers, takes = (np.array(column) for column in zip(*rows, strict=True))
    return Speech("toy", waves, labels, speakers, takes, ("a", "b", "c"), 8000)


# --------------------------------------------------------------------------- speech


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
    with pytest.raises(ValueError, match=r"lengths must lie in 1\.\.100"):
        model(torch.zeros(1, 100), torch.tensor([101]))
    with pytest.raises(ValueError, match=r"expected the next samples, \(batch, 20\), got \(1, 21\)"):
        model.step(torch.zeros(1, 21), model.initial_state(1))
    with pytest.raises(ValueError, match="hop=300, frame=256"):
        LiveFrames(256, 300)
    with pytest.raises(ValueError, match="num_classes >= 1"):
        LiveAudioNet(0)
    with pytest.raises(ValueError, match="dim=18, num_heads=4"):
        RotaryAttention(18, 4)
    with pytest.raises(ValueError, match=r"\(batch, 16\), got \(1, 3, 16\)"):
        RotaryAttention(16).step(torch.zeros(1, 3, 16), {})


def test_a_cache_grows_and_stays_right():
    attention, x = RotaryAttention(16, 2).double(), torch.randn(2, 40, 16).double()
    state, y = attention.initial_state(2, dtype=torch.float64, room=1), []
    for t in range(40):
        answer, state = attention.step(x[:, t], state)
        y.append(answer)
    assert state["keys"].shape[2] == 64 and state["seen"].tolist() == [40, 40]
    torch.testing.assert_close(torch.stack(y, 1), attention(x), rtol=1e-9, atol=1e-9)
    later = attention(torch.cat([torch.zeros(2, 3, 16).double(), x], 1))  # with unknown tokens before, another answer
    assert not torch.allclose(later[:, 3:], attention(x))


# --------------------------------------------------------------------------- answers over time


def toy_heard():
    """Three recordings of 4, 2 and 1 frames, two classes, right from frame 3, 1 and never."""
    says = torch.tensor([[0.6, 0.55, 0.2, 0.1], [0.3, 0.05, 0.05, 0.05], [0.9, 0.9, 0.9, 0.9]])
    return Heard(torch.stack([says, 1 - says], dim=-1), torch.tensor([4, 2, 1]), torch.tensor([1, 1, 1]))


def test_accuracy_by_share_and_seconds():
    table = accuracy_heard(toy_heard(), [0.25, 0.5, 0.75, 1.0])
    shares, seconds = (table[table["kind"] == kind] for kind in ("share", "seconds"))
    assert shares["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert seconds["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert seconds["heard"].tolist() == pytest.approx([0.02, 0.04, 0.06, 0.08])


def test_decisions_fall_at_the_threshold_or_at_the_end():
    right, frames = toy_heard().decided(0.85)
    assert right.tolist() == [True, True, False] and frames.tolist() == [4, 2, 1]
    right, frames = toy_heard().decided(0.5)
    assert right.tolist() == [False, True, False] and frames.tolist() == [1, 1, 1]
    table = decisions(toy_heard(), [0.5, 0.85])
    assert table["share"].tolist() == pytest.approx([(0.25 + 0.5 + 1) / 3, 1.0])
    assert threshold_for(toy_heard(), [0.85, 0.5, 0.75]) == 0.75
    assert threshold_for(toy_heard(), [0.5]) == 1.0


def test_the_share_needed_is_where_the_level_is_kept():
    shares = pd.Series([0.2, 0.96, 0.9, 0.95, 0.97], index=[0.2, 0.4, 0.6, 0.8, 1.0])
    assert share_for(shares, 0.95) == 0.8 and share_for(shares, 0.1) == 0.2 and share_for(shares, 0.99) == math.inf


def test_targets_weigh_what_was_heard():
    labels, count = torch.tensor([1, 0]), torch.tensor([2, 3])
    targets = frame_targets(labels, count, 4, classes=3, smoothing=0.3)
    weight = torch.tensor([[1 / 2, 1, 0, 0], [1 / 3, 2 / 3, 1, 0]]) * 8 / 3.5
    torch.testing.assert_close(targets.sum(1), weight)
    torch.testing.assert_close(targets[0, :, 1], torch.tensor([0.1, 0.8, 0.1]) * weight[0, 1])
    logits = torch.randn(2, 3, 4)
    each = torch.nn.functional.cross_entropy(
        logits, labels[:, None].expand(2, 4), label_smoothing=0.3, reduction="none"
    )
    expected = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, targets), expected)
    last = frame_targets(labels, count, 4, classes=3, end_only=True)
    assert (last.sum(1) > 0).nonzero().tolist() == [[0, 1], [1, 2]]


def test_networks_learn_two_tones_and_answer_as_they_were_asked():
    train, test = DigitTask(toy_speech()).pair(OFFICIAL)
    for name in (LIVE, TRANSFORMER, OFFLINE):
        model = train_live(name, train, rate=4e-3, steps=25, seed=0)
        answers = heard(model, test, size=7)
        assert answers.at_share(1.0).double().mean() > 0.95, name
        for i in (0, 17):  # each answer is that of what was heard by then
            n, wave = int(test.lengths[i]), test.waves[i : i + 1]
            for t in (1, int(answers.count[i]) - 1):
                logits = model(wave[:, : t * HOP]) if name == OFFLINE else model(wave[:, :n])[:, t - 1]
                said = answers.probability[i, t - 1].log()
                assert (said[1] - said[0]).item() == pytest.approx((logits[0, 1] - logits[0, 0]).item(), abs=1e-3)


def test_training_is_seeded_and_the_arms_differ():
    train = DigitTask(toy_speech(takes=6)).pair(OFFICIAL)[0]
    once, again = (train_live(LIVE, train, rate=1e-3, steps=2, seed=3) for _ in range(2))
    for a, b in zip(once.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for arm in (AT_THE_END, NO_MIXING):
        other = train_live(arm, train, rate=1e-3, steps=2, seed=3)
        assert not torch.equal(other.output_projection.weight, once.output_projection.weight), arm
    assert set(KEYS) == set(MODELS) and all(count_parameters(build()) < 120_000 for build in MODELS.values())


# --------------------------------------------------------------------------- a series


def toy_task(steps=900, channels=2, horizon=6, seed=0):
    source = np.random.default_rng(seed)
    t = np.arange(steps)[:, None]
    values = (
        np.sin(2 * np.pi * t / 12 + np.arange(channels)) + 0.002 * t + 0.1 * source.standard_normal((steps, channels))
    )
    names = tuple(f"c{i}" for i in range(channels))
    return forecast_task(Series("toy", values, names, period=12, step="hour"), horizon)


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
    with pytest.raises(ValueError, match="ridge > 0"):
        fit_readout_(model, None, 0.0)
    moved = model.mixing.set_poles_(torch.full((35,), 8.0), torch.full((35,), 0.25))
    torch.testing.assert_close(moved.time_scales().float(), torch.full((35,), 8.0), rtol=1e-5, atol=0)
    torch.testing.assert_close(moved.frequencies().float(), torch.full((35,), 0.25), rtol=1e-5, atol=0)


def test_the_readout_is_the_ridge_regression_of_its_features():
    from sklearn.linear_model import Ridge

    task = toy_task()
    model = LiveForecaster(6, 2, period=12, scales=2, longest=4.0, harmonics=3)
    rows = heard_rows(task)
    inputs = features(model, rows[: task.borders[1]])
    fit_readout_(model, live_moments(model, task, "train", inputs), 3.0)
    at = torch.tensor(origins(task, "train"))
    level = model.level(rows[None])[0]
    x = inputs[at].movedim(1, 2).flatten(0, 1)
    y = (rows[at[:, None] + torch.arange(1, 7)] - level[at][:, None]).movedim(1, 2).flatten(0, 1)
    expected = Ridge(alpha=3.0, fit_intercept=False).fit(x.double().numpy(), y.double().numpy()).coef_
    np.testing.assert_allclose(readout(model).numpy(), expected, rtol=1e-3, atol=1e-4)
    with torch.no_grad():  # and the features are what the model weighs
        forecast = torch.einsum("hf,nfc->nhc", readout(model), inputs)
        torch.testing.assert_close(
            model(rows[None])[0, : len(inputs)], level[: len(inputs), None] + forecast, rtol=1e-3, atol=1e-3
        )


def test_weights_of_calm_hours_follow_the_deviation():
    rows = torch.randn(100, 3)
    torch.testing.assert_close(deviation(rows, 10)[50], rows[41:51].double().std(0, correction=0))
    torch.testing.assert_close(deviation(rows, 10)[4], rows[:5].double().std(0, correction=0))


def test_windows_are_those_of_the_protocol():
    task = toy_task()
    for split in ("validation", "test"):
        windows, at = task.windows(split, 24), origins(task, split)
        assert len(windows) == len(at)
        past, future = windows.batch(torch.tensor([0, len(at) - 1]))
        rows = heard_rows(task)
        for i, t in enumerate((at[0], at[-1])):
            torch.testing.assert_close(past[i, -1], rows[t])
            torch.testing.assert_close(future[i], rows[t + 1 : t + 7])
    assert max(origins(task, "train")) + task.horizon == task.borders[0] - 1, "training must not see validation"


def test_validation_chooses_and_the_served_error_is_the_parallel_one():
    task = toy_task()
    table, best, model = choose_live(task, [(2, 4.0, 3, calm, ridge) for calm in (0.0, 1.0) for ridge in (0.1, 1e4)])
    assert len(table) == 4 and best.ridge == 0.1
    at = torch.tensor(origins(task, "validation"))
    rows = heard_rows(task)
    with torch.no_grad():
        parallel = model(rows[None])[0, at] - rows[at[:, None] + torch.arange(1, 7)]
    errors, seconds = serve(model, task, "validation")
    assert errors.shape == (2, len(at)) and len(seconds) == at[-1] + 1
    assert errors[0].mean() == pytest.approx(parallel.square().mean().item(), rel=1e-4)
    assert errors[0].mean() == pytest.approx(table["validation_mse"].min(), rel=1e-4)
    after = error_after(model, task, [1, 24, 200], every=3)
    errors, _ = serve(model, task, "test")
    assert (
        after["mse"].iloc[-1] == pytest.approx(errors[0][::3].mean(), rel=0.05)
        and after["mse"].iloc[0] > after["mse"].iloc[1]
    )


def test_the_test_rows_reach_no_choice():
    task = toy_task()
    grid = [(2, 4.0, 3, 1.0, 1.0), (1, 4.0, 3, 0.0, 10.0)]
    table, best, model = choose_live(task, grid)
    values = task.series.values.copy()
    values[task.borders[1] :] = 1e3
    other = Series("toy", values, task.series.channels, 12, "hour")
    changed, same, again = choose_live(ForecastTask(other, 6, task.borders, task.mean, task.std), grid)
    assert same == best and changed.equals(table)
    torch.testing.assert_close(readout(again), readout(model), rtol=0, atol=0)


# --------------------------------------------------------------------------- serving, figures, tables


def served_scores():
    task = toy_task()
    table, _, model = choose_live(task, [(2, 4.0, 3, 0.0, 1.0)])
    peers = window_peers(task, {"ridge": [24]}, [1.0, 10.0], [(24, 0.5, 1.0, 3, 1.0)])
    return task, model, forecast_scores(task, model, float(table["validation_mse"].min()), serve(model, task), peers)


def test_forecasts_are_scored_on_the_same_windows():
    scores = served_scores()[2]
    assert scores["method"].tolist() == [LIVE_FORECASTER, RIDGE, WINDOWED] and scores["ratio"].iloc[0] == 1
    assert scores["kept"].tolist() == [3 * 6 * 2 + 12 * 2 + 1, 48, 48] and scores["parameters"].iloc[1] == 24 * 6
    assert (scores["p50"] <= scores["p99"]).all() and (scores["mse_low"] <= scores["mse"]).all()
    assert scores["ratio"].iloc[1] == pytest.approx(scores["mse"].iloc[0] / scores["mse"].iloc[1])


def test_times_are_counted_a_frame_each():
    test = DigitTask(toy_speech(takes=6)).pair(OFFICIAL)[1]
    models = {name: MODELS[name]() for name in (LIVE, TRANSFORMER, OFFLINE)}
    times = frame_seconds(models, test, 2)
    counts = times.groupby("method")["frame"].agg(["count", "max"])
    assert counts["count"].nunique() == 1 and (times["seconds"] > 0).all()
    speed = real_time(times)
    assert (speed["p50"] <= speed["p99"]).all() and (speed["p99"] <= speed["most"]).all()
    np.testing.assert_allclose(speed["factor_p50"] * speed["p50"], 20.0)
    growth = context_seconds([0.1, 0.4], repeats=2)
    kept = growth.pivot_table(index="heard", columns="method", values="kept")
    assert kept[LIVE].nunique() == 1 and kept.loc[0.4, TRANSFORMER] > 3 * kept.loc[0.1, TRANSFORMER]
    task, forecaster, scores = served_scores()
    curves = pd.concat(
        accuracy_heard(toy_heard(), [0.25, 0.5, 1.0]).assign(method=name, seed=seed)
        for name in models
        for seed in (0, 1)
    )
    table = marks(curves, speed.set_index("method"), growth, scores, 0.5).set_index("mark")
    assert table.loc["near", "measured"] == 0 and table.loc["near", "reached"] and not table.loc["early", "reached"]
    assert table.loc["real_time", "reached"] == (speed["p99"].iloc[0] < 2)
    gaps = parallel_gap(models[LIVE], test, forecaster, task)
    assert 0 <= max(gaps.values()) < 1e-3
    decided = pd.concat(decisions(toy_heard(), [0.5, 0.9]).assign(method=name, seed=0) for name in models)
    after = pd.DataFrame({"heard": [1, 10], "mse": [2.0, 1.0], "ridge": 1.5})
    drawn = plots_live.accuracy_against_heard(curves, 0.5).axes[0]
    assert [line.get_label() for line in drawn.lines[:3]] == list(models)
    assert len(plots_live.decision_times(decided).axes[0].lines) == 3
    assert [axes.get_xscale() for axes in plots_live.frame_times(times, growth).axes] == ["log", "log"]
    ratios = plots_live.forecasts_served(scores, after, "hour").axes[0]
    assert [label.get_text() for label in ratios.get_yticklabels()] == [RIDGE, WINDOWED]


def test_tables_have_a_row_a_method():
    values = {f"live.{key}.{of}": 75.25 for key in METHODS for of in ("end", "share.25", "share.50", "share.75")}
    values |= {
        f"live.{key}.{of}": 1.5 for key in ("resonance", "offline") for of in ("p50", "p99", "factor_p99", "parameters")
    }
    values |= {
        f"live.forecast.{key}.{of}": 0.375
        for key in FORECASTERS
        for of in ("parameters", "kept", "validation_mse", "mse", "mae", "p50", "p99")
    }
    by_key = pd.DataFrame({"value": values, "ci_low": math.nan, "ci_high": math.nan})
    tables = live_tables(by_key)
    assert set(tables) == {"live_marks", "live", "live_frames", "live_forecasts"}
    assert tables["live_marks"].count("no ") == 6 and "--" in tables["live_marks"]
    assert tables["live"].count("75.25") == 3 * len(METHODS) and tables["live_frames"].count("\\\\") == 3
    assert live_tables(by_key.iloc[:0]) == {}
