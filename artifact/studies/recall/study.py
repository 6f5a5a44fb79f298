"""How well networks learn to recall: training, test accuracy, and the agreement of the forms of a recall layer.

Each batch is drawn afresh, so its accuracy before the step is that of unseen sequences: training stops by it, for every
network alike.  The test, drawn from seeds of its own, is computed once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.peers.relatives import GatedMixer
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import holm, paired_difference, share_interval
from artifact.studies.common.training import train_one_cycle
from artifact.studies.common.tuning import tried
from artifact.studies.recall.models import (
    DELTA,
    KEYS,
    MEMORIES,
    PLAIN,
    RECALLS,
    RecallNet,
    ShiftedMemory,
    maps_apart,
    recalls,
    unshifted,
)
from artifact.studies.recall.task import IGNORED, Task, associative_recall
from resonance.causal import CausalResonance
from resonance.polar import count_parameters
from resonance.recall import PlainRecall

TEST_SEED = 2**32  # no seed of training is as high
TUNING_SEED = 1000  # rates are chosen on training and test sequences that no result has
AS_IT_IS, APART, UNSHIFTED = "unchanged", "maps apart at the start", "keys not shifted"
CHANGES: dict[str, Callable[[RecallNet], RecallNet]] = {
    AS_IT_IS: lambda model: model,
    APART: maps_apart,
    UNSHIFTED: unshifted,
}
WINDOW = 8  # batches whose mean accuracy ends a training
OPTIMIZER = partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=0.0)


@dataclass(frozen=True)
class Case:
    """One run: a kind of network, a task, a width, F features a head, a rate, a seed, and a change of `CHANGES`.

    steps at most, of `batch` sequences; with `mixed`, each batch has a number of pairs drawn from 1 to the task's.
    """

    kind: str
    task: Task
    dim: int
    rate: float
    seed: int = 0
    features: int = 64
    heads: int = 2
    steps: int = 200
    batch: int = 8
    mixed: bool = False
    change: str = AS_IT_IS


class Run(NamedTuple):
    """A trained network, its accuracy on every batch before the step, and the seconds of training."""

    model: RecallNet
    accuracies: list[float]
    seconds: float


def network(case: Case) -> RecallNet:
    """The untrained network of a case, the same for the same seed; raises ValueError for an unknown change."""
    if case.change not in CHANGES:
        raise ValueError(f"unknown change {case.change!r}: expected one of {', '.join(CHANGES)}")
    torch.manual_seed(case.seed)
    shape = {"length": case.task.length, "heads": case.heads, "features": case.features}
    return CHANGES[case.change](RecallNet(case.kind, case.task.vocab_size, case.dim, **shape))


def train(case: Case, *, enough: float = 0.999) -> Run:
    """Train by `train_one_cycle` (AdamW without decay) on the cross-entropy at the queries.

    It ends before `case.steps` once the mean accuracy of the last `WINDOW` batches reaches `enough`.
    """
    model, accuracies = network(case), []

    def loss_fn(logits: Tensor, right: Tensor) -> Tensor:
        accuracies.append(logits.argmax(dim=-1).eq(right).double().mean().item())
        return F.cross_entropy(logits, right)

    def stop() -> bool:
        return len(accuracies) >= WINDOW and np.mean(accuracies[-WINDOW:]) >= enough

    options = {"rate": case.rate, "loss_fn": loss_fn, "optimizer": OPTIMIZER, "stop": stop}
    return Run(model, accuracies, train_one_cycle(model, batches(case), case.steps, **options).seconds)


def batches(case: Case) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (tokens, queried, values at the queries) without end."""
    generator, task = torch.Generator().manual_seed(case.seed), case.task
    while True:
        if case.mixed:
            task = case.task._replace(pairs=1 + int(torch.randint(case.task.pairs, (1,), generator=generator)))
        tokens, answers = associative_recall(task, case.batch, generator)
        queried = answers != IGNORED
        yield tokens, queried, answers[queried]


@torch.inference_mode()
def accuracy_of(model: nn.Module, task: Task, sequences: int, *, seed: int = 0, batch: int = 16) -> float:
    """Share of right answers over test sequences."""
    generator, right = torch.Generator().manual_seed(TEST_SEED + seed), []
    for start in range(0, sequences, batch):
        tokens, answers = associative_recall(task, min(batch, sequences - start), generator)
        queried = answers != IGNORED
        right.append(model(tokens, queried).argmax(dim=-1).eq(answers[queried]))
    return torch.cat(right).double().mean().item()


