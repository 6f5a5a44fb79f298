"""ESC-10, ten classes of environmental sound in the five folds of ESC-50, of which it is a part.

    {class} - {name}/{fold}-{clip}-{take}.ogg    mono Ogg Vorbis at 44.1 kHz, five seconds, a few longer; folds 1 to 5

The folds keep all takes of one clip together: a fold is tested by a model trained on the four others.
Source: Piczak, ACM Multimedia 2015; CC BY 3.0, the clips CC0 or CC BY, with their credits in its README.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from artifact.datasets import files as data
from artifact.datasets.esc50 import Sounds, resampled
from artifact.datasets.files import stand_in, unpacked
from artifact.datasets.images import load_digits

ESC10_COMMIT = "553c8f1743b9dba6b282e1323c3ca8fa76923448"
ESC10_URLS = tuple(  # the author's account under its present and its former name
    f"https://github.com/{owner}/ESC-10/archive/{ESC10_COMMIT}.tar.gz" for owner in ("karolpiczak", "karoldvl")
)
# sha256 of the lines that `sha256sum */*.ogg` prints, sorted by path: the same for every archive of the recordings
ESC10_DIGEST = "98dcfc5c90c324e1413fa1975dced99302ebae952bbdfa05a0381f4d07300269"


def load_esc10(*, rate: int = 11025, allow_stand_in: bool = False) -> Sounds:
    """ESC-10 at `rate` Hz (anti-aliased): 400 recordings, forty of each class, eight of these in each fold.

    Decoding may exceed -1 .. 1 by a little.  Where it is not available and a stand-in is allowed: digits of
    8 x 8 scanned line by line, in five parts by order.
    Raises DataUnavailableError, or CorruptDataError when what was found is not the published recordings.
    """
    import soundfile

    folder = esc10_folder()
    if folder is None:
        return stand_in("ESC-10", lambda: _scanned_digits(rate), allowed=allow_stand_in)
    paths = sorted(folder.glob("*.ogg"))
    waves = [resampled(*soundfile.read(path, dtype="float32"), rate) for path in paths]
    classes, names = zip(*(path.stem.split(", ")[0].split(" - ") for path in paths), strict=True)
    folds = np.array([int(path.stem.split(", ")[1][0]) for path in paths])
    labels = np.array([int(number) - 1 for number in classes])
    return Sounds("ESC-10", waves, labels, folds, tuple(dict.fromkeys(names)), rate)


def esc10_folder() -> Path | None:
    """The folder of the verified recordings, or None where they are not available; raises CorruptDataError."""
    return unpacked("esc10.tar", data.CACHE / "esc10", _is_esc10, urls=ESC10_URLS, name=_name)


def _name(path: Path) -> str:
    """What a recording is called in the cache: "001 - Dog bark, 1-100032-A.ogg"."""
    return f"{path.parent.name}, {path.name}"


def _is_esc10(folder: Path) -> bool:
    paths = sorted(folder.glob("*.ogg"), key=lambda path: path.name.replace(", ", "/"))
    lines = "".join(f"{data.sha256(path)}  {path.name.replace(', ', '/')}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest() == ESC10_DIGEST


def _scanned_digits(rate: int, count: int = 400) -> Sounds:
    """The stand-in for ESC-10: digits of scikit-learn scanned line by line over five seconds, folds by order."""
    images, labels = (part[:count] for part in load_digits().train)
    waves = [np.repeat(image.ravel() - image.mean(), -(-5 * rate // 64)).astype(np.float32) for image in images]
    folds = 1 + np.arange(count) * 5 // count
    names = tuple(map(str, range(10)))
    return Sounds("digits of scikit-learn, scanned (stand-in)", waves, labels, folds, names, rate, stand_in=True)
