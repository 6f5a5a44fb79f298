"""What the notebook measures with groups of ranks, as tables: equality, bytes, time, a rank that is lost, training."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

import pandas as pd

from artifact.files import ROOT
from artifact.studies.common.statistics import mean_interval
from artifact.studies.scaling_out.group import HOSTS, MACHINE, run_ranks
from artifact.studies.scaling_out.rank import SHAPE
from artifact.studies.scaling_out.theory import WAYS, attention_bytes, band, link, reduce_seconds, reduced, states

KEYS = {MACHINE: "machine", HOSTS: "hosts"}
MODELS = {
    "ResonanceNet": "net",
    "LongContextResonanceNet": "long",
    "CausalResonance": "causal",
    "CausalMixing": "mixing",
}
K, D, LAYERS = SHAPE["frequencies"], SHAPE["dim"], SHAPE["layers"]
SPLIT_RANK = ROOT / "tests" / "resonance" / "split_rank.py"
TRAINING = "training_by_ddp_and_fsdp_and_a_resumed_one_are_those_of_one_process"
Found = dict[str, list]  # by task: what each rank found


def found_by(where: str, size: int, tasks: Mapping[str, dict], **options) -> Found | str:
    """What each rank of a group found in each task; the reason, a text, where hosts cannot be made here."""
    try:
        ended = run_ranks(list(tasks.items()), size, where=where, **options)
    except OSError as error:
        return f"not measured on this machine: {error}"
    return {name: [one.found[at] for one in ended] for at, name in enumerate(tasks)}


def equality_table(groups: Mapping[tuple[str, int], Found | str]) -> pd.DataFrame:
    """The largest errors over the ranks of each group, by model: where, ranks, model, n, output, gradient, outcome."""
    rows = []
    for (where, ranks), found in groups.items():
        if isinstance(found, str):
            rows.append({"where": where, "ranks": ranks, "outcome": found})
        elif "equality" in found:
            table = pd.concat(pd.DataFrame(rank) for rank in found["equality"])
            worst = table.groupby(["model", "n"], sort=False)[["output", "gradient"]].max().reset_index()
            rows += [{"where": where, "ranks": ranks, **row, "outcome": "measured"} for row in worst.to_dict("records")]
    columns = ["where", "ranks", "model", "n", "output", "gradient", "outcome"]
    return pd.DataFrame(rows).reindex(columns=columns)


def wire_table(found: Found | str, ranks: int) -> pd.DataFrame:
    """Bytes that a rank sent, the mean over ranks, a layer and direction, beside the formula (eq:wire).

    Columns: model, n, direction, bytes, spread (largest less least over ranks and repetitions), formula.  The
    direction "weights" is the sum of all gradients once a step, of all layers together.  Empty where not measured.
    """
    columns = ["model", "n", "direction", "bytes", "spread", "formula"]
    if isinstance(found, str):
        return pd.DataFrame(columns=columns)
    rows = []
    table = pd.concat(pd.DataFrame(rank) for rank in found["wire"])
    for (model, n, direction), own in table.groupby(["model", "n", "direction"], sort=False):
        shared = LAYERS if model == "LongContextResonanceNet" and direction != "weights" else 1
        per_layer = band(K, D, ranks) if model == "LongContextResonanceNet" else states(K, D, ranks)
        formula = reduced(own["weights"].iloc[0], ranks) if direction == "weights" else per_layer
        spread = own["bytes"].max() - own["bytes"].min()
        rows.append((model, n, direction, own["bytes"].mean() / shared, spread / shared, formula))
    return pd.DataFrame(rows, columns=columns)


def attention_table(lengths: Iterable[int], ranks: int) -> pd.DataFrame:
    """Bytes that a rank sends for a layer of attention, by formula: method, n, direction, bytes."""
    rows = [(method, n, way, size) for n in lengths for (method, way), size in attention_bytes(n, D, ranks).items()]
    return pd.DataFrame(rows, columns=["method", "n", "direction", "bytes"])


# --------------------------------------------------------------------------- time


def step_table(groups: Iterable[Found]) -> pd.DataFrame:
    """Training steps, a row a rank: ranks, rank, n, own, seconds (the median), peak, start, weights, tensors."""
    rows = [
        {"ranks": len(found["step"]), "rank": rank, **own, "seconds": pd.Series(own["seconds"]).median()}
        for found in groups
        for rank, own in enumerate(found["step"])
    ]
    return pd.DataFrame(rows)


def reduces_table(groups: Mapping[int, Found]) -> pd.DataFrame:
    """Seconds of all-reduces, those of the slowest rank: ranks, bytes, round, seconds."""
    columns = ["ranks", "bytes", "round", "seconds"]
    tables = [pd.DataFrame(rank).assign(ranks=ranks) for ranks, found in groups.items() for rank in found["reduces"]]
    together = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    return together.groupby(columns[:3], sort=False)["seconds"].max().reset_index()


def terms_table(alone: Found, reduces: pd.DataFrame) -> pd.DataFrame:
    """Terms of the model in each round: seconds of a token (one rank alone), of a message and of a byte (eq:ranks).

    Rounds beyond those of the shorter of both measurements are left out.
    """
    own = alone["step"][0]
    rows = [
        (turn, seconds / own["own"], *link(reduces[reduces["round"] == turn]))
        for turn, seconds in enumerate(own["seconds"])
        if turn in set(reduces["round"])
    ]
    return pd.DataFrame(rows, columns=["round", "compute", "a", "b"])


def misfit(terms: pd.DataFrame, reduces: pd.DataFrame) -> float:
    """The largest factor, up or down, between a measured all-reduce (median of rounds) and the fitted one."""
    a, b = terms["a"].median(), terms["b"].median()
    medians = reduces.groupby(["ranks", "bytes"])["seconds"].median()
    factors = [s / reduce_seconds(size, ranks, a, b) for (ranks, size), s in medians.items()]
    return max(max(factor, 1 / factor) for factor in factors)


# --------------------------------------------------------------------------- training


def lost_row(how: str, size: int, resumed_on: int, *, timeout: float, steps: int = 6, at: int = 3) -> dict:
    """Lose the last rank by a signal within a step, and resume: how the others end, and the losses' difference.

    seconds: from the loss to the end of the last of the others.  difference: of the resumed losses from those of the
    same training without a loss, relative to these.  The same ranks train it before.
    """
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as folder:
        tasks = [("train", {"folder": whole, "steps": steps})]
        tasks.append(("train", {"folder": folder, "steps": steps, "lose": how, "at": at}))
        *others, lost = run_ranks(tasks, size, timeout=timeout, lost=True)
        resumed = run_ranks([("train", {"folder": folder, "steps": steps, "resume": True})], resumed_on)
    expected, again = others[0].found[0], resumed[0].found[0]
    if len(again) != steps - at:
        raise RuntimeError(f"expected to resume at step {at} of {steps}, got {len(again)} steps")
    clear = all("could not exchange" in one.error and "another rank has ended" in one.error for one in others)
    difference = max(abs(a - b) / b for a, b in zip(again, expected[at:], strict=True))
    seconds = max(one.at for one in others) - lost.at
    ends = {"seconds": seconds, "clear": clear, "error": others[0].error.split(" (")[0]}  # less gloo's own words
    return {"how": how, "ranks": size, "resumed_on": resumed_on, "timeout": timeout, "difference": difference, **ends}


def sharded(size: int) -> list[dict]:
    """Training by DistributedDataParallel and by `fully_shard` under torchrun against one process: what, error.

    error: of the losses, relative to their norm, the largest over ranks.  The script is that of the tests, which fails
    above 1e-5.  The last row is resumed on half as many ranks.  Raises RuntimeError with its output when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        shell = f'exec "$0" "$1" "$2" "$RANK" "$WORLD_SIZE" {TRAINING}'
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
        command = [*torchrun, "--no-python", "sh", "-c", shell, sys.executable, str(SPLIT_RANK), folder]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        found = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("[0-9]*.json"))]
        errors = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("errors-*.json"))]
    if done.returncode or len(found) != size or any(one != {TRAINING: ""} for one in found):
        raise RuntimeError(f"training under torchrun on {size} ranks failed:\n{found}\n{done.stderr[-2000:]}")
    return [{"ranks": size, "what": what, "error": max(one[what] for one in errors)} for what in errors[0]]


