"""Real tasks at which two families of models are fitted at several sizes, and the cost of each size.

    forecasting    ETTh1, 96 hours ahead: our forecaster, trained, against a Transformer on patches
    vision         MNIST, 600 steps: ResonanceVisionNet against a vision Transformer
    documents      film reviews, fold 0: DocumentClassifier against a Transformer
    language       characters of Shakespeare: ResonanceLM against a GPT (`language.tasks`)
    regression     ETTh1 again, without training: our closed form against a ridge regression of the same rank in time

What is tuned (a rate; the penalty of a closed form) starts from as many values for either family, in full trainings
with the first seed, and widens until the best on validation lies inside (`tuning.widened`); the best is then trained
with every seed and tested once.  Costs are measured for every seed anew, in separate processes, one after the other.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from artifact.datasets.corpora import load_movie_reviews
from artifact.datasets.documents import document_batches
from artifact.datasets.images import load_mnist
from artifact.datasets.series import load_etth1
from artifact.peers.forecasting import Budget, PatchTransformer, train_forecaster, train_patch_transformer
from artifact.peers.reduced_rank import ReducedRankPath
from artifact.peers.vision import VisionTransformer
from artifact.studies.common.classification import accuracy, predict, shuffled, train_classifier
from artifact.studies.common.processes import spread
from artifact.studies.common.timing import Step, keep_freed_memory, resident_bytes, seconds_of
from artifact.studies.common.tuning import best_values, widened
from artifact.studies.documents.tasks import document_model, fold_of, train_documents
from artifact.studies.language.tasks import Language
from resonance.forecasting import evaluate, forecast_task
from resonance.polar import count_parameters
from resonance.time_series import BandMoments, Moments, Setting
from resonance.vision import ResonanceVisionNet

FAMILIES = ("resonance", "Transformer")
Sizes = dict[str, tuple[int, ...]]
Tries = dict[str, tuple[float, ...]]
Scores = tuple[float, Callable[[], float]]  # of one training: on validation, and the test error when it is called for


def _descent(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """A training step: forward, backward, Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def one_cycle(rate: float, budget: Budget) -> dict:
    """The options with which `train_patch_transformer` trains: AdamW under a one-cycle rate, gradients clipped at 1."""
    total = budget.epochs * budget.steps
    cycle = partial(OneCycleLR, max_lr=rate, total_steps=total, pct_start=max(0.2, 2 / total), cycle_momentum=False)
    return {"gradient_clip": 1.0, "optimizer": partial(torch.optim.AdamW, weight_decay=0.01), "schedule": cycle}


