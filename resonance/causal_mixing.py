"""CausalMixing: k damped resonators along a sequence, trained in parallel and run as a recurrence.

    glossary   code               report (eq:causal)
               poles()            lambda_j, complex, |lambda_j| < 1
               time_scales()      tau_j, steps
               frequencies()      f_j, cycles per step
               readout            c_j, a channel
               direct             b, a channel
               unit_readout       c_j e_j, e_j = sqrt(1 - |lambda_j|^2)

All channels share the poles; each has its own complex readout and direct gain.  Computed by `engines/chunked.py`.

Relatives: the LRU (Orvieto et al. 2023), polar poles under dense maps; S4D (Gu et al. 2022), poles for each channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .engines import chunked
from .layers import length_mask
from .settings import placed
from .spectral import Kept, check_sequences, without_autocast

OCTAVES = (-4.0, 20.0)  # bounds on log2 of a time scale: in float32 exp(-2^-20) is still 16 ulp below 1
MIDDLE, REACH = sum(OCTAVES) / 2, (OCTAVES[1] - OCTAVES[0]) / 2
ENGINES = ("auto", "fft", "chunked")
# Measured on 2 cores, float32, k = 16, batches of 1 and 16 (`python -m artifact.studies.causal.benchmark engines`).
LONGEST_FFT, LONGEST_SHORT_CHUNKS = 128, 4096


def choose_causal_engine(n: int) -> str:
    """The engine that is fastest at length n, by measurement: FFT up to 128; FFT for any n in a compiled graph."""
    return "fft" if torch.compiler.is_compiling() or n <= LONGEST_FFT else "chunked"


def chunk_size(n: int) -> int:
    """Choose the chunk B that is fastest at length n, by measurement: 32, and 64 beyond 4096 samples."""
    return min(n, 32 if n <= LONGEST_SHORT_CHUNKS else 64)


def masked(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """x (batch, n, dim) with zeros, even for NaN, after each length; int64 lengths; a mask (batch, n, 1) of padding."""
    if lengths is None:
        return x, None, None
    padding = ~length_mask(x, lengths)
    return x.masked_fill(padding, 0.0), torch.as_tensor(lengths, device=x.device).long(), padding


def octave_of(time_scale: Tensor) -> Tensor:
    """Parameter theta of a time scale in steps: the inverse of `decay_rate`."""
    return MIDDLE + REACH * torch.atanh((time_scale.log2() - MIDDLE) / REACH)


def decay_rate(octave: Tensor) -> Tensor:
    """1 / tau in float64, tau = 2^(8 + 12 tanh((theta - 8) / 12)) steps for a parameter theta, (k,)."""
    return torch.exp2(-(MIDDLE + REACH * torch.tanh((octave.double() - MIDDLE) / REACH)))


def make_poles(octave: Tensor, frequency: Tensor, dtype: torch.dtype) -> Tensor:
    """Poles exp(-1/tau + 2 pi i f) (eq:causal), (k, 2), computed in float64 and rounded to dtype."""
    angle = torch.remainder(frequency.double(), 1.0) * (2 * math.pi)
    return (torch.stack([angle.cos(), angle.sin()], dim=1) * torch.exp(-decay_rate(octave))[:, None]).to(dtype)


def unit_readout(readout: Tensor, pole: Tensor) -> Tensor:
    """c_j sqrt(1 - |lambda_j|^2), (d, k, 2), of the parameter (2k, d) and poles (k, 2): unit energy for c_j = 1."""
    energy = (1 - pole.double().square().sum(1)).sqrt()  # (k,)
    scaled = readout.unflatten(0, (2, -1)) * energy.to(readout.dtype)[:, None]  # (2, k, d)
    return scaled.permute(2, 1, 0).contiguous()


def powers_and_readout(octave: Tensor, turn: Tensor, readout: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`make_powers` and `unit_readout` of the parameters, turns in cycles per step, by differentiable operations."""
    pole = make_poles(octave, turn, readout.dtype)
    return chunked.make_powers(pole, count), unit_readout(readout, pole)


