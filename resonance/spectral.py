"""Band transforms: a sequence to its kept frequencies and back, in real arithmetic.

Every layer of the architecture is built on `analysis` and `synthesis`, A and S of eq:layer, on a grid of N samples.
In synthesis c_f = 2 inside the band and c_f = 1 at DC and at Nyquist (N even), because a real signal has each inner
frequency twice.  It is the adjoint of analysis under the inner product weighted by c; with the whole band kept and
n = N, its inverse.  Spectra are pairs (re, im) of (batch, k, d), and packed, (batch, 2k, d), within a layer.

Engines compute these two maps: "fft", the reference, "dense", one real matrix product, and "fast", three small ones,
linear in n (`engines.linear_time`).  A new one is a row of `ENGINES` and a line in `choose_engine`.
An export to ONNX, whose complex FFTs are incomplete, takes "fast" in the place of "fft".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers

from .band import Band, OpenBand, make_band, open_band
from .engines import dense, linear_time
from .engines.tables import BUILDERS, constants


def widened(x: Tensor) -> Tensor:
    """x in float32 at least: FFTs have no half precision on CPUs, and lose too much with it elsewhere."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _fft_transform(x: Tensor, band: Band) -> Tensor:
    spectrum = torch.fft.rfft(widened(x), n=band.grid, dim=1, norm="ortho")  # (batch, N//2 + 1, d)
    spectrum = spectrum[:, : band.k] if band.is_lowest else spectrum[:, list(band.frequencies)]  # (batch, k, d)
    return torch.cat([spectrum.real, spectrum.imag], dim=1).to(x.dtype)  # (batch, 2k, d)


def _counts(key: tuple, dtype: torch.dtype) -> list[np.ndarray]:
    """c of eq:layer for a packed spectrum, (2k, 1); 1 / c, and the same without what is real, (k, 1); frequencies."""
    band = Band(*key)
    c = np.full((band.k, 1), 2.0)
    c[band.real] = 1.0
    return [np.concatenate([c, c]), 1.0 / c, np.where(c == 1.0, 0.0, 1.0 / c), np.array(band.frequencies)]


BUILDERS["counts"] = _counts


def _fft_adjoint(spectrum: Tensor, band: Band) -> Tensor:
    re, im = widened(spectrum).chunk(2, dim=1)  # (batch, k, d) each
    # irfft counts inner frequencies twice, the adjoint once; libraries differ about imaginary parts at DC and Nyquist.
    _, weight, inner, places = constants("counts", band.key, re)  # (k, 1), (k, 1), (k,)
    full = torch.complex(re * weight, im * inner)  # (batch, k, d)
    if not band.is_lowest:
        # (batch, highest + 1, d)
        full = full.new_zeros(full.shape[0], band.highest + 1, full.shape[2]).index_copy(1, places, full)
    return torch.fft.irfft(full, n=band.grid, dim=1, norm="ortho")[:, : band.n].to(spectrum.dtype)  # (batch, n, d)


class Engine(NamedTuple):
    """A way to compute the analysis and its transpose."""

    transform: Callable[[Tensor, Band], Tensor]  # (batch, n, d) -> (batch, 2k, d)
    adjoint: Callable[[Tensor, Band], Tensor]  # (batch, 2k, d) -> (batch, n, d)


ENGINES: dict[str, Engine] = {
    "fft": Engine(_fft_transform, _fft_adjoint),
    "dense": Engine(dense.transform, dense.adjoint),
    "fast": Engine(linear_time.transform, linear_time.adjoint),
}


def fft_cost(band: Band) -> float:
    """Estimated time of one FFT of one channel, in multiply-adds of a large product, as `Plan.cost`."""
    memory = min(band.grid / 2**8, 300.0)  # a sample, as the channels leave the caches
    return band.grid * (15 * math.log2(max(2, band.grid)) + memory) + 2**14


def choose_engine(band: Band) -> str:
    """The engine of `"auto"`: "fast", which reduces to "dense" where blocks do not pay, or "fft", where cheaper."""
    return "fast" if linear_time.make_plan(band, torch.float32).cost(band) <= fft_cost(band) else "fft"


