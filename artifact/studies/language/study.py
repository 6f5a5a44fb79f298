"""Language models of two families trained side by side: the same text, the same budget of seconds or of tokens.

A run is one process with one thread, and runs go in pairs, one of each family, so that equal seconds are equal
chances.  Each run takes AdamW with a short linear warm-up and a cosine to a tenth of the rate, both by the share of
the budget that is used up; its clock stands still while it is validated.  A finished run is kept in a folder until the
study is forgotten, so that a study that was stopped goes on where it stood.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from artifact.datasets.characters import Corpus, load_tinyshakespeare, load_words
from artifact.files import ROOT
from artifact.peers.language import GPT, RotaryGPT
from artifact.studies.common.growth import FLOPS
from artifact.studies.common.processes import end_with_parent
from artifact.studies.language.ablations import ARMS
from resonance.language import LanguageModel, ResonanceLM
from resonance.polar import count_parameters
from resonance.training.checkpoint import written_aside

RESONANCE, TRANSFORMER, CONTROL = "resonance", "GPT", "GPT as published"
FAMILIES = (RESONANCE, TRANSFORMER)
CHARACTERS, WORDS = "characters", "words"
DIM, LAYERS, RESONATORS, HEADS = 128, 4, 32, 4
WARMUP, LEAST = 0.05, 0.1  # share of the budget that the rate rises over; of the rate that is left at the end
VALIDATED = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)  # of the budget; and at its end
KEPT = ROOT / "data" / "cache" / "language"


@dataclass(frozen=True)
class Run:
    """One training: what, on what, how, how long.  The budget is of seconds or of tokens, the other is None."""

    family: str
    context: int
    batch: int
    rate: float
    seed: int = 0
    seconds: float | None = None
    tokens: int | None = None
    text: str = CHARACTERS
    choosing: bool = False  # train on `fit`, validate on `choice`; else train on `train`, validate on `report`
    options: tuple[int, ...] = ()  # of the text: (vocab_size, books) of words
    curve: int = 16384  # symbols of the validation part that the curve is measured on
    judged: int | None = None  # and the end; None: all

    def __post_init__(self):
        if (self.seconds is None) == (self.tokens is None):
            raise ValueError("expected a budget of either seconds or tokens, got both or neither")


@dataclass(frozen=True)
class Outcome:
    """What a run gave: its curve (a row a validation), its last loss on the whole part, its weights."""

    run: Run
    curve: pd.DataFrame
    loss: float
    parameters: int
    weights: dict[str, Tensor] = field(repr=False)

    def model(self) -> LanguageModel:
        """Return the trained model, for evaluation."""
        model = build(self.run)
        model.load_state_dict(self.weights)
        return model.eval()

    @property
    def row(self) -> dict:
        """The settings of the run and its end, for a table."""
        end = self.curve.iloc[-1]
        took = {name: end[name] for name in ("seconds", "tokens", "steps", "operations")}
        settings = {name: getattr(self.run, name) for name in ("family", "text", "context", "batch", "rate", "seed")}
        budget = "seconds" if self.run.tokens is None else "tokens"
        return {**settings, "budget": budget, **took, "loss": self.loss, "parameters": self.parameters}


# --------------------------------------------------------------------------- text and model


@cache
def corpus(text: str, options: tuple[int, ...] = ()) -> Corpus:
    """Return a text by name; raises ValueError for an unknown one."""
    if text not in (CHARACTERS, WORDS):
        raise ValueError(f"unknown text {text!r}: expected {CHARACTERS} or {WORDS}")
    load = load_tinyshakespeare if text == CHARACTERS else load_words
    return load(*options, allow_stand_in=True)


def build(run: Run) -> LanguageModel:
    """Return an untrained model of a run; the global seed of torch decides its start."""
    vocab_size = len(corpus(run.text, run.options).vocabulary)
    if run.family in (TRANSFORMER, CONTROL):
        peer = RotaryGPT if run.family == TRANSFORMER else GPT
        return peer(vocab_size, DIM, LAYERS, HEADS, run.context)
    if run.family == RESONANCE:
        return ResonanceLM(vocab_size, DIM, LAYERS, RESONATORS)
    if run.family not in ARMS:
        raise ValueError(f"unknown family {run.family!r}: expected one of {', '.join((*FAMILIES, CONTROL, *ARMS))}")
    return ARMS[run.family](vocab_size, DIM, LAYERS, RESONATORS)


def windows(ids: Tensor, context: int, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches without end of (inputs, targets), each (size, context), from places drawn at random."""
    if len(ids) <= context:
        raise ValueError(f"expected more than {context} ids, got {len(ids)}")
    offsets = torch.arange(context + 1)
    while True:
        drawn = ids[torch.randint(len(ids) - context, (size, 1), generator=generator) + offsets]
        yield drawn[:, :-1], drawn[:, 1:]