def memory_of(model: RecallNet, length: int) -> int:
    """Reals that a network's recall stores of a sequence: holograms, or keys and values."""
    parts = recalls(model)
    fixed = (PlainRecall, ShiftedMemory)
    return sum(part.dim * (part.features if isinstance(part, fixed) else 2 * length) for part in parts)


def state_of(model: RecallNet, length: int) -> int:
    """Reals that a network carries from token to token after `length` of them: `memory_of`, and resonators or filters.

    Not counted: the previous token that a shift reads, dim reals a shift in every network alike.
    """
    states = (part.initial_state(1) for part in model.sublayers if isinstance(part, CausalResonance | GatedMixer))
    kept = (part for state in states for name, part in state.items() if name != "previous")
    return memory_of(model, length) + sum(part.numel() * (2 if part.is_complex() else 1) for part in kept)


def measured(case: Case, sequences: int, pairs: Sequence[int] = ()) -> list[dict]:
    """Train a case and test it, at its own number of pairs or at each of `pairs`: a row a test.

    Test sequences are those of the case's seed.  Beside the case's fields: `start`, the accuracy of the untrained
    network; its steps, seconds, parameters and memory; `curve`, the accuracy on every batch.
    """
    start = accuracy_of(network(case), case.task, min(sequences, 16), seed=case.seed)
    run = train(case)
    common = {key: value for key, value in asdict(case).items() if key not in ("task", "steps", "mixed")}
    common |= case.task._asdict() | {"task": str(case.task), "start": start, "steps": len(run.accuracies)}
    common |= {"key": ".".join(map(str, [*case.task, f"d{case.dim}"])), "seconds": run.seconds}  # key: of the ledger
    common |= {"parameters": count_parameters(run.model), "memory": memory_of(run.model, case.task.length)}
    common["state"] = state_of(run.model, case.task.length)
    common["curve"] = " ".join(f"{accuracy:.4f}" for accuracy in run.accuracies)
    tasks = [case.task._replace(pairs=count) for count in pairs or (case.task.pairs,)]
    accuracies = [accuracy_of(run.model, task, sequences, seed=case.seed) for task in tasks]
    return [common | {"pairs": task.pairs, "accuracy": a} for task, a in zip(tasks, accuracies, strict=True)]


def all_measured(
    cases: Iterable[Case], sequences: int, *, pairs: Sequence[int] = (), processes: int = 2
) -> pd.DataFrame:
    """Rows of `measured` for all cases, in order, in this process or spread over several of one thread each."""
    jobs = [(case, sequences, tuple(pairs)) for case in cases]
    return pd.DataFrame([row for rows in spread(measured, jobs, processes=processes) for row in rows])


