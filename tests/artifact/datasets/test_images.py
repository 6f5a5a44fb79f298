"""MNIST and its stand-in: files as published, digits in 0 .. 1, no picture in both splits."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from artifact.datasets import images, registry
from artifact.datasets.files import CorruptDataError
from artifact.datasets.images import load_digits, load_mnist


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


def test_idx_files_are_read_as_written(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "x.gz").write_bytes(idx(array))
    np.testing.assert_array_equal(images._read_idx(tmp_path / "x.gz"), array)
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"no idx file"))
    with pytest.raises(ValueError, match="idx"):
        images._read_idx(tmp_path / "x.gz")


def test_a_corrupt_mnist_is_an_error_not_a_stand_in(nowhere):
    (nowhere / "mnist").mkdir()
    for source in images.MNIST:
        (nowhere / source.name).write_bytes(idx(np.zeros((1, 28, 28), np.uint8)))
    with pytest.raises(CorruptDataError, match="train-images"):
        load_mnist(allow_stand_in=True)


def test_the_stand_in_is_digits_of_8_by_8(nowhere):
    digits = load_mnist(allow_stand_in=True)
    assert digits.stand_in and "stand-in" in digits.dataset
    check_images(digits, 8, 1297, 500)


def check_images(images, side, train, test):
    for (pictures, labels), count in ((images.train, train), (images.test, test)):
        assert pictures.shape == (count, side, side) and pictures.dtype == np.float32
        assert pictures.min() == 0 and pictures.max() == 1
        assert labels.dtype == np.int64 and set(labels) == set(range(10))


def test_digits_share_no_picture_between_splits():
    images = load_digits()
    train, test = ({picture.tobytes() for picture in part[0]} for part in (images.train, images.test))
    assert not train & test


@pytest.mark.skipif(not registry.available("MNIST"), reason="MNIST is not available")
def test_mnist_is_the_published_one():
    images = load_mnist()
    assert images.dataset == "MNIST" and not images.stand_in
    check_images(images, 28, 60_000, 10_000)
    assert images.train[1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(images.test[1]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
