"""How fast causal resonance is, against causal attention, both sides of every comparison in one run.

    python -m artifact.studies.causal.benchmark layers      the whole sublayer, forward and backward, against its peer
    python -m artifact.studies.causal.benchmark engines     FFT and chunks of every size, and what "auto" picks
    python -m artifact.studies.causal.benchmark steps       one token at a context, against a key-value cache

Float32, 128 channels, batch 1 unless the table says otherwise; medians of alternated runs (see `timing`).  Ratios are
geometric means over the rounds, with their intervals.  The sublayer is timed as the process was started, in the
notebook in both settings of freed memory (`in_both_settings`); the other two in a process that keeps it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from statistics import median

import pandas as pd
import torch

from artifact.peers.causal import CausalAttention, state_after, state_bytes
from artifact.studies.common.growth import slope
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import ratio_interval
from artifact.studies.common.timing import (
    Step,
    alternated,
    copy_step,
    keep_freed_memory,
    pass_of,
    product_step,
    rounds_of,
    seconds_of,
)
from resonance.causal import CausalResonance
from resonance.causal_mixing import CausalMixing, choose_causal_engine, chunk_size
from resonance.engines.chunked import by_chunks, by_fft

DIM, HEADS, RESONATORS = 128, 4, (16, 32)
CHUNKS = (16, 32, 64, 128)
LONGEST_PEER = 16384  # beyond, attention takes minutes a pass and the FFT engine seconds: neither is measured

# How many times faster than its peer the sublayer was to be, set before it was measured; length 256 has no target.
TARGETS = {1024: 1.0, 4096: 3.0, 16384: 8.0}
STEP_TARGETS = {16384: 5.0}
SETTINGS = {"fresh": "causal.fresh", "kept": "causal"}  # of freed memory, and the start of a key of the ledger


def layers(lengths: Iterable[int], resonators: Iterable[int] = RESONATORS, rounds: int = 5) -> pd.DataFrame:
    """CausalResonance, by `auto` and by FFT, against CausalAttention, forward and backward; a row each.

    bytes_floor: the four passes over (n, d) that no layer avoids, at the speed of a copy of that size.
    products_floor: the multiply-adds of the projections and of the mixing, forward and backward, at the rate of a
    square matrix product.
    """
    rows, rate = [], 2 * 1024**3 / seconds_of(product_step(1024))
    for n in lengths:
        x = torch.randn(1, n, DIM)
        names = ("auto", "fft") if n <= LONGEST_PEER else ("auto",)
        cases = {(k, engine): CausalResonance(DIM, k, engine=engine) for k in resonators for engine in names}
        steps = {case: pass_of(model, x) for case, model in cases.items()}
        if n <= LONGEST_PEER:
            steps["attention"] = pass_of(CausalAttention(DIM, HEADS), x)
        taken = rounds_of(steps, rounds=rounds)
        bytes_floor = 2 * seconds_of(copy_step(n * DIM))  # a copy is two passes
        size = chunk_size(n) if choose_causal_engine(n) == "chunked" else 0
        for k, engine in cases:
            auto = engine == "auto"
            chosen, target = (choose_causal_engine(n), TARGETS.get(n)) if auto else (engine, None)
            floor = 3 * 2 * n * DIM * (3 * DIM + size + 4 * k) / rate if auto else None
            fixed = {"n": n, "k": k, "engine": engine, "chosen": chosen}
            floors = {"bytes_floor": bytes_floor, "products_floor": floor}
            rows.append(fixed | _against(taken[k, engine], taken.get("attention"), target) | floors)
    return pd.DataFrame(rows)


def _against(ours: list[float], peer: list[float] | None, target: float | None) -> dict:
    """Median seconds of both, the ratio of the peer's to ours over the rounds with its interval, whether the target."""
    row = {"seconds": median(ours), "peer_seconds": median(peer) if peer else None, "target": target}
    ratio, low, high = ratio_interval(peer, ours) if peer else (None, None, None)
    reached = ratio >= target if peer and target else None
    return row | {"ratio": ratio, "low": low, "high": high, "reached": reached}


def in_both_settings(lengths: Iterable[int], resonators: Iterable[int] = RESONATORS, rounds: int = 5) -> pd.DataFrame:
    """The table of `layers` from two processes of their own, with the column `setting`.

    fresh: as a user starts Python; kept: `keep_freed_memory`.
    """
    jobs = [(setting, list(lengths), list(resonators), rounds) for setting in SETTINGS]
    tables = spread(_in_setting, jobs, processes=1, threads=torch.get_num_threads(), fresh=True)
    return pd.concat(tables, ignore_index=True)


def _in_setting(setting: str, *case) -> pd.DataFrame:
    if setting == "kept":
        keep_freed_memory()
    return layers(*case).assign(setting=setting)


def growth(table: pd.DataFrame, shortest: int = 1024) -> pd.DataFrame:
    """The exponent of time against length, with its interval, for each case of `layers` and for its peer."""
    table = table[table["n"] >= shortest]
    cases = {f"{engine}.k{k}": part for (k, engine), part in table.groupby(["k", "engine"])}
    peer = table.drop_duplicates("n").dropna(subset="peer_seconds")
    cases["attention"] = peer.assign(seconds=peer["peer_seconds"])
    rows = [(name, *slope(part["n"], part["seconds"])) for name, part in cases.items() if len(part) > 2]
    return pd.DataFrame(rows, columns=["case", "exponent", "low", "high"])


