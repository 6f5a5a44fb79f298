"""ESC-50, environmental sounds, in its published layout; read where its folder is available, never fetched.

    audio/{fold}-{clip}-{take}-{target}.wav    five seconds of mono 16-bit sound at 44.1 kHz; folds 1 to 5
    meta/esc50.csv                             filename, fold, target, category, ...: the names of the targets

The folds keep all takes of one clip together: a fold is tested by a model trained on the four others.
Source: Piczak, ACM Multimedia 2015; CC BY-NC 3.0, hence not mirrored here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import wavfile
from scipy.signal import resample_poly

from artifact.datasets import files as data

NAME = re.compile(r"(\d+)-(\w+)-([A-Z]+)-(\d+)\.wav")


@dataclass(frozen=True)
class Sounds:
    """Labelled recordings: waves of float32 in -1 .. 1, and for each a label and a fold."""

    dataset: str
    waves: list[np.ndarray]
    labels: np.ndarray  # int64, an index into label_names
    folds: np.ndarray  # int64, 1 .. 5
    label_names: tuple[str, ...]
    rate: int  # Hz
    stand_in: bool = False


def find_esc50() -> Path | None:
    """The folder of ESC-50 in the cache or the mirror, named ESC-50 or ESC-50-master, or None."""
    places = [place for place in (data.CACHE, data.mirror()) if place is not None]
    folders = [place / name for place in places for name in ("ESC-50", "ESC-50-master")]
    return next((folder for folder in folders if (folder / "audio").is_dir()), None)


def load_esc50(folder: str | Path, *, rate: int = 11025) -> Sounds:
    """The recordings of a folder in ESC-50's layout, at `rate` Hz (anti-aliased), sorted by file name.

    Folds and labels are those of the file names; meta/esc50.csv, if there, names the labels and must agree.
    Raises FileNotFoundError where there is no recording; ValueError, naming the file, for a name of another layout,
    sound that is not mono 16-bit, or metadata that disagree.
    Memory: 4 bytes a sample, 220 kB a clip at the default rate.
    """
    folder = Path(folder)
    paths = sorted((folder / "audio").glob("*.wav"))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected recordings audio/{{fold}}-{{clip}}-{{take}}-{{target}}.wav")
    found = [NAME.fullmatch(path.name) for path in paths]
    if None in found:
        raise ValueError(f"{paths[found.index(None)]}: expected a name {{fold}}-{{clip}}-{{take}}-{{target}}.wav")
    folds, labels = (np.array([int(match[part]) for match in found]) for part in (1, 4))
    waves = [_read(path, rate) for path in paths]
    return Sounds("ESC-50", waves, labels, folds, _label_names(folder, paths, folds, labels), rate)


def _read(path: Path, rate: int) -> np.ndarray:
    """A recording at `rate` Hz."""
    own, wave = wavfile.read(path)
    if wave.ndim != 1 or wave.dtype != np.int16:
        raise ValueError(f"{path}: expected mono 16-bit sound, got {wave.dtype} of shape {wave.shape}")
    return resampled(wave.astype(np.float32) / np.float32(32768), own, rate)


def resampled(wave: np.ndarray, own: int, rate: int) -> np.ndarray:
    """A wave of `own` Hz at `rate` Hz, low-passed where the rate falls; float32."""
    common = gcd(own, rate)
    return wave if own == rate else resample_poly(wave, rate // common, own // common).astype(np.float32)


def _label_names(folder: Path, paths: list[Path], folds: np.ndarray, labels: np.ndarray) -> tuple[str, ...]:
    """The names of the labels: the categories of the metadata, or else their numbers."""
    names = {label: str(label) for label in range(labels.max() + 1)}
    meta = folder / "meta" / "esc50.csv"
    if meta.exists():
        rows = pd.read_csv(meta).set_index("filename").reindex([path.name for path in paths])
        for name, fold, label in zip(rows.index, folds, labels, strict=True):
            if tuple(rows.loc[name, ["fold", "target"]]) != (fold, label):
                raise ValueError(f"{meta}: expected {name} in fold {fold} with target {label}")
        names |= dict(zip(labels, rows["category"], strict=True))
    return tuple(names.values())
