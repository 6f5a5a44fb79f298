"""What `12_documents` measures: film reviews in ten folds, passages of books by length, and the cost of a step.

fold_of             one fold of labelled texts as ids: its texts test, the next fold's validate, the others train
train_documents     one network of a family trained on a fold
train_passages      one network trained on passages of several lengths
step_costs          seconds and bytes of a training step against the length
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.corpora import Documents
from artifact.datasets.documents import SPLITS, Passages, document_batches
from artifact.datasets.vocabulary import LETTERS, Vocabulary, words
from artifact.peers.documents import BagClassifier, FNetClassifier, TransformerClassifier, fit_tfidf
from artifact.studies.common.classification import accuracy, logits_of, train_classifier
from artifact.studies.common.timing import keep_freed_memory, seconds_of
from resonance.band import next_power_of_two
from resonance.models import DocumentClassifier, PooledClassifier
from resonance.polar import count_parameters

FAMILIES = ("resonance", "Transformer", "FNet", "bag")
BASELINE = "TF-IDF, logistic regression"


def document_model(
    family: str, vocabulary: int, classes: int, dim: int, depth: int, *, window: int, seed: int
) -> PooledClassifier:
    """An untrained classifier; a block of resonance or of the Transformer has about 12 dim^2 parameters.

    Resonance keeps k = dim frequencies: its mixing then has 4 dim^2 parameters, as attention has.
    Raises ValueError for an unknown family.
    """
    torch.manual_seed(seed)
    if family == "resonance":
        return DocumentClassifier(vocabulary, classes, dim, depth, window=window, num_frequencies=dim)
    if family == "Transformer":
        return TransformerClassifier(vocabulary, classes, dim, depth, heads=max(1, dim // 16))
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    return {"FNet": FNetClassifier, "bag": BagClassifier}[family](vocabulary, classes, dim, depth)


# --------------------------------------------------------------------------- labelled texts in folds


@dataclass(frozen=True)
class Fold:
    """One fold: for "train", "validation" and "test" the texts, their ids, their labels."""

    number: int
    texts: dict[str, list[str]]
    ids: dict[str, list[Tensor]]
    labels: dict[str, Tensor]
    vocabulary: int
    classes: int
    window: int  # the longest document of all, up to a power of two


def fold_of(documents: Documents, number: int, vocabulary: int = 10000) -> Fold:
    """Fold `number`: its texts test, those of the next fold validate, and the vocabulary comes from the others alone.

    Raises ValueError for a fold that does not exist.
    """
    if number not in set(documents.folds.tolist()):
        raise ValueError(f"expected a fold of {sorted(set(documents.folds.tolist()))}, got {number}")
    after = (number + 1) % (int(documents.folds.max()) + 1)
    role = np.select([documents.folds == number, documents.folds == after], ["test", "validation"], "train")
    tokens = [words(text) for text in documents.texts]
    known = Vocabulary.of((t for t, r in zip(tokens, role, strict=True) if r == "train"), vocabulary)
    where = {split: np.flatnonzero(role == split) for split in SPLITS}
    return Fold(
        number,
        {split: [documents.texts[i] for i in at] for split, at in where.items()},
        {split: [known.encode(tokens[i]) for i in at] for split, at in where.items()},
        {split: torch.from_numpy(documents.labels[at]) for split, at in where.items()},
        len(known),
        len(documents.label_names),
        next_power_of_two(max(map(len, tokens))),
    )


class DocumentScore(NamedTuple):
    """Results of one training: accuracies as shares, losses in nats a document, seconds of training."""

    family: str
    dim: int
    depth: int
    rate: float
    seed: int
    fold: int
    parameters: int
    seconds: float
    validation_accuracy: float
    validation_loss: float
    accuracy: float
    loss: float


def train_documents(
    family: str,
    dim: int,
    depth: int,
    rate: float,
    seed: int,
    *,
    fold: Fold,
    epochs: int = 4,
    batch: int = 16,
    drop: float = 0.5,
) -> DocumentScore:
    """Train a network of a family on a fold; score validation and test.

    `drop`: the share of tokens removed at random from each training document each epoch; evaluation keeps all.
    """
    model = document_model(family, fold.vocabulary, fold.classes, dim, depth, window=fold.window, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    train, labels = fold.ids["train"], fold.labels["train"]
    batches = document_batches(train, labels, batch, generator, drop=drop)
    steps = epochs * -(-len(train) // batch)
    seconds = train_classifier(model, _named(batches), steps, rate=rate)
    scores = [quality(logits_of(model, fold.ids[split]), fold.labels[split]) for split in ("validation", "test")]
    return DocumentScore(
        family, dim, depth, rate, seed, fold.number, count_parameters(model), seconds, *scores[0], *scores[1]
    )


def baseline_on_fold(fold: Fold, strengths: Sequence[float]) -> dict[str, float]:
    """Validation and test accuracy of logistic regression on TF-IDF weights of words and pairs of words."""
    train, validation, test = ((fold.texts[split], fold.labels[split].numpy()) for split in SPLITS)
    started = time.perf_counter()
    model, strength = fit_tfidf(*train, lambda model: model.score(*validation), strengths, tokens=words)
    row = {"family": BASELINE, "fold": fold.number, "rate": strength, "parameters": model[-1].coef_.size + 1}
    row["seconds"] = time.perf_counter() - started
    return row | {"validation_accuracy": model.score(*validation), "accuracy": model.score(*test)}


def _named(batches: Iterator[tuple[Tensor, Tensor, Tensor]]) -> Iterator[dict[str, Tensor]]:
    return ({"ids": ids, "lengths": lengths, "target": labels} for ids, lengths, labels in batches)


def quality(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy, and cross-entropy in nats a document."""
    return accuracy(logits, labels), F.cross_entropy(logits.double(), labels).item()


