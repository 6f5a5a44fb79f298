"""How fast and how small, against the best peers: one table a word, both sides of every comparison in one run.

    python -m resonance.benchmark mixing      BandMixing against the same map by FFT and against one nn.Linear
    python -m resonance.benchmark layer       ResonanceLayer, alone and with a feed-forward, against its peers
    python -m resonance.benchmark training    training steps and inference of whole models at one shape
    python -m resonance.benchmark memory      peak memory of a training step of those models, a process each
    python -m resonance.benchmark context     LongContextResonanceNet against a Transformer, to where that stops
    python -m resonance.benchmark engines     every engine over a grid of n, k, d, and what `choose_engine` picks

Options: --lengths 4096 16384 ..., --device cpu|cuda, --json FILE.  Progress goes to stderr, the table to stdout.
Float32, batch 1, d = 256 and k = 64 unless the table says otherwise; medians of alternated runs (see `timing`).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from . import probe
from .band import make_band
from .baselines import FeedForward, FNetLayer, transformer_layer
from .layers import BandMixing, ResonanceLayer
from .ledger import commit, device_name
from .linear_time import make_plan
from .paths import write_text
from .spectral import ENGINES, choose_engine
from .timing import alternated, copy_step, pass_of, product_step, seconds_of

DIM, FREQUENCIES = 256, 64
STEP_BYTES, STEP_SECONDS = 20 * 10**9, 600.0  # where a peer of `context` is stopped

# How many times faster each comparison was to be, set before it was measured; a row shows it beside the ratio.
AIMS = {
    ("BandMixing", "torch.fft"): dict.fromkeys((4096, 16384, 65536, 262144), 6.0),
    ("BandMixing", "nn.Linear"): dict.fromkeys((4096, 16384, 65536, 262144), 1.5),
    ("ResonanceLayer", "Transformer layer"): {1024: 8.0, 4096: 40.0, 16384: 150.0},
    ("ResonanceLayer + feed-forward", "Transformer layer"): {1024: 2.0, 4096: 5.0, 16384: 11.0},
}


def say(text: str) -> None:
    """Report progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def compare(ours: Iterable[str], models: dict[str, nn.Module], n: int, device: str) -> list[dict]:
    """Return one row for each of ours against each peer at length n: seconds, their ratio, the aim if there is one."""
    say(f"n={n}: {', '.join(models)}")
    x = torch.randn(1, n, DIM, device=device)
    seconds = alternated({name: pass_of(model.to(device), x) for name, model in models.items()}, device=device)
    ours = list(ours)
    rows = []
    for name in ours:
        for peer in (p for p in models if p not in ours):
            aim = AIMS.get((name, peer), {}).get(n) if device == "cpu" else None
            ratio = seconds[peer] / seconds[name]
            rows.append(
                {"n": n, "model": name, "peer": peer, "seconds": seconds[name], "peer_seconds": seconds[peer]}
                | {"ratio": ratio, "aim": aim, "reached": None if aim is None else ratio >= aim}
            )
    return rows


