"""Film reviews and novels: what is loaded is what was published."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from artifact.datasets import corpora, registry
from artifact.datasets.files import CorruptDataError


def needs(name):
    return pytest.mark.skipif(not registry.available(name), reason=f"{name}: not available")


@needs("movie reviews")
def test_movie_reviews_are_balanced_in_every_fold():
    reviews = corpora.load_movie_reviews()
    counts = np.zeros((10, 2), int)
    np.add.at(counts, (reviews.folds, reviews.labels), 1)
    assert (counts == 100).all() and all(len(text) > 50 for text in reviews.texts)


@needs("books")
def test_books_are_whole_and_without_their_licence():
    books = corpora.load_books()
    assert len(books.texts) == len(books.titles) == 9
    for text in books.texts:
        assert len(text) > 1_000_000 and "\r" not in text and "*** START OF" not in text
        assert "gutenberg" not in text[-300:].lower()


def test_the_stand_ins_have_every_fold_and_label_and_are_long(nowhere):
    reviews = corpora.load_movie_reviews(allow_stand_in=True)
    assert set(reviews.folds) == set(range(10)) and set(reviews.labels) == {0, 1}
    assert all(len(text) > 40_000 for text in corpora.load_books(allow_stand_in=True).texts)


def test_a_book_without_its_marks_is_refused(tmp_path):
    path = tmp_path / "1.txt"
    path.write_text("no marks")
    with pytest.raises(CorruptDataError, match="found 0"):
        corpora._without_licence(path)
    path.write_bytes(
        b"x\r\n*** START OF THIS PROJECT GUTENBERG EBOOK A ***\r\n\r\nThe t\xe9xt.\r\n\r\n"
        b"End of Project Gutenberg's A\r\n*** END OF THIS PROJECT GUTENBERG EBOOK A ***\r\ny"
    )
    assert corpora._without_licence(path) == "The t\xe9xt."


def test_reviews_of_another_name_are_left_out(nowhere, monkeypatch):
    path = nowhere / "movie_reviews.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("movie_reviews/pos/cv123_4.txt", "good")
        archive.writestr("movie_reviews/README", "none")
    monkeypatch.setattr(corpora, "fetch", lambda source: path)
    reviews = corpora.load_movie_reviews()
    assert (reviews.texts, reviews.labels.tolist(), reviews.folds.tolist()) == (["good"], [1], [1])