def check_engine(name: str) -> str:
    """Pass on `name` when it is an engine or `"auto"`; raise ValueError with the known names otherwise."""
    if name != "auto" and name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}: expected one of {', '.join(['auto', *ENGINES])}")
    return name


def check_sequences(x: Tensor, dim: int | None = None, axes: tuple[str, ...] = ("n",)) -> Tensor:
    """Pass on a floating x (batch, *axes, d), d = dim if given, only the batch empty; else TypeError or ValueError."""
    expected = f"({', '.join(('batch', *axes, str(dim or 'd')))})"
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a torch tensor {expected}, got {type(x).__name__}")
    if x.dim() != len(axes) + 2 or (dim is not None and x.shape[-1] != dim):
        raise ValueError(f"expected a tensor of shape {expected}, got {tuple(x.shape)}")
    if x.dtype not in linear_time.TOLERANCE:
        raise TypeError(f"expected a real floating dtype of 16, 32 or 64 bits, got {x.dtype}")
    if 0 in x.shape[1:]:
        raise ValueError(f"expected a non-empty tensor {expected}, got {tuple(x.shape)}")
    return x


def check_signal(x: Tensor, expected: str, scaled: str) -> None:
    """Raise TypeError for what is no floating tensor; `scaled` says how integers become numbers of size 1."""
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a torch tensor, {expected}, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"expected {expected}, of a floating dtype, got {x.dtype}: {scaled}")


def traced(x: Tensor) -> bool:
    """Whether control flow must not depend on the values of x: while tracing, under vmap, on the meta device."""
    modes = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack()
    return bool(modes or torch._C._are_functorch_transforms_active() or type(x) is not Tensor or x.is_meta)


class Kept:
    """What was computed last from tensors, kept while they stay equal, value by value.

    Where gradients are recorded or sources are `traced` it keeps nothing, which a later call could meet.
    """

    last: tuple | None = None

    def __call__(self, compute: Callable, dtype: torch.dtype, *sources: Tensor) -> Any:
        """The result of compute(dtype), a function of the sources."""
        if torch.is_grad_enabled() or torch.jit.is_tracing() or traced(sources[0].detach()):
            return compute(dtype)
        last, kind = self.last, [dtype, *((source.device, source.dtype) for source in sources)]
        if last is None or last[0] != kind or not all(map(torch.equal, last[1], sources)):
            last = self.last = kind, [source.detach().clone() for source in sources], compute(dtype)
        return last[2]


