"""Tables: cached within a bound, and never from a trace."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from resonance.engines import tables as constants
from resonance.spectral import analysis, synthesis


def test_tables_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        analysis(torch.randn(1, 23, 1), 4, engine="dense")
    x = torch.randn(1, 23, 1, requires_grad=True)
    analysis(x, 4, engine="dense")[0].sum().backward()
    assert x.grad is not None


def test_the_cache_of_tables_is_bounded():
    for n in range(3000, 3040):
        analysis(torch.randn(1, n, 1), 300, engine="dense")
    kept = sum(t.numel() * t.element_size() for tables in constants._CACHE.values() for t in tables)
    assert 0 < kept <= constants.CACHE_BYTES


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["dense", "fast"])
def test_tracing_leaves_nothing_behind(engine):
    """A table made while exporting or compiling must not serve a real call."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    class Low(torch.nn.Module):
        def forward(self, x):
            return synthesis(*analysis(x, 5, engine=engine), x.shape[1], engine=engine)

    x = torch.randn(1, 290, 2)
    exported = torch.export.export(Low(), (x,)).module()(x)
    with FakeTensorMode() as mode:
        Low()(mode.from_tensor(x))
    compiled = torch.compile(Low(), backend="eager", fullgraph=True)(x)
    plain = Low()(x)
    assert not isinstance(plain, FakeTensor)
    torch.testing.assert_close(exported, plain)
    torch.testing.assert_close(compiled, plain)


def test_the_library_starts_without_the_compiler():
    """Compilation is rare, and importing torch._dynamo costs more than the rest of the library."""
    program = "import sys, resonance; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=300).returncode == 0
