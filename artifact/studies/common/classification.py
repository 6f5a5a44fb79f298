"""Classifiers: one way to train them, to ask them, and to choose their rate, for ours and for every peer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from artifact.datasets.documents import padded
from resonance.training.natural import ResonanceTrainer


@torch.inference_mode()
def logits_of(model: nn.Module, documents: Sequence[Tensor], *, tokens: int = 32768) -> Tensor:
    """Return the logits of documents, (documents, classes), in evaluation mode.

    Documents of like length are padded together, at most `tokens` positions a batch (a longer document is alone).
    """
    model.eval()
    order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    logits, batch = {}, []
    for at, i in enumerate(order):
        batch.append(i)
        last = at + 1 == len(order)
        if last or (len(batch) + 1) * len(documents[order[at + 1]]) > tokens:
            logits |= dict(zip(batch, model(*padded([documents[j] for j in batch])), strict=True))
            batch = []
    return torch.stack([logits[i] for i in range(len(documents))])


def train_classifier(
    model: nn.Module,
    batches: Iterator,
    steps: int,
    *,
    rate: float,
    weight_decay: float = 0.05,
    smoothing: float = 0.1,
    warmup: float = 0.1,
    bfloat16: bool = False,
) -> float:
    """Train for some steps of AdamW on the cross-entropy; return the seconds that it took.

    The rate rises over the first `warmup` of the steps and falls by a cosine to nothing (one cycle); `smoothing` of the
    target is spread over all classes.  `batches` yields what `ResonanceTrainer` takes: (inputs, labels), the inputs one
    tensor, a tuple or a dict.  A model without polar weights is trained by plain AdamW: the two are then the same.
    Raises ValueError when the batches end early, or for steps < 1; FloatingPointError as `PolarTrainer.train_step`.
    """
    if steps < 1:
        raise ValueError(f"expected steps >= 1, got {steps}")
    trainer = ResonanceTrainer(
        model,
        rate,
        monitor_stability=False,
        loss_fn=partial(F.cross_entropy, label_smoothing=smoothing),
        optimizer=partial(torch.optim.AdamW, weight_decay=weight_decay),
        schedule=lambda optimizer: OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=warmup),
        bfloat16=bfloat16,
    )
    started = time.perf_counter()
    for step in range(steps):
        batch = next(batches, None)
        if batch is None:
            raise ValueError(f"expected {steps} batches, got {step}")
        trainer.train_step(batch)
    return time.perf_counter() - started


def shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield indices of batches without end: every index once an epoch, in a new order each time, the last may be short.

    Raises ValueError when there is nothing to draw from.
    """
    if count < 1 or size < 1:
        raise ValueError(f"expected count >= 1 and size >= 1, got {count} and {size}")
    while True:
        yield from torch.randperm(count, generator=generator).split(size)


@torch.inference_mode()
def predict(model: nn.Module, *inputs: Tensor, size: int = 500) -> Tensor:
    """Return the model's logits, in evaluation mode, for inputs cut into batches of `size` along their first axis."""
    model.eval()
    return torch.cat([model(*part) for part in zip(*(x.split(size) for x in inputs), strict=True)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of rows whose largest logit is the label's."""
    return (logits.argmax(dim=-1) == labels).double().mean().item()


def tuned(score: Callable[[float], float], rates: Sequence[float] | Iterable[float]) -> tuple[pd.DataFrame, float]:
    """Return all validation scores, and the rate with the highest.  score(rate) trains at a rate and validates."""
    table = pd.DataFrame([{"rate": rate, "validation": score(rate)} for rate in rates])
    return table, float(table.loc[table["validation"].idxmax(), "rate"])
