"""What crosses the wire by formula, and a model of the time of a step on many ranks from measured terms."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd

from artifact.studies.common.statistics import mean_interval

SINGLE = 4  # bytes of a number


def reduced(numbers: int, ranks: int) -> float:
    """Bytes that each rank sends to sum so many numbers over the ranks, by the ring that gloo uses (eq:wire).

    2 (R - 1) / R of them: each rank passes on R - 1 parts of a sum, then R - 1 sums of a part.
    """
    return SINGLE * numbers * 2 * (ranks - 1) / ranks


def band(k: int, d: int, ranks: int) -> float:
    """Bytes that each rank sends for a band of k frequencies and d channels, a layer and direction (eq:wire)."""
    return reduced(2 * k * d, ranks)


def states(k: int, d: int, ranks: int) -> float:
    """Bytes that a rank sends in the mean to pass the causal form's states on, a layer and direction.

    In round j of a scan by doubling all ranks but the last 2^j send 2 k d numbers.
    """
    rounds = math.ceil(math.log2(ranks))
    return SINGLE * 2 * k * d * sum(ranks - 2**j for j in range(rounds)) / ranks


def attention_bytes(n: int, d: int, ranks: int) -> dict[tuple[str, str], float]:
    """Bytes that each rank sends for a layer of attention over n tokens by (method, direction), by formula (eq:wire).

    Batch 1 and as many heads of keys and values as of queries.  All-gather: keys and values of all stretches to all
    ranks, kept for the backward pass, in which their gradients are summed and scattered.  Ring: keys and values go
    round once (Liu, Zaharia and Abbeel, 2023), and once more with their gradients.  All-to-all: queries, keys, values
    and outputs change between stretches and heads (Jacobs et al., 2023), and their gradients back; R divides the heads.
    """
    tensor = SINGLE * n * d * (ranks - 1) / ranks  # one tensor of n x d numbers, the other stretches to a rank
    return {
        ("all-gather attention", "forward"): 2 * tensor,
        ("all-gather attention", "backward"): 2 * tensor,
        ("ring attention", "forward"): 2 * tensor,
        ("ring attention", "backward"): 4 * tensor,
        ("all-to-all attention", "forward"): 4 * tensor / ranks,
        ("all-to-all attention", "backward"): 4 * tensor / ranks,
    }


def link(reduces: pd.DataFrame) -> tuple[float, float]:
    """Seconds of one message and of one byte, (a, b), from timed all-reduces by a ring (eq:ranks).

    reduces: ranks, bytes, seconds.  Least squares on relative residuals, with a, b >= 0.
    Raises ValueError for fewer than two sizes.
    """
    from scipy.optimize import nnls

    if reduces["bytes"].nunique() < 2:
        raise ValueError(f"expected all-reduces of at least 2 sizes, got {sorted(set(reduces['bytes']))} bytes")
    r, size, seconds = (reduces[name].to_numpy(float) for name in ("ranks", "bytes", "seconds"))
    design = np.stack([2 * (r - 1), 2 * (r - 1) / r * size], axis=1) / seconds[:, None]
    scale = design.max(axis=0)
    a, b = nnls(design / scale, np.ones(len(r)))[0] / scale
    return float(a), float(b)


def reduce_seconds(size: float, ranks: int, a: float, b: float, *, halving: bool = False) -> float:
    """Seconds of an all-reduce of `size` bytes (eq:ranks): by a ring, or by halving and doubling.

    Both send 2 (R - 1) / R of the bytes; the ring in 2 (R - 1) messages that wait for one another, halving and doubling
    in 2 log2 R.
    """
    messages = 2 * math.ceil(math.log2(ranks)) if halving else 2 * (ranks - 1)
    return messages * a + 2 * (ranks - 1) / ranks * size * b


WAYS = {  # of exchange: halving and doubling in place of the ring, the weights' gradients in one all-reduce
    "ring, weights one by one": (False, False),  # what gloo and `sum_gradients` do
    "ring, weights in one": (False, True),
    "halving, weights in one": (True, True),
}


def predicted(
    terms: pd.DataFrame, *, tokens: int, ranks: Iterable[int], layers: int, band: int, weights: int, tensors: int
) -> pd.DataFrame:
    """A model, not a measurement: seconds of a training step (eq:ranks), by way of exchange, ranks and part.

    terms: a row a round of measurement, with the seconds of a token, of a message and of a byte (compute, a, b).
    band: numbers of a band, 2 k d; weights: parameters with a gradient, in `tensors` tensors.
    The model is evaluated with the terms of every round, and the interval is Student's of the logarithm over rounds: it
    has the spread of the terms between rounds, not the error of the model.
    Columns: way, ranks, part ("compute", "bands", "weights", "step"), seconds, low, high.
    """
    rows = []
    for (way, (halving, bucket)), size in product(WAYS.items(), ranks):
        parts = pd.DataFrame(
            {
                "compute": tokens / size * term.compute,
                "bands": 2 * layers * reduce_seconds(SINGLE * band, size, term.a, term.b, halving=halving),
                "weights": reduce_seconds(SINGLE * weights, size, term.a, term.b, halving=halving)
                + (0 if bucket else (tensors - 1) * reduce_seconds(0, size, term.a, term.b, halving=halving)),
            }
            for term in terms.itertuples()
        )
        parts["step"] = parts.sum(axis=1)
        for part in parts:
            interval = (math.exp(x) for x in mean_interval(np.log(parts[part])))
            rows.append((way, size, part, *interval))
    return pd.DataFrame(rows, columns=["way", "ranks", "part", "seconds", "low", "high"])
