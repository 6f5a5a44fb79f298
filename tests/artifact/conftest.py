"""Small data sets that several studies test with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from artifact.datasets.speech import Speech


def _speech(takes=12, seed=0):
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


def _esc50(folder, *, meta=True, rate=22050, clips=2):
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


@pytest.fixture(scope="session")
def toy_speech():
    """toy_speech(takes, seed) -> Speech."""
    return _speech


@pytest.fixture(scope="session")
def write_esc50():
    """write_esc50(folder, meta=, rate=, clips=) -> the folder."""
    return _esc50
