"""The error of the linear-time engine against its bound (eq:bound, thm:linear)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
import torch

from resonance.band import make_band
from resonance.engines import linear_time
from resonance.spectral import ENGINES


def function_errors(thetas: Iterable[float], *, waves: int = 33, samples: int = 256) -> pd.DataFrame:
    """The residual of a block's waves on its best p functions, and its bound (eq:bound).

    For waves whose phase advances by up to 2 theta over the block; error: the largest root mean square of any wave.
    Errors below 1e-14 (rounding) and bounds above 1 (vacuous) are left out.
    """
    place = (np.arange(samples) + 0.5) * (2 / samples) - 1
    rows = []
    for theta in thetas:
        angle = np.multiply.outer(place, np.linspace(0, theta, waves))
        for p, error in enumerate(linear_time.misses(np.cos(angle), np.sin(angle))[1]):
            bound = math.sqrt(waves) * linear_time.turn_bound(theta, p)
            if error >= 1e-14 and bound <= 1:
                rows.append((theta, p, error, bound))
    return pd.DataFrame(rows, columns=["theta", "functions", "error", "bound"])


def transform_errors(
    lengths: Iterable[int], k: int, dtypes: Iterable[torch.dtype], *, channels: int = 8
) -> pd.DataFrame:
    """The largest error of the fast engine's coefficients over the sequence's norm, and its tolerance (thm:linear).

    The reference is the FFT in float64 of the same rounded input.
    """
    rows = []
    for n, dtype in product(lengths, dtypes):
        band = make_band(n, k)
        x = torch.randn(1, n, channels, dtype=torch.float64).to(dtype)
        exact = ENGINES["fft"].transform(x.double(), band)
        wrong = (ENGINES["fast"].transform(x, band).double() - exact).abs().amax(dim=1)
        error = (wrong / x.double().norm(dim=1)).max().item()
        rows.append((n, str(dtype).removeprefix("torch."), error, linear_time.TOLERANCE[dtype]))
    return pd.DataFrame(rows, columns=["n", "dtype", "error", "tolerance"])