@torch.inference_mode()
def loss_on(model: LanguageModel, ids: Tensor, context: int, limit: int | None = None) -> float:
    """Return the mean loss in nats an id over ids cut into windows of `context`, each read from silence.

    Every position of every window counts.  With `limit`, about so many ids are read, in windows spread evenly.
    """
    context = min(context, len(ids) - 1)
    count = (len(ids) - 1) // context
    cut = ids[: count * context + 1]
    inputs, targets = cut[:-1].view(count, context), cut[1:].view(count, context)
    if limit is not None and limit < count * context:
        chosen = torch.linspace(0, count - 1, max(1, limit // context)).long()
        inputs, targets = inputs[chosen], targets[chosen]
    training, total = model.training, 0.0
    model.eval()
    for x, y in zip(inputs.split(max(1, 4096 // context)), targets.split(max(1, 4096 // context)), strict=True):
        total += F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum").item()
    model.train(training)
    return total / inputs.numel()


# --------------------------------------------------------------------------- one run


def adamw(model: nn.Module, rate: float) -> torch.optim.AdamW:
    """Return AdamW as nanoGPT sets it for small batches; matrices and embeddings decay, all else does not."""
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding)}
    groups: dict[bool, list] = {True: [], False: []}
    for parameter in model.parameters():
        groups[id(parameter) in decayed].append(parameter)
    parts = [{"params": groups[True], "weight_decay": 0.1}, {"params": groups[False], "weight_decay": 0.0}]
    return torch.optim.AdamW(parts, rate, betas=(0.9, 0.99), fused=True)


def scheduled(share: float) -> float:
    """Return the factor of the rate when `share` of the budget is used: linear up, then a cosine down to `LEAST`."""
    if share < WARMUP:
        return max(share / WARMUP, 0.01)
    return LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * min(1.0, (share - WARMUP) / (1 - WARMUP))))


def _attention(query, key, value, dropout: float = 0.0, causal: bool = False, **options) -> int:
    """Products of fused attention; a causal one skips half of them."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1]) // (2 if causal else 1)


def _attention_backward(gradient, query, key, value, out, logsumexp, dropout=0.0, causal=False, **options) -> int:
    """Five products where the forward pass has two."""
    return 5 * _attention(query, key, value, dropout, causal) // 2


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def operations_of(step: Callable[[], object]) -> int:
    """Return the floating-point operations of a training step: products, attention and FFTs, forward and backward."""
    with FlopCounterMode(display=False, custom_mapping=FLOPS | ATTENTION) as counter:
        step()
    return counter.get_total_flops()


def train(run: Run) -> Outcome:
    """Train and validate as a run says.

    Raises FloatingPointError where the loss is no longer finite: the rate is too high.
    """
    torch.manual_seed(run.seed)
    parts = corpus(run.text, run.options).parts
    ids, held_out = (parts["fit"], parts["choice"]) if run.choosing else (parts["train"], parts["report"])
    model, generator = build(run), torch.Generator().manual_seed(run.seed)
    batches = windows(ids, run.context, run.batch, generator)
    optimizer, tokens, seconds, steps, rows = adamw(model, run.rate), 0, 0.0, 0, []

    def backward() -> Tensor:
        x, y = next(batches)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        return loss

    def share() -> float:
        return seconds / run.seconds if run.tokens is None else tokens / run.tokens

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: scheduled(share()))
    operations = operations_of(backward)
    optimizer.zero_grad(set_to_none=True)

    def validated(loss: float, mark: float) -> None:
        took = {"mark": mark, "seconds": seconds, "tokens": tokens, "steps": steps, "operations": steps * operations}
        rows.append({**took, "training": loss, "validation": loss_on(model, held_out, run.context, run.curve)})

    marks = list(VALIDATED)
    while share() < 1:
        started = time.perf_counter()
        loss = backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        seconds += time.perf_counter() - started
        tokens, steps = tokens + run.batch * run.context, steps + 1
        schedule.step()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} after {steps} steps of {run}: take a lower rate")
        if marks and marks[0] <= share() < 1:
            passed = [mark for mark in marks if mark <= share()]
            validated(value, passed[-1])
            marks = marks[len(passed) :]
    validated(value, 1.0)
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    loss = loss_on(model, held_out, run.context, run.judged)
    return Outcome(run, pd.DataFrame(rows), loss, count_parameters(model), weights)


# --------------------------------------------------------------------------- many runs


def outcomes(runs: Sequence[Run], *, processes: int = 2, kept: Path = KEPT) -> list[Outcome]:
    """Return the outcomes of runs, in their order, a process each, `processes` at a time.

    A run that is in the folder `kept`, of the same code, is read from there.
    """
    found = {run: _read(kept, run) for run in runs}
    missing = [run for run, outcome in found.items() if outcome is None]
    if missing:
        context = get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=_begin) as pool:
            jobs = {run: pool.submit(_trained, kept, run) for run in missing}
            found |= {run: job.result() for run, job in jobs.items()}
    return [found[run] for run in runs]


def forget(kept: Path = KEPT) -> None:
    """Drop the runs that are kept: the study has ended, and the next one is measured anew."""
    for path in kept.glob("*.pt"):
        path.unlink()


def _begin() -> None:
    torch.set_num_threads(1)
    end_with_parent()


def _trained(kept: Path, run: Run) -> Outcome:
    outcome = train(run)
    entries = {"curve": outcome.curve.to_dict("list"), "loss": outcome.loss, "parameters": outcome.parameters}
    with written_aside(_file(kept, run)) as aside:
        torch.save({**entries, "weights": outcome.weights}, aside)
    return outcome


def _read(kept: Path, run: Run) -> Outcome | None:
    path = _file(kept, run)
    if not path.exists():
        return None
    entries = torch.load(path, weights_only=True)
    return Outcome(run, pd.DataFrame(entries["curve"]), entries["loss"], entries["parameters"], entries["weights"])


def _file(kept: Path, run: Run) -> Path:
    """Name a run by its settings and by all code of the package: any change measures it anew."""
    hasher = hashlib.sha256(json.dumps(asdict(run), sort_keys=True).encode())
    hasher.update(_code())
    return kept / f"{hasher.hexdigest()[:24]}.pt"


@cache
def _code() -> bytes:
    hasher = hashlib.sha256(os.fsencode(torch.__version__))
    for path in sorted((ROOT / "resonance").glob("*.py")):
        hasher.update(path.read_bytes())
    return hasher.digest()