# --------------------------------------------------------------------------- passages of books


def train_passages(
    family: str,
    passages: Passages,
    lengths: Sequence[int],
    *,
    dim: int,
    rate: float,
    seed: int,
    steps: int,
    characters: int,
    drop: float = 0.0,
) -> tuple[PooledClassifier, float]:
    """Train a network of one block on passages of every length in turn; return it and the seconds of training."""
    window = next_power_of_two(passages.most_tokens)
    model = document_model(family, len(passages.vocabulary), passages.classes, dim, 1, window=window, seed=seed)
    batches = passages.batches(lengths, characters, torch.Generator().manual_seed(seed), drop=drop)
    return model, train_classifier(model, _named(batches), steps, rate=rate)


def passage_scores(model: nn.Module, passages: Passages, split: str, lengths: Sequence[int]) -> pd.DataFrame:
    """Accuracy and loss on all passages of a split, one row a length."""
    rows = []
    for length in lengths:
        documents, labels = passages.cut(split, length)
        rows.append((length, len(documents), *quality(logits_of(model, documents), labels)))
    return pd.DataFrame(rows, columns=["length", "passages", "accuracy", "loss"])


def baseline_on_passages(
    passages: Passages, length: int, strengths: Sequence[float], *, ngrams: int
) -> dict[str, float]:
    """Test accuracy, at one length, of logistic regression on TF-IDF weights of n-grams of tokens."""
    parts = []
    for split in SPLITS:
        documents, labels = passages.cut(split, length)
        parts.append(([passages.text_of(document) for document in documents], labels.numpy()))
    cut = None if passages.vocabulary.tokens == tuple(LETTERS) else str.split
    model, _ = fit_tfidf(*parts[0], lambda model: model.score(*parts[1]), strengths, ngrams=ngrams, tokens=cut)
    return {"length": length, "passages": len(parts[2][0]), "accuracy": model.score(*parts[2])}


# --------------------------------------------------------------------------- costs


def kept_bytes(model: nn.Module, ids: Tensor, lengths: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, without the parameters, each storage counted once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = model(ids, lengths)  # kept until all is counted: a storage freed earlier could be reused
    del result
    return sum(kept.values())


def step_costs(
    longest: dict[str, int], lengths: Sequence[int], *, vocabulary: int, classes: int, dim: int, seed: int = 0
) -> pd.DataFrame:
    """Seconds and kept bytes of one training step on one document, for each family and length in tokens.

    longest: the greatest length at which each family is measured.
    """
    keep_freed_memory()
    rows = []
    for n in lengths:
        ids = torch.randint(2, vocabulary, (1, n), generator=torch.Generator().manual_seed(seed))
        size = torch.tensor([n])
        for family in (family for family, most in longest.items() if n <= most):
            model = document_model(family, vocabulary, classes, dim, 1, window=max(lengths), seed=seed)
            kept = kept_bytes(model, ids, size)
            step = lambda model=model, ids=ids, size=size: _step(model, ids, size)  # noqa: E731
            step()
            rows.append((family, n, seconds_of(step), kept))
    return pd.DataFrame(rows, columns=["family", "tokens", "seconds", "kept_bytes"])


def _step(model: nn.Module, ids: Tensor, lengths: Tensor) -> None:
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(ids, lengths), torch.zeros(len(ids), dtype=torch.int64)).backward()
