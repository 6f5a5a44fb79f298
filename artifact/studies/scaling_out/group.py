"""Groups of ranks: started as processes of this machine or on hosts in network namespaces, and what they found."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from artifact.studies.scaling_out import rank as rank_module
from artifact.studies.scaling_out.hosts import INTERFACE, address, hosts

MACHINE, HOSTS = "processes of one machine", "hosts in network namespaces"
Task = tuple[str, dict]


@dataclass(frozen=True)
class Ended:
    """One rank after its end."""

    found: list  # what each task that it finished found
    error: str  # why it did not finish all; "" where it did
    at: float  # when it ended, in seconds of this process's clock


def run_ranks(
    tasks: Sequence[Task],
    size: int,
    *,
    where: str = MACHINE,
    timeout: float = 600,
    threads: int = 1,
    lost: bool = False,
) -> list[Ended]:
    """Do tasks of `rank.TASKS` in turn on `size` ranks of a gloo group; return each rank's end.

    timeout: of the group, in seconds, for one exchange.  lost: a task loses the last rank, by a signal that kills or
    stops it.  Raises OSError where hosts cannot be made; RuntimeError, with the errors, when a rank fails and none is
    to be lost.
    """
    # A fork server imports torch once: most of a process is its start.
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    context.set_forkserver_preload([rank_module.__name__, "torch._dynamo"])
    with hosts(size) if where == HOSTS else nullcontext([""] * size) as spaces, tempfile.TemporaryDirectory() as folder:
        meet = f"tcp://{address(0)}:29500" if where == HOSTS else f"file://{folder}/meet"
        interface = INTERFACE if where == HOSTS else loopback()
        job = {"folder": folder, "size": size, "tasks": tasks, "meet": meet, "interface": interface}
        job |= {"timeout": timeout, "threads": threads}
        jobs = [job | {"rank": rank, "space": spaces[rank]} for rank in range(size)]
        processes = [context.Process(target=rank_module.run, args=(one,), daemon=True) for one in jobs]
        try:
            for process in processes:
                process.start()
            ends = _ends(processes, lost)
            ended = [_read(Path(folder), rank, ends[rank]) for rank in range(size)]
        finally:
            for process in processes:
                if process.pid:
                    process.kill()
                    process.join()
    if not lost and (failed := [one.error for one in ended if one.error]):
        raise RuntimeError(f"{len(failed)} of {size} ranks failed:\n" + "\n".join(failed))
    return ended


def loopback() -> str:
    """The name of this machine's loopback interface: lo, or lo0 on macOS."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def _ends(processes: list[BaseProcess], lost: bool) -> list[float]:
    """When each process ended; the last one, where it is to be lost, may have been stopped instead."""
    ends = [0.0] * len(processes)
    while not all(ends):
        for rank, process in enumerate(processes):
            stopped = lost and rank == len(processes) - 1 and _stopped(process.pid)
            if not ends[rank] and (stopped or not process.is_alive()):
                ends[rank] = time.monotonic()
        time.sleep(0.02)
    return ends


def _stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def _read(folder: Path, rank: int, at: float) -> Ended:
    if (path := folder / f"{rank}.json").exists():
        return Ended(**json.loads(path.read_text()), at=at)
    said = (folder / f"{rank}.txt").read_text(errors="replace").strip()[-2000:]
    return Ended([], f"rank {rank} ended: {said}", at)
