"""Checkpoints: the weights of a run and all else that it needs to resume bitwise.

A checkpoint is a folder with

    weights-<digest>.safetensors    parameters and buffers; tied tensors once, under the first of their names
    best-<digest>.safetensors       those of the lowest validation figure, where there is validation
    state-<digest>.pt               optimiser, schedule, place in the data, random state, history
    checkpoint.json                 the step, the settings of the run, the names and SHA-256 of the files above

Every file is written aside and renamed, `checkpoint.json` last.  Only it lists the current files, and a file
named by its digest is never overwritten: a run killed at any moment leaves the old checkpoint or the whole new one.
Reading executes no code: weights are safetensors, the state goes through `torch.load(weights_only=True)`.

The batches of an epoch may depend on its number, the global random sources (torch, CUDA, numpy, Python) and generators.
To resume within it, all are set to where it began, the batches done are drawn again (`Progress.remaining`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..settings import ENTRY, WithSettings

MANIFEST = "checkpoint.json"
DIGITS = 16  # of a digest, in a file's name
FORMAT = "resonance checkpoint 2"
PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
WRAPPED = re.compile(r"(?<![^.])(module|_orig_mod)\.")
OWN = re.compile(rf"(weights|best|state)-[0-9a-f]{{{DIGITS}}}\.\w+|\.?new-.*|\.checkpoint\..*\.part\..*")  # to clean up


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to it when the block ends without error: no reader sees a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def plain(model: nn.Module) -> nn.Module:
    """The model inside wrappers of `torch.compile` and (distributed) data parallelism, or the model itself.

    Raises TypeError for sharded parameters, as of `fully_shard`: torch's own optimisers and checkpoints take those.
    """
    while (inner := model._modules.get("module" if isinstance(model, PARALLEL) else "_orig_mod")) is not None:
        model = inner
    if any(hasattr(parameter, "full_tensor") for parameter in model.parameters()):
        raise TypeError("expected whole parameters, got shards (DTensor): use torch.distributed.checkpoint with these")
    return model


def plain_name(name: str) -> str:
    """A parameter's name without what wrappers of the model, or of a module within it, have added."""
    return WRAPPED.sub("", name)


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: str | Path, **texts: str) -> None:
    """Write a model's parameters and buffers, or a state dict of tensors, to a safetensors file; texts as metadata.

    Tied tensors are written once, under the first of their names.  Raises TypeError for what is no tensor, or a shard.
    """
    state = plain(weights).state_dict() if isinstance(weights, nn.Module) else weights
    first, tensors, shared = {}, {}, {}
    for name, value in state.items():
        name = name.replace("_orig_mod.", "")  # of compiled modules within the model
        if not isinstance(value, Tensor) or hasattr(value, "full_tensor"):
            raise TypeError(f"expected whole tensors, got {name} of type {type(value).__name__}")
        place = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
        owner = first.setdefault(place, name) if value.numel() else name
        if owner == name:
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            shared[name] = owner
    with written_aside(Path(path)) as aside:
        save_file(tensors, aside, metadata={"format": "pt", "shared": json.dumps(shared), **texts})


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a file of `save_weights`, or of a checkpoint, by name, on the CPU, tied ones under every name.

    Raises FileNotFoundError, and ValueError for a file that is not whole or not safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected weights at {path}, found no file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            shared = json.loads((file.metadata() or {}).get("shared", "{}"))
    except SafetensorError as error:
        raise ValueError(f"expected a whole safetensors file at {path}, found: {error}") from error
    return tensors | {name: tensors[owner] for name, owner in shared.items()}


