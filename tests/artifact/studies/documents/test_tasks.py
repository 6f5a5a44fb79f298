"""Document classifiers and their peers: padding, budgets, training, costs by length."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from artifact.datasets.corpora import Documents
from artifact.datasets.documents import SPLITS, Passages, padded
from artifact.studies.common.classification import logits_of
from artifact.studies.documents import tasks
from artifact.studies.documents.tasks import (
    FAMILIES,
    baseline_on_fold,
    baseline_on_passages,
    document_model,
    fold_of,
    kept_bytes,
    passage_scores,
    scored_on_passages,
    step_costs,
    train_documents,
    train_passages,
    tuned_on_fold,
    tuned_on_passages,
)
from resonance.models import UNKNOWN, DocumentClassifier
from resonance.polar import count_parameters


def toy_documents(count=120, seed=0):
    """Two classes told apart by one word in a noise of others."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    texts = [
        " ".join([*generator.choice(["the", "a", "film", "of"], generator.integers(5, 40)), ("bad", "good")[label]] * 2)
        for label in labels
    ]
    return Documents("toy", texts, labels, np.arange(count) // 2 % 10, ("bad", "good"))


def toy_books(books=3, characters=6000, seed=0):
    """Texts of the same words in other proportions, and a name of their own."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice(["the", "sea", "whale", f"name{'abc'[b]}"], characters // 3, p=p))[:characters]
        for b, p in zip(range(books), ([0.6, 0.2, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1]), strict=True)
    ]


def model_of(family, vocabulary=50, classes=3, dim=16, window=64, depth=2):
    return document_model(family, vocabulary, classes, dim, depth, window=window, seed=0).eval()


# --------------------------------------------------------------------------- models


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("training", [False, True])
def test_padding_and_neighbours_have_no_part_in_the_logits(family, training):
    """A document alone and the same one beside a longer one, whatever stands behind it, in double precision."""
    model = model_of(family).double().train(training)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    short, long = torch.tensor([5, 7, 9, 11, 3]), torch.arange(2, 43)
    ids, lengths = padded([short, long])
    alone = torch.cat([model(*padded([document])) for document in (short, long)])
    together = model(ids, lengths)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-10)
    ids[0, 5:] = 17
    torch.testing.assert_close(model(ids, lengths), alone, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_gets_no_gradient(family):
    model = model_of(family)
    ids, lengths = padded([torch.tensor([5, 7]), torch.arange(2, 30)])
    ids[0, 2:] = 40
    model(ids, lengths).square().sum().backward()
    assert not model.embedding.weight.grad[40].any() and model.embedding.weight.grad[5].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_come_in_the_order_of_the_documents(family):
    model = model_of(family)
    generator = torch.Generator().manual_seed(0)
    documents = [torch.randint(2, 50, (n,), generator=generator) for n in (9, 1, 40, 9, 23, 2, 64)]
    alone = torch.cat([logits_of(model, [document]) for document in documents])
    for tokens in (1, 50, 10_000):
        torch.testing.assert_close(logits_of(model, documents, tokens=tokens), alone, rtol=1e-4, atol=1e-5)


def test_only_the_bag_is_blind_to_order():
    generator = torch.Generator().manual_seed(0)
    document = torch.randint(2, 50, (64,), generator=generator)
    turned = document[torch.randperm(64, generator=generator)]
    for family in FAMILIES:
        model = model_of(family).double()
        a, b = (logits_of(model, [part]) for part in (document, turned))
        assert torch.allclose(a, b, rtol=0, atol=1e-12) == (family == "bag"), family


@pytest.mark.parametrize("dim", [16, 32, 64])
def test_budgets(dim):
    """Vocabulary apart, resonance and the Transformer have one budget to 5%; the formulas are those printed."""
    sizes = {family: count_parameters(model_of(family, 2, 2, dim, window=256, depth=1)) for family in FAMILIES}
    assert abs(sizes["resonance"] / sizes["Transformer"] - 1) < 0.05
    weights = 2 * dim * dim + 2 * dim * dim + 8 * dim * dim
    assert 0 < sizes["resonance"] - weights < 16 * dim + 16


def test_a_document_beyond_the_window_is_a_clear_error():
    model = DocumentClassifier(10, 2, 8, window=32, num_frequencies=8)
    with pytest.raises(ValueError, match="window=32"):
        model(torch.full((1, 33), 2), torch.tensor([33]))
    with pytest.raises(ValueError, match="unknown family 'rnn'"):
        document_model("rnn", 10, 2, 8, 1, window=32, seed=0)


# --------------------------------------------------------------------------- protocol


def test_folds_are_disjoint_and_the_vocabulary_knows_training_texts_alone():
    documents = toy_documents()
    fold = fold_of(documents, 9)
    assert [len(fold.texts[split]) for split in SPLITS] == [96, 12, 12]
    assert fold.texts["test"] == [t for t, f in zip(documents.texts, documents.folds, strict=True) if f == 9]
    assert fold.texts["validation"] == [t for t, f in zip(documents.texts, documents.folds, strict=True) if f == 0]
    texts = [text + " leak" if f == 9 else text for text, f in zip(documents.texts, documents.folds, strict=True)]
    leaky = fold_of(dataclasses.replace(documents, texts=texts), 9)
    assert leaky.vocabulary == fold.vocabulary and leaky.ids["test"][0][-1] == UNKNOWN
    with pytest.raises(ValueError, match="got 10"):
        fold_of(documents, 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_a_word(family):
    fold = fold_of(toy_documents(), 0)
    score = train_documents(family, 16, 1e-2, 0, fold=fold, epochs=12, batch=8, drop=0.1)
    assert score["accuracy"] > 0.9 and score["validation_accuracy"] > 0.9 and score["loss"] < 0.6
    again = train_documents(family, 16, 1e-2, 0, fold=fold, epochs=12, batch=8, drop=0.1)
    assert score | {"seconds": 0} == again | {"seconds": 0}


def test_the_best_rate_on_validation_is_reported_with_its_training():
    fold = fold_of(toy_documents(), 0)
    tries, row = tuned_on_fold("bag", 8, [1e-3, 1e-2], 1, 0, fold, 2)
    assert len(tries) == 3 and (tries["family"] == "bag").all()
    best = tries.loc[tries["score"].idxmin()]
    assert row["rate"] == best["value"] and row["validation_loss"] == best["score"]
    assert row | {"seconds": 0} == train_documents("bag", 8, best["value"], 0, fold, 2) | {"seconds": 0}


def test_the_strength_of_the_baseline_widens_past_the_end_of_its_grid(monkeypatch):
    fitted = []

    class Regression(tasks.LogisticRegression):
        def fit(self, features, labels):
            fitted.append(self.C)
            return super().fit(features, labels)

        def score(self, features, labels):
            return 1 / (1 + abs(self.C - 100))

    monkeypatch.setattr(tasks, "LogisticRegression", Regression)
    row = baseline_on_fold(fold_of(toy_documents(), 0), [0.1, 1.0], 5)
    assert sorted(fitted) == [0.1, 1.0, 10.0, 100.0, 1000.0] and row["rate"] == 100.0 and row["inside"]
    assert not baseline_on_fold(fold_of(toy_documents(), 0), [0.1, 1.0], 0)["inside"]


def test_the_baselines_learn_separable_texts():
    assert baseline_on_fold(fold_of(toy_documents(), 0), [1.0, 100.0], 0)["accuracy"] == 1.0
    passages = Passages(toy_books(), 512, common=3)
    assert baseline_on_passages(passages, 256, [100.0], 0, 1)["accuracy"] > 0.9
    assert baseline_on_passages(Passages(toy_books(), 512), 256, [100.0], 0, 2)["accuracy"] > 0.9


def test_a_network_trained_on_short_passages_works_on_long_ones():
    passages = Passages(toy_books(), 512, common=3)
    options = {"dim": 16, "rate": 1e-2, "seed": 0, "steps": 60, "characters": 1024}
    model, seconds = train_passages("resonance", passages, [64, 128], **options)
    scores = passage_scores(model, passages, "test", [128, 512])
    assert scores["accuracy"].tolist()[1] > 0.9 and seconds > 0
    assert scores["passages"].tolist() == [4 * scores["passages"][1], scores["passages"][1]]
    training = {name: options[name] for name in ("dim", "steps", "characters")}
    again = scored_on_passages("resonance", 1e-2, 0, passages, [64, 128], training, [128, 512])
    assert again[["length", "accuracy", "loss"]].equals(scores[["length", "accuracy", "loss"]])
    tries = tuned_on_passages("resonance", [1e-4, 1e-2], 0, 0, passages, [64, 128], training)
    loss = passage_scores(model, passages, "validation", [64, 128])["loss"].mean()
    assert tries["value"].tolist() == [1e-4, 1e-2] and tries["score"].iloc[1] == loss < tries["score"].iloc[0]


# --------------------------------------------------------------------------- costs


def test_kept_bytes_are_linear_in_the_length_and_count_a_storage_once():
    linear = torch.nn.Linear(8, 8)
    assert kept_bytes(_Flat(linear), torch.randn(4, 8), torch.tensor([4])) == 4 * 8 * 4  # the input alone
    for family in FAMILIES:
        sizes = [
            kept_bytes(model_of(family, window=4096, depth=1), torch.full((1, n), 2), torch.tensor([n]))
            for n in (1024, 2048, 4096)
        ]
        assert (sizes[2] - sizes[1]) == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.1), family


class _Flat(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, lengths):
        return self.layer(x)


def test_costs_stop_at_the_longest():
    costs = step_costs({"resonance": 256, "Transformer": 128}, [128, 256], vocabulary=30, classes=3, dim=16)
    assert list(zip(costs["family"], costs["tokens"], strict=True)) == [
        ("resonance", 128),
        ("Transformer", 128),
        ("resonance", 256),
    ]
    assert (costs["seconds"] > 0).all() and (costs["kept_bytes"] > 0).all()
