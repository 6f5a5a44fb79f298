"""Recordings of spoken words: the Free Spoken Digit Dataset, and scanned images in its place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import wavfile

from artifact.datasets import files as data
from artifact.datasets.files import stand_in, unpacked
from artifact.datasets.images import load_digits

FSDD_COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
FSDD_URL = f"https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/tar.gz/{FSDD_COMMIT}"
# sha256 of the lines that `sha256sum *.wav` prints, sorted by name: the same for every archive of the recordings
FSDD_DIGEST = "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959"


@dataclass(frozen=True)
class Speech:
    """Recordings of spoken words: waves of float32 in -1 .. 1, and for each a label, a speaker and a take."""

    dataset: str
    waves: list[np.ndarray]
    labels: np.ndarray  # int64
    speakers: np.ndarray  # int64, an index into speaker_names
    takes: np.ndarray  # int64, from 0 for each speaker and word
    speaker_names: tuple[str, ...]
    rate: int  # Hz
    stand_in: bool = False


def load_fsdd(*, allow_stand_in: bool = False) -> Speech:
    """The Free Spoken Digit Dataset: 3,000 recordings at 8 kHz, 10 digits x 6 speakers x 50 takes.

    Its official test set are takes 0 to 4.  Where it is not available and a stand-in is allowed: `load_scanned_digits`.
    Raises DataUnavailableError, or CorruptDataError when what was found is not the published recordings.
    Source: Jackson et al., v1.0.10; CC BY-SA 4.0.
    """
    folder = fsdd_folder()
    if folder is None:
        return stand_in("FSDD", load_scanned_digits, allowed=allow_stand_in)
    paths = sorted(folder.glob("*.wav"))
    parts = [path.stem.split("_") for path in paths]
    names = tuple(sorted({speaker for _, speaker, _ in parts}))
    waves = [wavfile.read(path)[1].astype(np.float32) / np.float32(32768) for path in paths]
    labels, takes = (np.array([int(part[i]) for part in parts]) for i in (0, 2))
    speakers = np.array([names.index(part[1]) for part in parts])
    return Speech("FSDD", waves, labels, speakers, takes, names, rate=8000)


def load_scanned_digits() -> Speech:
    """The stand-in for FSDD: digits of 8 x 8 scanned line by line, 32 samples a pixel, "speakers" by order."""
    digits = load_digits()
    images, labels = (np.concatenate(pair) for pair in zip(digits.train, digits.test, strict=True))
    waves = [np.repeat(image.ravel() - image.mean(), 32).astype(np.float32) for image in images]
    order = np.arange(len(labels))
    takes = pd.Series(labels).groupby(labels).cumcount().to_numpy() // 6
    names = tuple(f"sixth {i + 1}" for i in range(6))
    dataset = "digits of scikit-learn, scanned (stand-in)"
    return Speech(dataset, waves, labels, order * 6 // len(order), takes, names, rate=8000, stand_in=True)


def fsdd_folder() -> Path | None:
    """The folder of the verified recordings, or None where they are not available; raises CorruptDataError."""
    return unpacked("fsdd.tar.xz", data.CACHE / "fsdd", _is_fsdd, urls=(FSDD_URL, FSDD_URL))  # a download may fail once


def _is_fsdd(folder: Path) -> bool:
    lines = "".join(f"{data.sha256(path)}  {path.name}\n" for path in sorted(folder.glob("*.wav")))
    return hashlib.sha256(lines.encode()).hexdigest() == FSDD_DIGEST
