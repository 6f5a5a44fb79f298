"""Jobs spread over processes, none of which outlives the one that started it."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from typing import TypeVar

Result = TypeVar("Result")


def spread(
    function: Callable[..., Result], jobs: Iterable[tuple], *, processes: int = 2, threads: int = 1, fresh: bool = False
) -> list[Result]:
    """Call function(*job) for every job, in processes of `threads` threads each; return the results in order.

    One process is this one: then none is started.
    fresh: a new process for every job, so that a peak of memory belongs to that job alone.
    The function must be a module's own, jobs and results pickle.  An error in a job is raised here, the rest given up.
    They travel as bytes: torch would send every tensor as an open file, of which a process may have few.
    A study that may be stopped and resumed saves each result inside `function` and passes only the missing jobs.
    """
    jobs = list(jobs)
    if processes == 1 and not fresh:
        return _here(function, jobs, threads)
    if not jobs:
        return []
    # A fork server imports the function's module once, before threads or data exist: a start then costs no import.
    # The first step of an optimiser would import torch._dynamo in each process, for longer than a short job takes.
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    context.set_forkserver_preload([function.__module__, "torch._dynamo"])
    with ProcessPoolExecutor(
        min(processes, len(jobs)),
        context,
        initializer=_begin,
        initargs=(threads,),
        max_tasks_per_child=1 if fresh else None,
    ) as pool:
        futures = [pool.submit(_packed, pickle.dumps((function, job))) for job in jobs]
        try:
            return [pickle.loads(future.result()) for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _packed(packed: bytes) -> bytes:
    function, job = pickle.loads(packed)
    return pickle.dumps(function(*job))


def _here(function: Callable[..., Result], jobs: list[tuple], threads: int) -> list[Result]:
    import torch  # not above: the runner, which needs only `end_with_parent`, starts in half the time

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return [function(*job) for job in jobs]
    finally:
        torch.set_num_threads(before)


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    end_with_parent()


def end_with_parent() -> None:
    """End this process when its parent has ended, so that no job outlives a workflow that was killed."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
