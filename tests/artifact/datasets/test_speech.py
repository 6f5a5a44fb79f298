"""Spoken digits: the published recordings, verified by name and content, or scanned images in their place."""

from __future__ import annotations

import hashlib
import tarfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from artifact.datasets import files, registry, speech
from artifact.datasets.files import CorruptDataError


@pytest.mark.skipif(not registry.available("FSDD"), reason="FSDD is not available")
def test_fsdd_is_ten_digits_by_six_speakers_by_fifty_takes():
    recordings = speech.load_fsdd()
    triples = set(zip(recordings.labels.tolist(), recordings.speakers.tolist(), recordings.takes.tolist(), strict=True))
    assert (
        triples == {(d, s, t) for d in range(10) for s in range(6) for t in range(50)} and len(recordings.waves) == 3000
    )
    assert (recordings.takes < 5).sum() == 300 and recordings.rate == 8000 and not recordings.stand_in
    assert all(w.dtype == np.float32 and w.ndim == 1 and abs(w).max() <= 1 for w in recordings.waves)


def test_the_stand_in_has_every_digit_speaker_and_a_test_set(nowhere):
    loaded = speech.load_fsdd(allow_stand_in=True)
    assert set(loaded.labels) == set(range(10)) and set(loaded.speakers) == set(range(6))
    assert (loaded.takes < 5).any() and all(np.isfinite(w).all() and len(w) == 2048 for w in loaded.waves)


# --------------------------------------------------------------------------- the archive


def pack(archive, contents):
    with tarfile.open(archive, "w:xz") as tar:
        for name, content in contents.items():
            path = archive.parent / name
            path.write_bytes(content)
            tar.add(path, f"recordings/{name}")


def digest_of(contents):
    lines = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents))
    return hashlib.sha256(lines.encode()).hexdigest()


def test_other_recordings_than_the_published_are_refused(nowhere):
    pack(nowhere / "fsdd.tar.xz", {"0_george_0.wav": b"RIFF"})
    with pytest.raises(CorruptDataError, match=r"fsdd\.tar\.xz"):
        speech.fsdd_folder()
    assert not (files.CACHE / "fsdd").exists()


def test_recordings_are_verified_by_name_and_content(nowhere, monkeypatch):
    contents = {"1_theo_0.wav": b"one", "0_theo_0.wav": b"nought"}
    pack(nowhere / "fsdd.tar.xz", contents)
    monkeypatch.setattr(speech, "FSDD_DIGEST", digest_of(contents))
    folder = speech.fsdd_folder()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    (folder / "1_theo_0.wav").write_bytes(b"changed")  # a damaged cache is made anew from the mirror
    (folder / "2_theo_0.wav").write_bytes(b"not published")
    assert speech.fsdd_folder() == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents


def test_a_broken_archive_is_named(nowhere):
    (nowhere / "fsdd.tar.xz").write_bytes(b"no archive")
    with pytest.raises(CorruptDataError, match=r"fsdd\.tar\.xz"):
        speech.fsdd_folder()


def read_repeatedly(folder):
    """Read the recordings while other processes look for them, and unpack them if they must."""
    for _ in range(20):
        assert speech.fsdd_folder() == folder and len([path.read_bytes() for path in sorted(folder.iterdir())]) == 300


def test_processes_that_unpack_at_once_never_miss_a_file(nowhere, monkeypatch):
    contents = {f"{i % 10}_theo_{i // 10}.wav": bytes([i % 256]) * 5000 for i in range(300)}
    pack(nowhere / "fsdd.tar.xz", contents)
    monkeypatch.setattr(speech, "FSDD_DIGEST", digest_of(contents))
    folder = files.CACHE / "fsdd"
    folder.mkdir(parents=True)
    (folder / "0_theo_0.wav").write_bytes(b"left by a process that was killed")
    with ProcessPoolExecutor(3, get_context("fork")) as pool:
        list(pool.map(read_repeatedly, [folder] * 3))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
