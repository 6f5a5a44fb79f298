"""The public data: fetched once, its digest checked, and named in every result that saw it.

A file is looked for in this order: the cache (`data/cache`), a mirror folder (the one that `RESONANCE_DATA` names,
else `../shared/data` when it exists), then its canonical address.  Whatever the place, only a file with the recorded
sha256 is used.  Where a file is not to be had at all, real data that an installed library carries stand in, and
say so in its `dataset`.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import requests

from .paths import ROOT

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


ETTH1 = Source(
    name="ETTh1.csv",
    url="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/"
    "ETT-small/ETTh1.csv",
    sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    licence="CC BY-ND 4.0",
)


# The four files of MNIST, and the digests of their contents.
MNIST = tuple(
    Source(
        name=f"mnist/{name}-ubyte.gz",
        url=f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}-ubyte.gz",
        sha256=digest,
        licence="see the MNIST page",
        gzipped=True,
    )
    for name, digest in {
        "train-images-idx3": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }.items()
)


@dataclass(frozen=True)
class Images:
    """Grey images of ten digits: `train` and `test`, each (images, labels).

    images: (count, side, side) float32 in 0 .. 1; labels: (count,) int64 in 0 .. 9.
    """

    dataset: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    stand_in: bool = False


@dataclass(frozen=True)
class Series:
    """A multivariate series: `values` (steps, channels) float64, evenly sampled."""

    dataset: str  # what every table, figure and ledger row calls it
    values: np.ndarray
    channels: tuple[str, ...]
    period: int  # steps of its main cycle
    step: str  # what one step is
    stand_in: bool = False


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


def load_etth1() -> Series:
    """Return ETTh1: 17,420 hours of 7 channels of an electricity transformer; offline, the CO2 stand-in.

    Raises CorruptDataError when the file found is not the published one.
    Source: Zhou et al., Informer, AAAI 2021; CC BY-ND 4.0, so it is fetched and never redistributed.
    """
    path = fetch(ETTH1)
    if path is None:
        warnings.warn("ETTh1 is not to be had (no cache, mirror or network): the CO2 series stands in", stacklevel=2)
    return load_co2() if path is None else load_csv(path, dataset="ETTh1", period=24, step="hour")


def load_csv(path: str | Path, *, dataset: str, period: int, step: str) -> Series:
    """Return a series from a CSV whose first column is a date and whose others are channels.

    Raises ValueError, naming file and column, for a missing header or date column, rows of unequal length, text or
    non-finite numbers in a channel, and an empty table.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, index_col=False)
        if any(re.fullmatch(r"[-+\d.eE]+", str(name)) for name in table.columns):
            raise ValueError("the first row holds numbers, not names")
        pd.to_datetime(table.iloc[:, 0].astype(str), format="mixed")
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' parser errors are ValueErrors
        expected = "expected a header row, then a date and one number a channel in each row"
        raise ValueError(f"{path}: {expected}; {error}") from None
    table = table.iloc[:, 1:]
    if table.empty:
        raise ValueError(f"{path}: expected a date column, then channels, and at least one row")
    for name, column in table.items():
        if not pd.api.types.is_numeric_dtype(column) or not np.isfinite(column.to_numpy()).all():
            raise ValueError(f"{path}: column {name!r} holds text, gaps or non-finite numbers")
    return Series(dataset, table.to_numpy(np.float64), tuple(map(str, table.columns)), period, step)


def load_co2() -> Series:
    """Return the stand-in: 2,284 weeks of atmospheric CO2 at Mauna Loa, carried by statsmodels.

    Gaps (59 weeks) are filled linearly.  Source: Keeling and Whorf, 2004; public domain.
    """
    from statsmodels.datasets import co2

    values = co2.load_pandas().data["co2"].interpolate().to_numpy(np.float64)[:, None]
    return Series("CO2 at Mauna Loa (stand-in)", values, ("co2",), period=52, step="week", stand_in=True)


def load_mnist() -> Images:
    """Return MNIST: 60,000 and 10,000 handwritten digits of 28 x 28; offline, the digits that scikit-learn carries.

    Raises CorruptDataError when a file found is not the published one.
    Source: LeCun, Bottou, Bengio, Haffner, Proc. IEEE 1998.
    """
    paths = [fetch(source) for source in MNIST]
    if None in paths:
        warnings.warn("MNIST is not to be had (no cache, mirror or network): 8 x 8 digits stand in", stacklevel=2)
        return load_digits()
    images, labels, test_images, test_labels = map(_read_idx, paths)
    scale = np.float32(1 / 255)
    return Images(
        "MNIST", (images * scale, labels.astype(np.int64)), (test_images * scale, test_labels.astype(np.int64))
    )


def _read_idx(path: Path) -> np.ndarray:
    """Return the array of a gzipped idx file of bytes: two zeros, type 8, dimensions, sizes, data (big-endian)."""
    with gzip.open(path) as file:
        content = file.read()
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path}: expected an idx file of unsigned bytes")
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def load_digits() -> Images:
    """Return the stand-in: 1,797 digits of 8 x 8 that scikit-learn carries, the last 500 for testing.

    Source: Alpaydin and Kaynak, UCI, 1998; CC BY 4.0.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images, labels = (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)
    return Images(
        "digits of scikit-learn (stand-in)", (images[:-500], labels[:-500]), (images[-500:], labels[-500:]), True
    )


# What a notebook may name under "data" in its metadata, and the files behind the name.
DATASETS: dict[str, tuple[Source, ...]] = {"ETTh1": (ETTH1,), "MNIST": MNIST}


def available(dataset: str) -> bool:
    """Return whether the real files of a data set are to be had here and now; fetches them if they are."""
    return all(fetch(source) is not None for source in DATASETS[dataset])
