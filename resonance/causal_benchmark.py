"""How fast causal resonance is, against causal attention, both sides of every comparison in one run.

    python -m resonance.causal_benchmark layers      the whole sublayer, forward and backward, against its peer
    python -m resonance.causal_benchmark engines     FFT and chunks of every size over a grid, and what "auto" picks
    python -m resonance.causal_benchmark steps       one token at a context, against a key-value cache

Float32, 128 channels, batch 1 unless the table says otherwise; medians of alternated runs (see `timing`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial

import pandas as pd
import torch

from .baselines_causal import CausalAttention
from .causal import CausalResonance
from .causal_engines import by_chunks, by_fft
from .causal_mixing import CausalMixing, choose_engine, chunk_size
from .causal_poles import constants
from .complexity import slope
from .timing import Step, alternated, copy_step, pass_of, product_step, seconds_of

DIM, HEADS, RESONATORS = 128, 4, (16, 32)
CHUNKS = (16, 32, 64, 128, 256)
LONGEST_ATTENTION = 16384  # beyond, one pass of the peer takes minutes

# How many times faster than its peer the sublayer was to be, set before it was measured; length 256 has no mark.
MARKS = {1024: 1.0, 4096: 3.0, 16384: 8.0}
STEP_MARKS = {16384: 5.0}


def layers(lengths: Iterable[int], resonators: Iterable[int] = RESONATORS, rounds: int = 3) -> pd.DataFrame:
    """CausalResonance, by `auto` and by each engine, against CausalAttention, forward and backward; a row each.

    bytes_floor: the four passes over (n, d) that no layer avoids, at the speed of a copy of that size.
    products_floor: the multiply-adds of the projections and of the mixing, forward and backward, at the rate of a
    square matrix product.
    """
    rate = 2 * 1024**3 / seconds_of(product_step(1024))
    rows = []
    for n in lengths:
        x = torch.randn(1, n, DIM)
        cases = {(k, engine): CausalResonance(DIM, k, engine=engine) for k in resonators for engine in ("auto", "fft")}
        steps = {case: pass_of(model, x) for case, model in cases.items()}
        if n <= LONGEST_ATTENTION:
            steps["attention"] = pass_of(CausalAttention(DIM, HEADS), x)
        seconds = alternated(steps, rounds=rounds)
        bytes_floor = 2 * seconds_of(copy_step(n * DIM))  # a copy is two passes
        for k, engine in cases:
            taken, peer = seconds[k, engine], seconds.get("attention")
            size = chunk_size(n, 1) if choose_engine(n, 1) == "chunked" else 0
            operations = 3 * 2 * n * DIM * (3 * DIM + size + 4 * k)
            mark = MARKS.get(n) if engine == "auto" else None
            rows.append(
                {"n": n, "k": k, "engine": engine, "chosen": choose_engine(n, 1) if engine == "auto" else engine}
                | {"seconds": taken, "peer_seconds": peer, "ratio": None if peer is None else peer / taken}
                | {"mark": mark, "reached": None if mark is None else peer / taken >= mark}
                | {"bytes_floor": bytes_floor, "products_floor": operations / rate if engine == "auto" else None}
            )
    return pd.DataFrame(rows)


def growth(table: pd.DataFrame, shortest: int = 1024) -> pd.DataFrame:
    """Return the exponent of time against length, with its interval, for each case of `layers` and for its peer."""
    table = table[table["n"] >= shortest]
    ours = {f"k={k}, {engine}": part for (k, engine), part in table.groupby(["k", "engine"])}
    peer = table.drop_duplicates("n").dropna(subset="peer_seconds")
    rows = [(name, *slope(part["n"], part["seconds"])) for name, part in ours.items() if len(part) > 2]
    rows += [("attention", *slope(peer["n"], peer["peer_seconds"]))] if len(peer) > 2 else []
    return pd.DataFrame(rows, columns=["case", "exponent", "low", "high"])


def mixing_pass(n: int, batch: int, k: int, size: int) -> Step:
    """Return a step: the mixing alone, forward and backward, in chunks of `size`, or by FFT where size is 0."""
    mixing = CausalMixing(DIM, k)
    x = torch.randn(DIM, batch, n, requires_grad=True)
    towards = torch.randn(DIM, batch, n)

    def step() -> None:
        x.grad = None
        mixing.zero_grad(set_to_none=True)
        powers, readout = constants(mixing.octave, mixing.turns * mixing.spacing, mixing.readout, (size or n) + 1)
        if size:
            y = by_chunks(x, powers, readout, mixing.direct, None)[0]
        else:
            y = by_fft(x, powers, readout, mixing.direct, None)
        y.backward(towards)

    return step


def engines(lengths: Iterable[int], batches: Iterable[int] = (1, 16), k: int = 16, rounds: int = 3) -> pd.DataFrame:
    """Seconds of the mixing by FFT and in chunks of each size, what is chosen, and how far that is from the best."""
    rows = []
    for n in lengths:
        for batch in batches:
            sizes = [0, *(size for size in CHUNKS if size <= n)]
            steps = {size: mixing_pass(n, batch, k, size) for size in sizes}
            seconds = alternated(steps, rounds=rounds, min_seconds=0.02)
            chosen = chunk_size(n, batch) if choose_engine(n, batch) == "chunked" else 0
            named = {f"chunks of {size}" if size else "fft": value for size, value in seconds.items()}
            over_best = seconds[chosen] / min(seconds.values())
            rows.append({"n": n, "batch": batch, **named, "chosen": chosen, "over_best": over_best})
    return pd.DataFrame(rows)


def _bytes(state: dict[str, torch.Tensor]) -> int:
    return sum(part.nbytes for part in state.values())


@torch.inference_mode()
def steps(contexts: Iterable[int], k: int = 16, rounds: int = 5) -> pd.DataFrame:
    """Seconds of one token after so many, and bytes of what is kept: a resonance state, a key-value cache."""
    rows = []
    for n in contexts:
        ours, peer = CausalResonance(DIM, k).eval(), CausalAttention(DIM, HEADS).eval()
        token, history = torch.randn(1, DIM), torch.randn(1, n, DIM)
        state = ours.extend(history, ours.initial_state(1))[1]
        cache = peer.initial_state(1, n + 1)
        for name, part in zip(cache, peer._heads(history)[1:], strict=True):
            cache[name][:, :, :n] = part
        both = {"ours": partial(ours.step, token, state), "peer": partial(peer.step, token, cache, n)}
        seconds = alternated(both, rounds=rounds)
        ratio, mark = seconds["peer"] / seconds["ours"], STEP_MARKS.get(n)
        rows.append(
            {"context": n, "seconds": seconds["ours"], "peer_seconds": seconds["peer"], "ratio": ratio, "mark": mark}
            | {"reached": None if mark is None else ratio >= mark}
            | {"state_bytes": _bytes(state), "cache_bytes": _bytes(cache)}
        )
    return pd.DataFrame(rows)


WORDS = {
    "layers": (layers, [256, 1024, 4096, 16384, 65536]),
    "engines": (engines, [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]),
    "steps": (steps, [1024, 4096, 16384, 65536]),
}


def main(arguments: list[str] | None = None) -> int:
    """Command line: print one table; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m resonance.causal_benchmark",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("word", choices=list(WORDS))
    parser.add_argument("--lengths", type=int, nargs="+", metavar="N", help="lengths instead of the usual")
    options = parser.parse_args(arguments)
    measured, lengths = WORDS[options.word]
    print(measured(options.lengths or lengths).to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
