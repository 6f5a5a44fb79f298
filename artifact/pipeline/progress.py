"""What a run says while it works: a line as a notebook starts and as it ends, how many are left, about how long.

`Snakefile` writes the plan of a run as it starts and names it in RESONANCE_PLAN; each notebook's process reads it and
appends to the log beside it.  Without a plan, a notebook run by hand, the lines say only the notebook and its seconds.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median

from artifact.files import ROOT, write_text
from artifact.pipeline.notebooks import recorded_seconds, settings


def write_plan(names: list[str], profile: str, cores: int) -> None:
    """Write what a run will do, with the seconds that each notebook took before, and name it for the jobs."""
    path = ROOT / "build" / f"plan.{profile}.json"
    took = {name: recorded_seconds(name, profile) for name in names}
    # A timed notebook has the machine to itself; of the others one runs on each core.
    known = {name: s / (1 if settings(name)["timed"] else cores) for name, s in took.items() if s is not None}
    work = {name: known.get(name, median(known.values()) if known else None) for name in names}
    write_text(path, json.dumps(work, indent=1))
    write_text(path.with_suffix(".log"), "")
    os.environ["RESONANCE_PLAN"] = str(path)


def duration(seconds: float) -> str:
    """Seconds as a reader wants them: "26 s", "7 min", "2 h 10 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def starts(name: str) -> str:
    """Log that a notebook starts; return the line to print."""
    work, log = _read("start", name)
    return f"{_place(name, work, log)}{name} starts"


def ends(name: str, seconds: float, what: str = "done") -> str:
    """Log that a notebook ended (`what`: done, failed); return the line to print."""
    work, log = _read("end", name)
    left = [other for other in work if other not in log["end"]]
    line = f"{_place(name, work, log)}{name} {what} in {duration(seconds)}"
    if not left:
        return line
    more = remaining(work, log, time.time())
    return f"{line}; {len(left)} left" + (f", about {duration(more)}" if more is not None else "")


def remaining(work: dict[str, float | None], log: dict[str, dict[str, float]], now: float) -> float | None:
    """Estimate the seconds that a run still takes from those that its notebooks took before; None if unknown.

    `work` holds each notebook's seconds divided by how many run beside it; `log` the times of starts and of ends.
    The notebooks that ended say how much faster or slower this machine is.
    """
    if None in work.values():
        return None
    ended = log["end"].keys() & work.keys()
    running = sum(work[name] for name in work if name in log["start"] and name not in ended) / 2  # half done, say
    left = sum(work[name] for name in work if name not in log["start"]) + running
    expected = sum(work[name] for name in ended) + running
    pace = (now - min(log["start"].values())) / expected if ended and expected else 1.0
    return left * min(max(pace, 0.2), 5.0)


def _read(event: str, name: str) -> tuple[dict[str, float | None], dict[str, dict[str, float]]]:
    """Log an event; return the plan, and the times of all events by kind and notebook."""
    log: dict[str, dict[str, float]] = {"start": {}, "end": {}}
    path = Path(os.environ.get("RESONANCE_PLAN", ""))
    if not path.is_file():
        return {}, log
    with path.with_suffix(".log").open("a") as file:
        file.write(f"{event} {name} {time.time():.1f}\n")
    for line in path.with_suffix(".log").read_text().splitlines():
        kind, notebook, when = line.split()
        log[kind][notebook] = float(when)
    return json.loads(path.read_text()), log


def _place(name: str, work: dict, log: dict[str, dict[str, float]]) -> str:
    """The place of a notebook among those of the run, in the order in which they started: "[ 3/17] "."""
    if name not in work:
        return ""
    place = list(log["start"]).index(name) + 1
    return f"[{place:>{len(str(len(work)))}}/{len(work)}] "
