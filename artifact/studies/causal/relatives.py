"""Causal resonance beside its nearest relatives: speed, size of the state, and images read pixel by pixel.

Every mixer has the same width and block, and a state as large as ours where it can have one (`peers.relatives`).  The
task is sequential MNIST (Le, Jaitly, Hinton 2015): an image is a sequence of its pixels, row by row or in one random
order for all images; a network of pre-norm blocks reads it and the mean over the steps is classified.  All networks
get the same steps, batches and grid of rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.images import load_mnist
from artifact.peers.causal import RotaryAttention
from artifact.peers.relatives import RELATIVES, relative
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import family, paired_difference, ratio_interval, share_interval
from artifact.studies.common.timing import keep_freed_memory, pass_of, rounds_of
from artifact.studies.common.training import train_one_cycle
from artifact.studies.common.tuning import best_values, tried
from resonance.causal import CausalResonance
from resonance.language import Block, CausalBlocks
from resonance.polar import count_parameters

OURS, ATTENTION = "resonance", "attention"
MODELS = (OURS, *RELATIVES, ATTENTION)
KEYS = dict(zip(MODELS, ("ours", "s4d", "lru", "mamba2", "gla", "gdn", "attention"), strict=True))
WIDTH, FEATURES, HEADS = 128, 64, 4  # of the sublayers that are timed
LONGEST_ATTENTION = 16384  # beyond, a pass takes minutes
TASKS = ("sequential", "permuted")
BY = ["model", "task"]  # a rate of its own for each
TUNING_SEED = 1000
VALIDATION = 2000  # training images that rates are chosen on


def mixer(name: str, dim: int, features: int = FEATURES) -> nn.Module:
    """A causal sublayer by name: ours with features / 2 resonators, attention of four heads, or a relative."""
    if name == OURS:
        return CausalResonance(dim, features // 2)
    return RotaryAttention(dim, HEADS) if name == ATTENTION else relative(name, dim, features)


def state_reals(layer: nn.Module, n: int) -> int:
    """Reals that a sublayer keeps after n tokens, without the previous token; attention: its keys and values."""
    if isinstance(layer, RotaryAttention):
        return 2 * n * layer.dim
    parts = (part for name, part in layer.initial_state(1).items() if name != "previous")
    return sum(part.numel() * (2 if part.is_complex() else 1) for part in parts)


def speeds(lengths: Iterable[int], rounds: int, models: Sequence[str] = MODELS) -> pd.DataFrame:
    """Seconds of a sublayer forward and backward, a row a round: batch 1, the models in turn in one process."""
    keep_freed_memory()
    rows = []
    for n in lengths:
        x = torch.randn(1, n, WIDTH)
        layers = {name: mixer(name, WIDTH) for name in models if name != ATTENTION or n <= LONGEST_ATTENTION}
        taken = rounds_of({name: pass_of(layer, x) for name, layer in layers.items()}, rounds=rounds)
        for name, layer in layers.items():
            fixed = (n, name, state_reals(layer, n), count_parameters(layer))
            rows += [(*fixed, at, seconds) for at, seconds in enumerate(taken[name])]
    return pd.DataFrame(rows, columns=["n", "model", "state", "parameters", "round", "seconds"])


# --------------------------------------------------------------------------- pixels in sequence


class PixelClassifier(nn.Module):
    """Logits (batch, 10) of grey values (batch, n): blocks of a mixer and a feed-forward, then the mean over steps."""

    def __init__(self, name: str, dim: int, layers: int, features: int = 32, classes: int = 10):
        super().__init__()
        self.read = nn.Linear(1, dim)
        self.blocks = CausalBlocks([Block(dim, [mixer(name, dim, features)]) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.read(pixels[..., None]))).mean(dim=1))


@dataclass(frozen=True)
class Case:
    """One run: a mixer, a task of `TASKS`, a rate, a seed, and the budget; choosing: test on validation images."""

    model: str
    task: str
    rate: float = 0.0
    seed: int = 0
    steps: int = 200
    batch: int = 8
    dim: int = 32
    layers: int = 2
    tested: int = 2000
    choosing: bool = False


@cache
def sequences() -> tuple[str, dict[str, tuple[Tensor, Tensor]]]:
    """The data's name, and (pixels (count, n), labels) of the parts train, validation and test; MNIST or a stand-in."""
    images = load_mnist(allow_stand_in=True)
    (x, y), test = ((torch.from_numpy(a).flatten(1), torch.from_numpy(b)) for a, b in (images.train, images.test))
    held = min(VALIDATION, len(x) // 5)
    mean, deviation = x.mean(), x.std()
    parts = {"train": (x[:-held], y[:-held]), "validation": (x[-held:], y[-held:]), "test": test}
    return images.dataset, {name: ((a - mean) / deviation, b.long()) for name, (a, b) in parts.items()}


def part_of(case: Case, name: str) -> tuple[Tensor, Tensor]:
    """Pixels in the order of a case's task, and labels; raises ValueError for an unknown task."""
    if case.task not in TASKS:
        raise ValueError(f"unknown task {case.task!r}: expected one of {', '.join(TASKS)}")
    x, y = sequences()[1][name]
    order = torch.arange(x.shape[1])
    if case.task == "permuted":
        order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))  # one for all images and seeds
    return x[:, order], y


