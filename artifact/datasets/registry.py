"""The data sets that a notebook may name in its metadata, and whether each is available."""

from __future__ import annotations

import warnings

from .characters import load_tinyshakespeare
from .corpora import load_books, load_movie_reviews
from .files import fetch
from .images import MNIST
from .series import ETTH1
from .speech import load_fsdd

FILES = {"ETTh1": (ETTH1,), "MNIST": MNIST}
LOADERS = {
    "FSDD": load_fsdd,
    "movie reviews": load_movie_reviews,
    "books": load_books,
    "tinyshakespeare": load_tinyshakespeare,
}


def names() -> list[str]:
    """Return every name that a notebook may give under "data"."""
    return [*FILES, *LOADERS]


def available(dataset: str) -> bool:
    """Return whether the real files of a data set are available here and now; fetches them if they are."""
    if dataset in FILES:
        return all(fetch(source) is not None for source in FILES[dataset])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return not LOADERS[dataset]().stand_in