def check_values(values: Tensor, valid: Tensor, expected: str) -> None:
    """Raise ValueError, naming what was `expected` and the values that came, unless all are `valid` (a boolean mask).

    A compiled or exported graph makes the check when it runs, and raises RuntimeError.
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or type(valid) is not Tensor:
        torch._assert_async(valid.all(), f"expected {expected}")
        return
    while torch._C._functorch.is_functorch_wrapped_tensor(valid):  # of vmap or grad: the values lie beneath
        inner = torch._C._functorch.get_unwrapped  # values from outside the transform are not wrapped by it
        values = inner(values) if torch._C._functorch.is_functorch_wrapped_tensor(values) else values
        valid = inner(valid)
    if not valid.is_meta and not bool(valid.all()):
        raise ValueError(f"expected {expected}, got {values[~valid][:8].tolist()}")


def check_ids(ids: Tensor, vocab_size: int, what: str = "ids", inside: Tensor | None = None) -> Tensor:
    """Check that ids are an integer tensor with values in 0 .. vocab_size-1, and return them as int64.

    With `inside`, a mask of their shape, whatever stands outside it becomes 0.
    Raises TypeError for another type, ValueError for values out of range (`check_values`).
    """
    if not isinstance(ids, Tensor):
        raise TypeError(f"expected {what} as a torch tensor of integers, got {type(ids).__name__}")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"expected {what} of an integer dtype, got {ids.dtype}")
    whole = ids.long()  # the wide unsigned types have few operations
    whole = whole if inside is None else whole.masked_fill(~inside, 0)
    check_values(ids, (whole >= 0) & (whole < vocab_size), f"{what} in 0..{vocab_size - 1}")
    return whole


def check_lengths(lengths: Tensor | Iterable[int], batch: int, n: int, device: torch.device) -> Tensor:
    """The lengths of a padded batch, whole numbers in 1..n, as int64 (batch,) on `device`.

    Raises TypeError for booleans and complex numbers, ValueError for another shape or value (`check_values`).
    """
    given = torch.as_tensor(lengths, device=device)  # type: ignore[arg-type]
    if given.dtype == torch.bool or given.is_complex():
        raise TypeError(f"expected lengths as whole numbers, got {given.dtype}")
    if given.shape != (batch,):
        raise ValueError(f"expected one length a sample, shape ({batch},), got {tuple(given.shape)}")
    whole = given.long()  # unsigned dtypes cannot be compared
    given = given if given.is_floating_point() else whole
    top = "n" if torch.compiler.is_compiling() else n
    check_values(given, (whole == given) & (given >= 1) & (given <= n), f"lengths as whole numbers in 1..{top}")
    return whole


def _compute(x: Tensor, band: Band, engine: str, adjoint: bool, counted: bool) -> Tensor:
    """The analysis, or its transpose, with the spectrum on its side multiplied by c of eq:layer if `counted`."""
    engine = choose_engine(band) if engine == "auto" else engine
    if engine == "fft" and x.shape[0] == 0:  # not every FFT library takes an empty batch
        return x.new_zeros(0, band.n if adjoint else 2 * band.k, x.shape[2])
    if not counted:
        return getattr(ENGINES[engine], "adjoint" if adjoint else "transform")(x, band)
    c = constants("counts", band.key, x)[0]  # (2k, 1)
    return ENGINES[engine].adjoint(x * c, band) if adjoint else ENGINES[engine].transform(x, band) * c


class PlainFunction(torch.autograd.Function):
    """An autograd function of positional arguments: its `apply` does not inspect the signature of `forward`.

    torch does so at every call, which takes a quarter of the time of a small layer.
    """

    @classmethod
    def apply(cls, *arguments):
        if torch._C._are_functorch_transforms_active():
            return super().apply(*arguments)
        return super(torch.autograd.Function, cls).apply(*unwrap_dead_wrappers(arguments))


class _BandTransform(PlainFunction):
    """The analysis, or its transpose, each the other's derivative to any order: nothing is saved but the band."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, *options):
        return torch.unsafe_chunk(_compute(x, *options), 1, dim=1)[0]  # never a view: an activation may work in place

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.band, ctx.engine, ctx.adjoint, ctx.counted = inputs[1:]

    @staticmethod
    def backward(ctx, gradient):
        x = _BandTransform.apply(gradient, ctx.band, ctx.engine, not ctx.adjoint, ctx.counted)
        return x, None, None, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        return _BandTransform.apply(tangent, ctx.band, ctx.engine, ctx.adjoint, ctx.counted)


@torch.library.custom_op("resonance::band_transform", mutates_args=())
def _open_transform(
    x: Tensor, n: int, frequencies: list[int], grid: int, engine: str, adjoint: bool, counted: bool
) -> Tensor:
    """`_compute` as one operation of a graph whose length n is open; grid 0: the next power of two."""
    return _compute(x, make_band(n, frequencies, grid or None), engine, adjoint, counted).contiguous()


@_open_transform.register_fake
def _(x, n, frequencies, grid, engine, adjoint, counted):
    return x.new_empty(x.shape[0], n if adjoint else 2 * len(frequencies), x.shape[2])


def _open_gradient(ctx, gradient):
    n, frequencies, grid, engine, adjoint, counted = ctx.options
    return _open_transform(gradient, n, frequencies, grid, engine, not adjoint, counted), *[None] * 6


_open_transform.register_autograd(
    _open_gradient, setup_context=lambda ctx, inputs, output: setattr(ctx, "options", inputs[1:])
)


def autocasts(x: Tensor) -> bool:
    """Whether autocast is on for the device of x."""
    return torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)


def lowered(x: Tensor) -> Tensor:
    """Cast x to autocast's dtype where autocast is on, as a matrix product would."""
    lower = autocasts(x) and x.dtype == torch.float32
    return x.to(torch.get_autocast_dtype(x.device.type)) if lower else x


