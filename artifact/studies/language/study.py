"""Language models of two families trained side by side: the same text, the same budget of seconds or of tokens.

A run is one process with one thread, and runs go in pairs, one of each family, so that equal seconds mean equal
machines.  Each run takes AdamW with a short linear warm-up and a cosine to a tenth of the rate, both by the share of
the budget used; validation does not count as time.  Finished runs are stored until `forget`, so that a study that was
interrupted resumes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from artifact.datasets.characters import Corpus, load_tinyshakespeare, load_words
from artifact.files import ROOT
from artifact.peers.language import GPT, RotaryGPT
from artifact.peers.relatives import RELATIVES, relative
from artifact.studies.common.growth import FLOPS
from artifact.studies.common.processes import spread
from artifact.studies.language.ablations import VARIANTS, variant
from resonance.language import Block, LanguageModel, ResonanceLM
from resonance.polar import count_parameters
from resonance.training.checkpoint import written_aside

RESONANCE, TRANSFORMER, CONTROL = "resonance", "GPT", "GPT as published"
FAMILIES = (RESONANCE, TRANSFORMER)
CHARACTERS, WORDS = "characters", "words"
DIM, LAYERS, RESONATORS, HEADS = 128, 4, 32, 4
WARMUP, LEAST = 0.05, 0.1  # share of the budget in which the rate rises; share of the rate at the end
VALIDATED = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)  # shares of the budget; and at its end
STORED = ROOT / "data" / "cache" / "language"
OWN = "artifact/studies/language"
CODE = (
    "resonance/**/*.py",
    "artifact/datasets/*.py",
    "artifact/peers/*.py",
    f"{OWN}/study.py",
    f"{OWN}/ablations.py",
)


@dataclass(frozen=True)
class Run:
    """One training: model, text, budget.  The budget is of seconds or of tokens, the other is None."""

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
    final: int | None = None  # the same at the end; None: all

    def __post_init__(self):
        if (self.seconds is None) == (self.tokens is None):
            raise ValueError("expected a budget of either seconds or tokens, got both or neither")


@dataclass(frozen=True)
class Outcome:
    """What a run gave: its curve (a row a validation), its final loss, its weights."""

    run: Run
    curve: pd.DataFrame
    loss: float
    parameters: int
    weights: dict[str, Tensor] = field(repr=False)

    def model(self) -> LanguageModel:
        """The trained model, for evaluation."""
        model = build(self.run)
        model.load_state_dict(self.weights)
        return model.eval()

    @property
    def row(self) -> dict:
        """The settings of the run and its end, for a table."""
        used = self.curve[["seconds", "tokens", "steps", "operations"]].iloc[-1].to_dict()
        settings = {name: getattr(self.run, name) for name in ("family", "text", "context", "batch", "rate", "seed")}
        budget = "seconds" if self.run.tokens is None else "tokens"
        return {**settings, "budget": budget, **used, "loss": self.loss, "parameters": self.parameters}


# --------------------------------------------------------------------------- text and model


@cache
def corpus(text: str, options: tuple[int, ...] = ()) -> Corpus:
    """A text by name: characters of Shakespeare, or words of (vocabulary, books)."""
    return {CHARACTERS: load_tinyshakespeare, WORDS: load_words}[text](*options, allow_stand_in=True)


def build(run: Run) -> LanguageModel:
    """The untrained model of a run; torch's global seed determines its weights."""
    vocab_size = len(corpus(run.text, run.options).vocabulary)
    if run.family in (TRANSFORMER, CONTROL):
        peer = RotaryGPT if run.family == TRANSFORMER else GPT
        return peer(vocab_size, DIM, LAYERS, HEADS, run.context)
    if run.family == RESONANCE:
        return ResonanceLM(vocab_size, DIM, LAYERS, RESONATORS)
    if run.family in RELATIVES:
        mixers = [relative(run.family, DIM, 2 * RESONATORS) for _ in range(LAYERS)]  # a state as large as ours
        return LanguageModel(vocab_size, DIM, [Block(DIM, [mixer]) for mixer in mixers])
    if run.family not in VARIANTS:
        known = (*FAMILIES, CONTROL, *RELATIVES, *VARIANTS)
        raise ValueError(f"unknown family {run.family!r}: expected one of {', '.join(known)}")
    return variant(run.family, vocab_size, DIM, LAYERS, RESONATORS)