def mixing_pass(n: int, batch: int, k: int, size: int) -> Step:
    """A step of the mixing alone, forward and backward, in chunks of `size`, or by FFT where size is 0."""
    mixing = CausalMixing(DIM, k)
    x = torch.randn(DIM, batch, n, requires_grad=True)
    cotangent = torch.randn(DIM, batch, n)

    def step() -> None:
        x.grad = None
        mixing.zero_grad(set_to_none=True)
        arguments = (x, *mixing.constants((size or n) + 1), mixing.direct, None)
        y = by_chunks(*arguments)[0] if size else by_fft(*arguments)
        y.backward(cotangent)

    return step


def engines(lengths: Iterable[int], batches: Iterable[int] = (1, 16), k: int = 16, rounds: int = 3) -> pd.DataFrame:
    """Seconds of the mixing by FFT and in chunks of each size, what is chosen, and its time over that of the best."""
    rows = []
    for n in lengths:
        for batch in batches:
            steps = {size: mixing_pass(n, batch, k, size) for size in (0, *CHUNKS) if size <= n}
            seconds = alternated(steps, rounds=rounds, min_seconds=0.02)
            chosen = chunk_size(n) if choose_causal_engine(n) == "chunked" else 0
            named = {f"chunks of {size}" if size else "fft": value for size, value in seconds.items()}
            over_best = seconds[chosen] / min(seconds.values())
            rows.append({"n": n, "batch": batch, **named, "chosen": chosen, "over_best": over_best})
    return pd.DataFrame(rows)


@torch.inference_mode()
def steps(contexts: Iterable[int], k: int = 16, rounds: int = 5) -> pd.DataFrame:
    """Seconds of one token after a context, and bytes of the state: resonators, or a key-value cache."""
    rows = []
    for n in contexts:
        ours, peer = CausalResonance(DIM, k).eval(), CausalAttention(DIM, HEADS).eval()
        state, cache, token = ours.initial_state(1), state_after(peer, n), torch.randn(1, DIM)
        both = {"ours": partial(ours.step, token, state), "peer": partial(peer.step, token, cache)}
        keep_freed_memory()
        times = rounds_of(both, rounds=rounds).values()
        sizes = {"state_bytes": state_bytes(state), "cache_bytes": state_bytes(cache)}
        rows.append({"context": n} | _against(*times, STEP_TARGETS.get(n)) | sizes)
    return pd.DataFrame(rows)


def measures(layers: pd.DataFrame, growth: pd.DataFrame, engines: pd.DataFrame, steps: pd.DataFrame) -> list[tuple]:
    """What the tables of this module give to the ledger: key, value, unit, and the interval of an exponent or a ratio.

    layers: of `in_both_settings`; what was measured in a fresh process has keys that begin with causal.fresh.
    """
    found = []
    for row in layers.itertuples():
        key, kept = f"{SETTINGS[row.setting]}.{row.engine}.k{row.k}", row.setting == "kept"
        found.append((f"{key}.ms.{row.n}", 1e3 * row.seconds, "ms"))
        if pd.notna(row.ratio):
            found.append((f"{key}.ratio.{row.n}", row.ratio, "times faster", (row.low, row.high)))
        if row.engine == "auto" and kept:
            found.append((f"{key}.bytes.{row.n}", row.seconds / row.bytes_floor, "times the copy floor"))
            found.append((f"{key}.products.{row.n}", row.seconds / row.products_floor, "times the product floor"))
    for row in layers.drop_duplicates(["setting", "n"]).dropna(subset="peer_seconds").itertuples():
        found.append((f"{SETTINGS[row.setting]}.attention.ms.{row.n}", 1e3 * row.peer_seconds, "ms"))
    found.append(("causal.over_best", engines["over_best"].max(), "times the fastest engine"))
    for row in steps.itertuples():
        found.append((f"causal.step.us.{row.context}", 1e6 * row.seconds, "microseconds"))
        found.append((f"causal.step.attention_us.{row.context}", 1e6 * row.peer_seconds, "microseconds"))
        found.append((f"causal.step.ratio.{row.context}", row.ratio, "times faster", (row.low, row.high)))
        found.append((f"causal.step.cache.{row.context}", row.cache_bytes / 1e6, "MB"))
    spread = steps["seconds"].max() / steps["seconds"].min()
    found.append(("causal.step.state", steps["state_bytes"].max() / 1e3, "KB"))
    found.append(("causal.step.spread", spread, "slowest context over fastest"))
    for row in growth.itertuples():
        interval = (row.low, row.high)
        found.append((f"causal.exponent.{row.case}", row.exponent, "of time against length", interval))
    return found


WORDS = {
    "layers": (layers, [256, 1024, 4096, 16384, 65536]),
    "engines": (engines, [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]),
    "steps": (steps, [1024, 4096, 16384, 65536]),
}


def main(arguments: list[str] | None = None) -> int:
    """Command line: print one table; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("word", choices=list(WORDS))
    parser.add_argument("--lengths", type=int, nargs="+", metavar="N", help="lengths instead of the usual")
    options = parser.parse_args(arguments)
    measured, lengths = WORDS[options.word]
    print(measured(options.lengths or lengths).to_string(index=False, float_format="{:.4g}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
