"""Every source of random numbers that a run draws from, read and set together.

torch (each device), numpy and Python have one global source each; generators that a program made itself are named.
A state holds numbers, strings, tuples and tensors alone, so it is read back without executing code.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
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
