"""Sound: frames, the audio model, its padding, augmentation, ESC-50's layout, peers and tasks."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from artifact.datasets import files
from artifact.datasets.esc50 import find_esc50, load_esc50
from artifact.datasets.recordings import loudest, recordings
from artifact.datasets.speech import Speech
from artifact.peers.audio import TransformerAudioNet, log_mel_features, mel_filters, without_mean_spectrum
from artifact.studies.audio import figures as plots_audio
from artifact.studies.audio.augmentation import AudioAugmentation
from artifact.studies.audio.tables import METHODS, audio_tables
from artifact.studies.audio.tasks import (
    ABLATIONS,
    MODELS,
    NO_AUGMENTATION,
    OFFICIAL,
    REGRESSION,
    RESONANCE,
    VALIDATION,
    DigitTask,
    accuracies,
    chosen_settings,
    digit_answers,
    environment_scores,
    train_digits,
)
from resonance import ResonanceAudioNet, SpectrumFrames
from resonance.audio import FrameTokens, LearnedFrames, delays_, freeze_phases_
from resonance.layers import BandMixing
from resonance.polar import PolarWeight, count_parameters

STILL = {"speed": 0.0, "shift": 0, "mask": 0.0, "noise_db": (math.inf, math.inf), "tilt_db": 0.0}


def small(**options):
    return ResonanceAudioNet(4, frame=64, hop=32, dim=16, num_layers=2, num_frequencies=5, window=32, **options).eval()


def toy_speech(takes=12, seed=0):
    """Two words (a low and a high tone) of three speakers (levels and noise), of unequal length."""
    source = np.random.default_rng(seed)
    rows = [(word, speaker, take) for word in range(2) for speaker in range(3) for take in range(takes)]
    waves = []
    for word, speaker, _ in rows:
        t = np.arange(source.integers(1500, 3000))
        tone = np.sin(2 * np.pi * (0.05 + 0.1 * word) * t + source.uniform(0, 6))
        waves.append((0.1 * (speaker + 1) * (tone + 0.1 * source.standard_normal(len(t)))).astype(np.float32))
    labels, speakers, takes = (np.array(column) for column in zip(*rows, strict=True))
    return Speech("toy", waves, labels, speakers, takes, ("a", "b", "c"), 8000)


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


def test_under_a_hundred_thousand_parameters():
    sizes = {name: count_parameters(build()) for name, build in MODELS.items()}
    assert max(sizes.values()) < 100_000, sizes


@pytest.mark.parametrize("build", [small, lambda: small(front_end=LearnedFrames(64, 32, 20))])
def test_what_stands_behind_a_recording_has_no_effect(build):
    torch.manual_seed(0)
    model, lengths = build(), torch.tensor([900, 500, 64, 10])
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


def test_silence_is_finite():
    model = small()
    assert model(torch.zeros(1, 500)).isfinite().all()


def test_tokens_are_of_size_one_at_the_start_of_training():
    waves = torch.randn(4, 900) * torch.tensor([[1e-3], [0.1], [1.0], [30.0]])
    embedding = FrameTokens(SpectrumFrames(64, 32), 8)
    scaled = (embedding.spectrum(waves) - embedding.level) / embedding.spread
    assert scaled.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.5)
    torch.testing.assert_close(scaled.mean(dim=(1, 2)), scaled.mean().expand(4), rtol=0.2, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast_is_close(dtype):
    torch.manual_seed(0)
    model, waves = small(), torch.randn(2, 800)
    with torch.autocast("cpu", dtype):
        low = model(waves)
    torch.testing.assert_close(low.float(), model(waves), rtol=0.1, atol=0.1)


def test_learned_frames_start_as_the_transform():
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


def test_bad_input_is_named():
    model = small()
    with pytest.raises(ValueError, match=r"waves of \(batch, samples\)"):
        model(torch.randn(500))
    with pytest.raises(ValueError, match=r"1\.\.500, got 3\.\.501"):
        model(torch.randn(2, 500), torch.tensor([3, 501]))
    with pytest.raises(ValueError, match="longer than window=32"):
        model(torch.randn(1, 64 + 32 * 32))
    with pytest.raises(ValueError, match="num_layers"):
        ResonanceAudioNet(10, num_layers=0)
    with pytest.raises(ValueError, match="bins >= 2"):
        LearnedFrames(64, 32, 1)


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


def test_phases_kept_at_zero():
    model = freeze_phases_(small())
    phases = [m.phase for m in model.modules() if isinstance(m, PolarWeight)]
    assert len(phases) == 2 and not any(p.any() or p.requires_grad for p in phases)


def test_without_mixing_a_frame_sees_itself_alone():
    torch.manual_seed(0)
    model = MODELS["no mixing"]().eval()
    waves = torch.randn(1, 2048)
    embedded = model.embedding(waves)
    h = embedded[:, 3:4]
    for resonance, feed_forward in zip(model.resonance, model.feed_forward, strict=True):
        h = feed_forward(resonance(h))
    torch.testing.assert_close(model.tokens(waves)[:, 3:4], model.norm(h), rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------- recordings and their augmentation


def test_recordings_are_cut_to_their_loudest_stretch():
    wave = np.zeros(100, np.float32)
    wave[60:80] = 1.0
    assert loudest(wave, 20).tolist() == [1.0] * 20 and loudest(wave, 200) is wave
    both = recordings([wave, wave[:50]], np.array([1, 0]), 60)
    assert both.lengths.tolist() == [60, 50] and both.waves.shape == (2, 60)
    with pytest.raises(ValueError, match="empty"):
        recordings([np.zeros(0, np.float32)], np.array([0]), 10)


def test_an_epoch_shows_every_recording_once_with_like_lengths():
    source = np.random.default_rng(0)
    waves = [np.full(n, i, np.float32) for i, n in enumerate(source.integers(10, 400, 103))]
    everything = recordings(waves, np.arange(103), 500)
    stream = everything.batches(16, torch.Generator().manual_seed(0))
    epoch = [next(stream) for _ in range(6)]
    labels = torch.cat([batch[2] for batch in epoch])
    assert sorted(labels.tolist()) == list(range(103))
    for batch_waves, lengths, names in epoch:
        assert batch_waves.shape[1] == lengths.max() and 16 <= len(names) <= 18
        assert (batch_waves[torch.arange(len(names)), lengths - 1] == names).all()
    second = torch.cat([next(stream)[2] for _ in range(6)])
    assert sorted(second.tolist()) == list(range(103)) and second.tolist() != labels.tolist()


def test_logits_keep_the_order():
    torch.manual_seed(0)
    source = np.random.default_rng(0)
    waves = [source.standard_normal(n).astype(np.float32) for n in source.integers(64, 900, 9)]
    model, everything = small(), recordings(waves, np.zeros(9, int), 1000)
    alone = torch.cat([model(torch.from_numpy(w)[None]) for w in waves])
    torch.testing.assert_close(everything.logits(model, size=4), alone, rtol=1e-4, atol=1e-5)


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


# --------------------------------------------------------------------------- peers


def test_mel_filters_are_triangles_that_sum_to_one_between_peaks():
    filters = mel_filters(12, 256, 8000)
    assert filters.shape == (129, 12) and filters.min() == 0 and filters.max() <= 1
    inner = slice(int(filters[:, 0].argmax()) + 1, int(filters[:, -1].argmax()))
    torch.testing.assert_close(filters[inner].sum(dim=1), torch.ones_like(filters[inner, 0]))
    assert (filters.argmax(dim=0).diff() > 0).all()
    with pytest.raises(ValueError, match="fewer mel bands than 100"):
        mel_filters(100, 64, 8000)


def test_log_mel_features_ignore_loudness_and_padding():
    speech = toy_speech(takes=1)
    plain = log_mel_features(recordings(speech.waves, speech.labels, 4000), 8000, bands=10, steps=5)
    louder = log_mel_features(recordings([3 * w for w in speech.waves], speech.labels, 4000), 8000, bands=10, steps=5)
    assert plain.shape == (6, 50)
    np.testing.assert_allclose(plain, louder, atol=1e-3)


def test_without_its_mean_spectrum_a_recording_has_no_microphone():
    source = np.random.default_rng(0)
    features, microphone = source.standard_normal((4, 30)).astype(np.float32), np.repeat(source.standard_normal(6), 5)
    cleared = without_mean_spectrum(features, 6)
    np.testing.assert_allclose(without_mean_spectrum(features + microphone, 6), cleared, atol=1e-6)
    np.testing.assert_allclose(cleared.reshape(4, 6, 5).mean(axis=2), 0, atol=1e-6)


def test_the_transformer_ignores_padding():
    torch.manual_seed(0)
    model, lengths = TransformerAudioNet(10).eval(), torch.tensor([2000, 700])
    waves = torch.randn(2, 3000)
    alone = torch.cat([model(waves[i : i + 1, :n], torch.tensor([n])) for i, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(model(waves, lengths), alone, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------- tasks


def test_splits_are_disjoint_and_hold_what_they_say():
    task = DigitTask(toy_speech())
    assert task.splits == (OFFICIAL, "a", "b", "c")
    for split in (*task.splits, VALIDATION):
        train, test = task.masks(split)
        assert not (train & test).any() and train.any() and test.any()
    assert set(task.speech.takes[task.masks(OFFICIAL)[1]]) == set(range(5))
    official, validation = task.masks(OFFICIAL), task.masks(VALIDATION)
    assert not (official[1] & (validation[0] | validation[1])).any(), "what is tuned must not see the test"
    assert set(task.speech.speakers[task.masks("b")[1]]) == {1} and 1 not in task.speech.speakers[task.masks("b")[0]]
    with pytest.raises(ValueError, match="unknown split 'd'"):
        task.masks("d")


def test_everything_learns_two_tones():
    task = DigitTask(toy_speech())
    for name, setting in ((RESONANCE, 4e-3), (REGRESSION, 1.0)):
        answers = digit_answers(task, name, "c", setting=setting, steps=25, seed=0)
        assert len(answers) == 24 and set(answers["speaker"]) == {"c"}
        assert accuracies(answers)["accuracy"].item() > 0.95, name


def test_training_is_seeded_and_the_arms_differ():
    train = DigitTask(toy_speech(takes=6)).pair(OFFICIAL)[0]
    once, again = (train_digits(RESONANCE, train, rate=1e-3, steps=2, seed=3) for _ in range(2))
    for a, b in zip(once.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for arm in ABLATIONS:
        other = train_digits(arm, train, rate=1e-3, steps=2, seed=3)
        weights = other.output_projection.weight
        assert not torch.equal(weights, once.output_projection.weight), arm
    assert NO_AUGMENTATION in ABLATIONS and RESONANCE not in ABLATIONS


def test_chosen_settings_take_the_best_and_the_first_of_equals():
    rows = [("a", 1.0, 0.5), ("a", 2.0, 0.9), ("a", 3.0, 0.9), ("b", 7.0, 0.1)]
    table = pd.DataFrame(rows, columns=["method", "setting", "accuracy"])
    assert chosen_settings(table) == {"a": 2.0, "b": 7.0}


# --------------------------------------------------------------------------- ESC-50


def write_esc50(folder, *, meta=True, rate=22050, clips=2):
    """Write a folder in ESC-50's layout: two targets, five folds."""
    source = np.random.default_rng(0)
    (folder / "audio").mkdir(parents=True)
    rows = []
    for fold in range(1, 6):
        for clip in range(clips):
            for target, name in ((0, "dog"), (2, "rain")):
                file = f"{fold}-{100 * fold + clip}-A-{target}.wav"
                t = np.arange(rate // 4)
                tone = np.sin(2 * np.pi * 440 * t / rate)
                wave = tone if target == 0 else source.standard_normal(len(t)) / 3
                wavfile.write(folder / "audio" / file, rate, (wave * 8000).astype(np.int16))
                rows.append({"filename": file, "fold": fold, "target": target, "category": name})
    if meta:
        (folder / "meta").mkdir()
        pd.DataFrame(rows).to_csv(folder / "meta" / "esc50.csv", index=False)
    return folder


def test_esc50_in_its_published_layout(tmp_path):
    sounds = load_esc50(write_esc50(tmp_path / "ESC-50"), rate=11025)
    assert len(sounds.waves) == 20 and sounds.rate == 11025 and sounds.label_names == ("dog", "1", "rain")
    assert sounds.folds.tolist() == sorted(sounds.folds.tolist()) and set(sounds.folds) == set(range(1, 6))
    assert all(wave.dtype == np.float32 and len(wave) == 2756 and np.abs(wave).max() <= 1 for wave in sounds.waves)
    tone = sounds.waves[0]
    assert np.abs(np.fft.rfft(tone)).argmax() * 11025 / len(tone) == pytest.approx(440, abs=4)


def test_esc50_without_metadata_numbers_its_labels(tmp_path):
    assert load_esc50(write_esc50(tmp_path, meta=False)).label_names == ("0", "1", "2")


def test_esc50_folds_are_scored_apart(tmp_path):
    scores = environment_scores(load_esc50(write_esc50(tmp_path)), rate=5e-3, strength=1.0, steps=8)
    assert scores["fold"].tolist() == [1, 2, 3, 4, 5]
    assert scores[RESONANCE].mean() > 0.9 and scores[REGRESSION].mean() > 0.9


def test_esc50_that_is_not_so_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected recordings"):
        load_esc50(tmp_path)
    folder = write_esc50(tmp_path / "a")
    table = pd.read_csv(folder / "meta" / "esc50.csv")
    table.assign(fold=1).to_csv(folder / "meta" / "esc50.csv", index=False)
    with pytest.raises(ValueError, match="in fold 2 with target 0"):
        load_esc50(folder)
    (folder / "audio" / "noise.wav").write_bytes((folder / "audio" / "1-100-A-0.wav").read_bytes())
    with pytest.raises(ValueError, match=r"noise\.wav: expected a name"):
        load_esc50(folder)
    stereo = write_esc50(tmp_path / "b")
    wavfile.write(stereo / "audio" / "1-100-A-0.wav", 8000, np.zeros((100, 2), np.int16))
    with pytest.raises(ValueError, match="expected mono 16-bit"):
        load_esc50(stereo)


def test_esc50_is_found_in_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CACHE", tmp_path / "none")
    monkeypatch.setenv("RESONANCE_DATA", str(tmp_path))
    assert find_esc50() is None
    write_esc50(tmp_path / "ESC-50-master")
    assert find_esc50() == tmp_path / "ESC-50-master"


# --------------------------------------------------------------------------- figures and tables


def toy_answers():
    rows = [
        (method, split, 0, speaker, digit, (digit + (k == 0)) % 10)
        for method in (RESONANCE, NO_AUGMENTATION)
        for split, speaker in ((OFFICIAL, "a"), ("a", "a"), ("b", "b"))
        for digit in range(10)
        for k in range(4)
    ]
    return pd.DataFrame(rows, columns=["method", "split", "seed", "speaker", "digit", "said"])


def test_accuracies_are_shares_of_right_answers():
    scores = accuracies(toy_answers())
    assert len(scores) == 6 and scores["accuracy"].tolist() == [0.75] * 6
    assert scores["split"].tolist()[:3] == [OFFICIAL, "a", "b"]


def test_figures_show_what_they_are_given():
    answers, scores = toy_answers(), accuracies(toy_answers())
    shown = plots_audio.confusion(answers, RESONANCE).axes[0]
    assert {text.get_text() for text in shown.texts} == {"75", "25"} and len(shown.texts) == 20
    speakers = plots_audio.accuracy_by_speaker(scores, (OFFICIAL, "a", "b")).axes[0]
    assert [label.get_text() for label in speakers.get_xticklabels()] == ["official test", "a", "b"]
    ablation = plots_audio.ablation_accuracies(scores, RESONANCE)
    assert [axes.get_title() for axes in ablation.axes] == ["official test", "speakers held out"]
    alone = plots_audio.ablation_accuracies(scores[scores["split"] == OFFICIAL], RESONANCE)
    assert [axes.get_title() for axes in alone.axes] == ["official test"]


def test_tables_have_a_row_a_method_and_a_column_a_speaker():
    values = {f"audio.{key}.{of}": 75.25 for key in METHODS for of in ("parameters", "official", "speakers")}
    values |= {f"audio.{key}.speaker.{name}": 50.5 for key in METHODS for name in ("ann", "bob")}
    values |= {f"audio.ablation.{key}.official": 90.5 for key in ("resonance", "zero_phases")}
    by_key = pd.DataFrame({"value": values, "ci_low": math.nan, "ci_high": math.nan})
    tables = audio_tables(by_key)
    assert set(tables) == {"audio", "audio_speakers", "audio_ablation"}
    assert "ann & bob" in tables["audio_speakers"] and tables["audio"].count("75.25") == 3 * len(METHODS)
    assert "Phases kept at zero" in tables["audio_ablation"] and "--" in tables["audio_ablation"]
    assert audio_tables(by_key.iloc[:0]) == {}
