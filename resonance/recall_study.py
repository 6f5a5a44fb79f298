"""How well networks learn to recall: one run a case, cases spread over processes of one thread each.

Each batch is drawn afresh, so its accuracy before the step is that of unseen sequences: training stops by it, for every
arm alike.  The test, drawn from seeds of its own, is computed once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from .associative_recall import IGNORED, Task, associative_recall
from .holographic_recall import PlainRecall
from .polar import count_parameters
from .processes import end_with_parent
from .recall_models import RecallNet

TEST_SEED = 2**32  # seeds of test sequences stand apart from those of training
WINDOW = 4  # batches whose mean accuracy is looked at


@dataclass(frozen=True)
class Case:
    """One run: an arm, a task, a width, F features a head, a rate, a seed, and its effort.

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


@dataclass
class Run:
    """What a run left: the network, its accuracy on every batch before the step, and the seconds of training."""

    model: RecallNet
    accuracies: list[float]
    seconds: float


def network(case: Case) -> RecallNet:
    """Return the untrained network of a case, the same for the same seed."""
    torch.manual_seed(case.seed)
    return RecallNet(
        case.arm, case.task.vocab_size, case.dim, length=case.task.length, heads=case.heads, features=case.features
    )


def train(case: Case, *, enough: float = 0.999, patience: int = 60) -> Run:
    """Train by AdamW on the cross-entropy of what is asked, the rate in one cycle, gradients clipped at norm 1.

    It ends before `case.steps` once the mean accuracy of the last few batches reaches `enough`, or has not reached a
    new best for `patience` steps.
    """
    model, generator = network(case), torch.Generator().manual_seed(case.seed)
    optimizer = torch.optim.AdamW(model.parameters(), case.rate, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = OneCycleLR(optimizer, case.rate, total_steps=case.steps + 1, pct_start=0.1)
    started, accuracies, best, best_step = time.perf_counter(), [], -1.0, 0
    for step in range(case.steps):
        tokens, answers = associative_recall(drawn_task(case, generator), case.batch, generator)
        asked = answers != IGNORED
        logits, right = model(tokens, asked), answers[asked]
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits, right).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        accuracies.append(logits.argmax(dim=-1).eq(right).double().mean().item())
        recent = float(np.mean(accuracies[-WINDOW:]))
        if recent > best:
            best, best_step = recent, step
        if (recent >= enough and step + 1 >= WINDOW) or step - best_step >= patience:
            break
    return Run(model, accuracies, time.perf_counter() - started)


def drawn_task(case: Case, generator: torch.Generator) -> Task:
    """Return the task of the next batch: the case's own, or one of fewer pairs where they are mixed."""
    if not case.mixed:
        return case.task
    return case.task._replace(pairs=1 + int(torch.randint(case.task.pairs, (1,), generator=generator)))


@torch.inference_mode()
def tested(model: nn.Module, task: Task, sequences: int, *, seed: int = 0, batch: int = 16) -> float:
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

    Beside the case: `start`, the accuracy of the untrained network on its first batch, and the effort.
    """
    start = tested(network(case), case.task, min(sequences, 16), seed=1)
    run = train(case)
    common = {key: value for key, value in asdict(case).items() if key not in ("task", "steps", "mixed")}
    common |= case.task._asdict() | {"task": str(case.task), "start": start, "steps": len(run.accuracies)}
    common |= {"seconds": run.seconds, "parameters": count_parameters(run.model)}
    common |= {"memory": memory_of(run.model, case.task.length), "curve": " ".join(f"{a:.4f}" for a in run.accuracies)}
    tasks = [case.task._replace(pairs=count) for count in pairs or (case.task.pairs,)]
    return [{**common, "pairs": task.pairs, "accuracy": tested(run.model, task, sequences)} for task in tasks]


def _begin() -> None:
    torch.set_num_threads(1)
    end_with_parent()


def all_measured(
    cases: Iterable[Case], sequences: int, *, pairs: Sequence[int] = (), processes: int = 2
) -> pd.DataFrame:
    """Run cases, a process a core, each with one thread; return the rows of `measured`, in the order of the cases."""
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin) as pool:
        jobs = [pool.submit(measured, case, sequences, tuple(pairs)) for case in cases]
        return pd.DataFrame([row for job in jobs for row in job.result()])


def chosen_rates(tries: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return the best rate of every (arm, task): the highest accuracy, of equals the fewest steps."""
    ordered = tries.sort_values(["accuracy", "steps"], ascending=[False, True], kind="stable")
    best = ordered.drop_duplicates(["arm", "task"])
    return {(row.arm, row.task): row.rate for row in best.itertuples()}


def with_seeds(case: Case, seeds: int) -> list[Case]:
    """Return a case for each seed."""
    return [replace(case, seed=seed) for seed in range(seeds)]
