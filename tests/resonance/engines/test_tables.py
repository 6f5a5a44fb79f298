"""Tables: cached within a bound, and never from a trace."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from resonance.engines import tables as constants
from resonance.plane import plane_analysis, plane_synthesis
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


def low(x, engine):
    return synthesis(*analysis(x, 5, engine=engine), x.shape[1], engine=engine)


def plane(x, engine):
    return plane_synthesis(plane_analysis(x[..., None], 3, engine), *x.shape[1:], 3, engine)[..., 0]


class Wrapped(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


def fake(f, x):
    with FakeTensorMode() as mode:
        inside = mode.from_tensor(x)
        f(inside)
    f(inside)  # a fake tensor outside its mode


def in_inference_mode(f, x):
    with torch.inference_mode():
        f(x)


def on_meta(f, x):
    try:
        torch.set_default_device("meta")
        assert f(x).device.type == "cpu" and f(x.to("meta")).is_meta
    finally:
        torch.set_default_device(None)


TRACES = {
    "export": lambda f, x: torch.export.export(Wrapped(f), (x,)).module()(x),
    "strict export": lambda f, x: torch.export.export(Wrapped(f), (x,), strict=True).module()(x),
    "compile": lambda f, x: torch.compile(f, backend="eager", fullgraph=True)(x),
    **{
        f"make_fx {mode}": lambda f, x, m=mode: make_fx(f, tracing_mode=m)(x)(x)
        for mode in ("real", "fake", "symbolic")
    },
    "jit": lambda f, x: torch.jit.trace(Wrapped(f), (x,), check_trace=False)(x),
    "vmap": lambda f, x: torch.func.vmap(f)(x[None])[0],
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,))[1],
    "grad": lambda f, x: torch.func.grad(lambda x: 0.5 * (f(x) * f(x)).sum())(x)[:0],
    "vmap of grad": lambda f, x: torch.func.vmap(torch.func.grad(lambda x: f(x).sum()))(x[None])[:0],
    "fake tensors": fake,
    "inference mode": in_inference_mode,
    "default device": on_meta,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize(("f", "engine"), [(low, "fast"), (low, "fft"), (plane, "dense")])
def test_no_mode_leaves_anything_behind(trace, f, engine):
    """The first call with a table, in any mode, gives the right values and spoils no later one."""
    constants._CACHE.clear()
    x = torch.randn(2, 290 if f is low else 9, 7)
    seen = TRACES[trace](partial(f, engine=engine), x)
    leaf = x.clone().requires_grad_(True)
    y = f(leaf, engine)
    y.square().sum().backward()
    assert type(y) is torch.Tensor and type(leaf.grad) is torch.Tensor
    expected = f(x, "fft")
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    if seen is not None and len(seen):
        torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)
    for tables in constants._CACHE.values():
        for t in tables:
            assert type(t) is torch.Tensor and not t.is_inference() and not t.requires_grad
            assert not torch._C._functorch.is_functorch_wrapped_tensor(t) and not torch._is_functional_tensor(t)


def test_a_process_forked_during_a_build_goes_on():
    """Another thread builds a table while this one forks: the child must not inherit a lock that nobody frees."""
    program = """
import os, sys, threading, torch
from resonance import analysis
from resonance.engines import tables
started = threading.Event()
build = tables.BUILDERS["dense"]
def slow(key, dtype):
    started.set(); threading.Event().wait(0.2)
    return build(key, dtype)
tables.BUILDERS["dense"] = slow
thread = threading.Thread(target=analysis, args=(torch.randn(1, 9, 1), 3), kwargs={"engine": "dense"})
thread.start(); started.wait()
if (child := os.fork()) == 0:
    analysis(torch.randn(1, 11, 1), 3, engine="dense"); os._exit(0)
thread.join()
sys.exit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=100).returncode == 0


def test_the_library_starts_without_the_compiler():
    """Compilation is rare, and importing torch._dynamo costs more than the rest of the library."""
    program = "import sys, resonance; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=300).returncode == 0
