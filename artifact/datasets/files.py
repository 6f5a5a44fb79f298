"""Public files, each verified by its digest: from the cache, from a mirror folder, or from the network."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import logging
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pooch
import requests
from requests.exceptions import ChunkedEncodingError

from artifact.files import ROOT

CHECKOUT = (ROOT / "notebooks").is_dir()  # an installed package has none, and writes nothing beside itself
CACHE = ROOT / "data" / "cache" if CHECKOUT else Path(pooch.os_cache("resonance"))
TIMEOUT_S = 10.0
Data = TypeVar("Data")

pooch.get_logger().setLevel(logging.ERROR)


class CorruptDataError(RuntimeError):
    """A file's digest does not match the recorded one, even after it was fetched again."""


class DataUnavailableError(RuntimeError):
    """A data set is in none of the places where it was looked for, and no stand-in was allowed."""

    def __init__(self, dataset: str):
        folder = os.environ.get("RESONANCE_DATA") or mirror() or "none is set"
        super().__init__(
            f"{dataset} is not available: not in the cache {CACHE}, not in the mirror ({folder}), "
            "and the network does not reach it. Connect to the network, set RESONANCE_DATA to a folder that holds its "
            "files, or pass allow_stand_in=True for a substitute, whose name says that it is a stand-in."
        )


def stand_in(dataset: str, make: Callable[[], Data], *, allowed: bool) -> Data:
    """What `make` gives in the place of a data set that is not available; DataUnavailableError unless allowed."""
    if not allowed:
        raise DataUnavailableError(dataset)
    return make()


@dataclass(frozen=True)
class Source:
    """A public file: its name, canonical address, digest and licence."""

    name: str
    url: str
    sha256: str
    licence: str
    gzipped: bool = False  # the digest is of the content: mirrors compress the same bytes differently

    def digest_of(self, path: Path) -> str:
        """The sha256 of a file, or of its content where `gzipped`; "unreadable" for what is not whole gzip."""
        if not self.gzipped:
            return sha256(path)
        try:
            with gzip.open(path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, EOFError, zlib.error):
            return "unreadable"

    def is_at(self, path: Path) -> bool:
        """Whether the published file is at a path."""
        return path.exists() and self.digest_of(path) == self.sha256


def sha256(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mirror() -> Path | None:
    """The mirror folder, or None: `RESONANCE_DATA` when set (and nothing else), else one beside the checkout."""
    named = os.environ.get("RESONANCE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() and (named or CHECKOUT) else None


@contextmanager
def locked_cache() -> Iterator[None]:
    """Hold the lock of the cache: one process at a time writes there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --------------------------------------------------------------------------- single files


def fetch(source: Source) -> Path | None:
    """The path of the verified file, or None when neither cache, mirror nor network has it.

    A cached file with a wrong digest is dropped; a download with a wrong digest is fetched once more.
    Raises CorruptDataError, naming both digests, when what was found stays wrong.
    """
    cached, folder = CACHE / source.name, mirror()
    mirrored = folder / source.name if folder else None
    for path in (cached, mirrored):
        if path and source.is_at(path):
            return path
    with locked_cache():
        if source.is_at(cached):  # another process has just fetched it
            return cached
        cached.unlink(missing_ok=True)
        corrupt = None
        for _ in range(2):
            try:
                return _download(source)
            except (CorruptDataError, ChunkedEncodingError) as error:  # not the published file, or not all of it
                corrupt = str(error) if isinstance(error, CorruptDataError) else f"{source.url} broke off"
            except requests.RequestException:  # no network, or no such address; a full disk, say, is an error
                break
    if corrupt is None and mirrored and mirrored.exists():
        corrupt = f"{mirrored} has sha256 {source.digest_of(mirrored)}, expected {source.sha256}"
    if corrupt is not None:
        raise CorruptDataError(f"{source.name}: {corrupt}: nothing was kept")
    return None


def fetch_all(sources: Iterable[Source]) -> list[Path] | None:
    """The paths of verified files, or None as soon as one is not available (`fetch`)."""
    paths = []
    for source in sources:
        if (path := fetch(source)) is None:
            return None
        paths.append(path)
    return paths


def _download(source: Source) -> Path:
    path = _retrieve(source.url, CACHE / source.name)
    if (found := source.digest_of(path)) != source.sha256:
        path.unlink()
        raise CorruptDataError(f"{source.url} has sha256 {found}, expected {source.sha256}")
    return path


def _retrieve(url: str, path: Path) -> Path:
    """Download to a path, unverified; raises requests.RequestException."""
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
    return Path(pooch.retrieve(url, None, fname=path.name, path=path.parent, downloader=downloader))


# --------------------------------------------------------------------------- archives


def unpacked(
    archive: str,
    folder: Path,
    is_whole: Callable[[Path], bool],
    *,
    urls: Sequence[str] = (),
    name: Callable[[Path], str] = lambda path: path.name,
) -> Path | None:
    """The folder of an archive's sounds and texts, or None when neither cache, mirror nor network has the archive.

    name(path in the archive) is what a file is called in the folder, which has no folders of its own.

    The mirror's archive is tried first, then the URLs in turn; each is unpacked aside, and its files are moved to the
    folder one by one once `is_whole` has verified them, so that no other process sees a file missing.
    Raises CorruptDataError, naming where it came from, when no archive that was found is the published one.
    """
    mirrored, corrupt = mirror(), ""
    with locked_cache():
        if is_whole(folder):
            return folder
        for url in ("", *urls):
            with tempfile.TemporaryDirectory(dir=CACHE) as place:
                aside = Path(place) / "files"
                try:
                    path = _retrieve(url, Path(place) / archive) if url else mirrored and mirrored / archive
                    if path is None or not path.exists():
                        continue
                    _extract(path, aside, name)
                except requests.RequestException as error:
                    corrupt = url if isinstance(error, ChunkedEncodingError) else corrupt
                    continue
                except (tarfile.TarError, EOFError, OSError) as error:
                    raise CorruptDataError(f"{url or path}: not a whole archive ({error})") from None
                if is_whole(aside):
                    _move_files(aside, folder)
                    return folder
                corrupt = url or str(path)
    if corrupt:
        raise CorruptDataError(f"{corrupt} does not hold the published files: nothing was kept")
    return None


def _extract(archive: Path, folder: Path, name: Callable[[Path], str]) -> None:
    """Write the sounds and texts of an archive to a new folder, without the archive's own folders."""
    folder.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith((".wav", ".ogg", ".txt")):
                (folder / name(Path(member.name))).write_bytes(tar.extractfile(member).read())


def _move_files(source: Path, target: Path) -> None:
    """Replace the files of one folder by those of another, each in one step."""
    target.mkdir(exist_ok=True)
    for path in target.iterdir():
        if not (source / path.name).exists():
            path.unlink()
    for path in source.iterdir():
        os.replace(path, target / path.name)