class _PowersAndReadout(torch.autograd.Function):
    """`powers_and_readout` in complex numbers, gradients written out: a third of autograd's operations."""

    @staticmethod
    def forward(ctx, octave, frequency, readout, count):
        rate = decay_rate(octave)
        pole = torch.polar(torch.exp(-rate), torch.remainder(frequency.double(), 1.0).mul_(2 * math.pi))
        log = pole.to(readout.dtype.to_complex()).to(pole.dtype).log()  # of the rounded pole
        l = torch.arange(count, dtype=torch.float64, device=octave.device)[:, None]  # noqa: E741
        powers = (l * log).exp_().to(readout.dtype.to_complex())  # (count, k)
        energy = (2 * log.real).expm1_().neg_().sqrt_()
        ctx.save_for_backward(octave, frequency, readout, rate, energy, powers, l)
        scaled = readout.unflatten(0, (2, -1)) * energy.to(readout.dtype)[:, None]  # (2, k, d)
        return torch.view_as_real(powers), scaled.permute(2, 1, 0).contiguous()

    @staticmethod
    def backward(ctx, g_powers, g_readout):
        octave, frequency, readout, rate, energy, powers, l = ctx.saved_tensors  # noqa: E741
        if torch.is_grad_enabled():  # gradients of gradients
            inputs = octave, frequency, readout
            return *torch.func.vjp(lambda *t: powers_and_readout(*t, len(l)), *inputs)[1]((g_powers, g_readout)), None
        g_powers = torch.view_as_complex(g_powers.contiguous())
        # d lambda^l / d log lambda = l lambda^l
        g_size, g_angle = torch.view_as_real((g_powers * powers.conj() * l).sum(0)).unbind(1)
        g_scaled = g_readout.permute(2, 1, 0)  # (2, k, d)
        g_energy = (g_scaled * readout.view(g_scaled.shape)).sum((0, 2))
        g_size = g_size - g_energy * (1 - energy.square()) / energy
        bend = (rate.log2() + MIDDLE) / REACH  # -tanh of `decay_rate`
        g_octave = math.log(2) * rate * (1 - bend.square()) * g_size
        g_parameter = (g_scaled * energy.to(readout.dtype)[:, None]).flatten(0, 1)
        return g_octave.to(readout.dtype), (2 * math.pi * g_angle).to(readout.dtype), g_parameter, None


