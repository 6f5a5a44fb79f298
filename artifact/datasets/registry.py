"""The data sets that a notebook may name in its metadata: how each is loaded, and whether it is available."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from artifact.datasets.characters import TINYSHAKESPEARE, load_tinyshakespeare
from artifact.datasets.corpora import MOVIE_REVIEWS, book_paths, load_books, load_movie_reviews
from artifact.datasets.esc10 import esc10_folder, load_esc10
from artifact.datasets.esc50 import find_esc50
from artifact.datasets.files import fetch, fetch_all
from artifact.datasets.images import MNIST, load_mnist
from artifact.datasets.series import ETTH1, ETTH2, load_etth1, load_etth2
from artifact.datasets.speech import fsdd_folder, load_fsdd


class Dataset(NamedTuple):
    """A loader, which takes allow_stand_in, and the verified files that it reads: None where they are not available."""

    load: Callable[..., Any]
    files: Callable[[], object | None]


DATASETS = {
    "ETTh1": Dataset(load_etth1, lambda: fetch(ETTH1)),
    "ETTh2": Dataset(load_etth2, lambda: fetch(ETTH2)),
    "MNIST": Dataset(load_mnist, lambda: fetch_all(MNIST)),
    "FSDD": Dataset(load_fsdd, fsdd_folder),
    "ESC-10": Dataset(load_esc10, esc10_folder),
    "movie reviews": Dataset(load_movie_reviews, lambda: fetch(MOVIE_REVIEWS)),
    "books": Dataset(load_books, book_paths),
    "tinyshakespeare": Dataset(load_tinyshakespeare, lambda: fetch(TINYSHAKESPEARE)),
}
OPTIONAL = {"ESC-50": find_esc50}  # measured where they are available, without a stand-in where not


@cache
def available(name: str) -> bool:
    """Whether the real files of a data set are available, fetched if need be; looked for once a process."""
    files = OPTIONAL[name] if name in OPTIONAL else DATASETS[name].files
    return files() is not None
