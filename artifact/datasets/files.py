"""TODO."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import tarfile
import tempfile
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

from artifact.files import ROOT

CACHE = ROOT / "data" / "cache"
TIMEOUT_S = 10.0


class CorruptDataError(RuntimeError):
    """A file's digest does not match the recorded one, even after it was fetched again."""


@dataclass(frozen=True)
class Source:
    """A public file: its name, canonical address, digest and licence."""

    name: str
    url: str
    sha256: str
    licence: str
    gzipped: bool = False  # the digest is of the content: mirrors compress the same bytes differently


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(path: Path, source: Source) -> str:
    """Return the sha256 that `source` speaks of: the file's, or its content's, "unreadable" where gzip cannot."""
    if not source.gzipped:
        return sha256(path)
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return "unreadable"


def mirror() -> Path | None:
    """Return the mirror folder, or None: `RESONANCE_DATA` when set (and nothing else), else `../shared/data`."""
    named = os.environ.get("RESONANCE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    if named:
        warnings.warn(f"RESONANCE_DATA={named} is not a folder: no mirror is used", stacklevel=2)
    return None


def fetch(source: Source) -> Path | None:
    """Return the path of the verified file, or None when neither cache, mirror nor network has it.

    A cached file with a wrong digest is dropped; a download with a wrong digest is fetched once more.
    Raises CorruptDataError, naming both digests, when what was found stays wrong.
    """
    cached = CACHE / source.name
    if cached.exists():
        if digest_of(cached, source) == source.sha256:
            return cached
        cached.unlink()
    folder = mirror()
    mirrored = folder / source.name if folder else None
    if mirrored and mirrored.exists() and digest_of(mirrored, source) == source.sha256:
        return mirrored
    for _ in range(2):
        try:
            return Path(_download(source))
        except ValueError as error:  # pooch: the digest does not match; it has dropped the file
            corrupt: str | None = str(error)
        except requests.RequestException:  # no network, or no such address; a full disk, say, is an error
            corrupt = None
            break
    if corrupt is None and mirrored and mirrored.exists():
        corrupt = f"{mirrored} has sha256 {digest_of(mirrored, source)}, expected {source.sha256}"
    if corrupt is not None:
        raise CorruptDataError(f"{source.name}: {corrupt} (fetched twice, wrong each time: nothing was kept)")
    return None


def _download(source: Source) -> str:
    pooch.get_logger().setLevel(logging.ERROR)
    target = CACHE / source.name
    path = pooch.retrieve(
        source.url,
        known_hash=None if source.gzipped else f"sha256:{source.sha256}",
        fname=target.name,
        path=target.parent,
        downloader=pooch.HTTPDownloader(timeout=TIMEOUT_S),
    )
    if source.gzipped and (found := digest_of(target, source)) != source.sha256:
        target.unlink()
        raise ValueError(f"{source.url}: content has sha256 {found}, expected {source.sha256}")
    return path


def unpack(name: str, target: Path, url: str | None) -> bool:
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
                downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
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
