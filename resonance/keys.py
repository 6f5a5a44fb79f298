"""Which slot of a memory holds which key, and since when: integer buffers, saved with the state dict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

LAST_KEY = 2**63 - 2  # one below the largest int64: so that the counter, last key + 1, still fits int64


class KeyIndex(nn.Module):
    """Keys, whole numbers in 0 .. LAST_KEY, of the patterns in `capacity` slots."""

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.register_buffer("key", torch.zeros(capacity, dtype=torch.int64))
        self.register_buffer("age", torch.zeros(capacity, dtype=torch.int64))  # number of the write; 0: a free slot
        self.register_buffer("counters", torch.zeros(2, dtype=torch.int64))  # writes so far, the next key

    def __len__(self) -> int:
        if self.age.is_meta:
            raise RuntimeError("expected a memory with values, got one on the meta device: load its state first")
        return int((self.age > 0).sum())

    def held(self) -> dict[int, int]:
        """Slot of each key held, oldest first."""
        slots = self.age.argsort()[self.capacity - len(self) :]  # free slots have age 0
        return dict(zip(self.key[slots].tolist(), slots.tolist(), strict=True))

    def last(self) -> int:
        """Key written last; raises LookupError when there is none."""
        if len(self) == 0:
            raise LookupError("the memory is empty: there is nothing to reconstruct")
        return int(self.key[self.age.argmax()])

    def find(self, key) -> tuple[Tensor, bool]:
        """The slots (m,) of a key or of m, and whether a single one was given; KeyError for one that is not held."""
        (keys, single), held = as_keys(key), self.held()
        if missing := [k for k in keys if k not in held]:
            raise KeyError(f"no pattern has key {missing[0]}; {len(held)} are held, see keys()")
        return torch.tensor([held[k] for k in keys], dtype=torch.int64, device=self.key.device), single

    def choose(self, key, count: int, single: bool) -> list[int]:
        """Keys of `count` new patterns: those given, or the next free ones; ValueError for keys that do not fit."""
        first = int(self.counters[1])
        keys, alone = (list(range(first, first + count)), single) if key is None else as_keys(key)
        if alone != single or len(keys) != count:
            raise ValueError(f"expected {'one key' if single else f'{count} keys, one a pattern'}, got {key!r}")
        if min(keys) < 0 or max(keys) > LAST_KEY:
            raise ValueError(f"keys are whole numbers in 0..{LAST_KEY}, got {min(keys)}..{max(keys)}")
        if len(set(keys)) < count:
            raise ValueError(f"a key occurs twice in {keys}")
        if used := sorted(set(keys) & self.held().keys()):
            raise ValueError(f"key {used[0]} is in use: forget it first")
        return keys

    def room(self, count: int, overwrite: str | None) -> Tensor:
        """Slots for `count` new patterns, at most all: free ones, then with overwrite="oldest" the oldest."""
        if overwrite not in (None, "oldest"):
            raise ValueError(f"expected overwrite=None or 'oldest', got {overwrite!r}")
        if len(self) + count > self.capacity and overwrite is None:
            given = f"it holds {len(self)} of capacity {self.capacity} patterns and was given {count} more"
            raise RuntimeError(f"the memory is full: {given}; forget some, or encode(..., overwrite='oldest')")
        return self.age.argsort(stable=True)[:count]  # free slots have age 0

    def assign(self, slots: Tensor, keys: list[int]) -> None:
        """Assign the last len(slots) of these keys, written in this order, to the slots; earlier ones had no room."""
        self.counters[0] += len(keys)
        self.key[slots] = torch.tensor(keys[-len(slots) :], device=slots.device)
        self.age[slots] = self.counters[0] - torch.arange(len(slots), device=slots.device).flip(0)
        self.counters[1] = max(int(self.counters[1]), max(keys) + 1)


def as_keys(key) -> tuple[list[int], bool]:
    """Keys as a list of ints, and whether a single one was given; raises TypeError for anything else."""
    if isinstance(key, Tensor | np.ndarray):
        key = key.tolist()
    single = not isinstance(key, Sequence) or isinstance(key, str)
    keys = [key] if single else list(key)
    if any(isinstance(k, bool) or not isinstance(k, int | np.integer) for k in keys):
        raise TypeError(f"keys are whole numbers, one or a sequence, got {key!r}")
    return [int(k) for k in keys], single