class CausalMixing(nn.Module):
    """Mix a sequence causally by damped resonators, eq:causal.

        s_t = lambda s_(t-1) + x_t,   y_t = b x_t + Re sum_j c_j sqrt(1 - |lambda_j|^2) s_tj
        h_l = b [l = 0] + Re sum_j c_j sqrt(1 - |lambda_j|^2) lambda_j^l                       (y = h * x)

    x: (batch, n, dim) -> (batch, n, dim), linear in x; a state is (batch, dim, k, 2), the resonators' real and
    imaginary parts.  At the start time scales are even in octaves from 2 steps to `longest`, and frequencies are 0,
    1/4, 1/2 and 1 cycle in one time scale; `turns` counts cycles in the time scale at the start, so that a slow
    resonator's frequency has a step as fine as its bandwidth, and time scale and frequency can change independently.
    Raises ValueError for a wrong shape, length or engine.  Parameters: 2 k for the poles, (2k + 1) dim.
    Cost: n (B + 4k) dim multiply-adds in chunks of B; 6 k dim a step.  Computed in float32 at least.

    >>> mixing, x = CausalMixing(4, 3), torch.randn(2, 10, 4)
    >>> first, state = mixing.extend(x[:, :9], mixing.initial_state(2))  # state: (2, 4, 3, 2)
    >>> torch.allclose(mixing.step(x[:, 9], state)[0], mixing(x)[:, 9], atol=1e-4)
    True
    """

    @placed
    def __init__(self, dim: int, num_resonators: int, *, longest: float = 2048, engine="auto", device=None, dtype=None):
        super().__init__()
        k = num_resonators
        if dim < 1 or k < 1:
            raise ValueError(f"expected dim >= 1 and num_resonators >= 1, got dim={dim}, num_resonators={k}")
        if not 2 <= longest < 2 ** OCTAVES[1]:
            raise ValueError(f"expected a longest time scale of 2 to 2^{OCTAVES[1]:g} steps, got {longest}")
        if engine not in ENGINES:
            raise ValueError(f"unknown engine {engine!r}: expected one of {', '.join(ENGINES)}")
        self.dim, self.num_resonators, self.engine = dim, k, engine
        scales = torch.logspace(1.0, math.log2(longest), k, base=2.0, dtype=torch.float64)
        self.octave = nn.Parameter(octave_of(scales).float())
        self.register_buffer("spacing", scales.reciprocal().float())  # cycles per step that one turn stands for
        self.turns = nn.Parameter(torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(-(-k // 4))[:k])
        self.readout = nn.Parameter(torch.randn(2 * k, dim) / math.sqrt(k))
        self.direct = nn.Parameter(torch.ones(dim))
        self._kept = Kept()  # of `_step_constants`

    def poles(self, dtype: torch.dtype | None = None) -> Tensor:
        """Poles as used, (k, 2): real and imaginary parts, |lambda| < 1 for any parameter value."""
        return make_poles(self.octave, self.turns * self.spacing, dtype or self._dtype(self.octave))

    def time_scales(self) -> Tensor:
        """Time scales tau, (k,), in steps: a resonator's amplitude falls by the factor e in each."""
        return decay_rate(self.octave).reciprocal()

    def frequencies(self) -> Tensor:
        """Frequencies of the resonators, (k,), in cycles per step, in -1/2 .. 1/2."""
        re, im = self.poles(torch.float64).unbind(1)
        return torch.atan2(im, re) / (2 * math.pi)

    def response(self, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        """Frequency response (eq:response) at frequencies in cycles per step: (re, im), each (frequencies, dim)."""
        pole = self.poles().double()
        factor = torch.view_as_complex(unit_readout(self.readout.double(), pole)).T  # (k, dim)
        pole, delay = torch.view_as_complex(pole), torch.exp(-2j * math.pi * frequencies.double())[:, None]
        pair = (1 / (1 - delay * pole)) @ factor + (1 / (1 - delay * pole.conj())) @ factor.conj()
        h = self.direct.double() + pair / 2  # (frequencies, dim)
        return h.real, h.imag

    def kernel(self, n: int) -> Tensor:
        """First n samples of the impulse response, (n, dim)."""
        return chunked.kernel(*self.constants(n), self.direct).T

    def constants(self, count: int, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Powers lambda^0 .. lambda^(count-1), (count, k, 2), and unit readout (dim, k, 2): what the engines take."""
        run = powers_and_readout if chunked.transformed() else _PowersAndReadout.apply
        return run(self.octave, self.turns * self.spacing, self.readout.to(dtype or self.readout.dtype), count)

    def _dtype(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(torch.promote_types(x.dtype, self.octave.dtype), torch.float32)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> Tensor:
        """Zero state (batch, dim, k, 2), in float32 at least."""
        dtype = torch.promote_types(dtype or self.octave.dtype, torch.float32)
        shape = (batch, self.dim, self.num_resonators, 2)
        return torch.zeros(shape, device=device or self.octave.device, dtype=dtype)

    def _check_state(self, state: Tensor, batch: int) -> None:
        expected = (batch, self.dim, self.num_resonators, 2)
        if state.shape != expected:
            raise ValueError(f"expected a state of shape {expected}, got {tuple(state.shape)}")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mix x (batch, n, dim) from the zero state: (batch, n, dim), zero after each sequence's length."""
        return self.extend(x, None, lengths)[0]

    def extend(self, x: Tensor, state: Tensor | None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Mix x, the continuation of `state` (None: zero): y and, given a state, the one after each sequence."""
        check_sequences(x, self.dim)
        if state is not None:
            self._check_state(state, x.shape[0])
        n, (x, lengths, padding) = x.shape[1], masked(x, lengths)
        engine = choose_causal_engine(n) if self.engine == "auto" else self.engine
        if torch.onnx.is_in_onnx_export() or (not torch.compiler.is_compiling() and x.shape[0] == 0):
            engine = "chunked"  # FFT libraries refuse an empty batch, ONNX's lose digits
        with without_autocast(x):  # a state in half precision would lose small summands
            work = self._dtype(x)
            u = x.to(work).permute(2, 0, 1)  # (dim, batch, n)
            start = None if state is None else state.to(work).transpose(0, 1)
            powers, readout = self.constants(1 + (chunk_size(n) if engine == "chunked" else n), work)
            if engine == "chunked":
                y, states = chunked.by_chunks(u, powers, readout, self.direct.to(work), start)
            else:
                y = chunked.by_fft(u, powers, readout, self.direct.to(work), start)
                states = None if start is None else start[:, :, None]  # one chunk
            y = y.permute(1, 2, 0).to(x.dtype)
            if state is not None:
                ends = torch.full(x.shape[:1], n, device=x.device) if lengths is None else lengths
                state = chunked.end_state(u, powers, ends, states).transpose(0, 1)
        return (y if padding is None else y.masked_fill(padding, 0.0)), state

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One sample of the recurrence: x (batch, dim) and a state (batch, dim, k, 2) give y and the next state."""
        self._check_state(state, check_sequences(x, self.dim, ()).shape[0])
        work = self._dtype(x)
        pole, readout = self._step_constants(work)
        u = x.to(work)
        state = chunked.paired_product(state.to(work), pole)
        state[..., 0] += u[..., None]
        y = torch.addcmul((state * readout).sum((-1, -2)), u, self.direct.to(work))
        return y.to(x.dtype), state

    def _step_constants(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Poles (k, 2) and conjugate readout (dim, k, 2)."""
        return self._kept(self._make_step_constants, dtype, self.octave, self.turns, self.spacing, self.readout)

    def _make_step_constants(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        pole = self.poles(dtype)
        return pole, chunked.conjugate(unit_readout(self.readout.to(dtype), pole))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_resonators={self.num_resonators}, engine={self.engine!r}"
