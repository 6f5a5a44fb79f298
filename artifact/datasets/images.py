"""Grey images of handwritten digits: MNIST, and the small digits that scikit-learn ships with."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artifact.datasets.files import Source, fetch_all, stand_in

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


def load_mnist(*, allow_stand_in: bool = False) -> Images:
    """MNIST: 60,000 and 10,000 handwritten digits of 28 x 28; else, if allowed, scikit-learn's digits of 8 x 8.

    Raises DataUnavailableError, or CorruptDataError when a file found is not the published one.
    Source: LeCun, Bottou, Bengio, Haffner, Proc. IEEE 1998.
    """
    paths = fetch_all(MNIST)
    if paths is None:
        return stand_in("MNIST", load_digits, allowed=allow_stand_in)
    images, labels, test_images, test_labels = map(_read_idx, paths)
    scale = np.float32(1 / 255)
    return Images(
        "MNIST", (images * scale, labels.astype(np.int64)), (test_images * scale, test_labels.astype(np.int64))
    )


def _read_idx(path: Path) -> np.ndarray:
    """The array of a gzipped idx file of bytes: two zeros, type 8, dimensions, sizes, data (big-endian)."""
    with gzip.open(path) as file:
        content = file.read()
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path}: expected an idx file of unsigned bytes")
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def load_digits() -> Images:
    """The stand-in for MNIST: 1,797 digits of 8 x 8 shipped with scikit-learn, the last 500 for testing.

    Source: Alpaydin and Kaynak, UCI, 1998; CC BY 4.0.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images, labels = (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)
    return Images(
        "digits of scikit-learn (stand-in)", (images[:-500], labels[:-500]), (images[-500:], labels[-500:]), True
    )
