"""Band transforms as one real matrix product (engine "dense"): a table of cosines and sines, 2k x n."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from ..band import Band, fourier_table
from .tables import BUILDERS, as_tensor, constant_result, constants

# Entries of a table that is cached (16 MiB in float32); a larger one is recomputed in slices at every call.
TABLE_LIMIT = 2**22


BUILDERS["dense"] = lambda key, dtype: [fourier_table(Band(*key), np.arange(key[0]))]


@constant_result
def _table(key: tuple, start: int, stop: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    # In a list: a graph takes a bare tensor of a constant function only once.
    return [as_tensor(fourier_table(Band(*key), np.arange(start, stop)), dtype, device)]


def _slices(band: Band, like: Tensor):
    """Yield (samples, their columns of the table), each within the limit."""
    if 2 * band.k * band.n <= TABLE_LIMIT:
        yield slice(None), constants("dense", band.key, like)[0]
        return
    step = max(1, TABLE_LIMIT // (2 * band.k))
    for start in range(0, band.n, step):
        (table,) = _table(band.key, start, min(start + step, band.n), like.dtype, like.device)
        yield slice(start, start + step), table


def transform(x: Tensor, band: Band) -> Tensor:
    """The spectrum of x, (batch, n, d), as (batch, 2k, d): real parts, then imaginary parts."""
    parts = (torch.matmul(table, x[:, samples]) for samples, table in _slices(band, x))  # each (batch, 2k, d)
    return reduce(torch.add, parts)


def adjoint(spectrum: Tensor, band: Band) -> Tensor:
    """The transpose of `transform` applied to a spectrum (batch, 2k, d): (batch, n, d)."""
    parts = [torch.matmul(table.T, spectrum) for _, table in _slices(band, spectrum)]  # each (batch, samples, d)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
