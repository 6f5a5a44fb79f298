"""The dense engine where its table is long."""

from __future__ import annotations

import torch

from resonance import BandMixing
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


def test_slices_compile_in_one_graph_and_export(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(dense, "TABLE_LIMIT", 1000)
    layer, x = BandMixing(3, 20, engine="dense"), torch.randn(2, 100, 3)
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    for n in (90, 77):
        x = torch.randn(2, n, 3)
        torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))
