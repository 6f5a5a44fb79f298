"""Speed and memory against the best peers: one table a word, both sides of every comparison in one run.

    python -m artifact.studies.efficiency.benchmark WORD [--lengths 4096 16384 ...] [--device cpu|cuda]

    mixing          BandMixing against the same map by FFT and against one nn.Linear
    layer           ResonanceLayer, alone and with a feed-forward, against its peers
    training        training steps and inference of whole models at one shape, seconds and peak memory
    growth          time of BandMixing against length, its exponent, and the law that fits
    engines         every engine over a map of n, k / n and channels, and the choice of "auto" (`engine_map`)
    memory-recall   HolographicMemory against a plain table of its patterns; lengths are those of the patterns

Progress goes to stderr, the table to stdout.  Float32, batch 1, d = 256 and k = 64 unless the table says otherwise;
medians of alternated runs (`timing`).

mixing, layer and engines run as the process was started.  glibc returns the memory of a large tensor to the system
when it is freed, and maps new pages for the next; a process started as

    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647 python ...

keeps it.  `in_both_settings` measures both.  The other words always keep it.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from statistics import median

import pandas as pd
import torch
from torch import Tensor, nn

from artifact.files import ROOT
from artifact.peers.transformer import FNetLayer, transformer_layer
from artifact.studies.common import probe
from artifact.studies.common.growth import fit_laws, slope
from artifact.studies.common.statistics import ratio_interval
from artifact.studies.common.timing import KEEPING, alternated, copy_step, pass_of, product_step, rounds_of, seconds_of
from artifact.studies.complexity.engine_map import engine_map
from resonance.band import make_band
from resonance.engines.linear_time import make_plan
from resonance.layers import BandMixing, FeedForward, ResonanceLayer
from resonance.memory import HolographicMemory

DIM, FREQUENCIES = 256, 64
ROUNDS = 5  # repetitions of a comparison, which its interval is over
STEP_BYTES, STEP_SECONDS = 20 * 10**9, 600.0  # limits of a whole model

# How many times faster ours should be in each comparison, set before it was measured; shown beside the ratio.
TARGETS = {
    ("BandMixing", "torch.fft"): dict.fromkeys((4096, 16384, 65536, 262144), 6.0),
    ("BandMixing", "nn.Linear"): dict.fromkeys((4096, 16384, 65536, 262144), 1.5),
    ("ResonanceLayer", "Transformer layer"): {1024: 8.0, 4096: 40.0, 16384: 150.0},
    ("ResonanceLayer + feed-forward", "Transformer layer"): {1024: 2.0, 4096: 5.0, 16384: 11.0},
}

PATTERNS = {512: [250], 1024: [500, 1000], 2048: [1000]}  # the source's table, and the size of the targets
RECALL_SECONDS, RECALL_ERROR = 2e-3, 1e-4  # targets, set before they were measured: one pattern; relative
PROGRESS = logging.getLogger(__name__)  # shown by the command line, on stderr; not in a notebook


def compare(ours: Sequence[str], models: dict[str, nn.Module], n: int, device: str) -> list[dict]:
    """One row for each of ours against each peer at length n: seconds, their ratio, the target where there is one.

    The ratio is the geometric mean over `ROUNDS` rounds, with its interval (`ratio_interval`); seconds are medians.
    """
    PROGRESS.info("n=%d: %s", n, ", ".join(models))
    x = torch.randn(1, n, DIM, device=device)
    steps = {name: pass_of(model.to(device), x) for name, model in models.items()}
    taken = rounds_of(steps, device=device, rounds=ROUNDS)
    rows = []
    for name, peer in product(ours, [name for name in models if name not in ours]):
        target = TARGETS.get((name, peer), {}).get(n) if device == "cpu" else None
        ratio, low, high = ratio_interval(taken[peer], taken[name])
        rows.append(
            {"n": n, "model": name, "peer": peer, "seconds": median(taken[name]), "peer_seconds": median(taken[peer])}
            | {"ratio": ratio, "low": low, "high": high}
            | {"target": target, "reached": None if target is None else ratio >= target}
        )
    return rows


def compared(cases: dict[str, list[int]]) -> pd.DataFrame:
    """The tables of some words at their lengths, on the CPU, in one, with the word in front."""
    torch.manual_seed(0)
    return pd.concat([WORDS[word][0](lengths, "cpu").assign(word=word) for word, lengths in cases.items()])


def in_both_settings(cases: dict[str, list[int]]) -> pd.DataFrame:
    """The table of `compared` from two fresh processes, with the column `setting`.

    fresh: as a user starts Python; kept: with the variables of `KEEPING` in the environment, and nothing else done.
    Raises RuntimeError with the process's error output when one fails.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    plain["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    code = f"from {compared.__module__} import compared; print(compared({cases!r}).to_csv(index=False))"
    tables = []
    for setting, environment in (("fresh", plain), ("kept", plain | KEEPING)):
        options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "check": False}
        done = subprocess.run([sys.executable, "-c", code], **options)
        if done.returncode:
            raise RuntimeError(f"{', '.join(cases)}, {setting}, failed:\n{done.stderr.strip()[-2000:]}")
        tables.append(pd.read_csv(io.StringIO(done.stdout)).assign(setting=setting))
    return pd.concat(tables, ignore_index=True)


