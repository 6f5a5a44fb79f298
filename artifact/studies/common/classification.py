"""Classifiers: how each is trained and evaluated, the same for ours and for every peer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.documents import padded
from artifact.studies.common.training import train_one_cycle


@torch.inference_mode()
def logits_of(model: nn.Module, documents: Sequence[Tensor], *, tokens: int = 32768) -> Tensor:
    """Logits of documents, (documents, classes), in evaluation mode.

    Documents of like length are padded together, at most `tokens` positions a batch (a longer document is alone).
    """
    model.eval()
    order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    batches = [[]]
    for i in order:
        if batches[-1] and (len(batches[-1]) + 1) * len(documents[i]) > tokens:
            batches.append([])
        batches[-1].append(i)
    logits = torch.cat([model(*padded([documents[i] for i in batch])) for batch in batches])
    return logits[torch.tensor(order).argsort()]


def train_classifier(model: nn.Module, batches: Iterator, steps: int, *, rate: float, smoothing: float = 0.1) -> float:
    """Train by `train_one_cycle` on the cross-entropy, `smoothing` of each target spread over all classes.

    `batches` yields (inputs, labels).  Returns the seconds that it took; raises as `train_one_cycle`.
    """
    loss_fn = partial(F.cross_entropy, label_smoothing=smoothing)
    return train_one_cycle(model, batches, steps, rate=rate, loss_fn=loss_fn).seconds


def shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of batches without end: each epoch in a new random order, its last batch perhaps shorter.

    Raises ValueError when there is nothing to draw from.
    """
    if count < 1 or size < 1:
        raise ValueError(f"expected count >= 1 and size >= 1, got {count} and {size}")
    while True:
        yield from torch.randperm(count, generator=generator).split(size)


@torch.inference_mode()
def predict(model: nn.Module, *inputs: Tensor, size: int = 500) -> Tensor:
    """Logits of a model in evaluation mode, for inputs cut into batches of `size` along their first axis."""
    model.eval()
    return torch.cat([model(*part) for part in zip(*(x.split(size) for x in inputs), strict=True)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the rows whose largest logit is the label's."""
    return (logits.argmax(dim=-1) == labels).double().mean().item()