# --------------------------------------------------------------------------- the ledger

METHODS = {"all-gather attention": "gather", "ring attention": "ring", "all-to-all attention": "all"}
LOSSES = {"losses by DDP": "ddp", "losses by FSDP": "fsdp", "losses resumed on half as many ranks": "resumed"}
Measure = tuple[str, float, str, tuple[float, float]]
NONE = (math.nan, math.nan)


def equality_measures(equal: pd.DataFrame) -> Iterator[Measure]:
    """The larger of the errors of outputs and gradients, by group and model."""
    for row in equal[equal["outcome"] == "measured"].itertuples():
        key = f"scaling.equal.{KEYS[row.where]}.{row.ranks}.{MODELS[row.model]}"
        yield key, max(row.output, row.gradient), "norm of the error over that of the whole", NONE


def wire_measures(wire: pd.DataFrame, attention: pd.DataFrame) -> Iterator[Measure]:
    """Kilobytes a layer and direction, counted and by formula; attention's are those of both directions."""
    for row in wire.itertuples():
        yield f"scaling.wire.{MODELS[row.model]}.{row.n}.{row.direction}", row.bytes / 1e3, "kB that a rank sends", NONE
    bands = wire[wire["direction"] != "weights"]
    for model, own in bands.groupby("model", sort=False):
        key, grown = f"scaling.wire.{MODELS[model]}", own.groupby("n")["bytes"].sum()
        yield f"{key}.formula", own["formula"].iloc[0] / 1e3, "kB that a rank sends, by formula", NONE
        yield f"{key}.over", (own["bytes"] / own["formula"]).max(), "bytes counted over those by formula, at most", NONE
        yield f"{key}.growth", grown.max() / grown.min(), "bytes at the worst length over the best", NONE
    for (method, n), own in attention.groupby(["method", "n"], sort=False):
        yield f"scaling.attention.{METHODS[method]}.{n}", own["bytes"].sum() / 1e3, "kB, by formula", NONE


