"""The dense engine where its table is long."""

from __future__ import annotations

import torch

from resonance.engines import dense
from resonance.spectral import analysis, synthesis


def relative(a, b):
    return ((a - b).norm() / b.norm().clamp_min(1e-30)).item()


def test_dense_is_exact_at_long_lengths():
    """Angles are reduced in integers: a table at a million samples is as good as one at a thousand."""
    n, k = 2**20, 3
    x = torch.randn(1, n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b = (torch.cat(analysis(x, k, engine=engine)) for engine in ("dense", "fft"))
    assert relative(a, b) < 1e-12


def test_tables_beyond_the_limit_are_made_in_slices(monkeypatch):
    torch.manual_seed(0)
    x, pair = torch.randn(2, 500, 3), torch.randn(2, 2, 40, 3)
    whole = [*analysis(x, 40, engine="dense"), synthesis(*pair, 500, engine="dense")]
    monkeypatch.setattr(dense, "TABLE_LIMIT", 3000)
    sliced = [*analysis(x, 40, engine="dense"), synthesis(*pair, 500, engine="dense")]
    for a, b in zip(whole, sliced, strict=True):
        torch.testing.assert_close(a, b)
