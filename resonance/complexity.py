"""How cost grows with length: operation counts, timings, and model selection between growth laws.

The evidence that counts (report, section "Cost"): operations counted on the executed graph, time at a fixed batch
over several decades of n, the corrected Akaike criterion between laws a f(n) + c, and a slope with its interval,
each beside a control that is known to be quadratic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from . import linear_time
from .band import make_band
from .spectral import ENGINES
from .timing import alternated, pass_of

LAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "n": lambda n: n,
    "n log n": lambda n: n * np.log2(n),
    "n^1.5": lambda n: n**1.5,
    "n^2": lambda n: n**2,
}

# The source's five points (claim T3.table): length, milliseconds, megabytes.
PRINTED_POINTS = pd.DataFrame(
    {
        "n": [64, 128, 256, 512, 1024],
        "time": [12.3, 26.1, 54.8, 115.2, 241.5],
        "memory": [89.0, 156.0, 289.0, 567.0, 1105.0],
    }
)


def fit_laws(n: Iterable[float], cost: Iterable[float]) -> pd.DataFrame:
    """Fit a f(n) + c with a, c >= 0 for each law f; return a, c, R^2, AICc and the Akaike weight of each.

    Least squares on relative residuals, because a timing's noise grows with it.  R^2 is the usual one, of a plain
    least-squares fit (plain_a, plain_c): the figure that the source quotes.
    Raises ValueError for fewer than five points (the criterion needs them) and for costs that are not positive.
    """
    from scipy.optimize import nnls

    x, y = np.asarray(list(n), float), np.asarray(list(cost), float)
    if len(x) < 5 or len(x) != len(y):
        raise ValueError(f"expected at least 5 pairs of length and cost, got {len(x)} and {len(y)}")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise ValueError("expected finite, positive costs")
    rows = []
    for name, law in LAWS.items():
        design = np.stack([law(x), np.ones_like(x)], axis=1)
        scale = design.max(axis=0)
        (a, c), norm = nnls(design / scale / y[:, None], np.ones_like(y))
        plain = np.linalg.lstsq(design, y, rcond=None)[0]
        r2 = 1 - ((y - design @ plain) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        points, parameters = len(y), 3  # a, c and the noise
        rss = max(norm**2, points * 1e-30)  # exact data would give minus infinity
        correction = 2 * parameters * (parameters + 1) / (points - parameters - 1)
        aicc = points * math.log(rss / points) + 2 * parameters + correction
        rows.append(
            {"law": name, "a": a / scale[0], "c": c, "r2": r2, "aicc": aicc, "plain_a": plain[0], "plain_c": plain[1]}
        )
    table = pd.DataFrame(rows)
    relative = np.exp(-(table["aicc"] - table["aicc"].min()) / 2)
    table["weight"] = relative / relative.sum()
    return table


def slope(n: Iterable[float], cost: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the exponent of cost against n, d log(cost) / d log(n), with its interval (least squares)."""
    import statsmodels.api as sm

    x, y = np.log(np.asarray(list(n), float)), np.log(np.asarray(list(cost), float))
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    low, high = fit.conf_int(alpha=1 - confidence)[1]
    return float(fit.params[1]), float(low), float(high)


# --------------------------------------------------------------------------- operations


def _real_fft_flops(shape, dims, *args, **kwargs) -> int:
    """2.5 N log2 N real operations a line: half of the 5 N log2 N of a complex FFT."""
    length = shape[dims[0]]
    return int(2.5 * math.prod(shape) * math.log2(max(length, 2)))


def _inverse_fft_flops(shape, dims, normalization, length, *args, **kwargs) -> int:
    lines = math.prod(shape) // shape[dims[0]]
    return int(2.5 * lines * length * math.log2(max(length, 2)))


def _attention_flops(query_shape, key_shape, value_shape, *args, **kwargs) -> int:
    batch, heads, queries, width = query_shape
    return 2 * batch * heads * queries * key_shape[-2] * (width + value_shape[-1])


# torch's counter reports 0 for FFTs and for fused attention on CPUs unless told.
FLOPS = {
    torch.ops.aten._fft_r2c: _real_fft_flops,
    torch.ops.aten._fft_c2r: _inverse_fft_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}


@torch.no_grad()
def count_operations(model: nn.Module, x: Tensor) -> int:
    """Return the floating-point operations of one forward pass: products, attention and FFTs.

    Elementwise work, linear in n for every model here, is not counted.  The model is counted in training mode: in
    evaluation torch may run a Transformer layer as one operation that the counter does not know.
    """
    training = model.training
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        model.train()(x)
    model.train(training)
    return counter.get_total_flops()


# --------------------------------------------------------------------------- time


def measure_growth(
    models: dict[str, Callable[[int], nn.Module]],
    lengths: Iterable[int],
    *,
    dim: int,
    limits: dict[str, int] | None = None,
    rounds: int = 3,
    min_run_time: float = 0.05,
) -> pd.DataFrame:
    """Time and count each model at each length, batch 1, models alternating within each round; medians of rounds.

    models[name](n) builds a model for (1, n, dim); limits[name] is the longest n that it is asked for.
    Returns columns model, n, seconds, operations.
    """
    limits = limits or {}
    rows = []
    for n in lengths:
        x = torch.randn(1, n, dim)
        asked = {name: make(n) for name, make in models.items() if n <= limits.get(name, n)}
        steps = {name: pass_of(model, x) for name, model in asked.items()}
        seconds = alternated(steps, rounds=rounds, min_seconds=min_run_time)
        for name, model in asked.items():
            operations = count_operations(model, x)
            rows.append({"model": name, "n": n, "seconds": seconds[name], "operations": operations})
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------- the error of the fast engine


def function_errors(thetas: Iterable[float], *, waves: int = 33, samples: int = 256) -> pd.DataFrame:
    """Return what the best p functions of a block miss of its waves, and the bound on it.

    For waves of a band that turn by up to 2 theta over the block.  Returns theta, functions (p), error (the largest
    root mean square missed of any wave) and bound; pairs outside 1e-14 .. 1, where rounding or nothing rules, are left
    out.
    """
    place = (np.arange(samples) + 0.5) * (2 / samples) - 1
    rows = []
    for theta in thetas:
        angle = np.multiply.outer(place, np.linspace(0, theta, waves))
        for p, error in enumerate(linear_time.misses(np.cos(angle), np.sin(angle))[1]):
            bound = math.sqrt(waves) * linear_time.turn_bound(theta, p)
            if error >= 1e-14 and bound <= 1:
                rows.append({"theta": theta, "functions": p, "error": error, "bound": bound})
    return pd.DataFrame(rows)


def transform_errors(
    lengths: Iterable[int], k: int, dtypes: Iterable[torch.dtype], *, channels: int = 8
) -> pd.DataFrame:
    """Return the largest error of the fast engine's coefficients as a share of the sequence's norm.

    The reference is the FFT in float64 of the same rounded input.  Returns n, dtype, error, tolerance (of the plan).
    """
    rows = []
    for n in lengths:
        band = make_band(n, k)
        for dtype in dtypes:
            x = torch.randn(1, n, channels, dtype=torch.float64).to(dtype)
            exact = ENGINES["fft"].transform(x.double(), band)
            wrong = (ENGINES["fast"].transform(x, band).double() - exact).abs().amax(dim=1)
            error = (wrong / x.double().norm(dim=1)).max().item()
            name = str(dtype).removeprefix("torch.")
            rows.append({"n": n, "dtype": name, "error": error, "tolerance": linear_time.TOLERANCE[dtype]})
    return pd.DataFrame(rows)
