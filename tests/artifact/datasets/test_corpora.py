"""Speech and texts: what is loaded is what was published; what is not to be had is replaced, and says so."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile

import numpy as np
import pytest

from artifact.datasets import corpora, registry, speech
from artifact.datasets import files as data
from artifact.datasets.files import CorruptDataError


def needs(name):
    return pytest.mark.skipif(not registry.available(name), reason=f"{name}: not to be had")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No cache, no mirror, no network."""
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("RESONANCE_DATA", str(tmp_path))
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@needs("FSDD")
def test_fsdd_is_ten_digits_by_six_speakers_by_fifty_takes():
    recordings = speech.load_fsdd()
    triples = set(zip(recordings.labels.tolist(), recordings.speakers.tolist(), recordings.takes.tolist(), strict=True))
    assert (
        triples == {(d, s, t) for d in range(10) for s in range(6) for t in range(50)} and len(recordings.waves) == 3000
    )
    assert (recordings.takes < 5).sum() == 300 and recordings.rate == 8000 and not recordings.stand_in
    assert all(w.dtype == np.float32 and w.ndim == 1 and abs(w).max() <= 1 for w in recordings.waves)


@needs("movie reviews")
def test_movie_reviews_are_balanced_in_every_fold():
    reviews = corpora.load_movie_reviews()
    counts = np.zeros((10, 2), int)
    np.add.at(counts, (reviews.folds, reviews.labels), 1)
    assert (counts == 100).all() and all(len(text) > 50 for text in reviews.texts)


@needs("books")
def test_books_are_whole_and_without_their_licence():
    books = corpora.load_books()
    assert len(books.texts) == len(books.titles) == 9
    for text in books.texts:
        assert len(text) > 1_000_000 and "\r" not in text and "*** START OF" not in text
        assert "gutenberg" not in text[-300:].lower()


@pytest.mark.parametrize("name", registry.LOADERS)
def test_a_stand_in_says_so(nowhere, name):
    with pytest.warns(UserWarning, match="not to be had"):
        loaded = registry.LOADERS[name]()
    assert loaded.stand_in and "stand-in" in loaded.dataset and not registry.available(name)
    if name == "FSDD":
        assert set(loaded.labels) == set(range(10)) and set(loaded.speakers) == set(range(6))
        assert (loaded.takes < 5).any() and all(np.isfinite(w).all() and len(w) == 2048 for w in loaded.waves)
    if name == "movie reviews":
        assert set(loaded.folds) == set(range(10)) and set(loaded.labels) == {0, 1}
    if name == "books":
        assert all(len(text) > 40_000 for text in loaded.texts)


def pack(archive, files):
    with tarfile.open(archive, "w:xz") as tar:
        for name, content in files.items():
            path = archive.parent / name
            path.write_bytes(content)
            tar.add(path, f"recordings/{name}")


def test_other_recordings_than_the_published_are_refused(nowhere):
    pack(nowhere / "fsdd.tar.xz", {"0_george_0.wav": b"RIFF"})
    assert speech._fsdd_folder() is None  # the mirror's are dropped, the network has none
    assert not (data.CACHE / "fsdd").exists()


def test_recordings_are_verified_by_name_and_content(nowhere, monkeypatch):
    files = {"1_theo_0.wav": b"one", "0_theo_0.wav": b"nought"}
    lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    pack(nowhere / "fsdd.tar.xz", files)
    monkeypatch.setattr(speech, "FSDD_DIGEST", hashlib.sha256(lines.encode()).hexdigest())
    folder = speech._fsdd_folder()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    (folder / "1_theo_0.wav").write_bytes(b"changed")  # a damaged cache is made anew from the mirror
    assert (speech._fsdd_folder() / "1_theo_0.wav").read_bytes() == b"one"


def test_a_broken_archive_is_named(nowhere):
    (nowhere / "fsdd.tar.xz").write_bytes(b"no archive")
    with pytest.raises(CorruptDataError, match=r"fsdd\.tar\.xz"):
        speech._fsdd_folder()


def test_a_book_without_its_marks_is_refused(tmp_path):
    path = tmp_path / "1.txt"
    path.write_text("no marks")
    with pytest.raises(CorruptDataError, match="found 0"):
        corpora._without_licence(path)
    path.write_bytes(
        b"x\r\n*** START OF THIS PROJECT GUTENBERG EBOOK A ***\r\n\r\nThe t\xe9xt.\r\n\r\n"
        b"End of Project Gutenberg's A\r\n*** END OF THIS PROJECT GUTENBERG EBOOK A ***\r\ny"
    )
    assert corpora._without_licence(path) == "The t\xe9xt."


def test_reviews_of_another_name_are_left_out(nowhere, monkeypatch):
    path = nowhere / "movie_reviews.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("movie_reviews/pos/cv123_4.txt", "good")
        archive.writestr("movie_reviews/README", "none")
    monkeypatch.setattr(corpora, "fetch", lambda source: path)
    reviews = corpora.load_movie_reviews()
    assert (reviews.texts, reviews.labels.tolist(), reviews.folds.tolist()) == (["good"], [1], [1])