def batches(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (pixels, labels) of random training images without end."""
    (x, y), generator = part_of(case, "train"), torch.Generator().manual_seed(case.seed)
    while True:
        drawn = torch.randint(len(x), (case.batch,), generator=generator)
        yield x[drawn], y[drawn]


def measured(case: Case) -> dict:
    """Train a case and test it once on its first `tested` images: its fields, accuracy, seconds, parameters."""
    torch.manual_seed(case.seed)
    model = PixelClassifier(case.model, case.dim, case.layers)
    training = train_one_cycle(model, batches(case), case.steps, rate=case.rate, loss_fn=F.cross_entropy)
    x, y = (part[: case.tested] for part in part_of(case, "validation" if case.choosing else "test"))
    with torch.inference_mode():
        right = torch.cat([model.eval()(part).argmax(1) for part in x.split(100)]).eq(y)
    used = {"accuracy": right.double().mean().item(), "seconds": training.seconds}
    return asdict(case) | used | {"parameters": count_parameters(model)}


def searched(case: Case, grid: Sequence[float], wider: int) -> list[dict]:
    """Rows of `measured` on validation images for each rate of a grid that widens; score: the share of errors."""

    def at(rate: float) -> dict:
        row = measured(replace(case, rate=rate, seed=TUNING_SEED, choosing=True))
        return row | {"score": 1 - row["accuracy"]}

    return tried(at, grid, wider=wider)


def compared(
    grid: Sequence[float],
    seeds: int,
    tuning_steps: int,
    *,
    wider: int = 0,
    processes: int = 2,
    models: Sequence[str] = MODELS,
    **budget,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(tries, runs) of every model and task: the rates tried, and a test for each seed at the best rate.

    budget: `steps`, `batch`, `tested`, `dim` and the other fields of `Case`.
    """
    cases = [Case(model, task, **budget) for task in TASKS for model in models]
    choosing = [(replace(case, steps=tuning_steps), tuple(grid), wider) for case in cases]
    tries = pd.DataFrame([row for rows in spread(searched, choosing, processes=processes) for row in rows])
    rates = {(row.model, row.task): row.rate for row in best_values(tries, BY, value="rate").itertuples()}
    jobs = [(replace(case, rate=rates[case.model, case.task], seed=seed),) for case in cases for seed in range(seeds)]
    return tries, pd.DataFrame(spread(measured, jobs, processes=processes))


# --------------------------------------------------------------------------- the ledger


def measures(timed: pd.DataFrame, tries: pd.DataFrame, runs: pd.DataFrame) -> list[tuple]:
    """Key, value, unit and interval: seconds and their ratio to ours, states, accuracies, differences from ours.

    A ratio above one: ours is faster.  A difference above zero: the other is better; p is Holm's over the others of a
    task, and better and worse count those of them that differ from ours at 5%.
    """
    none, found = (float("nan"), float("nan")), []
    for (n, model), own in timed.groupby(["n", "model"], sort=False):
        key, ours = f"causal.relatives.{KEYS[model]}", timed[(timed["n"] == n) & (timed["model"] == OURS)]
        found.append((f"{key}.ms.{n}", 1e3 * own["seconds"].median(), "ms", none))
        found.append((f"{key}.state.{n}", own["state"].iloc[0], "reals", none))
        if model != OURS:
            ratio, *interval = ratio_interval(own["seconds"], ours["seconds"])
            found.append((f"{key}.ratio.{n}", ratio, "times the seconds of ours", tuple(interval)))
    for model, own in timed.groupby("model", sort=False):
        found.append((f"causal.relatives.{KEYS[model]}.parameters", own["parameters"].iloc[0], "", none))
    for task, group in runs.groupby("task", sort=False):
        by_seed = 100 * group.pivot(index="seed", columns="model", values="accuracy")
        others = [model for model in by_seed if model != OURS]
        differences = {model: paired_difference(by_seed[model], by_seed[OURS]) for model in others}
        adjusted, counts = family(differences)
        for model in by_seed:
            mean, *interval = share_interval(by_seed[model], 100)
            found.append((f"causal.relatives.{KEYS[model]}.{task}", mean, "%", tuple(interval)))
        for model, (mean, low, high, _) in differences.items():
            found.append((f"causal.relatives.{KEYS[model]}.{task}.ahead", mean, "points", (low, high)))
            if adjusted[model] == adjusted[model]:
                found.append((f"causal.relatives.{KEYS[model]}.{task}.p", adjusted[model], "", none))
        for name, count in zip(("compared", "better", "worse"), counts, strict=True):
            found.append((f"causal.relatives.{task}.{name}", count, "layers", none))
    best = best_values(tries, BY, value="rate")
    for row in best.itertuples():
        found.append((f"causal.relatives.{KEYS[row.model]}.{row.task}.inside", float(row.inside), "", none))
    found.append(("causal.tuned.inside", int(best["inside"].sum()), "rates inside their grids", none))
    found.append(("causal.tuned.all", len(best), "rates", none))
    return found