def with_floors(table: pd.DataFrame, device: str) -> pd.DataFrame:
    """Return a table of comparisons with two floors of this machine beside each row.

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
        models = {
            "BandMixing": BandMixing(DIM, FREQUENCIES),
            "torch.fft": BandMixing(DIM, FREQUENCIES, engine="fft"),
            "nn.Linear": nn.Linear(DIM, DIM),
        }
        rows += compare(["BandMixing"], models, n, device)
    return with_floors(pd.DataFrame(rows), device)


def layer(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """ResonanceLayer, alone and with a feed-forward, against a Transformer layer and an FNet layer, with floors."""
    rows = []
    for n in lengths:
        resonance = ResonanceLayer(DIM, FREQUENCIES, dropout=0.0)
        models = {
            "ResonanceLayer": resonance,
            "ResonanceLayer + feed-forward": nn.Sequential(
                ResonanceLayer(DIM, FREQUENCIES, dropout=0.0), FeedForward(DIM)
            ),
            "FNet layer": FNetLayer(DIM),
            "Transformer layer": transformer_layer(DIM),
        }
        rows += compare(list(models)[:2], models, n, device)
    return with_floors(pd.DataFrame(rows), device)


def training(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """Training steps and inference of whole models at one shape, a process each: seconds and bytes."""
    return _probes(("resonance", "fnet", "transformer"), ("train", "infer"), lengths, device)


def memory(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """Peak memory of one training step of every model, a process each."""
    return _probes(tuple(probe.MODELS), ("train",), lengths, device)


def context(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """LongContextResonanceNet trained and streamed, and the Transformer trained until it passes a limit."""
    lengths = sorted(lengths)
    ours = _probes(("long context",), ("train", "stream"), lengths, device)
    rows, stopped = [], ""
    for n in lengths:
        if not stopped:
            row = _probe("transformer", "train", n, device)
            stopped = "" if row["outcome"] == "ran" else row["outcome"]
        else:
            row = {"model": "transformer", "task": "train", "n": n, "outcome": "not run: a shorter one did not end"}
        rows.append(row)
    return pd.concat([ours, pd.DataFrame(rows)], ignore_index=True)


def _probe(model: str, task: str, n: int, device: str) -> dict:
    say(f"n={n}: {model}, {task}")
    return probe.measure(model, task, n, device=device, limit_bytes=STEP_BYTES, limit_seconds=STEP_SECONDS)


def _probes(models: Iterable[str], tasks: Iterable[str], lengths: Iterable[int], device: str) -> pd.DataFrame:
    cases = [(model, task, n) for n in lengths for task in tasks for model in models]
    floor = probe.Shape().chunk
    return pd.DataFrame([_probe(*c, device) for c in cases if c[0] != "long context" or c[2] >= floor])


def engines(lengths: Iterable[int], device: str) -> pd.DataFrame:
    """Each engine's time over a grid of n, k and d, and how far the engine chosen is from the best."""
    rows = []
    for n in lengths:
        for k in (8, 64, 256):
            if k > make_band(n, 1).grid // 2 + 1:
                continue
            for d in (64, 256, 768):
                say(f"n={n}, k={k}, d={d}")
                x = torch.randn(1, n, d, device=device)
                names = [e for e in ENGINES if e != "dense" or n * k <= 2**22]  # beyond, its table outgrows the cache
                steps = {e: pass_of(BandMixing(d, k, engine=e).to(device), x) for e in names}
                seconds = alternated(steps, device=device, min_seconds=0.05)
                chosen = choose_engine(make_band(n, k))
                over_best = seconds[chosen] / min(seconds.values())
                rows.append({"n": n, "k": k, "d": d, **seconds, "chosen": chosen, "over_best": over_best})
    return pd.DataFrame(rows)


WORDS: dict[str, tuple[Callable[[Iterable[int], str], pd.DataFrame], list[int]]] = {
    "mixing": (mixing, [4096, 16384, 65536, 262144]),
    "layer": (layer, [1024, 4096, 16384]),
    "training": (training, [1024, 4096]),
    "context": (context, [8192, 32768, 131072, 262144, 1048576]),
    "memory": (memory, [2048, 4096, 8192]),
    "engines": (engines, [2**e for e in range(6, 19)]),
}


def save(path: Path, word: str, table: pd.DataFrame, device: str) -> None:
    """Write a table with what it was measured on: machine, versions, commit, date."""
    record = {
        "word": word,
        "device": torch.cuda.get_device_name() if device == "cuda" else device_name(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit(),
        "date": pd.Timestamp.now("UTC").isoformat(timespec="seconds"),
        "rows": json.loads(table.to_json(orient="records")),
    }
    write_text(path, json.dumps(record, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Command line; return 0, or 2 after one clear message."""
    parser = argparse.ArgumentParser(
        prog="python -m resonance.benchmark", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("word", choices=list(WORDS))
    parser.add_argument("--lengths", type=int, nargs="+", metavar="N", help="sequence lengths instead of the usual")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table and the machine to FILE")
    options = parser.parse_args(arguments)
    run, lengths = WORDS[options.word]
    lengths = options.lengths or lengths
    least = 16 if options.word == "engines" else 2 * FREQUENCIES
    if min(lengths) < least:
        parser.error(f"{options.word}: expected lengths of at least {least}, got {min(lengths)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this torch sees no CUDA device")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: no folder {options.json.parent}")
    torch.manual_seed(0)
    table = run(lengths, options.device)
    if options.json is not None:
        save(options.json, options.word, table, options.device)
    print(table.to_string(index=False, float_format="{:.4g}".format, na_rep="-"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
