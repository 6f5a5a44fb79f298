"""Pictures in one hologram: the laws of their errors."""

from __future__ import annotations

import math

import pytest
import torch

from artifact.studies.holographic_capacity.capacity import (
    relative_error,
)
from artifact.studies.holographic_capacity.pictures import Album, photographs, pictures, recall_pictures


@pytest.fixture(scope="module")
def album():
    return Album(pictures(40, 24, seed=0), 96, seed=1)


def test_photographs_and_pictures():
    temple, flower = photographs()
    assert temple.shape == flower.shape == (427, 640) and temple.abs().max() <= 1
    images = pictures(6, 16, seed=0)
    assert images.shape == (6, 256) and images.abs().max() <= 1
    assert torch.equal(images, pictures(6, 16, seed=0)) and not torch.equal(images[1:], pictures(6, 16, seed=1)[1:])


def test_an_album_reads_as_the_laws_say(album):
    law = math.sqrt(40 / 96)
    assert relative_error(album.read(album.recorded), album.images) < 1e-5
    assert relative_error(album.noisy(10.0), album.images) == pytest.approx(law / math.sqrt(10), rel=0.03)
    assert relative_error(album.erased(0.25), album.images) == pytest.approx(law * math.sqrt(1 / 3), rel=0.05)
    slope = (album.erased(0.4) * album.images).sum() / album.images.square().sum()
    assert slope == pytest.approx(1.0, abs=0.02), "as bright as it was"
    assert relative_error(album.solved(0.4), album.images) < 1e-3
    assert relative_error(album.traced(), album.images) == pytest.approx(math.sqrt(1 - 2 / 41), rel=0.02)
    assert relative_error(album.coarse(12), album.images) < 0.02


def test_the_tables_of_the_picture():
    options = {"snrs": [10.0], "bits": 8, "shares": [0.3], "seed": 0}
    grey, errors = recall_pictures(20, 16, 64, **options)
    assert list(grey) == list(errors["panel"]) and len(grey) == 256
    assert grey.min(axis=None) >= 0 and grey.max(axis=None) <= 255
    assert (grey["stored"] - grey["read back"]).abs().max() <= 1
