"""A text as ids to learn a language from: the characters of tinyshakespeare, or the words of the nine books.

Texts are cut as nanoGPT cuts them: results are reported on the last tenth.  Nothing is chosen there: learning rates are
chosen on the twentieth before it, by models that have not been trained on it.

    fit      0 .. 0.85          trains the runs that choose
    choice   0.85 .. 0.90       validates them
    train    0 .. 0.90          trains the runs that are reported
    report   0.90 .. 1          tests them, once
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from artifact.datasets.corpora import LIBRARY, PACKAGES, library_text, load_books
from artifact.datasets.files import Source, fetch, stand_in
from artifact.datasets.vocabulary import Vocabulary, words

TINYSHAKESPEARE = Source(
    name="tinyshakespeare.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
    "data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    licence="public domain",
)
CUTS = {"fit": (0.0, 0.85), "choice": (0.85, 0.9), "train": (0.0, 0.9), "report": (0.9, 1.0)}


@dataclass(frozen=True)
class Corpus:
    """A text as ids of a vocabulary: `parts` by the names of `CUTS`, each (length,) int64."""

    dataset: str
    vocabulary: Vocabulary
    parts: dict[str, Tensor]
    separator: str = ""  # between two symbols of a text
    stand_in: bool = False

    def encode(self, text: str) -> Tensor:
        """The ids of a text of characters, (length,); raises ValueError for characters that it does not contain."""
        if unknown := sorted(set(text) - set(self.vocabulary.tokens)):
            raise ValueError(f"expected characters of {self.dataset}, got {unknown}")
        return self.vocabulary.encode(text)

    def decode(self, ids: Tensor) -> str:
        """The text of ids (length,)."""
        return self.separator.join(self.vocabulary.decode(ids))


def load_tinyshakespeare(*, allow_stand_in: bool = False) -> Corpus:
    """1,115,394 characters of Shakespeare's plays, 65 distinct, an id a character in the order of their codes.

    Where they are not available and a stand-in is allowed: packages of the standard library, cut to as many characters.
    Raises DataUnavailableError, CorruptDataError.  Source: Karpathy, char-rnn, 2015; public domain.
    """
    path = fetch(TINYSHAKESPEARE)
    if path is None:
        return stand_in("tinyshakespeare", _library_characters, allowed=allow_stand_in)
    return character_corpus("tinyshakespeare", path.read_text(encoding="utf-8"))


def _library_characters() -> Corpus:
    text = "\n".join(library_text(package) for package in PACKAGES)[:1_115_394]
    plain = text.encode("ascii", "replace").decode()  # a handful of comments hold other letters
    return character_corpus(LIBRARY, plain, stand_in=True)


def character_corpus(dataset: str, text: str, *, stand_in: bool = False) -> Corpus:
    """The characters of a text, cut by `CUTS`; raises ValueError for a text too short to be cut."""
    if len(text) < 20:
        raise ValueError(f"expected a text of at least 20 characters, got {len(text)}")
    vocabulary = Vocabulary(sorted(set(text)), reserved=())
    return Corpus(dataset, vocabulary, cut([vocabulary.encode(text)]), stand_in=stand_in)


def cut(texts: list[Tensor]) -> dict[str, Tensor]:
    """The parts of `CUTS`, each of every text and joined; the cut of nanoGPT, int(0.9 n), is the third."""
    return {
        name: torch.cat([ids[int(low * len(ids)) : int(high * len(ids))] for ids in texts])
        for name, (low, high) in CUTS.items()
    }


def load_words(vocab_size: int, books: int = 9, *, allow_stand_in: bool = False) -> Corpus:
    """The lower-case words and punctuation of the first books, each cut by `CUTS`.

    The vocab_size - 1 commonest words of the `fit` part have an id of their own; id 0 is every other word.
    Raises as `load_books`; ValueError for a vocabulary of less than two.
    """
    library = load_books(allow_stand_in=allow_stand_in)
    texts = [words(text) for text in library.texts[:books]]
    fit = (text[: int(CUTS["fit"][1] * len(text))] for text in texts)
    vocabulary = Vocabulary.of(fit, vocab_size, reserved=("<other>",))
    ids = [vocabulary.encode(text) for text in texts]
    return Corpus(f"{library.dataset}, words", vocabulary, cut(ids), separator=" ", stand_in=library.stand_in)
