"""ESC-50 in its published layout."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from artifact.datasets import files
from artifact.datasets.esc50 import find_esc50, load_esc50


def test_esc50_in_its_published_layout(tmp_path, write_esc50):
    sounds = load_esc50(write_esc50(tmp_path / "ESC-50"), rate=11025)
    assert len(sounds.waves) == 20 and sounds.rate == 11025 and sounds.label_names == ("dog", "1", "rain")
    assert sounds.folds.tolist() == sorted(sounds.folds.tolist()) and set(sounds.folds) == set(range(1, 6))
    assert all(wave.dtype == np.float32 and len(wave) == 2756 and np.abs(wave).max() <= 1 for wave in sounds.waves)
    tone = sounds.waves[0]
    assert np.abs(np.fft.rfft(tone)).argmax() * 11025 / len(tone) == pytest.approx(440, abs=4)


def test_esc50_without_metadata_numbers_its_labels(tmp_path, write_esc50):
    assert load_esc50(write_esc50(tmp_path, meta=False)).label_names == ("0", "1", "2")


def test_esc50_that_is_not_so_is_named(tmp_path, write_esc50):
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


def test_esc50_is_found_in_the_mirror(tmp_path, monkeypatch, write_esc50):
    monkeypatch.setattr(files, "CACHE", tmp_path / "none")
    monkeypatch.setenv("RESONANCE_DATA", str(tmp_path))
    assert find_esc50() is None
    write_esc50(tmp_path / "ESC-50-master")
    assert find_esc50() == tmp_path / "ESC-50-master"
