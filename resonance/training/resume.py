"""What a run restores besides weights and optimiser to resume bitwise: every random source, and its place in the data.

The order of an epoch may depend on its number, on the global random sources (torch, CUDA, numpy, Python), and on given
generators.  To resume within an epoch, all of them are set to where that epoch began, the batches already done are
drawn again and dropped, and the sources are set to where the run stopped.

States hold numbers, strings, containers of them and tensors: they are read back without executing code.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch

Generator = torch.Generator | np.random.Generator | random.Random
Batches = Callable[[int], Iterable[Any]] | Iterable[Any]
Source = tuple[str, Callable[[], Any], Callable[[Any], None]]  # its kind, how its state is read, and how it is set


def _lists(state: Any) -> Any:
    """A state of numpy with its arrays as lists, which numpy also takes."""
    if isinstance(state, dict):
        return {name: _lists(part) for name, part in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _devices() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


GLOBAL_SOURCES: list[Source] = [
    ("torch", torch.get_rng_state, torch.set_rng_state),
    ("numpy", lambda: _lists(np.random.get_state(legacy=False)), np.random.set_state),  # noqa: NPY002
    ("python", random.getstate, random.setstate),
    ("cuda", _devices, torch.cuda.set_rng_state_all),
]


def _source(generator: Generator) -> Source:
    if isinstance(generator, torch.Generator):
        return "torch", generator.get_state, generator.set_state
    if isinstance(generator, random.Random):
        return "python", generator.getstate, generator.setstate
    kind = type(generator).__name__
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"expected a torch.Generator, numpy.random.Generator or random.Random, got {kind}")
    bits = generator.bit_generator
    return f"numpy {type(bits).__name__}", lambda: _lists(bits.state), lambda state: setattr(bits, "state", state)


def random_state(generators: Sequence[Generator] = ()) -> list[tuple[str, Any]]:
    """Kind and state of every global source, then of `generators` in their order."""
    return [(kind, read()) for kind, read, _ in (*GLOBAL_SOURCES, *map(_source, generators))]


def set_random_state(state: list[tuple[str, Any]], generators: Sequence[Generator] = ()) -> None:
    """Set the global sources and `generators` to a state from `random_state`.

    Raises ValueError for another number or kind of generators than the state was taken from.
    """
    sources = [*GLOBAL_SOURCES, *map(_source, generators)]
    expected, found = ([kind for kind, *_ in entries[len(GLOBAL_SOURCES) :]] for entries in (sources, state))
    if expected != found:
        raise ValueError(f"expected the state of the generators {expected}, found {found}")
    for (_, _, write), (_, value) in zip(sources, state, strict=True):
        write(value)


@dataclass
class History:
    """The mean training loss and the validation figure of each epoch; validation[0] is that of the initial weights."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0


@dataclass
class Progress:
    """The place of a run in its data, and its history."""

    history: History = field(default_factory=History)
    epoch: int = 0  # epochs finished
    batch: int = 0  # batches done of the next one
    loss_sum: float = 0.0  # over the steps of that epoch that were taken
    taken: int = 0
    best: float = math.inf  # validation figure
    order: list[tuple[str, Any]] | None = None  # the random state in which that epoch began

    def remaining(self, batches: Batches, generators: Sequence[Generator]) -> Iterator[Any]:
        """The batches of the current epoch that are still to come.

        Raises ValueError where the epoch has fewer batches than were done.
        """
        now = random_state(generators)
        self.order = self.order if self.batch else now
        set_random_state(self.order, generators)
        if hasattr(sampler := getattr(batches, "sampler", None), "set_epoch"):  # a DistributedSampler
            sampler.set_epoch(self.epoch + 1)
        source = iter(batches(self.epoch + 1) if callable(batches) else batches)
        if (found := sum(1 for _ in islice(source, self.batch))) < self.batch:
            where = f"epoch {self.epoch + 1}, where the checkpoint was written"
            raise ValueError(f"expected more than {self.batch} batches in {where}, found {found}")
        if self.batch:
            set_random_state(now, generators)
        return source

    def end_epoch(self) -> None:
        """Close the epoch; raise ValueError where it had no batch."""
        if self.batch == 0:
            raise ValueError(f"epoch {self.epoch + 1} has no batch")
        self.history.train.append(self.loss_sum / self.taken if self.taken else math.nan)
        self.epoch, self.batch, self.loss_sum, self.taken, self.order = self.epoch + 1, 0, 0.0, 0, None
