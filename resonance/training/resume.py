"""Every source of random numbers that a run draws from, read and set together.

torch (each device), numpy and Python have one global source each; generators that a program made itself are named.
A state holds numbers, strings, tuples and tensors alone, so it is read back without executing code.


Where a run over epochs stands, and how its batches go on from there.

The order of an epoch may follow from its number, from the global sources of random numbers, and from generators handed
over.  To go on within an epoch, all of them are set back to where that epoch began, the batches already seen are drawn
again and dropped, and the sources are set forward to where the run stood.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

Generator = torch.Generator | np.random.Generator | random.Random


def random_state(generators: Sequence[Generator] = ()) -> dict[str, Any]:
    """Return the state of the global sources and of `generators`, in their order."""
    return {
        "torch": torch.get_rng_state(),
        "devices": _device_states(),
        "numpy": _tensors(np.random.get_state(legacy=False)),  # noqa: NPY002 - a data set may draw from it
        "python": random.getstate(),
        "generators": [_read(generator) for generator in generators],
    }


def set_random_state(state: dict[str, Any], generators: Sequence[Generator] = ()) -> None:
    """Set the global sources and `generators` to a state from `random_state`.

    Raises ValueError for another number or kind of generators, or of devices, than the state was taken from.
    """
    found = [kind for kind, _ in state["generators"]]
    expected = [_kind(generator) for generator in generators]
    if found != expected:
        raise ValueError(f"expected the state of the generators {expected}, found {found}")
    if len(state["devices"]) > _device_count():
        raise ValueError(f"expected the state of {_device_count()} devices, found {len(state['devices'])}")
    torch.set_rng_state(state["torch"])
    for index, device in enumerate(state["devices"]):
        _set_device_state(device, index)
    np.random.set_state(_arrays(state["numpy"]))  # noqa: NPY002
    random.setstate(state["python"])
    for generator, (_, value) in zip(generators, state["generators"], strict=True):
        if isinstance(generator, torch.Generator):
            generator.set_state(value)
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = _arrays(value)
        else:
            generator.setstate(value)


def _device_count() -> int:
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def _device_states() -> list[torch.Tensor]:
    if torch.cuda.is_available():
        return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else []


def _set_device_state(state: torch.Tensor, index: int) -> None:
    torch.cuda.set_rng_state(state, index) if torch.cuda.is_available() else torch.mps.set_rng_state(state)


def _kind(generator: Generator) -> str:
    if isinstance(generator, torch.Generator):
        return "torch"
    if isinstance(generator, np.random.Generator):
        return f"numpy {type(generator.bit_generator).__name__}"
    if isinstance(generator, random.Random):
        return "python"
    raise TypeError(
        f"expected a torch.Generator, numpy.random.Generator or random.Random, got {type(generator).__name__}"
    )


def _read(generator: Generator) -> tuple[str, Any]:
    kind = _kind(generator)
    if isinstance(generator, torch.Generator):
        return kind, generator.get_state()
    if isinstance(generator, np.random.Generator):
        return kind, _tensors(generator.bit_generator.state)
    return kind, generator.getstate()


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
