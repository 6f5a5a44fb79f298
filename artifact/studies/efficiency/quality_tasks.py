"""Four real tasks at which each family of models is trained at several sizes, and the cost of each size.

    forecasting    ETTh1, 96 hours ahead: our closed form at several ranks against a Transformer on patches
    vision         MNIST, 600 steps: ResonanceVisionNet against a vision Transformer
    documents      film reviews, fold 0: DocumentClassifier against a Transformer
    language       characters of Shakespeare: ResonanceLM against a GPT (`language.tasks`)

Each family has the same number of values of what is tuned (a rate; the ridge of the closed form), in full trainings
with the first seed; the best on validation is then trained with every seed and tested once.  Costs are measured in
separate processes, one after the other.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.corpora import load_movie_reviews
from artifact.datasets.documents import document_batches
from artifact.datasets.images import load_mnist
from artifact.datasets.series import load_etth1
from artifact.peers.forecasting import Budget, PatchTransformer, train_patch_transformer
from artifact.peers.vision import VisionTransformer
from artifact.studies.common.classification import accuracy, predict, shuffled, train_classifier
from artifact.studies.common.processes import spread
from artifact.studies.common.timing import Step, keep_freed_memory, resident_bytes, seconds_of
from artifact.studies.documents.tasks import document_model, fold_of, train_documents
from artifact.studies.language.tasks import Language
from resonance.forecasting import evaluate, forecast_task
from resonance.polar import count_parameters
from resonance.time_series import BandMoments, Setting
from resonance.vision import ResonanceVisionNet

FAMILIES = ("resonance", "Transformer")
Sizes = dict[str, tuple[int, ...]]
Tries = dict[str, tuple[float, ...]]


def _descent(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """A training step: forward, backward, Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


class Forecasting:
    """ETTh1 at horizon 96; a size is the rank of our closed form, the width of the Transformer."""

    name, error = "forecasting", "test MSE"
    sizes: ClassVar[Sizes] = {"resonance": (1, 2, 4, 16), "Transformer": (4, 8, 16, 32)}
    tries: ClassVar[Tries] = {"resonance": (1e3, 1e4, 1e5), "Transformer": (3e-4, 1e-3, 3e-3)}
    lookback = 336

    def __init__(self, effort: float = 1.0):
        self.task = forecast_task(load_etth1(allow_stand_in=True), 96)
        self.dataset, self.stand_in = self.task.series.dataset, self.task.series.stand_in
        self.budget = Budget(epochs=3, steps=max(2, round(200 * effort)), batch=32)
        splits = ("train", "validation", "test")
        self.train, self.validation, self.test = (self.task.windows(split, self.lookback) for split in splits)

    @cached_property
    def moments(self) -> BandMoments:
        """Those of the training windows, the same for every rank and ridge."""
        return self.setting(1, 1.0).moments(self.task)

    def setting(self, rank: int, ridge: float) -> Setting:
        return Setting(self.lookback, 0.5, 0.5, rank, ridge)

    def model(self, family: str, size: int) -> nn.Module:
        if family == "resonance":
            return self.setting(size, 1.0).model(self.task)
        return PatchTransformer(self.lookback, 96, len(self.task.series.channels), size, 2)

    def scores(self, family: str, size: int, tried: float, seed: int) -> tuple[float, float]:
        if family == "resonance":
            model = self.setting(size, tried).fitted(self.task, self.moments)
        else:
            options = {"dim": size, "depth": 2, "rate": tried, "seed": seed}
            model = train_patch_transformer(self.train, self.validation, self.budget, **options).model
        return evaluate(model, self.validation)[0], evaluate(model, self.test)[0]

    def training(self, model: nn.Module) -> tuple[Step, int]:
        if isinstance(model, PatchTransformer):
            past, future = next(iter(self.train.batches(self.budget.batch)))
            return _descent(model, lambda: F.mse_loss(model(past), future)), self.budget.epochs * self.budget.steps
        setting = self.setting(model.rank, 1e4)
        return lambda: setting.fitted(self.task, setting.moments(self.task)), 1

    def inference(self, model: nn.Module) -> tuple[Step, int]:
        past, _ = next(iter(self.test.batches(self.budget.batch)))
        return lambda: model(past), self.budget.batch