def windows(ids: Tensor, context: int, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches without end of (inputs, targets), each (size, context), from offsets drawn at random."""
    if len(ids) <= context:
        raise ValueError(f"expected more than {context} ids, got {len(ids)}")
    offsets = torch.arange(context + 1)
    while True:
        drawn = ids[torch.randint(len(ids) - context, (size, 1), generator=generator) + offsets]
        yield drawn[:, :-1], drawn[:, 1:]


def cross_entropy(model: LanguageModel, x: Tensor, y: Tensor, **options) -> Tensor:
    """Cross-entropy in nats of targets y under a model of inputs x, both (batch, n)."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten(), **options)


@torch.inference_mode()
def loss_on(model: LanguageModel, ids: Tensor, context: int, limit: int | None = None) -> float:
    """Mean loss in nats an id over windows of `context`, each from the zero state; `limit`: of about so many ids."""
    context = min(context, len(ids) - 1)
    count = (len(ids) - 1) // context
    cut = ids[: count * context + 1]
    inputs, targets = cut[:-1].view(count, context), cut[1:].view(count, context)
    if limit is not None and limit < count * context:
        chosen = torch.linspace(0, count - 1, max(1, limit // context)).long()
        inputs, targets = inputs[chosen], targets[chosen]
    training, size = model.training, max(1, 4096 // context)
    model.eval()
    pairs = zip(inputs.split(size), targets.split(size), strict=True)
    total = sum(cross_entropy(model, x, y, reduction="sum").item() for x, y in pairs)
    model.train(training)
    return total / inputs.numel()


# --------------------------------------------------------------------------- one run


def adamw(model: nn.Module, rate: float) -> torch.optim.AdamW:
    """AdamW as nanoGPT sets it for small batches, with weight decay on matrices and embeddings only."""
    matrices = {m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding)}
    groups = [
        {"params": [p for p in model.parameters() if (p in matrices) == decays], "weight_decay": 0.1 * decays}
        for decays in (True, False)
    ]
    return torch.optim.AdamW(groups, rate, betas=(0.9, 0.99), fused=True)


def scheduled(share: float, warmup: float = WARMUP) -> float:
    """The factor of the rate when `share` of the budget is used: linear up to `warmup`, then a cosine to `LEAST`."""
    if share < warmup:
        return max(share / warmup, 0.01)
    return LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))


def update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Clip the gradients at norm 1, take a step, and drop them."""
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _attention(query, key, value, dropout: float = 0.0, causal: bool = False, **options) -> int:
    """Products of fused attention, half as many where it is causal."""
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
    """Floating-point operations of a training step: products, attention and FFTs, forward and backward."""
    with FlopCounterMode(display=False, custom_mapping=FLOPS | ATTENTION) as counter:
        step()
    return counter.get_total_flops()


def train(run: Run) -> Outcome:
    """Train and validate as a run says; raises FloatingPointError for a loss that is not finite."""
    torch.manual_seed(run.seed)
    parts = corpus(run.text, run.options).parts
    ids, held_out = (parts["fit"], parts["choice"]) if run.choosing else (parts["train"], parts["report"])
    model, generator = build(run), torch.Generator().manual_seed(run.seed)
    batches = windows(ids, run.context, run.batch, generator)
    optimizer, tokens, seconds, steps, rows = adamw(model, run.rate), 0, 0.0, 0, []

    def backward() -> Tensor:
        loss = cross_entropy(model, *next(batches))
        loss.backward()
        return loss

    def share() -> float:
        return seconds / run.seconds if run.tokens is None else tokens / run.tokens

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: scheduled(share()))
    operations = operations_of(backward)
    optimizer.zero_grad(set_to_none=True)

    def validate(loss: float, at: float) -> None:
        used = {"share": at, "seconds": seconds, "tokens": tokens, "steps": steps, "operations": steps * operations}
        rows.append({**used, "training": loss, "validation": loss_on(model, held_out, run.context, run.curve)})

    due = list(VALIDATED)
    while share() < 1:
        started = time.perf_counter()
        loss = backward()
        update(model, optimizer)
        value = loss.item()
        seconds += time.perf_counter() - started
        tokens, steps = tokens + run.batch * run.context, steps + 1
        schedule.step()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} after {steps} steps of {run}: take a lower rate")
        if due and due[0] <= share() < 1:
            passed = [at for at in due if at <= share()]
            validate(value, passed[-1])
            due = due[len(passed) :]
    validate(value, 1.0)
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    loss = loss_on(model, held_out, run.context, run.final)
    return Outcome(run, pd.DataFrame(rows), loss, count_parameters(model), weights)


# --------------------------------------------------------------------------- many runs


def outcomes(runs: Sequence[Run], *, processes: int = 2, folder: Path = STORED) -> list[Outcome]:
    """The outcomes of runs, in order, a process each, `processes` at a time; stored ones of the same code are read."""
    missing = [run for run in dict.fromkeys(runs) if not _file(folder, run).exists()]
    spread(_train_and_store, [(folder, run) for run in missing], processes=processes)
    return [_read(folder, run) for run in runs]


def forget(folder: Path = STORED) -> None:
    """Delete the stored runs, so that the next study measures them anew."""
    for path in folder.glob("*.pt"):
        path.unlink()


def _train_and_store(folder: Path, run: Run) -> None:
    outcome = train(run)
    entries = {name: value for name, value in vars(outcome).items() if name != "run"}
    with written_aside(_file(folder, run)) as aside:
        torch.save(entries | {"curve": outcome.curve.to_dict("list")}, aside)


def _read(folder: Path, run: Run) -> Outcome:
    entries = torch.load(_file(folder, run), weights_only=True)
    return Outcome(run, pd.DataFrame(entries.pop("curve")), **entries)


def _file(folder: Path, run: Run) -> Path:
    """The file of a run, named by its settings and by the code that it depends on."""
    settings = json.dumps(asdict(run), sort_keys=True).encode()
    return folder / f"{hashlib.sha256(settings + _code()).hexdigest()[:24]}.pt"


@cache
def _code() -> bytes:
    hasher = hashlib.sha256(os.fsencode(torch.__version__))
    for path in sorted(path for pattern in CODE for path in ROOT.glob(pattern)):
        hasher.update(path.read_bytes())
    return hasher.digest()
