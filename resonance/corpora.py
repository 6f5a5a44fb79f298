"""Speech and text: spoken digits, movie reviews, nine long novels; fetched, verified and named as in `data`.

Where the real files are not to be had, real data that is already installed stands in, and says so in its `dataset`:
scikit-learn's digits scanned line by line as sound, and the standard library's own source as text.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import sysconfig
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import requests
from scipy.io import wavfile

from . import data
from .data import CorruptDataError, Source, fetch, load_digits, mirror

FSDD_COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
FSDD_URL = f"https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/tar.gz/{FSDD_COMMIT}"
# sha256 of the lines that `sha256sum *.wav` prints, sorted by name: the same for every archive of the recordings
FSDD_DIGEST = "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959"

MOVIE_REVIEWS = Source(
    name="movie_reviews.zip",
    url="https://raw.githubusercontent.com/nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/"
    "packages/corpora/movie_reviews.zip",
    sha256="a41211ae685019137410268134db6a1a14428c89b671eb83056151a878539008",
    licence="CC BY 4.0",
)

# number in Project Gutenberg: (title, repository of GITenberg, sha256 of NNN.txt)
BOOKS = {
    145: ("Middlemarch", "Middlemarch", "f499b77eb0e4e34edc3bae6b968e3241c8327384631bd26e8eec76b726915a7d"),
    599: ("Vanity Fair", "Vanity-Fair", "f87d4d8827cae32ddd94bea0558baaf48af26885a35777b5cb88c7aecf1297a9"),
    766: ("David Copperfield", "David-Copperfield", "c43537db85ec5df721765a9516d951aec99920b0cf1abcf1eb0a790191ccbc11"),
    996: ("Don Quixote", "Don-Quixote", "69ef241e632ef4fba882bde06ad31ecb395d865b11028cc046c4d253f4cf118e"),
    1023: ("Bleak House", "Bleak-House", "51c12bd20b0c8efbe08578b4966adb9ece1805f2ff8d96e6b02c4562a4797449"),
    2600: ("War and Peace", "War-and-Peace", "31b5d23be25fe9ad27eca1e78f9f449ae2e17adf07ce62238a79425c53a96646"),
    2701: ("Moby Dick", "Moby-Dick--Or-The-Whale", "f17ab08e0ad8c6e43d1e85e3cdae4e1b617ae35069cee7db8dcd457c87b1ec76"),
    4300: ("Ulysses", "Ulysses", "d432d18d2535a28e1d448d9a91d25a167acf82ce19ea4fec9dc57d4949a8e169"),
    28054: (
        "The Brothers Karamazov",
        "The-Brothers-Karamazov",
        "6cf57d26086e479007cb9fb501d8324cbd785538fc267dd23f09f9b436317ca1",
    ),
}
BOOK_FILES = tuple(
    Source(
        f"gutenberg/{number}.txt",
        f"https://raw.githubusercontent.com/GITenberg/{repository}_{number}/master/{number}.txt",
        digest,
        "public domain",
    )
    for number, (_, repository, digest) in BOOKS.items()
)
# Packages of the standard library whose source stands in for the nine books.
PACKAGES = ("asyncio", "email", "unittest", "xml", "multiprocessing", "http", "importlib", "json", "logging")


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


@dataclass(frozen=True)
class Documents:
    """Labelled texts, each in one of ten folds."""

    dataset: str
    texts: list[str]
    labels: np.ndarray  # int64, an index into label_names
    folds: np.ndarray  # int64, 0 .. 9
    label_names: tuple[str, ...]
    stand_in: bool = False


@dataclass(frozen=True)
class Books:
    """Long texts and their titles."""

    dataset: str
    titles: tuple[str, ...]
    texts: list[str]
    stand_in: bool = False


# --------------------------------------------------------------------------- spoken digits


def load_fsdd() -> Speech:
    """Return the Free Spoken Digit Dataset: 3,000 recordings at 8 kHz, 10 digits x 6 speakers x 50 takes.

    Its official test set are takes 0 to 4.  Offline, scikit-learn's digits scanned line by line stand in.
    Raises CorruptDataError when what was found is not the published recordings.
    Source: Jackson et al., v1.0.10; CC BY-SA 4.0.
    """
    folder = _fsdd_folder()
    if folder is None:
        warnings.warn("FSDD is not to be had (no cache, mirror or network): scanned digits stand in", stacklevel=2)
        return load_scanned_digits()
    paths = sorted(folder.glob("*.wav"))
    parts = [path.stem.split("_") for path in paths]
    names = tuple(sorted({speaker for _, speaker, _ in parts}))
    waves = [wavfile.read(path)[1].astype(np.float32) / np.float32(32768) for path in paths]
    labels, takes = (np.array([int(part[i]) for part in parts]) for i in (0, 2))
    speakers = np.array([names.index(part[1]) for part in parts])
    return Speech("FSDD", waves, labels, speakers, takes, names, rate=8000)


def load_scanned_digits() -> Speech:
    """Return the stand-in for speech: digits of 8 x 8 scanned line by line, 32 samples a pixel, "speakers" by order."""
    digits = load_digits()
    images, labels = (np.concatenate(pair) for pair in zip(digits.train, digits.test, strict=True))
    waves = [np.repeat(image.ravel() - image.mean(), 32).astype(np.float32) for image in images]
    order = np.arange(len(labels))
    takes = np.zeros_like(order)
    for label in range(10):
        takes[labels == label] = np.arange((labels == label).sum()) // 6
    names = tuple(f"sixth {i + 1}" for i in range(6))
    dataset = "digits of scikit-learn, scanned (stand-in)"
    return Speech(dataset, waves, labels, order * 6 // len(order), takes, names, rate=8000, stand_in=True)


def _fsdd_folder() -> Path | None:
    """Return the folder of the verified recordings, or None when they are not to be had."""
    target = data.CACHE / "fsdd"
    for attempt in ("cache", "mirror", "network", "network again"):
        if attempt != "cache" and not _unpack("fsdd.tar.xz", target, FSDD_URL if "network" in attempt else None):
            if "network" in attempt:
                return None
            continue
        found = sorted(target.glob("*.wav"))
        if not found:
            continue
        lines = "".join(f"{data.sha256(path)}  {path.name}\n" for path in found)
        if (digest := hashlib.sha256(lines.encode()).hexdigest()) == FSDD_DIGEST:
            return target
        shutil.rmtree(target)
    raise CorruptDataError(f"FSDD: the recordings have digest {digest}, expected {FSDD_DIGEST}: nothing was kept")


def _unpack(name: str, target: Path, url: str | None) -> bool:
    """Unpack the files of the mirror's archive, or of one at a URL, into a flat folder; return whether there was one.

    The folder is written aside and renamed, so that it is whole or not there.
    """
    folder = mirror()
    archive = folder / name if folder else None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as aside:
        if url is not None:
            pooch.get_logger().setLevel(logging.ERROR)
            try:
                downloader = pooch.HTTPDownloader(timeout=data.TIMEOUT_S)
                archive = Path(pooch.retrieve(url, None, fname=name, path=aside, downloader=downloader))
            except requests.RequestException:
                return False
        if archive is None or not archive.exists():
            return False
        out = Path(aside) / "files"
        out.mkdir()
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.isfile() and member.name.endswith((".wav", ".txt")):
                        (out / Path(member.name).name).write_bytes(tar.extractfile(member).read())
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CorruptDataError(f"{archive}: not a whole archive ({error})") from None
        shutil.rmtree(target, ignore_errors=True)
        os.replace(out, target)
    return True


# --------------------------------------------------------------------------- texts


def load_movie_reviews() -> Documents:
    """Return 2,000 film reviews, negative (0) or positive (1), in ten folds by the number in the file's name.

    Offline, two packages of the standard library, cut into pieces, stand in.  Raises CorruptDataError.
    Source: Pang and Lee, ACL 2004, as packed by NLTK; CC BY 4.0.
    """
    path = fetch(MOVIE_REVIEWS)
    if path is None:
        warnings.warn("the movie reviews are not to be had: the standard library's source stands in", stacklevel=2)
        return _library_documents()
    texts, labels, folds = [], [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if found := re.fullmatch(r"movie_reviews/(neg|pos)/cv(\d{3})_\d+\.txt", name):
                texts.append(archive.read(name).decode("latin-1"))
                labels.append(int(found[1] == "pos"))
                folds.append(int(found[2]) // 100)
    return Documents("movie reviews", texts, np.array(labels), np.array(folds), ("negative", "positive"))


def _library_documents(characters: int = 3000) -> Documents:
    names = ("asyncio", "email")
    texts, labels, folds = [], [], []
    for label, name in enumerate(names):
        text = _library_text(name)
        pieces = [text[i : i + characters] for i in range(0, len(text) - characters, characters)]
        texts += pieces
        labels += [label] * len(pieces)
        folds += [10 * i // len(pieces) for i in range(len(pieces))]
    dataset = "source of the standard library (stand-in)"
    return Documents(dataset, texts, np.array(labels), np.array(folds), names, stand_in=True)


def load_books() -> Books:
    """Return nine long novels without the licence around them; offline, nine packages of the standard library.

    Raises CorruptDataError.  Source: Project Gutenberg by way of GITenberg; public domain.
    """
    if not all((data.CACHE / source.name).exists() for source in BOOK_FILES):
        _unpack("gutenberg.tar.xz", data.CACHE / "gutenberg", None)
    paths = [fetch(source) for source in BOOK_FILES]
    if None in paths:
        warnings.warn("the books are not to be had: the standard library's source stands in", stacklevel=2)
        texts = [_library_text(name) for name in PACKAGES]
        return Books("source of the standard library (stand-in)", PACKAGES, texts, stand_in=True)
    return Books("nine novels", tuple(title for title, *_ in BOOKS.values()), [_without_licence(p) for p in paths])


def _without_licence(path: Path) -> str:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    marks = [m.span() for m in re.finditer(r"^\*\*\* ?(?:START|END) OF TH[^\n]* GUTENBERG EBOOK[^\n]*$", text, re.M)]
    if len(marks) != 2:
        raise CorruptDataError(f"{path}: expected one START and one END mark around the book, found {len(marks)}")
    text = text[marks[0][1] : marks[1][0]].replace("\r\n", "\n").strip()
    return re.sub(r"\n\s*End of (?:the )?Project Gutenberg[^\n]*\Z", "", text, flags=re.I)


def _library_text(package: str) -> str:
    folder = Path(sysconfig.get_path("stdlib")) / package
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.py")))


# What a notebook may name under "data" in its metadata, beside the names of `data.DATASETS`.
LOADERS = {"FSDD": load_fsdd, "movie reviews": load_movie_reviews, "books": load_books}


def available(dataset: str) -> bool:
    """Return whether the real files of a data set, of this module or of `data`, are to be had; fetches them if so."""
    if dataset in data.DATASETS:
        return data.available(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return not LOADERS[dataset]().stand_in


def names() -> Sequence[str]:
    """Return every name that a notebook may give under "data"."""
    return [*data.DATASETS, *LOADERS]
