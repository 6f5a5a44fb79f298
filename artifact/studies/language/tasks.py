"""The task "language" of `05_efficiency`: characters of Shakespeare, in the form of `quality_tasks.TASKS`.

A size is a width; a try is a learning rate.  Both families train for the same number of steps on the same windows.  An
item is one character generated after a context of 256.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from artifact.datasets.characters import load_tinyshakespeare
from artifact.peers.causal import state_after
from artifact.peers.language import RotaryGPT
from artifact.studies.language.study import adamw, cross_entropy, loss_on, scheduled, update, windows
from resonance.language import LanguageModel, ResonanceLM

WARMUP = 0.25  # share of the steps in which the rate rises; in few steps a wide Transformer needs so long a rise


class Language:
    """Tinyshakespeare; a size is the width of two blocks."""

    name, error = "language", "test loss (nats a character)"
    sizes: ClassVar[dict[str, tuple[int, ...]]] = dict.fromkeys(("resonance", "Transformer"), (32, 64, 96, 128))
    tries: ClassVar[dict[str, tuple[float, ...]]] = {
        "resonance": (4e-3, 8e-3, 1.6e-2),
        "Transformer": (2e-3, 4e-3, 8e-3),
    }
    context, batch, layers, limit = 256, 8, 2, 32768

    def __init__(self, effort: float = 1.0):
        self.corpus = load_tinyshakespeare(allow_stand_in=True)
        self.dataset, self.stand_in = self.corpus.dataset, self.corpus.stand_in
        self.steps = max(2, round(400 * effort))

    def model(self, family: str, size: int) -> LanguageModel:
        vocab_size = len(self.corpus.vocabulary)
        if family == "resonance":
            return ResonanceLM(vocab_size, size, self.layers, 32)
        return RotaryGPT(vocab_size, size, self.layers, 4, self.context + 1)

    def _batches(self, seed: int):
        return windows(self.corpus.parts["fit"], self.context, self.batch, torch.Generator().manual_seed(seed))

    def scores(self, family: str, size: int, tried: float, seed: int) -> tuple[float, Callable[[], float]]:
        torch.manual_seed(seed)
        model, batches, limits = self.model(family, size), self._batches(seed), (self.context, self.limit)
        optimizer = adamw(model, tried)
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = tried * scheduled(step / self.steps, WARMUP)
            cross_entropy(model, *next(batches)).backward()
            update(model, optimizer)
        choice, report = (self.corpus.parts[name] for name in ("choice", "report"))
        return loss_on(model, choice, *limits), lambda: loss_on(model, report, *limits)

    def training(self, model: nn.Module) -> tuple[Callable[[], None], int]:
        optimizer, (x, y) = adamw(model, 1e-3), next(self._batches(0))

        def step() -> None:
            cross_entropy(model, x, y).backward()
            update(model, optimizer)

        return step, self.steps

    def inference(self, model: LanguageModel) -> tuple[Callable[[], Tensor], int]:
        ids, state = torch.zeros(1, dtype=torch.long), state_after(model, self.context)
        return lambda: model.step(ids, state)[0], 1