def without_autocast(x: Tensor) -> AbstractContextManager:
    """A context in which operations on x keep its dtype."""
    return torch.autocast(x.device.type, enabled=False) if autocasts(x) else nullcontext()


def _apply(x: Tensor, band: Band | OpenBand, engine: str, *, adjoint: bool, counted: bool = False) -> Tensor:
    if check_engine(engine) == "auto" and isinstance(band, Band):
        engine = choose_engine(band)
    if engine == "fft" and torch.onnx.is_in_onnx_export():
        engine = "fast"
    if autocasts(x):
        x = x if engine == "fft" else lowered(x)  # products have a table in the lower precision
        with without_autocast(x):
            return _apply(x, band, engine, adjoint=adjoint, counted=counted)
    if isinstance(band, OpenBand):
        return _open_transform(x, band.n, list(band.frequencies), band.grid or 0, engine, adjoint, counted)
    # A compiler derives the same gradients from the products themselves.
    run = _compute if torch.compiler.is_compiling() or torch.jit.is_tracing() else _BandTransform.apply
    return run(x, band, engine, adjoint, counted)


def packed_analysis(x: Tensor, band: Band | OpenBand, engine: str) -> Tensor:
    """A x, (batch, 2k, d), real parts before imaginary ones, for x of (batch, n, d)."""
    return _apply(x, band, engine, adjoint=False)


def packed_synthesis(spectrum: Tensor, band: Band | OpenBand, engine: str) -> Tensor:
    """S applied to a spectrum (batch, 2k, d), real parts before imaginary ones: (batch, n, d)."""
    return _apply(spectrum, band, engine, adjoint=True, counted=True)


def analysis(
    x: Tensor, frequencies: int | Iterable[int], *, grid: int | None = None, engine: str = "auto"
) -> tuple[Tensor, Tensor]:
    """The kept frequencies of each channel, X_f = N^(-1/2) sum_t x_t exp(-2 pi i f t / N) (eq:analysis): A of eq:layer.

    x: (batch, n, d), real.  Returns (re, im), each (batch, k, d), in the dtype of x (under autocast, of autocast).
    `frequencies`: k, for the k lowest, or a sorted set in cycles per grid.  `grid` is N, by default the next power of
    two >= n: one sample more, 65 for 64, can then change what every frequency means; a fixed grid keeps it.
    Raises ValueError for a shape that is not (batch, n, d), for frequencies above N//2, for an unknown engine.
    Operations a channel: 2.5 N log2 N ("fft"), 4 n k ("dense"), 2 n p + p m (m + 2) + 8 k p, or for few frequencies
    2 n p + 4 k m p ("fast", thm:linear).

    >>> x = torch.randn(2, 6, 3)
    >>> torch.allclose(synthesis(*analysis(x, 4, grid=6), 6, grid=6), x, atol=1e-5)  # the whole band
    True
    """
    band = open_band(check_sequences(x).shape[1], frequencies, grid)
    return torch.unsafe_chunk(packed_analysis(x, band, engine), 2, dim=1)  # not views: each may change in place


def synthesis(
    re: Tensor, im: Tensor, n: int, *, frequencies: Iterable[int] | None = None, grid: int | None = None, engine="auto"
) -> Tensor:
    """The real sequence with a given band, y_t = N^(-1/2) sum_f c_f Re[Y_f exp(2 pi i f t / N)] (eq:synthesis).

    re, im: (batch, k, d), at `frequencies`, by default the k lowest.  Returns (batch, n, d): the first n samples of
    the grid.  The imaginary parts at DC and at Nyquist have no effect: a real signal has none.
    Raises ValueError when re and im differ in shape or there are not k frequencies, and as `analysis`.  Cost: the same.
    """
    if re.shape != im.shape:
        raise ValueError(f"re and im must have one shape, got {tuple(re.shape)} and {tuple(im.shape)}")
    k = check_sequences(re).shape[1]
    band = open_band(n, k if frequencies is None else frequencies, grid)
    if (count := len(band.frequencies)) != k:
        raise ValueError(f"expected a spectrum of {count} frequencies, (batch, {count}, d), got {tuple(re.shape)}")
    return packed_synthesis(torch.cat([re, im], dim=1), band, engine)  # (batch, n, d)
