"""What belongs to a module beside its map: settings that travel with its weights, and how it was constructed.

What some weights mean depends on settings: those of `BandMixing` belong to frequencies of its grid.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

ENTRY = "_extra_state"  # torch's name for what `get_extra_state` returns
Init = TypeVar("Init", bound=Callable[..., None])


def as_json(arguments: dict[str, Any]) -> str | None:
    """Arguments of a constructor, arrays and ranges as lists; None where JSON cannot hold one, a function say."""
    try:
        return json.dumps(arguments, default=lambda value: list(value) if isinstance(value, range) else value.tolist())
    except (AttributeError, TypeError, ValueError):
        return None


def placed(init: Init) -> Init:
    """Give a constructor torch's `device` and `dtype`, of parameters and buffers; keep the others in `arguments`."""
    names = list(signature(init).parameters)[1:]

    @wraps(init)
    def constructor(self, *args, device=None, dtype=None, **options):
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"expected a real floating dtype, got {dtype}")
        with nullcontext() if device is None else torch.device(device):
            init(self, *args, **options)
        self.to(dtype=dtype)
        self.arguments = as_json(dict(zip(names, args, strict=False)) | options)

    return constructor  # type: ignore[return-value]


class WithSettings(nn.Module):
    """A module whose state dict has an entry for the settings that it `defines`: JSON, as bytes in a uint8 tensor.

    Weights of other settings are refused by a RuntimeError, as torch refuses other shapes; weights without settings, as
    in older files, load with a warning.
    """

    defines: tuple[str, ...] = ()  # the attributes that decide the meaning of the weights, beside their shapes

    def settings(self) -> dict[str, Any]:
        """The settings by name, in the form that JSON gives them."""
        return json.loads(json.dumps({name: getattr(self, name) for name in self.defines}, default=str))

    def meaning(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings in a form that is equal where weights have the same meaning."""
        return settings

    def refusal(self, entry: Tensor) -> str | None:
        """Why weights with this entry do not fit, in words; None where they do."""
        if not isinstance(entry, Tensor):
            return f"expected settings as JSON in a uint8 tensor, found {type(entry).__name__}"
        if entry.is_meta or not entry.numel():
            return None
        text, own = bytes(entry.double().round().to(torch.uint8).flatten().tolist()), self.settings()  # an average
        try:
            found = json.loads(text)
        except ValueError:  # cut, or not ours
            found = None
        if not isinstance(found, dict):
            return f"expected settings as JSON in a uint8 tensor, found {text.rstrip()[:40]!r}"
        one, other = self.meaning(found), self.meaning(own)
        names = [name for name in own if name in found and one[name] != other[name]]
        if not names:
            return None
        expected, got = (", ".join(f"{name}={part[name]}" for name in names) for part in (own, found))
        where = "`resonance.settings.without_settings` loads them on purpose"
        return f"expected weights of {expected}, found weights of {got}: their meaning is another ({where})"

    def get_extra_state(self) -> Tensor:
        # On the CPU also where a module is made on another device; of one size, which distributed checkpoints compare.
        return torch.tensor(list(json.dumps(self.settings()).ljust(256).encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing to set: `_load_from_state_dict` compares."""

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing, unexpected, errors):
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)
        if prefix + ENTRY in missing:
            missing.remove(prefix + ENTRY)
            warnings.warn("these weights have no settings (an older file?): none were compared", stacklevel=2)
        elif (reason := self.refusal(state_dict.get(prefix + ENTRY, torch.empty(0)))) is not None:
            errors.append(f"{prefix}{ENTRY}: {reason}")


def without_settings(weights: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict that loads whatever the settings: to reuse weights on purpose, on a longer window say."""
    return {name: part[:0] if name.rpartition(".")[2] == ENTRY else part for name, part in weights.items()}
