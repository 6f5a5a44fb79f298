"""Tokens and their ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.datasets.vocabulary import LETTERS, RESERVED, Vocabulary, letters, words
from resonance.models import PADDING, UNKNOWN


def test_words_and_letters():
    assert words("It isn't GOOD, is it?") == ["it", "isn't", "good", ",", "is", "it", "?"]
    assert letters("Éa--b\n\nC3d") == "ea b c d"


@given(st.text())
def test_letters_are_27_symbols_and_a_fixed_point(text):
    reduced = letters(text)
    assert set(reduced) <= set(LETTERS) and "  " not in reduced and letters(reduced) == reduced


def test_vocabulary_orders_by_count_then_alphabet():
    vocabulary = Vocabulary.of([["b", "a", "c", "c"], ["c", "a", "b", "d"]], 5)
    assert vocabulary.tokens == ("c", "a", "b") and len(vocabulary) == 5
    assert vocabulary.encode(["c", "d", "a"]).tolist() == [2, UNKNOWN, 3]
    assert vocabulary.encode([]).tolist() == [UNKNOWN]
    with pytest.raises(ValueError, match="size >= 3"):
        Vocabulary.of([["a"]], 2)
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"])


def test_reserved_symbols_have_the_ids_of_the_models():
    assert RESERVED[PADDING] == "<padding>" and RESERVED[UNKNOWN] == "<unknown>"


def test_symbols_and_ids_of_any_reservation():
    other = Vocabulary("ab", reserved=("<other>",))
    assert other.encode("abz").tolist() == [1, 2, 0] and other.decode(other.encode("bz")) == ["b", "<other>"]
    plain = Vocabulary("ab", reserved=())
    assert plain.encode("ab").tolist() == [0, 1] and plain.encode("").tolist() == []
    with pytest.raises(KeyError, match="z"):
        plain.encode("az")
