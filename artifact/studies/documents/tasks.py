"""What `12_documents` measures: film reviews in ten folds, passages of books by length, and the cost of a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.corpora import Documents
from artifact.datasets.documents import SPLITS, Passages, document_batches
from artifact.datasets.vocabulary import LETTERS, Vocabulary, words
from artifact.peers.documents import BagClassifier, FNetClassifier, TransformerClassifier, tfidf
from artifact.studies.common.classification import accuracy, logits_of, train_classifier
from artifact.studies.common.timing import keep_freed_memory, seconds_of
from artifact.studies.common.tuning import best_values, widened
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
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    torch.manual_seed(seed)
    make, options = {
        "resonance": (DocumentClassifier, {"window": window, "num_frequencies": dim}),
        "Transformer": (TransformerClassifier, {"heads": max(1, dim // 16)}),
        "FNet": (FNetClassifier, {}),
        "bag": (BagClassifier, {}),
    }[family]
    return make(vocabulary, classes, dim, depth, **options)


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
    """Fold `number`: its texts test, the next fold's validate, the others train and give the vocabulary."""
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


def train_documents(
    family: str, dim: int, rate: float, seed: int, fold: Fold, epochs: int = 4, *, batch: int = 16, drop: float = 0.5
) -> dict:
    """Train a network of one block on a fold: its settings, parameters, seconds, and validation and test scores.

    `drop`: the share of tokens removed at random from each training document each epoch; evaluation keeps all.
    """
    model = document_model(family, fold.vocabulary, fold.classes, dim, 1, window=fold.window, seed=seed)
    train, generator = fold.ids["train"], torch.Generator().manual_seed(seed)
    batches = document_batches(train, fold.labels["train"], batch, generator, drop=drop)
    seconds = train_classifier(model, batches, epochs * -(-len(train) // batch), rate=rate)
    row = {"family": family, "dim": dim, "rate": rate, "seed": seed, "fold": fold.number}
    row |= {"parameters": count_parameters(model), "seconds": seconds}
    for split, prefix in (("validation", "validation_"), ("test", "")):
        scores = quality(logits_of(model, fold.ids[split]), fold.labels[split])
        row |= {prefix + name: score for name, score in scores.items()}
    return row


def tuned_on_fold(
    family: str, dim: int, rates: Sequence[float], wider: int, seed: int, fold: Fold, epochs: int
) -> tuple[pd.DataFrame, dict]:
    """The validation loss of every rate tried (`widened`), and the row of `train_documents` of the best."""
    rows = {}

    def loss(rate: float) -> float:
        rows[rate] = train_documents(family, dim, rate, seed, fold, epochs)
        return rows[rate]["validation_loss"]

    tries = widened(loss, rates, wider=wider)
    return tries.assign(family=family), rows[tries.loc[tries["score"].idxmin(), "value"]]


def baseline_on_fold(fold: Fold, strengths: Sequence[float], wider: int) -> dict:
    """Validation and test accuracy of logistic regression on TF-IDF weights of words and pairs of words."""
    train, validation, test = ((fold.texts[split], fold.labels[split].numpy()) for split in SPLITS)
    started = time.perf_counter()
    model, best = tuned_tfidf(train, validation, strengths, wider, tokens=words)
    row = {"family": BASELINE, "fold": fold.number, "rate": best["value"], "parameters": model[-1].coef_.size + 1}
    row |= {"seconds": time.perf_counter() - started, "validation_accuracy": 1 - best["score"]}
    return row | {"accuracy": model.score(*test), "inside": best["inside"]}


def tuned_tfidf(
    train: tuple[Sequence[str], np.ndarray],
    validation: tuple[Sequence[str], np.ndarray],
    strengths: Sequence[float],
    wider: int,
    *,
    ngrams: int = 2,
    tokens: Callable[[str], list[str]] | None = None,
) -> tuple[Pipeline, pd.Series]:
    """Logistic regression on TF-IDF weights (`tfidf`) at the C of lowest validation error; its row of `best_values`.

    The grid of C may widen `wider` times (`widened`); of equal errors the smallest C counts.
    """
    vectors, models = tfidf(ngrams, tokens), {}
    features = vectors.fit_transform(train[0])

    def error(strength: float) -> float:
        regression = LogisticRegression(C=strength, max_iter=1000).fit(features, train[1])
        models[strength] = make_pipeline(vectors, regression)
        return 1 - models[strength].score(*validation)

    best = best_values(widened(error, strengths, wider=wider).assign(model=BASELINE), ["model"]).iloc[0]
    return models[best["value"]], best


def quality(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy as a share, and cross-entropy in nats a document."""
    return {"accuracy": accuracy(logits, labels), "loss": F.cross_entropy(logits.double(), labels).item()}


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
    return model, train_classifier(model, batches, steps, rate=rate)


def passage_scores(model: nn.Module, passages: Passages, split: str, lengths: Sequence[int]) -> pd.DataFrame:
    """Accuracy and loss on all passages of a split, one row a length."""
    rows = []
    for length in lengths:
        documents, labels = passages.cut(split, length)
        scores = quality(logits_of(model, documents), labels)
        rows.append({"length": length, "passages": len(documents), **scores})
    return pd.DataFrame(rows)


def tuned_on_passages(
    family: str,
    rates: Sequence[float],
    wider: int,
    seed: int,
    passages: Passages,
    lengths: Sequence[int],
    training: dict,
) -> pd.DataFrame:
    """The validation loss, a mean over lengths, of every rate tried; `training`: options of `train_passages`."""

    def loss(rate: float) -> float:
        model, _ = train_passages(family, passages, lengths, rate=rate, seed=seed, **training)
        return passage_scores(model, passages, "validation", lengths)["loss"].mean()

    return widened(loss, rates, wider=wider).assign(family=family)


def scored_on_passages(
    family: str,
    rate: float,
    seed: int,
    passages: Passages,
    lengths: Sequence[int],
    training: dict,
    tested: Sequence[int],
) -> pd.DataFrame:
    """Test scores at the lengths `tested` of a network trained at `lengths`."""
    model, _ = train_passages(family, passages, lengths, rate=rate, seed=seed, **training)
    return passage_scores(model, passages, "test", tested).assign(family=family, seed=seed, rate=rate)


def baseline_on_passages(passages: Passages, length: int, strengths: Sequence[float], wider: int, ngrams: int) -> dict:
    """Test accuracy, at one length, of logistic regression on TF-IDF weights of n-grams of tokens (`tuned_tfidf`)."""
    cut = None if passages.vocabulary.tokens == tuple(LETTERS) else str.split
    train, validation, test = (
        ([passages.text_of(document) for document in documents], labels.numpy())
        for documents, labels in (passages.cut(split, length) for split in SPLITS)
    )
    model, best = tuned_tfidf(train, validation, strengths, wider, ngrams=ngrams, tokens=cut)
    row = {"length": length, "passages": len(test[0]), "strength": best["value"], "inside": best["inside"]}
    return row | {"accuracy": model.score(*test)}


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
    """Seconds and kept bytes of one training step on one document, by family up to its `longest`, and tokens."""

    def step(model: nn.Module, ids: Tensor, size: Tensor) -> None:
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(ids, size), torch.zeros(1, dtype=torch.int64)).backward()

    keep_freed_memory()
    rows = []
    for n, (family, most) in product(lengths, longest.items()):
        if n <= most:
            ids = torch.randint(2, vocabulary, (1, n), generator=torch.Generator().manual_seed(seed))
            model = document_model(family, vocabulary, classes, dim, 1, window=max(lengths), seed=seed)
            call = model, ids, torch.tensor([n])
            kept = kept_bytes(*call)
            step(*call)
            rows.append((family, n, seconds_of(partial(step, *call)), kept))
    return pd.DataFrame(rows, columns=["family", "tokens", "seconds", "kept_bytes"])
