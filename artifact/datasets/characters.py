"""Characters of tinyshakespeare, and words of the nine books, as ids to learn a language from.

Character texts are cut as nanoGPT cuts them: the last tenth is what every result is reported on.  Nothing is chosen
there: rates are chosen on the twentieth before it, by models that have not been trained on it.

    fit      0 .. 0.85          trains the runs that choose
    choice   0.85 .. 0.90       validates them
    train    0 .. 0.90          trains the runs that are reported
    report   0.90 .. 1          judges them, once
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from artifact.datasets.corpora import PACKAGES, library_text, load_books
from artifact.datasets.files import Source, fetch
from artifact.datasets.words import words_of

TINYSHAKESPEARE = Source(
    name="tinyshakespeare.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
    "data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    licence="public domain",
)
CUTS = {"fit": (0.0, 0.85), "choice": (0.85, 0.9), "train": (0.0, 0.9), "report": (0.9, 1.0)}
UNKNOWN = "<other>"


@dataclass(frozen=True)
class Corpus:
    """A text as ids: `parts` by the names of `CUTS`, each (length,) int64; `symbols[id]` is what an id stands for."""

    dataset: str
    symbols: tuple[str, ...]
    parts: dict[str, Tensor]
    joint: str = ""  # what stands between two symbols of a text
    stand_in: bool = False

    def encode(self, text: str) -> Tensor:
        """Return the ids of a text of characters, (length,); raises ValueError for a character it does not know."""
        ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if unknown := sorted(set(text) - set(ids)):
            raise ValueError(f"expected characters of {self.dataset}, got {unknown}")
        return torch.tensor([ids[character] for character in text], dtype=torch.long)

    def decode(self, ids: Tensor) -> str:
        """Return the text of ids (length,)."""
        return self.joint.join(self.symbols[i] for i in ids.tolist())


def load_tinyshakespeare() -> Corpus:
    """Return 1,115,394 characters of Shakespeare's plays, 65 distinct, an id a character in the order of their codes.

    Offline, packages of the standard library stand in, cut to as many characters.  Raises CorruptDataError.
    Source: Karpathy, char-rnn, 2015; public domain.
    """
    path = fetch(TINYSHAKESPEARE)
    if path is not None:
        return character_corpus("tinyshakespeare", path.read_text(encoding="utf-8"))
    warnings.warn("tinyshakespeare is not to be had: the standard library's source stands in", stacklevel=2)
    text = "\n".join(library_text(package) for package in PACKAGES)[:1_115_394]
    plain = text.encode("ascii", "replace").decode()  # a handful of comments hold other letters
    return character_corpus("source of the standard library (stand-in)", plain, stand_in=True)


def character_corpus(dataset: str, text: str, *, stand_in: bool = False) -> Corpus:
    """Return the characters of a text, cut by `CUTS`; raises ValueError for a text too short to be cut."""
    if len(text) < 20:
        raise ValueError(f"expected a text of at least 20 characters, got {len(text)}")
    symbols = tuple(sorted(set(text)))
    place = {symbol: i for i, symbol in enumerate(symbols)}
    ids = torch.from_numpy(np.fromiter((place[c] for c in text), np.int64, len(text)))
    return Corpus(dataset, symbols, cut([ids]), stand_in=stand_in)


def cut(texts: list[Tensor]) -> dict[str, Tensor]:
    """Return the parts of `CUTS`, each of every text and joined; the cut of nanoGPT, int(0.9 n), is the third."""
    return {
        name: torch.cat([ids[int(low * len(ids)) : int(high * len(ids))] for ids in texts])
        for name, (low, high) in CUTS.items()
    }


def load_words(vocab_size: int, books: int = 9) -> Corpus:
    """Return the lower-case words and stops of the first books, each cut by `CUTS`; id 0 is any word but the commonest.

    The vocab_size - 1 commonest words of the `fit` part have an id, by falling count, ties in order of appearance.
    Raises CorruptDataError; ValueError for a vocabulary of less than two.
    """
    if vocab_size < 2:
        raise ValueError(f"expected vocab_size >= 2, got {vocab_size}")
    library = load_books()
    texts = words_of(library.texts[:books])
    fit = Counter(word for words in texts for word in words[: int(CUTS["fit"][1] * len(words))])
    symbols = (UNKNOWN, *(word for word, _ in fit.most_common(vocab_size - 1)))
    place = {symbol: i for i, symbol in enumerate(symbols)}
    ids = [torch.tensor([place.get(word, 0) for word in words], dtype=torch.long) for words in texts]
    return Corpus(f"{library.dataset}, words", symbols, cut(ids), joint=" ", stand_in=library.stand_in)
