"""How cost grows with length: operations and seconds measured, and the law that fits them best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from artifact.studies.common.timing import alternated, pass_of

LAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "n": lambda n: n,
    "n log n": lambda n: n * np.log2(n),
    "n^1.5": lambda n: n**1.5,
    "n^2": lambda n: n**2,
}


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
        rows.append((name, a / scale[0], c, r2, aicc, *plain))
    table = pd.DataFrame(rows, columns=["law", "a", "c", "r2", "aicc", "plain_a", "plain_c"])
    relative = np.exp(-(table["aicc"] - table["aicc"].min()) / 2)
    table["weight"] = relative / relative.sum()
    return table


def slope(n: Iterable[float], cost: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Exponent of cost against n, d log(cost) / d log(n), with its interval, by least squares."""
    import statsmodels.api as sm

    x, y = np.log(np.asarray(list(n), float)), np.log(np.asarray(list(cost), float))
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    low, high = fit.conf_int(alpha=1 - confidence)[1]
    return float(fit.params[1]), float(low), float(high)


# --------------------------------------------------------------------------- operations


def _inverse_fft_flops(shape, dims, normalization, length, *args, **kwargs) -> int:
    """2.5 N log2 N operations a line: half of the textbook 5 N log2 N of a complex FFT; a figure, not a count."""
    lines = math.prod(shape) // shape[dims[0]]
    return int(2.5 * lines * length * math.log2(max(length, 2)))


def _real_fft_flops(shape, dims, *args, **kwargs) -> int:
    return _inverse_fft_flops(shape, dims, None, shape[dims[0]])


def _attention_flops(query_shape, key_shape, value_shape, *args, **kwargs) -> int:
    batch, heads, queries, width = query_shape
    return 2 * batch * heads * queries * key_shape[-2] * (width + value_shape[-1])


# torch's counter has no formula for FFTs, which get the textbook figure, nor for fused attention on CPUs.
FLOPS = {
    torch.ops.aten._fft_r2c: _real_fft_flops,
    torch.ops.aten._fft_c2r: _inverse_fft_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}


@torch.no_grad()
def count_operations(model: nn.Module, *inputs: Tensor, **named: Tensor) -> int:
    """Count the floating-point operations of one forward pass (prop:operations): products, attention and FFTs.

    Products and attention are counted by their shapes as executed; an FFT is assigned its textbook figure.
    Elementwise operations, linear in n for every model here, are not counted.  The model is in training mode: in
    evaluation torch may run a Transformer layer as one fused operation that the counter does not know.
    """
    training = model.training
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        model.train()(*inputs, **named)
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

    models[name](n) builds a model for (1, n, dim); limits[name] is the longest n at which it is measured.
    Returns columns model, n, seconds, operations.
    """
    rows = []
    for n in lengths:
        x = torch.randn(1, n, dim)
        built = {name: make(n) for name, make in models.items() if n <= (limits or {}).get(name, n)}
        steps = {name: pass_of(model, x) for name, model in built.items()}
        seconds = alternated(steps, rounds=rounds, min_seconds=min_run_time)
        rows += [(name, n, seconds[name], count_operations(model, x)) for name, model in built.items()]
    return pd.DataFrame(rows, columns=["model", "n", "seconds", "operations"])
