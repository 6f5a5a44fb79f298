"""The source's five printed timings, and the R^2 of each growth law on them in every usual reading of that figure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from artifact.studies.common.growth import LAWS

PRINTED_POINTS = pd.DataFrame(
    {
        "n": [64, 128, 256, 512, 1024],
        "time": [12.3, 26.1, 54.8, 115.2, 241.5],
        "memory": [89.0, 156.0, 289.0, 567.0, 1105.0],
    }
)
CORRELATION = "a f(n) + c, in ms"  # "correlates", word for word: the squared correlation
READINGS = {  # of R^2, by key of the ledger
    "correlation": CORRELATION,
    "origin": "a f(n), in ms",
    "relative": "a f(n), errors relative",
    "logarithms": "a f(n), in logarithms",
}


def r2_by_reading(n: np.ndarray, cost: np.ndarray) -> pd.DataFrame:
    """R^2 of each law in each reading: columns reading, law, r2.

    With residuals e and values y it is 1 - sum e^2 / sum (y - mean y)^2.  a and c are those of least squares: of the
    costs, of the costs through the origin, of their relative errors (R^2 then of the costs), or of their logarithms,
    where the law's exponent stays as it is and only a is free.
    """
    n, cost = np.asarray(n, dtype=float), np.asarray(cost, dtype=float)
    rows = []
    for name, law in LAWS.items():
        f = law(n)
        design = np.stack([f, np.ones_like(f)], axis=1)
        share = f / cost
        fits = {
            "correlation": (cost, design @ np.linalg.lstsq(design, cost, rcond=None)[0]),
            "origin": (cost, f * (f @ cost) / (f @ f)),
            "relative": (cost, f * share.sum() / (share**2).sum()),
            "logarithms": (np.log(cost), np.log(f) + np.log(cost / f).mean()),
        }
        for key, (y, fitted) in fits.items():
            rows.append((READINGS[key], name, 1 - ((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum()))
    return pd.DataFrame(rows, columns=["reading", "law", "r2"])