@torch.no_grad()
def form_errors(rules: dict[str, type[PlainRecall]], lengths: Iterable[int], *, seed: int = 0) -> pd.DataFrame:
    """Relative error, in float64, of the recurrence and of two calls with a carried state against one parallel call."""
    rows = []
    for rule, cls in rules.items():
        torch.manual_seed(seed)
        layer = cls(16, 2, features=16).double()
        for n in lengths:
            x, state, steps = torch.randn(2, n, 16, dtype=torch.float64), layer.initial_state(2), []
            whole = layer(x)
            for token in x.unbind(1):
                y, state = layer.step(token, state)
                steps.append(y)
            first, carried = layer.extend(x[:, : (n + 1) // 2], layer.initial_state(2))
            second = [layer.extend(x[:, (n + 1) // 2 :], carried)[0]] if n > 1 else []
            forms = {"step by step": torch.stack(steps, 1), "carried across a cut": torch.cat([first, *second], 1)}
            rows += [(rule, n, form, ((y - whole).norm() / whole.norm()).item()) for form, y in forms.items()]
    return pd.DataFrame(rows, columns=["rule", "length", "form", "error"])


def _tried(case: Case, grid: Sequence[float], sequences: int, wider: int) -> list[dict]:
    """Rows of `measured` for every rate of a grid that widens, on a seed and test sequences that no result has.

    score, the lower the better: the share of wrong answers, and of equals a millionth for each step.
    """

    def measure(rate: float) -> dict:
        (row,) = measured(replace(case, rate=rate, seed=TUNING_SEED), sequences)
        return row | {"score": 1 - row["accuracy"] + 1e-6 * row["steps"]}

    return tried(measure, grid, wider=wider)


def all_tried(
    cases: Iterable[Case], rates: Mapping[str, Sequence[float]], sequences: int, *, wider: int = 0, processes: int = 2
) -> pd.DataFrame:
    """Rows of `_tried` for all cases, each with the grid of its kind: `best_values` by kind and task chooses."""
    jobs = [(case, tuple(rates[case.kind]), sequences, wider) for case in cases]
    return pd.DataFrame([row for rows in spread(_tried, jobs, processes=processes) for row in rows])


def by_state(
    kinds: Sequence[str], task: Task, sizes: Sequence[int], rates: Mapping[str, float], seeds: int, **fields
) -> list[Case]:
    """Cases of every kind and seed: one for each size of F where the kind has a memory of that size, else one.

    fields: the others of `Case`.
    """
    return [
        case
        for kind in kinds
        for size in (sizes if kind in RECALLS or kind in MEMORIES else sizes[-1:])
        for case in with_seeds(Case(kind, task, 64, rates[kind], features=size, **fields), seeds)
    ]


def compared(runs: pd.DataFrame, by: str, peers: Iterable[str]) -> pd.DataFrame:
    """Accuracy of the delta rule less that of each peer, in points, paired by seed, for each value of a column.

    Columns: those of `by`, kind, points, low, high, p, and p_holm, adjusted over all rows.
    """
    percent = 100 * runs.pivot(index="seed", columns=["kind", by], values="accuracy")
    rows = [
        (value, kind, *paired_difference(percent[DELTA, value], percent[kind, value]))
        for kind in peers
        for value in runs.loc[runs["kind"] == kind, by].unique()
    ]
    table = pd.DataFrame(rows, columns=[by, "kind", "points", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"]))


def counts(prefix: str, table: pd.DataFrame) -> list[tuple]:
    """How many comparisons of `compared` there are, and in how many ours is better or worse: rows of the ledger."""
    differ, none = table["p_holm"] < 0.05, (float("nan"), float("nan"))
    found = {"": table["p"].notna().sum(), ".better": (differ & (table["points"] > 0)).sum()}
    found[".worse"] = (differ & (table["points"] < 0)).sum()
    return [(f"{prefix}.comparisons{name}", int(count), "", none) for name, count in found.items()]


def ahead_measures(runs: pd.DataFrame) -> list[tuple]:
    """The delta rule against the plain sum at every task and width: rows of the ledger."""
    table = compared(runs, "key", [PLAIN])
    rows = [(f"recall16.ahead.{row.key}", row.points, "points", (row.low, row.high)) for row in table.itertuples()]
    return rows + counts("recall16.ahead", table)


def state_measures(states: pd.DataFrame, best: pd.DataFrame) -> list[tuple]:
    """What the runs of `by_state` and their rates give to the ledger: key, value, unit, interval."""
    none, found = (float("nan"), float("nan")), []
    for (kind, size), own in states.groupby(["kind", "features"], sort=False):
        mean, *interval = share_interval(100 * own["accuracy"], 100)
        key = f"{KEYS[kind]}.f{size}"
        found.append((f"recall16.state.accuracy.{key}", mean, "%", tuple(interval)))
        found.append((f"recall16.state.reals.{key}", own["state"].mean(), "reals", none))
        found.append((f"recall16.state.parameters.{key}", own["parameters"].mean(), "", none))
        found.append((f"recall16.state.seconds.{key}", own["seconds"].mean(), "s", none))
    table = compared(states, "features", [PLAIN, *MEMORIES])
    for row in table.itertuples():
        key = f"recall16.state.ahead.{KEYS[row.kind]}.f{row.features}"
        found.append((key, row.points, "points", (row.low, row.high)))
    for row in best.itertuples():
        found.append((f"recall16.state.rate.{KEYS[row.kind]}", row.rate, "", none))
        found.append((f"recall16.state.inside.{KEYS[row.kind]}", float(row.inside), "", none))
    return found + counts("recall16.state", table)


def with_seeds(case: Case, seeds: int) -> list[Case]:
    """A case for each seed."""
    return [replace(case, seed=seed) for seed in range(seeds)]