def set_weights(model: nn.Module, weights: Mapping[str, Any], source: str = "the state") -> None:
    """Copy weights into a model once names, shapes, dtypes and settings are found to match; either may be wrapped.

    Weights without settings, of an older version, are accepted with a warning (`settings.WithSettings`).
    Raises ValueError, naming what the model expects and what was found, where they do not; the model is then unchanged.
    """
    model = plain(model)
    own = model.state_dict()
    names = {plain_name(name): name for name in own}
    renamed = {names.get(plain_name(name), name): value for name, value in weights.items()}
    modules = {f"{at}.{ENTRY}".removeprefix("."): m for at, m in model.named_modules() if isinstance(m, WithSettings)}
    if own.keys() == renamed.keys() | modules.keys() and len(renamed) == len(weights):
        weights = renamed
    of = f"{source} is of another model:"
    if own.keys() != weights.keys() | modules.keys():
        missing, extra = [n for n in own if n not in weights | modules], [n for n in weights if n not in own]
        raise ValueError(f"{of} expected also {missing[:5]}, found instead {extra[:5]}")
    for name, parameter in model.named_parameters():
        expected, found = ((t.dtype, tuple(t.shape)) for t in (parameter, weights[name]))
        if expected != found:
            raise ValueError(f"{of} expected {name} of {expected}, found {found}")
    for name, module in modules.items():
        if name in weights and (reason := module.refusal(weights[name])):
            raise ValueError(f"{of} {name}: {reason}")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # a buffer of another shape, or what the module itself refuses
        raise ValueError(f"{of} {error}") from error


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read a file of `save_weights` or a checkpoint into a model; raise as `read_weights` and `set_weights`."""
    set_weights(model, read_weights(path), str(path))


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to resume."""

    step: int
    weights: Mapping[str, Any]  # a state dict
    best: Mapping[str, Any] | None  # that of the lowest validation figure; None without validation
    state: dict[str, Any]  # numbers, strings, tensors and containers of them
    settings: dict[str, Any]  # must be those of the run that resumes


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to its folder; the one before stays valid until this one is whole, and is then removed.

    One run writes to one folder.  Raises OSError where it cannot be written, on a full disk say, and TypeError for a
    state that could not be read back without executing code.
    """
    folder = Path(folder)
    new, extras = {}, {}  # what a module's `get_extra_state` returns need not be a tensor: it is kept with the state
    try:
        for kind, entries in (("weights", checkpoint.weights), ("best", checkpoint.best)):
            if entries is not None:
                new[kind] = folder / f"new-{kind}.safetensors"
                extras[kind] = {name: value for name, value in entries.items() if not isinstance(value, Tensor)}
                save_weights({name: value for name, value in entries.items() if name not in extras[kind]}, new[kind])
        new["state"] = folder / "new-state.pt"
        torch.save({"state": checkpoint.state, "extras": extras}, new["state"])
        if unsafe := torch.serialization.get_unsafe_globals_in_checkpoint(new["state"]):
            raise TypeError(f"expected a state of numbers, strings, tensors and containers of them, got {unsafe}")
        files = {}
        for kind, path in new.items():
            digest = _digest(path, sync=True)
            files[kind] = {"name": f"{kind}-{digest[:DIGITS]}{path.suffix}", "sha256": digest}
            os.replace(path, folder / files[kind]["name"])
        manifest = {"format": FORMAT, "step": checkpoint.step, "settings": checkpoint.settings, "files": files}
        with written_aside(folder / MANIFEST) as aside:
            aside.write_text(json.dumps(manifest, indent=1))
    except (OSError, RuntimeError, SafetensorError) as error:  # each writer has its own for a full disk
        for path in new.values():
            path.unlink(missing_ok=True)
        raise OSError(f"could not write to {folder}, where any checkpoint before this one stays: {error}") from error
    kept = {entry["name"] for entry in files.values()}
    for path in folder.iterdir():
        if path.name not in kept and OWN.fullmatch(path.name):
            path.unlink(missing_ok=True)


def read_checkpoint(folder: str | Path, settings: Mapping[str, Any] | None = None) -> Checkpoint | None:
    """Read the checkpoint in a folder, its tensors on the CPU; None where there is none.

    Raises ValueError, naming what was expected and what was found, for a checkpoint that is damaged, of another
    format, or of other settings than the given ones.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        return None
    text = path.read_bytes()
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected JSON in {path}, found {text[:40]!r}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found != FORMAT:
        raise ValueError(f"expected the format {FORMAT!r} in {path}, found {found!r}")
    if not {"step", "settings", "files"} <= manifest.keys():
        raise ValueError(f"expected step, settings and files in {path}, found {list(manifest)}")
    settings = manifest["settings"] if settings is None else json.loads(json.dumps(settings))  # tuples as lists
    for name in sorted(manifest["settings"].keys() | settings.keys()):
        expected, found = (part.get(name, "nothing") for part in (settings, manifest["settings"]))
        if expected != found:
            raise ValueError(f"{path} is of another run: expected {name} = {expected}, found {found}")
    files = {kind: path.with_name(entry["name"]) for kind, entry in manifest["files"].items()}
    for kind, file in files.items():
        expected, found = manifest["files"][kind]["sha256"], _digest(file) if file.is_file() else "no file"
        if expected != found:
            raise ValueError(f"{file} is damaged: expected SHA-256 {expected}, found {found}; restore it or start anew")
    try:
        saved = torch.load(files["state"], map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"expected numbers, strings and tensors in {files['state']}, found: {error}") from error
    weights = {kind: read_weights(files[kind]) | extra for kind, extra in saved["extras"].items()}
    return Checkpoint(manifest["step"], weights["weights"], weights.get("best"), saved["state"], manifest["settings"])


def _digest(path: Path, sync: bool = False) -> str:
    """SHA-256 of a file; with `sync`, only once it is on the disk, so that it survives a power cut."""
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


Generator = torch.Generator | np.random.Generator | random.Random
Batches = Callable[[int], Iterable[Any]] | Iterable[Any]
Source = tuple[str, Callable[[], Any], Callable[[Any], None]]  # its kind, how its state is read, and how it is set


def _lists(state: Any) -> Any:
    """A state of numpy with its arrays as lists, which numpy also takes."""
    if isinstance(state, dict):
        return {name: _lists(part) for name, part in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _devices() -> list[Tensor]:
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
    """Set the global sources and `generators` to a `random_state`; raise ValueError if it is of other generators."""
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

    def __post_init__(self) -> None:
        if isinstance(self.history, Mapping):  # as a checkpoint holds it
            self.history = History(**self.history)

    def remaining(self, batches: Batches, generators: Sequence[Generator]) -> Iterator[Any]:
        """The batches of the current epoch still to come; raise ValueError where it has fewer than were done."""
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
