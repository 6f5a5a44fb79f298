"""How well networks learn to recall: one run a case, cases spread over processes of one thread each.

Each batch is drawn afresh, so its accuracy before the step is that of unseen sequences: training stops by it, for every
arm alike.  The test, drawn from seeds of its own, is computed once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from artifact.studies.common.processes import end_with_parent
from artifact.studies.recall.models import RecallNet, maps_apart, unshifted
from artifact.studies.recall.task import IGNORED, Task, associative_recall
from resonance.polar import count_parameters
from resonance.recall import PlainRecall

TEST_SEED = 2**32  # seeds of test sequences stand apart from those of training
TUNING_SEED = 1000  # rates are chosen by training and test sequences that no result has
AS_IT_IS, APART, UNSHIFTED = "unchanged", "maps apart at the start", "keys not shifted"
CHANGES: dict[str, Callable[[RecallNet], RecallNet]] = {
    AS_IT_IS: lambda model: model,
    APART: maps_apart,
    UNSHIFTED: unshifted,
}
WINDOW = 8  # batches whose mean accuracy ends a training


@dataclass(frozen=True)
class Case:
    """One run: an arm, a task, a width, F features a head, a rate, a seed, its effort, and a change of `CHANGES`.

    steps at most, of `batch` sequences; where `mixed` is set, pairs are drawn from 1 up to the task's for each batch.
    """

    arm: str
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


@dataclass
class Run:
    """What a run left: the network, its accuracy on every batch before the step, and the seconds of training."""

    model: RecallNet
    accuracies: list[float]
    seconds: float


def network(case: Case) -> RecallNet:
    """Return the untrained network of a case, the same for the same seed; raise ValueError for an unknown change."""
    if case.change not in CHANGES:
        raise ValueError(f"unknown change {case.change!r}: expected one of {', '.join(CHANGES)}")
    torch.manual_seed(case.seed)
    shape = {"length": case.task.length, "heads": case.heads, "features": case.features}
    return CHANGES[case.change](RecallNet(case.arm, case.task.vocab_size, case.dim, **shape))


def train(case: Case, *, enough: float = 0.999) -> Run:
    """Train by AdamW on the cross-entropy of what is asked, the rate in one cycle, gradients clipped at norm 1.

    It ends before `case.steps` once the mean accuracy of the last `WINDOW` batches reaches `enough`.
    """
    model, generator = network(case), torch.Generator().manual_seed(case.seed)
    optimizer = torch.optim.AdamW(model.parameters(), case.rate, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = OneCycleLR(optimizer, case.rate, total_steps=case.steps + 1, pct_start=0.1)
    started, accuracies = time.perf_counter(), []
    for _ in range(case.steps):
        tokens, answers = associative_recall(drawn_task(case, generator), case.batch, generator)
        asked = answers != IGNORED
        logits, right = model(tokens, asked), answers[asked]
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits, right).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        accuracies.append(logits.argmax(dim=-1).eq(right).double().mean().item())
        if len(accuracies) >= WINDOW and np.mean(accuracies[-WINDOW:]) >= enough:
            break
    return Run(model, accuracies, time.perf_counter() - started)


def drawn_task(case: Case, generator: torch.Generator) -> Task:
    """Return the task of the next batch: the case's own, or one of fewer pairs where they are mixed."""
    if not case.mixed:
        return case.task
    return case.task._replace(pairs=1 + int(torch.randint(case.task.pairs, (1,), generator=generator)))


@torch.inference_mode()
def accuracy_of(model: nn.Module, task: Task, sequences: int, *, seed: int = 0, batch: int = 16) -> float:
    """Return the share of right answers over test sequences."""
    generator, right, count = torch.Generator().manual_seed(TEST_SEED + seed), 0, 0
    for size in [batch] * (sequences // batch) + [sequences % batch] * (sequences % batch > 0):
        tokens, answers = associative_recall(task, size, generator)
        asked = answers != IGNORED
        right += int(model(tokens, asked).argmax(dim=-1).eq(answers[asked]).sum())
        count += int(asked.sum())
    return right / count


def memory_of(model: RecallNet, length: int) -> int:
    """Return the reals of the memory that a network's recall keeps of a sequence: holograms, or keys and values."""
    total = 0
    for sublayer in model.sublayers:
        if isinstance(sublayer, PlainRecall):
            total += sublayer.features * sublayer.dim
        elif hasattr(sublayer, "heads"):
            total += 2 * length * sublayer.dim
    return total


def measured(case: Case, sequences: int, pairs: Sequence[int] = ()) -> list[dict]:
    """Train a case and test it, at its own number of pairs or at each of `pairs`: a row a test.

    Test sequences are those of the case's seed.  Beside the case: `start`, the accuracy of the untrained network, its
    effort, its `curve`, the accuracy on every batch, and what it keeps.
    """
    start = accuracy_of(network(case), case.task, min(sequences, 16), seed=case.seed)
    run = train(case)
    common = {key: value for key, value in asdict(case).items() if key not in ("task", "steps", "mixed")}
    common |= case.task._asdict() | {"task": str(case.task), "start": start, "steps": len(run.accuracies)}
    common["key"] = ".".join(map(str, [*case.task, f"d{case.dim}"]))  # of the ledger
    common |= {"seconds": run.seconds, "parameters": count_parameters(run.model)}
    common |= {"memory": memory_of(run.model, case.task.length), "curve": " ".join(f"{a:.4f}" for a in run.accuracies)}
    tasks = [case.task._replace(pairs=count) for count in pairs or (case.task.pairs,)]
    return [
        {**common, "pairs": task.pairs, "accuracy": accuracy_of(run.model, task, sequences, seed=case.seed)}
        for task in tasks
    ]


@torch.no_grad()
def form_errors(rules: dict[str, type[PlainRecall]], lengths: Iterable[int], *, seed: int = 0) -> pd.DataFrame:
    """Return how far the recurrence, and chunks cut in two, are from one parallel call: relative, in float64.

    Columns rule, length, form, error.
    """
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
            for form, y in forms.items():
                error = ((y - whole).norm() / whole.norm()).item()
                rows.append({"rule": rule, "length": n, "form": form, "error": error})
    return pd.DataFrame(rows)


def _begin() -> None:
    torch.set_num_threads(1)
    end_with_parent()


def all_measured(
    cases: Iterable[Case], sequences: int, *, pairs: Sequence[int] = (), processes: int = 2
) -> pd.DataFrame:
    """Run cases and return the rows of `measured`, in their order; more processes than one have one thread each."""
    cases, pairs = list(cases), tuple(pairs)
    if processes == 1:
        return pd.DataFrame([row for case in cases for row in measured(case, sequences, pairs)])
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin) as pool:
        jobs = [pool.submit(measured, case, sequences, pairs) for case in cases]
        return pd.DataFrame([row for job in jobs for row in job.result()])


def chosen_rates(tries: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return the best rate of every (arm, task): the highest accuracy, of equals the fewest steps."""
    ordered = tries.sort_values(["accuracy", "steps"], ascending=[False, True], kind="stable")
    best = ordered.drop_duplicates(["arm", "task"])
    return {(row.arm, row.task): row.rate for row in best.itertuples()}


def with_seeds(case: Case, seeds: int) -> list[Case]:
    """Return a case for each seed."""
    return [replace(case, seed=seed) for seed in range(seeds)]