def _wrong(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Share of inputs that a classifier gets wrong."""
    return 1 - accuracy(predict(model, x), labels)


class Forecasting:
    """ETTh1 at horizon 96, both families trained; a size is the rank of ours, the width of the Transformer."""

    name, error = "forecasting", "test MSE"
    sizes: ClassVar[Sizes] = {"resonance": (1, 2, 4, 16), "Transformer": (4, 8, 16, 32)}
    tries: ClassVar[Tries] = {"resonance": (1e-2, 3e-2, 9e-2), "Transformer": (1e-3, 3e-3, 9e-3)}
    lookback = 336

    def __init__(self, effort: float = 1.0):
        self.task = forecast_task(load_etth1(allow_stand_in=True), 96)
        self.dataset, self.stand_in = self.task.series.dataset, self.task.series.stand_in
        self.budget = Budget(epochs=3, steps=max(2, round(200 * effort)), batch=32)
        splits = ("train", "validation", "test")
        self.train, self.validation, self.test = (self.task.windows(split, self.lookback) for split in splits)

    def setting(self, rank: int, ridge: float = 1.0) -> Setting:
        return Setting(self.lookback, 0.5, 0.5, rank, ridge)

    def model(self, family: str, size: int) -> nn.Module:
        if family == "resonance":
            return self.setting(size).model(self.task)
        return PatchTransformer(self.lookback, 96, len(self.task.series.channels), size, 2)

    def scores(self, family: str, size: int, tried: float, seed: int) -> Scores:
        options = {"rate": tried, "seed": seed}
        if family == "resonance":
            build = partial(self.model, family, size)
            options |= one_cycle(tried, self.budget)
            trained = train_forecaster(build, self.train, self.validation, self.budget, **options)
        else:
            options |= {"dim": size, "depth": 2}
            trained = train_patch_transformer(self.train, self.validation, self.budget, **options)
        return trained.validation_mse, lambda: evaluate(trained.model, self.test)[0]

    def training(self, model: nn.Module) -> tuple[Step, int]:
        past, future = next(iter(self.train.batches(self.budget.batch)))
        return _descent(model, lambda: F.mse_loss(model(past), future)), self.budget.epochs * self.budget.steps

    def inference(self, model: nn.Module) -> tuple[Step, int]:
        past, _ = next(iter(self.test.batches(self.budget.batch)))
        return lambda: model(past), self.budget.batch


class ReducedRankRidge(nn.Module):
    """Ridge regression of a rank in the time domain as a network: forecast = level + U V (past - level).

    past (batch, lookback, channels) -> (batch, horizon, channels); rank (lookback + horizon) parameters, U and V those
    of a `ReducedRankPath`.  It has the level, taper and weights of windows of our closed form: what remains between
    the two is the spectrum.
    """

    def __init__(self, lookback: int, horizon: int, rank: int, level_steps: int):
        super().__init__()
        self.level_steps, self.rank = level_steps, rank
        self.past = nn.Parameter(torch.zeros(rank, lookback))
        self.future = nn.Parameter(torch.zeros(horizon, rank))

    def forward(self, past: Tensor) -> Tensor:
        level = past[:, -self.level_steps :].mean(dim=1, keepdim=True)
        return level + self.future @ (self.past @ (past - level))

    @torch.no_grad()
    def fitted(self, path: ReducedRankPath, ridge: float) -> ReducedRankRidge:
        future, past = path.factors(self.rank, ridge)
        self.future.copy_(future)
        self.past.copy_(past)
        return self


class ClosedForms(Forecasting):
    """ETTh1 at horizon 96, neither family trained; a size is a rank, and a step is the whole fit."""

    name, error = "regression", "test MSE"
    sizes: ClassVar[Sizes] = {"resonance": (1, 2, 4, 16), "ridge": (1, 2, 4, 16)}
    tries: ClassVar[Tries] = {"resonance": (1e2, 1e3, 1e4), "ridge": (1e2, 1e3, 1e4)}

    def path(self) -> ReducedRankPath:
        """The regression in time on all training windows, for every rank and penalty."""
        like = self.setting(1).model(self.task)
        weights = like.down_weighting(torch.empty(0, dtype=torch.float64))[:, 0]
        samples = Moments.of(self.train, like.level_steps, variance_power=0.5)
        return ReducedRankPath.of(samples, samples, weights, like.level_steps)

    @cached_property
    def prepared(self) -> ReducedRankPath:
        return self.path()

    @cached_property
    def moments(self) -> BandMoments:
        return self.setting(1).moments(self.task)

    def model(self, family: str, size: int) -> nn.Module:
        if family == "resonance":
            return self.setting(size).model(self.task)
        return ReducedRankRidge(self.lookback, 96, size, self.task.series.period)

    def scores(self, family: str, size: int, tried: float, seed: int) -> Scores:
        if family == "resonance":
            model = self.setting(size, tried).fitted(self.task, self.moments)
        else:
            model = self.model(family, size).fitted(self.prepared, tried)
        return evaluate(model, self.validation)[0], lambda: evaluate(model, self.test)[0]

    def training(self, model: nn.Module) -> tuple[Step, int]:
        if isinstance(model, ReducedRankRidge):
            return lambda: model.fitted(self.path(), 1e4), 1
        setting = self.setting(model.rank, 1e4)
        return lambda: setting.fitted(self.task, setting.moments(self.task)), 1


class Vision:
    """MNIST, the last 5,000 training images held out; a size is the width of two blocks."""

    name, error = "vision", "test error"
    sizes: ClassVar[Sizes] = {"resonance": (12, 20, 32, 48), "Transformer": (12, 20, 32, 48)}
    tries: ClassVar[Tries] = dict.fromkeys(FAMILIES, (6e-3, 1.2e-2, 2.4e-2))
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
        shape["pooled_frequencies"] = 2  # the same read-out for both
        if family == "resonance":
            return ResonanceVisionNet(10, num_frequencies=4, dropout=0.0, **shape)
        return VisionTransformer(10, num_heads=max(1, size // 16), **shape)

    def scores(self, family: str, size: int, tried: float, seed: int) -> Scores:
        torch.manual_seed(seed)
        model, (x, y) = self.model(family, size), self.train
        batches = ((x[i], y[i]) for i in shuffled(len(x), self.batch, torch.Generator().manual_seed(seed)))
        train_classifier(model, batches, self.steps, rate=tried)
        return _wrong(model, *self.validation), lambda: _wrong(model, *self.test)

    def training(self, model: nn.Module) -> tuple[Step, int]:
        x, y = (part[: self.batch] for part in self.train)
        return _descent(model, lambda: F.cross_entropy(model(x), y)), self.steps

    def inference(self, model: nn.Module) -> tuple[Step, int]:
        return lambda: model(self.test[0][: self.batch]), self.batch


class DocumentReviews:
    """Film reviews, fold 0; a size is the width of one block on a vocabulary of 10,000 words."""

    name, error = "documents", "test cross-entropy (nats)"
    sizes: ClassVar[Sizes] = {"resonance": (4, 8, 16, 32), "Transformer": (4, 8, 16, 32)}
    tries: ClassVar[Tries] = {"resonance": (3e-3, 1e-2, 3e-2), "Transformer": (1e-3, 3e-3, 1e-2)}
    batch = 16

    def __init__(self, effort: float = 1.0):
        documents = load_movie_reviews(allow_stand_in=True)
        self.dataset, self.stand_in = documents.dataset, documents.stand_in
        self.epochs = max(1, round(4 * effort))
        self.fold = fold_of(documents, 0)

    def model(self, family: str, size: int) -> nn.Module:
        fold = self.fold
        return document_model(family, fold.vocabulary, fold.classes, size, 1, window=fold.window, seed=0)

    def scores(self, family: str, size: int, tried: float, seed: int) -> Scores:
        score = train_documents(family, size, tried, seed, fold=self.fold, epochs=self.epochs, batch=self.batch)
        return score["validation_loss"], lambda: score["loss"]

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


TASKS = {task.name: task for task in (Forecasting, Vision, DocumentReviews, Language, ClosedForms)}


@cache
def _task(name: str, effort: float):
    return TASKS[name](effort)


# --------------------------------------------------------------------------- quality


def _qualities(name: str, effort: float, family: str, size: int, seeds: int, wider: int) -> tuple[list, list]:
    """Rows of every value tried with the first seed, and of the best on validation, tested, with every seed."""
    task, tries = _task(name, effort), {}

    def fit(tried: float, seed: int) -> tuple[dict, Callable[[], float]]:
        settings = {"family": family, "size": size, "tried": tried, "seed": seed}
        try:
            validation, test = task.scores(**settings)
        except FloatingPointError:  # a training that diverged: worse than any other
            validation, test = math.inf, lambda: math.inf
        return {"task": name, **settings, "validation": validation}, test

    def score(tried: float) -> float:
        tries[tried] = fit(tried, 0)
        return tries[tried][0]["validation"]

    table = widened(score, task.tries[family], wider=wider)
    best = table.loc[table["score"].idxmin(), "value"]
    chosen = [tries[best], *(fit(best, seed) for seed in range(1, seeds))]
    return [row for row, _ in tries.values()], [{**row, "error": test()} for row, test in chosen]


def qualities(
    tasks: Iterable[str], sizes: int, seeds: int, *, effort: float = 1.0, wider: int = 0, processes: int = 2
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit every family at its first `sizes` sizes: all tries, and the scores of the chosen, a row a seed.

    effort scales the training steps, wider bounds the values that a grid may gain.  Raises ValueError for an unknown
    task.
    """
    tasks = list(tasks)
    if unknown := set(tasks) - set(TASKS):
        raise ValueError(f"unknown task {', '.join(sorted(unknown))}: expected some of {', '.join(TASKS)}")
    jobs = [
        (task, effort, family, size, seeds, wider)
        for task in TASKS
        if task in tasks
        for family in list(TASKS[task].sizes)[::-1]  # the largest Transformers take longest
        for size in TASKS[task].sizes[family][:sizes][::-1]
    ]
    found = spread(_qualities, jobs, processes=processes)
    return tuple(pd.DataFrame([row for part in parts for row in part]) for parts in zip(*found, strict=True))


def tuned(tried: pd.DataFrame) -> pd.DataFrame:
    """The value chosen for every task, family and size, the ends of what was tried, and whether it lies inside."""
    return best_values(tried, ["task", "family", "size"], value="tried", score="validation")


# --------------------------------------------------------------------------- costs


def _cost(name: str, effort: float, family: str, size: int, seed: int) -> dict:
    """Parameters, megabytes of a training step, seconds of a training, milliseconds of an item."""
    task = TASKS[name](effort)
    gc.collect()
    with suppress(OSError):  # reset the peak, so far that of loading the data, where the system allows it
        Path("/proc/self/clear_refs").write_text("5")
    start = resident_bytes(peak=False)
    torch.manual_seed(seed)
    model = task.model(family, size)
    step, steps = task.training(model)
    for _ in range(2):
        step()
    memory = resident_bytes(peak=True) - start
    keep_freed_memory()
    seconds = seconds_of(step, min_seconds=0.5) * steps
    item, items = task.inference(model.eval())
    with torch.inference_mode():
        each = seconds_of(item, min_seconds=0.2) / items
    row = {"task": name, "family": family, "size": size, "seed": seed, "parameters": count_parameters(model)}
    return {**row, "memory": memory / 2**20, "training": seconds, "inference": 1e3 * each}


def costs(cases: pd.DataFrame, *, effort: float = 1.0, threads: int = 1) -> pd.DataFrame:
    """Costs of every (task, family, size, seed) in `cases`, one after the other, each in a fresh process.

    All sizes are measured once before any is measured again, so that a slow spell of the machine meets all alike.
    """
    rows = cases.sort_values("seed", kind="stable")[["task", "family", "size", "seed"]]
    jobs = [(task, effort, family, int(size), int(seed)) for task, family, size, seed in rows.itertuples(index=False)]
    return pd.DataFrame(spread(_cost, jobs, processes=1, threads=threads, fresh=True))


def datasets(tasks: Sequence[str]) -> list[str]:
    """The names of the data sets of some tasks; that of a stand-in says so."""
    return [TASKS[name](1.0).dataset for name in tasks]