class Vision:
    """MNIST, the last 5,000 training images held out; a size is the width of two blocks."""

    name, error = "vision", "test error"
    sizes: ClassVar[Sizes] = {"resonance": (12, 20, 32, 48), "Transformer": (12, 20, 32, 48)}
    tries: ClassVar[Tries] = dict.fromkeys(FAMILIES, (3e-3, 6e-3, 1.2e-2))
    batch = 128

    def __init__(self, effort: float = 1.0):
        images = load_mnist(allow_stand_in=True)
        self.dataset, self.stand_in = images.dataset, images.stand_in
        self.steps = max(2, round(600 * effort))
        parts = (map(torch.from_numpy, part) for part in (images.train, images.test))
        (x, y), self.test = ((x[:, None], y) for x, y in parts)
        held = len(x) // 12
        self.train, self.validation = (x[:-held], y[:-held]), (x[-held:], y[-held:])
        self.patch = x.shape[-1] // 7 if x.shape[-1] >= 28 else 2

    def model(self, family: str, size: int) -> nn.Module:
        shape = {"in_channels": 1, "patch_size": self.patch, "hidden_dim": size, "num_layers": 2}
        if family == "resonance":
            return ResonanceVisionNet(10, num_frequencies=4, dropout=0.0, **shape)
        return VisionTransformer(10, num_heads=4, **shape)

    def scores(self, family: str, size: int, tried: float, seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        model, (x, y) = self.model(family, size), self.train
        batches = ((x[i], y[i]) for i in shuffled(len(x), self.batch, torch.Generator().manual_seed(seed)))
        train_classifier(model, batches, self.steps, rate=tried)
        validation, test = (1 - accuracy(predict(model, x), y) for x, y in (self.validation, self.test))
        return validation, test

    def training(self, model: nn.Module) -> tuple[Step, int]:
        x, y = (part[: self.batch] for part in self.train)
        return _descent(model, lambda: F.cross_entropy(model(x), y)), self.steps

    def inference(self, model: nn.Module) -> tuple[Step, int]:
        return lambda: model(self.test[0][: self.batch]), self.batch


class DocumentReviews:
    """Film reviews, fold 0; a size is the width of one block on a vocabulary of 10,000 words."""

    name, error = "documents", "test cross-entropy (nats)"
    sizes: ClassVar[Sizes] = {"resonance": (4, 8, 16, 32), "Transformer": (4, 8, 16, 32)}
    tries: ClassVar[Tries] = dict.fromkeys(FAMILIES, (3e-3, 1e-2, 3e-2))
    batch = 16

    def __init__(self, effort: float = 1.0):
        documents = load_movie_reviews(allow_stand_in=True)
        self.dataset, self.stand_in = documents.dataset, documents.stand_in
        self.epochs = max(1, round(4 * effort))
        self.fold = fold_of(documents, 0)

    def model(self, family: str, size: int) -> nn.Module:
        fold = self.fold
        return document_model(family, fold.vocabulary, fold.classes, size, 1, window=fold.window, seed=0)

    def scores(self, family: str, size: int, tried: float, seed: int) -> tuple[float, float]:
        score = train_documents(family, size, tried, seed, fold=self.fold, epochs=self.epochs, batch=self.batch)
        return score["validation_loss"], score["loss"]

    def _batch(self, split: str, drop: float) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of documents of similar length: of twelve batches, that of the median length."""
        generator = torch.Generator().manual_seed(0)
        batches = document_batches(self.fold.ids[split], self.fold.labels[split], self.batch, generator, drop=drop)
        drawn = sorted((next(batches) for _ in range(12)), key=lambda batch: batch[0].shape[1])
        return drawn[len(drawn) // 2]

    def training(self, model: nn.Module) -> tuple[Step, int]:
        ids, lengths, labels = self._batch("train", 0.5)
        steps = self.epochs * -(-len(self.fold.ids["train"]) // self.batch)
        return _descent(model, lambda: F.cross_entropy(model(ids, lengths), labels)), steps

    def inference(self, model: nn.Module) -> tuple[Step, int]:
        ids, lengths, _ = self._batch("test", 0.0)
        return lambda: model(ids, lengths), len(ids)


TASKS = {task.name: task for task in (Forecasting, Vision, DocumentReviews, Language)}


@cache
def _task(name: str, effort: float):
    return TASKS[name](effort)


# --------------------------------------------------------------------------- quality


def _qualities(name: str, effort: float, family: str, size: int, seeds: int) -> tuple[list[dict], list[dict]]:
    """Rows of every value tried with the first seed, and of the best on validation with every seed."""
    task = _task(name, effort)

    def row(tried: float, seed: int) -> dict:
        settings = {"family": family, "size": size, "tried": tried, "seed": seed}
        validation, error = task.scores(**settings)
        return {"task": name, **settings, "validation": validation, "error": error}

    tries = [row(tried, 0) for tried in task.tries[family]]
    best = min(tries, key=lambda one: one["validation"])
    return tries, [best, *(row(best["tried"], seed) for seed in range(1, seeds))]


def qualities(
    tasks: Iterable[str], sizes: int, seeds: int, *, effort: float = 1.0, processes: int = 2
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train every family at its first `sizes` sizes: all tries, and the scores of the chosen, a row a seed.

    effort scales the training steps.  Raises ValueError for an unknown task.
    """
    tasks = list(tasks)
    if unknown := set(tasks) - set(TASKS):
        raise ValueError(f"unknown task {', '.join(sorted(unknown))}: expected some of {', '.join(TASKS)}")
    jobs = [
        (task, effort, family, size, seeds)
        for task in TASKS
        if task in tasks
        for family in FAMILIES[::-1]  # the largest Transformers take longest
        for size in TASKS[task].sizes[family][:sizes][::-1]
    ]
    found = spread(_qualities, jobs, processes=processes)
    return tuple(pd.DataFrame([row for part in parts for row in part]) for parts in zip(*found, strict=True))


# --------------------------------------------------------------------------- costs


def _cost(name: str, effort: float, family: str, size: int) -> dict:
    """Parameters, megabytes of a training step, seconds of a training, milliseconds of an item."""
    task = TASKS[name](effort)
    gc.collect()
    with suppress(OSError):  # reset the peak, so far that of loading the data, where the system allows it
        Path("/proc/self/clear_refs").write_text("5")
    start = resident_bytes(peak=False)
    torch.manual_seed(0)
    model = task.model(family, size)
    step, steps = task.training(model)
    for _ in range(2):
        step()
    memory = resident_bytes(peak=True) - start
    keep_freed_memory()
    seconds = seconds_of(step, min_seconds=1.0) * steps
    item, items = task.inference(model.eval())
    with torch.inference_mode():
        each = seconds_of(item, min_seconds=0.5) / items
    row = {"task": name, "family": family, "size": size, "parameters": count_parameters(model)}
    return {**row, "memory": memory / 2**20, "training": seconds, "inference": 1e3 * each}


def costs(cases: pd.DataFrame, *, effort: float = 1.0, threads: int = 1) -> pd.DataFrame:
    """Costs of every (task, family, size) in `cases`, one after the other, each in a fresh process."""
    sizes = cases[["task", "family", "size"]].drop_duplicates().itertuples(index=False)
    jobs = [(task, effort, family, int(size)) for task, family, size in sizes]
    return pd.DataFrame(spread(_cost, jobs, processes=1, threads=threads, fresh=True))


def datasets(tasks: Sequence[str]) -> list[str]:
    """The names of the data sets of some tasks; that of a stand-in says so."""
    return [TASKS[name](1.0).dataset for name in tasks]
