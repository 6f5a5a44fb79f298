"""What a run restores besides weights and optimiser to resume bitwise: every random source, and its place in the data.

The order of an epoch may depend on its number, on the global random sources (torch, its devices, numpy, Python), and on
generators that are passed.  To resume within an epoch, all of them are set to where that epoch began, the batches
already done are drawn again and dropped, and the sources are set to where the run stopped.

States hold numbers, strings, tuples and tensors alone: they are read back without executing code.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Generator = torch.Generator | np.random.Generator | random.Random
Source = tuple[str, Callable[[], Any], Callable[[Any], None]]  # its kind, how its state is read, and how it is set


def random_state(generators: Sequence[Generator] = ()) -> list[tuple[str, Any]]:
    """Kind and state of every global source, then of `generators` in their order."""
    return [(kind, read()) for kind, read, _ in (*_global_sources(), *map(_source, generators))]


def set_random_state(state: list[tuple[str, Any]], generators: Sequence[Generator] = ()) -> None:
    """Set the global sources and `generators` to a state from `random_state`.

    Raises ValueError for another number or kind of generators than the state was taken from, or for fewer devices.
    """
    shared = _global_sources()
    sources = [*shared, *map(_source, generators)]
    expected, found = ([kind for kind, *_ in entries[len(shared) :]] for entries in (sources, state))
    if expected != found:
        raise ValueError(f"expected the state of the generators {expected}, found {found}")
    for (_, _, write), (_, value) in zip(sources, state, strict=True):
        write(value)


def _global_sources() -> list[Source]:
    return [
        ("torch", torch.get_rng_state, torch.set_rng_state),
        ("numpy", lambda: _tensors(np.random.get_state(legacy=False)), lambda s: np.random.set_state(_arrays(s))),  # noqa: NPY002
        ("python", random.getstate, random.setstate),
        ("devices", _device_states, _set_device_states),
    ]


def _source(generator: Generator) -> Source:
    if isinstance(generator, torch.Generator):
        return "torch", generator.get_state, generator.set_state
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return (
            f"numpy {type(bits).__name__}",
            lambda: _tensors(bits.state),
            lambda s: setattr(bits, "state", _arrays(s)),
        )
    if isinstance(generator, random.Random):
        return "python", generator.getstate, generator.setstate
    kind = type(generator).__name__
    raise TypeError(f"expected a torch.Generator, numpy.random.Generator or random.Random, got {kind}")


def _device_states() -> list[torch.Tensor]:
    if torch.cuda.is_available():
        return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else []


def _set_device_states(states: list[torch.Tensor]) -> None:
    if len(states) > (count := torch.cuda.device_count() or int(torch.backends.mps.is_available())):
        raise ValueError(f"expected the state of {count} devices, found {len(states)}")
    for index, state in enumerate(states):
        torch.cuda.set_rng_state(state, index) if torch.cuda.is_available() else torch.mps.set_rng_state(state)


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tensors(part) for name, part in value.items()}
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _arrays(part) for name, part in value.items()}
    return value.numpy() if isinstance(value, torch.Tensor) else value


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
    order: dict[str, Any] | None = None  # the random state in which that epoch began

    @classmethod
    def of(cls, state: dict[str, Any]) -> Progress:
        """Restore what `dataclasses.asdict` made of a progress."""
        return cls(**state | {"history": History(**state["history"])})

    def remaining(self, batches: Callable[[int], Iterable[Any]], generators: Sequence[Generator]) -> Iterator[Any]:
        """The batches of the current epoch that are still to come.

        Raises ValueError where the epoch has fewer batches than were done.
        """
        now = random_state(generators)
        if self.batch == 0:
            self.order = now
            return iter(batches(self.epoch + 1))
        set_random_state(self.order, generators)
        source = iter(batches(self.epoch + 1))
        for index in range(self.batch):
            if next(source, self) is self:
                raise ValueError(
                    f"expected more than {self.batch} batches in epoch {self.epoch + 1}, where the checkpoint stands, "
                    f"found {index}"
                )
        set_random_state(now, generators)
        return source

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
