"""Texts: film reviews with their labels, nine long novels, and the standard library's source in their place."""

from __future__ import annotations

import re
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artifact.datasets import files as data
from artifact.datasets.files import CorruptDataError, Source, fetch, fetch_all, stand_in, unpacked

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
LIBRARY = "source of the standard library (stand-in)"
# Packages of the standard library, one for each of the nine books.
PACKAGES = ("asyncio", "email", "unittest", "xml", "multiprocessing", "http", "importlib", "json", "logging")


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


def load_movie_reviews(*, allow_stand_in: bool = False) -> Documents:
    """2,000 film reviews, negative (0) or positive (1), in ten folds by the number in the file's name.

    Where they are not available and a stand-in is allowed: pieces of two packages of the standard library.
    Raises DataUnavailableError, CorruptDataError.
    Source: Pang and Lee, ACL 2004, as packed by NLTK; CC BY 4.0.
    """
    path = fetch(MOVIE_REVIEWS)
    if path is None:
        return stand_in("movie reviews", _library_documents, allowed=allow_stand_in)
    with zipfile.ZipFile(path) as archive:
        names = (re.fullmatch(r"movie_reviews/(neg|pos)/cv(\d)\d\d_\d+\.txt", name) for name in archive.namelist())
        found = sorted((name for name in names if name), key=lambda name: name[0])
        texts = [archive.read(name[0]).decode("latin-1") for name in found]
    labels, folds = np.array([(name[1] == "pos", int(name[2])) for name in found]).T
    return Documents("movie reviews", texts, labels, folds, ("negative", "positive"))


def _library_documents(characters: int = 3000) -> Documents:
    names, rows = ("asyncio", "email"), []
    for label, text in enumerate(map(library_text, names)):
        pieces = [text[i : i + characters] for i in range(0, len(text) - characters, characters)]
        rows += [(piece, label, 10 * i // len(pieces)) for i, piece in enumerate(pieces)]
    texts, labels, folds = zip(*rows, strict=True)
    return Documents(LIBRARY, list(texts), np.array(labels), np.array(folds), names, stand_in=True)


def load_books(*, allow_stand_in: bool = False) -> Books:
    """Nine long novels without the licence around them; else, if allowed, nine packages of the standard library.

    Raises DataUnavailableError, CorruptDataError.  Source: Project Gutenberg by way of GITenberg; public domain.
    """
    paths = book_paths()
    if paths is None:
        return stand_in("books", _library_books, allowed=allow_stand_in)
    return Books("nine novels", tuple(title for title, *_ in BOOKS.values()), [_without_licence(p) for p in paths])


def _library_books() -> Books:
    return Books(LIBRARY, PACKAGES, [library_text(name) for name in PACKAGES], stand_in=True)


def book_paths() -> list[Path] | None:
    """The verified files of the novels, from the mirror's archive or one by one, or None; raises CorruptDataError."""

    def is_whole(folder: Path) -> bool:
        return all(source.is_at(folder / Path(source.name).name) for source in BOOK_FILES)

    unpacked("gutenberg.tar.xz", data.CACHE / "gutenberg", is_whole)
    return fetch_all(BOOK_FILES)


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


def library_text(package: str) -> str:
    """The source of a package of the standard library, its files in the order of their names."""
    folder = Path(sysconfig.get_path("stdlib")) / package
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.py")))
