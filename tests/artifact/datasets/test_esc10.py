"""ESC-10: the published recordings, verified by path and content, or scanned images in their place."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections import Counter

import numpy as np
import pytest
import soundfile

from artifact.datasets import esc10, files, registry
from artifact.datasets.files import CorruptDataError


@pytest.mark.skipif(not registry.available("ESC-10"), reason="ESC-10 is not available")
def test_esc10_is_ten_classes_of_forty_in_five_folds():
    names = sorted(path.name for path in esc10.esc10_folder().iterdir())
    found = [re.fullmatch(r"(\d{3}) - [\w ]+, ([1-5])-\d+-[A-Z]\.ogg", name).groups() for name in names]
    assert set(Counter(found).values()) == {8} and len(set(found)) == 50
    wave, rate = soundfile.read(esc10.esc10_folder() / names[0])
    assert rate == 44100 and wave.ndim == 1 and 0 < np.abs(wave).max() < 1.5 and 4.5 < len(wave) / rate < 5.5


def pack(archive, top="", rate=8000):
    """Write an archive of four sounds of two classes, each a tone of its own; return the digest of its files."""
    lines = []
    with tarfile.open(archive, "w") as tar:
        for name in ("001 - Dog bark/1-10-A", "001 - Dog bark/2-11-A", "010 - Rain/1-10-A", "010 - Rain/5-2-B"):
            content = io.BytesIO()
            tone = 0.5 * np.sin(2 * np.pi * (300 if "Dog" in name else 900) * np.arange(rate) / rate)
            soundfile.write(content, tone, rate, format="OGG", subtype="VORBIS")
            member = tarfile.TarInfo(f"{top}{name}.ogg")
            member.size = len(content.getvalue())
            tar.addfile(member, io.BytesIO(content.getvalue()))
            lines.append(f"{hashlib.sha256(content.getvalue()).hexdigest()}  {name}.ogg\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("top", ["", "ESC-10-553c8f1/"])
def test_recordings_are_verified_by_path_and_content_in_either_archive(nowhere, monkeypatch, top):
    monkeypatch.setattr(esc10, "ESC10_DIGEST", pack(nowhere / "esc10.tar", top))
    sounds = esc10.load_esc10(rate=4000)
    assert sounds.labels.tolist() == [0, 0, 9, 9] and sounds.folds.tolist() == [1, 2, 1, 5]
    for wave, label in zip(sounds.waves, sounds.labels, strict=True):
        assert len(wave) == 4000 and abs(np.abs(np.fft.rfft(wave)).argmax() - (300 if label == 0 else 900)) <= 1
    (files.CACHE / "esc10" / "010 - Rain, 1-10-A.ogg").write_bytes(b"changed")  # made anew from the mirror
    assert len(esc10.load_esc10(rate=4000).waves) == 4


def test_other_recordings_than_the_published_are_refused(nowhere):
    pack(nowhere / "esc10.tar")
    with pytest.raises(CorruptDataError, match=r"esc10\.tar"):
        esc10.load_esc10(allow_stand_in=True)
    assert not (files.CACHE / "esc10").exists()


def test_the_stand_in_has_every_class_in_every_fold(nowhere):
    sounds = esc10.load_esc10(allow_stand_in=True)
    found = set(zip(sounds.folds.tolist(), sounds.labels.tolist(), strict=True))
    assert found == {(fold, label) for fold in range(1, 6) for label in range(10)}
    assert all(abs(len(wave) / sounds.rate - 5) < 0.01 and np.isfinite(wave).all() for wave in sounds.waves)
