"""Documents as ids: padded batches of them, and passages of books whose training and test text never overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, product

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from artifact.datasets.vocabulary import LETTERS, Vocabulary, letters
from resonance.models import PADDING, UNKNOWN

SPLITS = ("train", "validation", "test")
CYCLE = ("train", "train", "train", "validation", "test")  # roles of the sections of a book, in turn

# --------------------------------------------------------------------------- batches


def padded(documents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Ids (batch, n) of documents, PADDING behind each, and their lengths (batch,)."""
    lengths = torch.tensor([len(document) for document in documents])
    if not len(lengths) or int(lengths.min()) < 1:
        raise ValueError("expected at least one document, and a token in each")
    return pad_sequence(list(documents), batch_first=True, padding_value=PADDING), lengths


def thinned(document: Tensor, drop: float, generator: torch.Generator) -> Tensor:
    """A document without a share `drop` of its tokens, chosen at random; at least one stays."""
    kept = torch.rand(len(document), generator=generator) >= drop
    return document[kept] if kept.any() else document[:1]


def document_batches(
    documents: Sequence[Tensor], labels: Tensor, size: int, generator: torch.Generator, *, drop: float = 0.0
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (ids, lengths, labels) without end: every document once an epoch, documents of like length together.

    `drop`: the share of tokens taken out of each document each time (word dropout, Iyyer et al. 2015); it shortens what
    it hides.  An epoch is shuffled, cut into pools of 16 batches, each pool sorted by length and its batches shuffled.
    """
    if not documents or len(documents) != len(labels) or size < 1 or not 0 <= drop < 1:
        got = f"{len(documents)} documents, {len(labels)} labels, size={size}, drop={drop}"
        raise ValueError(f"expected a label for each of some documents, size >= 1 and drop in [0, 1), got {got}")
    while True:
        for pool in torch.randperm(len(documents), generator=generator).split(16 * size):
            thin = {int(i): thinned(documents[i], drop, generator) for i in pool}
            order = sorted(thin, key=lambda i: len(thin[i]))
            batches = [order[at : at + size] for at in range(0, len(order), size)]
            for at in torch.randperm(len(batches), generator=generator).tolist():
                yield *padded([thin[i] for i in batches[at]]), labels[batches[at]]


# --------------------------------------------------------------------------- passages of books


@dataclass(frozen=True)
class Stretch:
    """A part of one book in `letters`: its tokens' ids, and the place of each one's first character."""

    label: int
    text: str
    ids: Tensor
    starts: np.ndarray

    def passage(self, at: int, length: int) -> Tensor:
        """The ids of the tokens that begin in the `length` characters from `at`; one unknown token if none."""
        first, last = np.searchsorted(self.starts, (at, at + length))
        return self.ids[first:last] if last > first else torch.tensor([UNKNOWN])


class Passages:
    """Passages of books, each labelled with its book, as every character or as common words alone.

    Each book, in `letters`, is cut into sections of `section` characters, of which three in a row train, the next
    validates and the next tests, and so on: the three never share a character.  A test passage is a whole section or an
    equal part of one, so the test text is the same for every length.
    Tokens: the 27 letters (`common` 0), or the `common` words whose rarest share among the books is highest; a
    word of one book alone, a name say, is then no token at all.
    Raises ValueError for a book of fewer than five sections, or books that share too few words.
    """

    def __init__(self, texts: Sequence[str], section: int, *, common: int = 0):
        texts = [letters(text) for text in texts]
        if min(map(len, texts)) < len(CYCLE) * section:
            raise ValueError(f"expected books of at least {len(CYCLE)} sections of {section} characters")
        self.section, self.classes = section, len(texts)
        self.most_tokens = (section + 1) // 2 if common else section  # a word has a letter, and a space before the next
        self.vocabulary = Vocabulary(_shared_words(texts, common) if common else LETTERS)
        self.stretches: dict[str, list[Stretch]] = {split: [] for split in SPLITS}
        stretch = self._of_words if common else self._of_letters
        for label, text in enumerate(texts):
            whole = len(text) // section * section  # an incomplete section at the end of a book is left out
            for start, split in product(range(0, whole, section * len(CYCLE)), SPLITS):
                first = start + section * CYCLE.index(split)
                if part := text[first : min(first + section * CYCLE.count(split), whole)]:
                    self.stretches[split].append(stretch(label, part))

    def _of_letters(self, label: int, text: str) -> Stretch:
        return Stretch(label, text, self.vocabulary.encode(text), np.arange(len(text)))

    def _of_words(self, label: int, text: str) -> Stretch:
        found = text.split()
        starts = np.cumsum([text.startswith(" "), *(len(word) + 1 for word in found[:-1])])  # one space between words
        ids = self.vocabulary.encode(found)
        known = ids != UNKNOWN
        return Stretch(label, text, ids[known], starts[known.numpy()])

    def cut(self, split: str, length: int) -> tuple[list[Tensor], Tensor]:
        """All passages of a split, side by side, each `length` characters long, and their labels."""
        if self.section % length:
            raise ValueError(f"expected a length that divides the section of {self.section}, got {length}")
        parts = [(s, at) for s in self.stretches[split] for at in range(0, len(s.text), length)]
        return [s.passage(at, length) for s, at in parts], torch.tensor([s.label for s, _ in parts])

    def text_of(self, passage: Tensor) -> str:
        """The known tokens of a passage as text: the letters themselves, or the words with spaces between them."""
        between = "" if self.vocabulary.tokens == tuple(LETTERS) else " "
        return between.join(self.vocabulary.decode(passage[passage != UNKNOWN]))

    def batches(
        self, lengths: Sequence[int], characters: int, generator: torch.Generator, *, drop: float = 0.0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (ids, lengths, labels) without end: training passages from anywhere, all of one length of `lengths` in
        turn, as many as make `characters`; every book is as likely.
        """
        of_book = [[s for s in self.stretches["train"] if s.label == label] for label in range(self.classes)]

        def below(n: int, shape: tuple[int, ...] = ()) -> Tensor:
            return torch.randint(n, shape, generator=generator)

        for length in cycle(lengths):
            labels = below(self.classes, (max(1, characters // length),))
            documents = []
            for label in labels.tolist():
                stretch = of_book[label][below(len(of_book[label]))]
                passage = stretch.passage(int(below(len(stretch.text) - length + 1)), length)
                documents.append(thinned(passage, drop, generator))
            yield *padded(documents), labels


def _shared_words(texts: Sequence[str], most: int) -> list[str]:
    """The words that every text uses, those first whose smallest share of a text is largest."""
    counts = [(found, found.total()) for found in (Counter(text.split()) for text in texts)]
    shared = set.intersection(*(set(found) for found, _ in counts))
    if len(shared) < most:
        raise ValueError(f"the books share {len(shared)} words, fewer than common={most}")
    return sorted(shared, key=lambda word: (-min(found[word] / total for found, total in counts), word))[:most]
