"""Where a run over epochs stands, and how its batches go on from there.

The order of an epoch may follow from its number, from the global sources of random numbers, and from generators handed
over.  To go on within an epoch, all of them are set back to where that epoch began, the batches already seen are drawn
again and dropped, and the sources are set forward to where the run stood.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .randomness import Generator, random_state, set_random_state


@dataclass
class History:
    """What `fit` saw: the mean training loss and the validation figure of each epoch, epoch 0 the start."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0


@dataclass
class Progress:
    """The place of a run in its data, its history, and the weights that validation preferred."""

    history: History = field(default_factory=History)
    epoch: int = 0  # epochs finished
    batch: int = 0  # batches done of the next one
    loss_sum: float = 0.0  # over the steps of that epoch that were taken
    taken: int = 0
    best: float = math.inf
    order: dict[str, Any] | None = None  # the random state in which that epoch began
    best_weights: dict[str, Any] | None = None

    def stalled(self, patience: int | None) -> bool:
        """Return whether the last `patience` epochs brought no better validation figure."""
        return patience is not None and self.epoch - self.history.best_epoch >= patience

    def remaining(
        self, batches: Callable[[int], Iterable[Any]], generators: Sequence[Generator]
    ) -> tuple[Iterator[Any], int | None]:
        """Return the batches of the next epoch that are still to come, and how many it has where that is known.

        Raises ValueError where the epoch has fewer batches than were done.
        """
        now = random_state(generators)
        if self.batch == 0:
            self.order = now
        else:
            set_random_state(self.order, generators)
        source = batches(self.epoch + 1)
        total, source = operator.length_hint(source) or None, iter(source)
        for index in range(self.batch):
            if next(source, self) is self:
                raise ValueError(
                    f"expected more than {self.batch} batches in epoch {self.epoch + 1}, where the checkpoint stands, "
                    f"found {index}"
                )
        if self.batch:
            set_random_state(now, generators)
        return source, total

    def count(self, loss: float, skipped: bool) -> None:
        """Count a batch and, unless its step was skipped, its loss."""
        self.batch += 1
        if not skipped:
            self.loss_sum, self.taken = self.loss_sum + loss, self.taken + 1

    def end_epoch(self) -> None:
        """Close the epoch; raise ValueError where it had no batch."""
        if self.batch == 0:
            raise ValueError(f"epoch {self.epoch + 1} has no batch")
        self.history.train.append(self.loss_sum / self.taken if self.taken else math.nan)
        self.epoch, self.batch, self.loss_sum, self.taken, self.order = self.epoch + 1, 0, 0.0, 0, None

    def state(self) -> dict[str, Any]:
        """Return all but the weights, as plain containers."""
        values = asdict(Progress(**{**vars(self), "best_weights": None}))
        return {name: value for name, value in values.items() if name != "best_weights"}

    @classmethod
    def of(cls, state: dict[str, Any], best_weights: dict[str, Any] | None) -> Progress:
        """Return the progress that `state` came from."""
        return cls(**{**state, "history": History(**state["history"]), "best_weights": best_weights})
