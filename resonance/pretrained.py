"""A model in one file, safetensors with JSON in its header: weights, class, and the arguments of its constructor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from .training.checkpoint import plain, read_weights, save_weights, set_weights, written_aside

FORMAT = "resonance model 1"


def _file(path: str | Path) -> Path:
    """The file of a path, which may name a folder."""
    return path if (path := Path(path)).suffix == ".safetensors" else path / "model.safetensors"


def configuration(path: str | Path) -> dict[str, Any]:
    """What a model's file says beside its weights: format, version, model, arguments, about.  Raises as its reader."""
    try:
        with safe_open(path := _file(path), framework="pt") as file:
            found = json.loads((file.metadata() or {}).get("resonance", '{"format": "weights alone"}'))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"expected a whole file of save_pretrained at {path}, found: {error}") from error
    if found["format"] != FORMAT:
        raise ValueError(f"expected {FORMAT!r} at {path}, found {found['format']!r}")
    return found


def save_pretrained(model: nn.Module, path: str | Path, *, about: Mapping[str, Any] | None = None) -> None:
    """Write a model of this library, wrapped or not, to a file, or to `model.safetensors` in a folder.

    about: what else its user needs, in the types of JSON: a vocabulary, units, the data.  `configuration` returns it.
    Raises TypeError for another class, or arguments that JSON does not hold (a module, a function), ValueError for a
    model whose parts were exchanged: the file is read back before it gets its name.
    """
    kind = type(model := plain(model))
    if getattr(model, "arguments", None) is None:
        raise TypeError(f"expected a model of resonance whose arguments JSON holds, got {kind.__name__}")
    said = {"format": FORMAT, "version": import_module(__package__).__version__, "model": kind.__name__}
    said |= {"arguments": json.loads(model.arguments), "about": about or {}}
    with written_aside(_file(path)) as aside:
        save_weights(model, aside, resonance=json.dumps(said))
        from_pretrained(aside, kind)


def from_pretrained(path: str | Path, kind: type[nn.Module] | None = None) -> Any:
    """Construct a saved model, equal bit for bit: on the CPU, for evaluation, with the random state unchanged.

    kind: the class that it must be of, one of your own say; by default any that `resonance` exports.  No code is read.
    Raises FileNotFoundError, and ValueError, naming what was expected and found, for a file that is not whole, of
    another format or class, or whose arguments or weights are not of this version.

    >>> save_pretrained(layer := ResonanceLayer(4, 3, window=8), "layer.safetensors")
    >>> torch.equal(from_pretrained("layer.safetensors").mixing.weight.phase, layer.mixing.weight.phase)
    True
    """
    found, library = configuration(path), import_module(__package__)
    kinds = [each for each in vars(library).values() if isinstance(each, type) and issubclass(each, nn.Module)]
    known = {each.__name__: each for each in ([kind] if kind else kinds)}
    if (name := found["model"]) not in known:
        raise ValueError(f"expected {kind.__name__ if kind else 'a model of resonance'} at {path}, found {name}")
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            model = known[name](**found["arguments"])
    except (TypeError, ValueError) as error:
        expected = f"expected arguments of {name} in resonance {library.__version__}"
        raise ValueError(f"{path}: {expected}, found those of {found['version']}: {error}") from error
    weights = read_weights(_file(path))
    for key, own in model.state_dict(keep_vars=True).items():
        own.data = own.data.to(weights[key].dtype if key in weights else own.dtype)  # a model keeps its dtypes
    set_weights(model, weights, str(path))
    return model.eval()
