"""Texts as ids: cut without overlap, encoded and decoded."""

from __future__ import annotations

import pytest
import torch

from artifact.datasets import characters, corpora, registry
from artifact.datasets.characters import character_corpus, load_tinyshakespeare


@pytest.mark.skipif(not registry.available("tinyshakespeare"), reason="tinyshakespeare: not available")
def test_tinyshakespeare_is_what_was_published_and_cut_as_it_was():
    corpus = load_tinyshakespeare()
    assert len(corpus.vocabulary) == 65 and not corpus.stand_in
    assert len(corpus.parts["train"]) == 1_003_854 and len(corpus.parts["report"]) == 111_540  # nanoGPT's split
    assert torch.equal(torch.cat([corpus.parts["fit"], corpus.parts["choice"]]), corpus.parts["train"])
    assert corpus.decode(corpus.parts["train"][:14]) == "First Citizen:"
    assert torch.equal(corpus.encode("Citizen"), corpus.parts["train"][6:13])


def test_the_stand_in_is_as_long(nowhere):
    corpus = load_tinyshakespeare(allow_stand_in=True)
    assert corpus.stand_in and "stand-in" in corpus.dataset and len(corpus.parts["train"]) > 500_000


def test_characters_and_words_are_cut_without_overlap(monkeypatch):
    corpus = character_corpus("toy", "abcde" * 20)
    assert [len(corpus.parts[name]) for name in ("fit", "choice", "train", "report")] == [85, 5, 90, 10]
    with pytest.raises(ValueError, match=r"\['z'\]"):
        corpus.encode("az")
    with pytest.raises(ValueError, match="at least 20"):
        character_corpus("toy", "abc")
    texts = ["the cat and the dog . " * 10 + "zebra " * 20]
    monkeypatch.setattr(characters, "load_books", lambda **_: corpora.Books("toy", ("one",), texts))
    words = characters.load_words(3)
    assert words.vocabulary.symbols == ("<other>", "the", ".")
    assert words.decode(words.parts["report"][-2:]) == "<other> <other>"
    with pytest.raises(ValueError, match="size >= 2"):
        characters.load_words(1)