def step_measures(steps: pd.DataFrame) -> Iterator[Measure]:
    """Seconds of the slowest rank, and the largest peak of memory, by ranks and tokens."""
    for (ranks, n), own in steps.groupby(["ranks", "n"]):
        key = f"scaling.step.{ranks}.{n}"
        yield f"{key}.seconds", own["seconds"].max(), "s", NONE
        yield f"{key}.peak", own["peak"].max() / 1e9, "GB, the largest of the ranks", NONE
        yield f"{key}.net", (own["peak"] - own["start"]).max() / 1e9, "GB, net of the process's start", NONE


def model_measures(terms: pd.DataFrame, model: pd.DataFrame, ranks: int) -> Iterator[Measure]:
    """The measured terms, and the model's seconds on so many ranks by way of exchange and part."""
    for name, unit in {"compute": "s a token", "a": "s a message", "b": "s a byte"}.items():
        mean, *interval = mean_interval(terms[name])
        yield f"scaling.term.{name}", mean, unit, tuple(interval)
    for (way, key), part in product(zip(WAYS, ("ring", "bucket", "halving"), strict=True), model["part"].unique()):
        row = model[(model["way"] == way) & (model["ranks"] == ranks) & (model["part"] == part)].iloc[0]
        yield f"scaling.model.{key}.{part}", row["seconds"], "s, by a model", (row["low"], row["high"])


def training_measures(lost: pd.DataFrame, trained: pd.DataFrame) -> Iterator[Measure]:
    """How the others end when a rank is lost, and the errors of losses of data-parallel and sharded training."""
    units = {"seconds": "s", "timeout": "s", "resumed_on": "ranks", "difference": "of the losses, relative"}
    for row in lost.to_dict("records"):
        for name, unit in units.items():
            yield f"scaling.lost.{row['how']}.{name}", row[name], unit, NONE
    for row in trained.itertuples():
        yield f"scaling.sharded.{row.ranks}.{LOSSES[row.what]}", row.error, "of the losses, relative", NONE