def with_floors(table: pd.DataFrame, device: str) -> pd.DataFrame:
    """Add two lower bounds of this machine to each row of a table of comparisons.

    bytes_floor: the four passes over (n, d) that no layer avoids, at the speed of a copy of that size.
    products_floor: the operations of the four transforms, and of a feed-forward where there is one, forward and
    backward, at the rate of a square matrix product.
    """
    rate = 2 * 2048**3 / seconds_of(product_step(2048, device), device)
    for n in table["n"].unique():
        band = make_band(int(n), FREQUENCIES)
        transforms = 4 * 2 * DIM * make_plan(band, torch.float32).operations(band)
        feed_forward = 3 * 2 * n * 8 * DIM**2
        here = table["n"] == n
        table.loc[here, "bytes_floor"] = 2 * seconds_of(copy_step(int(n) * DIM, device), device)  # a copy is two passes
        table.loc[here, "products_floor"] = transforms / rate
        table.loc[here & table["model"].str.contains("feed-forward"), "products_floor"] += feed_forward / rate
    return table


def mixing(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """BandMixing, forward and backward, against the same map by FFT and against one linear map, with floors."""
    rows = []
    for n in lengths:
        models = {"BandMixing": BandMixing(DIM, FREQUENCIES), "torch.fft": BandMixing(DIM, FREQUENCIES, engine="fft")}
        rows += compare(["BandMixing"], models | {"nn.Linear": nn.Linear(DIM, DIM)}, n, device)
    return with_floors(pd.DataFrame(rows), device)


def layer(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """ResonanceLayer, alone and with a feed-forward, against a Transformer layer and an FNet layer, with floors."""
    rows = []
    for n in lengths:
        alone, first = (ResonanceLayer(DIM, FREQUENCIES, dropout=0.0) for _ in range(2))
        ours = {"ResonanceLayer": alone, "ResonanceLayer + feed-forward": nn.Sequential(first, FeedForward(DIM))}
        peers = {"FNet layer": FNetLayer(DIM), "Transformer layer": transformer_layer(DIM)}
        rows += compare(list(ours), ours | peers, n, device)
    return with_floors(pd.DataFrame(rows), device)


def growth(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """BandMixing against length: seconds, the exponent over all lengths with its interval, the weight of each law.

    The weights are those of the corrected Akaike criterion between a f(n) + c; at least five lengths are needed.
    """
    rows = []
    for n in lengths:
        PROGRESS.info("n=%d", n)
        step = pass_of(BandMixing(DIM, FREQUENCIES).to(device), torch.randn(1, n, DIM, device=device))
        rows.append({"n": n, "seconds": alternated({"mixing": step}, device=device)["mixing"]})
    table = pd.DataFrame(rows)
    table["ns_per_sample"] = 1e9 * table["seconds"] / table["n"]
    table["exponent"], table["low"], table["high"] = slope(table["n"], table["seconds"])
    for law, weight in fit_laws(table["n"], table["seconds"]).set_index("law")["weight"].items():
        table[f"weight of {law}"] = weight
    return table


def training(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """Training steps and inference of whole models at one shape, a process each: seconds and bytes."""
    rows = []
    for n, task, model in product(lengths, ("train", "infer"), ("resonance", "transformer")):
        PROGRESS.info("n=%d: %s, %s", n, model, task)
        limits = {"limit_bytes": STEP_BYTES, "limit_seconds": STEP_SECONDS}
        rows.append(probe.measure(model, task, n, device=device, **limits))
    return pd.DataFrame(rows)


class PlainTable:
    """Peer of the holographic memory: a table of the patterns themselves, (capacity, dim), and their energies."""

    def __init__(self, dim: int, capacity: int, device: str):
        self.rows = torch.zeros(capacity, dim, device=device)
        self.energy = torch.zeros(capacity, device=device)
        self.next = 0

    def encode(self, pattern: Tensor) -> None:
        """Write a pattern over the oldest."""
        self.rows[self.next] = pattern
        self.energy[self.next] = pattern.square().sum()
        self.next = (self.next + 1) % len(self.rows)

    def fill(self, patterns: Tensor) -> None:
        """Write as many patterns as there are rows."""
        self.rows.copy_(patterns)
        self.energy.copy_(patterns.square().sum(dim=1))

    def recall(self, cue: Tensor) -> Tensor:
        """The nearest pattern."""
        return self.rows[(self.energy - 2.0 * (self.rows @ cue)).argmin()].clone()


def memory_recall(dims: Iterable[int], device: str) -> pd.DataFrame:
    """Write, read and recall in a full `HolographicMemory` of aperture dim, and in a table of the same patterns.

    A row for each operation: one pattern written (over the oldest), one read, one recalled from a cue with noise of its
    own size, all written in one batch, all read.  error: of all patterns read, relative; bytes: of the whole state.
    reached: the error and, for one pattern written or read, the seconds are within the targets.
    """
    cases = [(dim, count) for dim in dims for count in PATTERNS.get(dim, [dim // 2 - 1])]
    return pd.concat([_full_memory(*case, device) for case in cases], ignore_index=True)


def _full_memory(dim: int, count: int, device: str) -> pd.DataFrame:
    PROGRESS.info("dim=%d: %d patterns", dim, count)
    memory, table = HolographicMemory(dim, count, aperture=dim).to(device), PlainTable(dim, count, device)
    patterns = torch.randn(count, dim, device=device)
    one, cue, middle = patterns[0], patterns[0] + torch.randn(dim, device=device), count // 2
    keys = memory.encode(patterns)
    table.fill(patterns)
    error = ((memory.reconstruct(keys) - patterns).norm() / patterns.norm()).item()
    steps = {  # ours, the table's; reads come before writes
        "reconstruct": (lambda: memory.reconstruct(middle), lambda: table.rows[middle].clone()),
        "reconstruct all": (lambda: memory.reconstruct(keys), lambda: table.rows.clone()),
        "recall": (lambda: memory.recall(cue), lambda: table.recall(cue)),
        "encode": (lambda: memory.encode(one, overwrite="oldest"), lambda: table.encode(one)),
        "encode all": (lambda: (memory.clear(), memory.encode(patterns)), lambda: table.fill(patterns)),
    }
    rows = []
    for name, (ours, plain) in steps.items():
        seconds = alternated({"seconds": ours, "table_seconds": plain}, device=device)
        target = RECALL_SECONDS if name in ("encode", "reconstruct") and device == "cpu" else None
        reached = error <= RECALL_ERROR and (target is None or seconds["seconds"] <= target)
        rows.append({"operation": name, **seconds, "target": target, "reached": reached})
    sizes = {"bytes": sum(b.nbytes for b in memory.buffers()), "table_bytes": table.rows.nbytes + table.energy.nbytes}
    return pd.DataFrame(rows).assign(dim=dim, patterns=count, error=error, target_error=RECALL_ERROR, **sizes)


WORDS: dict[str, tuple[Callable[[Iterable[int], str], pd.DataFrame], list[int]]] = {
    "mixing": (mixing, [4096, 16384, 65536, 262144]),
    "layer": (layer, [1024, 4096, 16384]),
    "training": (training, [1024, 4096]),
    "memory-recall": (memory_recall, list(PATTERNS)),
    "growth": (growth, [2**e for e in range(12, 21)]),
    "engines": (engine_map, [2**e for e in range(6, 21, 2)]),
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; return 0, or 2 after one clear message."""
    program, layout = "python -m artifact.studies.efficiency.benchmark", argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog=program, description=__doc__, formatter_class=layout)
    parser.add_argument("word", choices=list(WORDS))
    parser.add_argument("--lengths", type=int, nargs="+", metavar="N", help="lengths instead of the usual")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args(arguments)
    run, lengths = WORDS[options.word]
    lengths = options.lengths or lengths
    least = 16 if options.word == "engines" else 2 * FREQUENCIES
    if options.word == "growth" and len(lengths) < 5:
        parser.error(f"growth: expected at least 5 lengths, got {len(lengths)}")
    if min(lengths) < least:
        parser.error(f"{options.word}: expected lengths of at least {least}, got {min(lengths)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this torch sees no CUDA device")
    handler = logging.StreamHandler(sys.stderr)
    PROGRESS.addHandler(handler)
    PROGRESS.setLevel(logging.INFO)
    torch.manual_seed(0)
    try:
        table = run(lengths, options.device)
    finally:
        PROGRESS.removeHandler(handler)
        PROGRESS.setLevel(logging.NOTSET)
    print(table.to_string(index=False, float_format="{:.4g}".format, na_rep="-"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
