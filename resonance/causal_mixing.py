"""CausalMixing: k damped resonators along a sequence, trained in parallel and run as a recurrence.

    s_t = lambda s_(t-1) + x_t,   y_t = b x_t + Re sum_j c_j sqrt(1 - |lambda_j|^2) s_tj

The poles lambda are polar and stable for any parameter value (`causal_poles`).  All channels share them; each channel
has its own complex readout c_j and direct gain b.  A resonator has unit energy, whatever its time scale:
sum_l (1 - |lambda|^2) |lambda|^2l = 1.

Relatives: the poles of the LRU (Orvieto et al. 2023) are polar too, under dense input and output maps; S4D (Gu et al.
2022) gives each channel poles of its own, which the parallel form here could not share in one product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .engines.chunked import (
    OCTAVES,
    by_chunks,
    by_fft,
    conjugate,
    constants,
    end_by_chunks,
    end_by_powers,
    make_energy,
    make_poles,
    make_readout,
    octave_of,
    turned,
)
from .engines.chunked import kernel as impulse_response
from .layers import length_mask
from .spectral import check_sequences

ENGINES = ("auto", "fft", "chunked")


# Measured on 2 cores, float32, k = 16, batches of 1 and 16 (`python -m artifact.studies.causal.benchmark engines`).
LONGEST_FFT, LONGEST_SHORT_CHUNKS = 128, 4096


def choose_engine(n: int) -> str:
    """Return the engine that is fastest at length n, by measurement: FFT up to 128 samples."""
    return "fft" if n <= LONGEST_FFT else "chunked"


def chunk_size(n: int) -> int:
    """Return B, the chunk that is fastest at length n, by measurement: 32, and 64 beyond 4096 samples."""
    return min(n, 32 if n <= LONGEST_SHORT_CHUNKS else 64)


class CausalMixing(nn.Module):
    """Mix a sequence causally by damped resonators: y = h * x, one kernel h a channel, poles shared by the channels.

        h_l = b [l = 0] + Re sum_j c_j sqrt(1 - |lambda_j|^2) lambda_j^l

    x: (batch, n, dim) -> (batch, n, dim), linear in x; a state is (batch, dim, k, 2), the resonators' real and
    imaginary parts.  At the start time scales are even in octaves from 2 steps to `longest`, and resonators turn by 0,
    1/4, 1/2 and 1 cycle in one time scale; `turns` counts cycles in the time scale at the start, so that a slow
    resonator's frequency moves as finely as it can hear, and a change of one of the two leaves the other alone.
    Raises ValueError for a wrong shape, length or engine.  Parameters: 2 k for the poles, (2k + 1) dim.
    Cost: n (B + 4k) dim multiply-adds in chunks of B; 6 k dim a step.  Computed in float32 at least.
    """

    def __init__(self, dim: int, num_resonators: int, *, longest: float = 2048, engine: str = "auto"):
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
        self._kept: tuple[list[Tensor], tuple[Tensor, Tensor]] | None = None  # of `_step_constants`

    # ----------------------------------------------------------------------- the layer read as a filter

    def _frequency(self) -> Tensor:
        return self.turns * self.spacing

    def poles(self) -> Tensor:
        """Return the poles as used, (k, 2): real and imaginary parts, |lambda| < 1."""
        return make_poles(self.octave, self._frequency(), self._dtype(self.octave))[0]

    def time_scales(self) -> Tensor:
        """Return tau, (k,), in steps: a resonator's amplitude falls by the factor e in so many."""
        return make_poles(self.octave, self._frequency(), torch.float64)[1].reciprocal()

    def frequencies(self) -> Tensor:
        """Return the resonators' frequencies, (k,), in cycles per step, in -1/2 .. 1/2."""
        re, im = make_poles(self.octave, self._frequency(), torch.float64)[0].unbind(1)
        return torch.atan2(im, re) / (2 * math.pi)

    def response(self, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frequency response (re, im), each (frequencies, dim), at frequencies in cycles per step.

        The z-transform of the kernel on the unit circle; computed in float64.
        """
        pole = self.poles().double()
        factor = torch.view_as_complex(make_readout(self.readout.double(), make_energy(pole))).T
        pole = torch.view_as_complex(pole)
        back = torch.exp(-2j * math.pi * frequencies.double())[:, None]
        # Re(c lambda^l) is half of c lambda^l and half of its conjugate, whose pole is the conjugate one.
        pair = (1 / (1 - back * pole)) @ factor + (1 / (1 - back * pole.conj())) @ factor.conj()
        answer = self.direct.double() + pair / 2
        return answer.real, answer.imag

    def kernel(self, n: int) -> Tensor:
        """Return the first n samples of the impulse response, (n, dim)."""
        powers, readout = constants(self.octave, self._frequency(), self.readout, n)
        return impulse_response(powers, readout, self.direct).T

    # ----------------------------------------------------------------------- state

    def _dtype(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(torch.promote_types(x.dtype, self.octave.dtype), torch.float32)

    def initial_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return the state of silence, zeros (batch, dim, k, 2), in float32 at least."""
        dtype = torch.promote_types(dtype or self.octave.dtype, torch.float32)
        shape = (batch, self.dim, self.num_resonators, 2)
        return torch.zeros(shape, device=self.octave.device if device is None else device, dtype=dtype)

    def _check_state(self, state: Tensor, batch: int) -> None:
        expected = (batch, self.dim, self.num_resonators, 2)
        if state.shape != expected:
            raise ValueError(f"expected a state of shape {expected}, got {tuple(state.shape)}")

    # ----------------------------------------------------------------------- the map

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the mixed sequence from silence; x and the result are (batch, n, dim), zero behind a length."""
        return self._run(x, None, lengths)[0]

    def extend(self, x: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the mixed sequence that goes on from `state`, and the state behind it (behind each own length)."""
        return self._run(x, state, lengths)

    def _run(self, x: Tensor, state: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        check_sequences(x, self.dim)
        if state is not None:
            self._check_state(state, len(x))
        inside = None if lengths is None else length_mask(x, lengths)
        with torch.autocast(x.device.type, enabled=False):  # in half precision a state would lose what it gathers
            work = self._dtype(x)
            u = (x if inside is None else x.masked_fill(~inside, 0.0)).to(work).permute(2, 0, 1)
            start = None if state is None else state.to(work).transpose(0, 1)
            y, end = self._channels_first(u, start, lengths)
            y = y.permute(1, 2, 0).to(x.dtype)
        return (y if inside is None else y.masked_fill(~inside, 0.0)), end

    def _channels_first(self, u: Tensor, start: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return y (dim, batch, n) of u (dim, batch, n), and with a start also the state behind, batch first."""
        n = u.shape[-1]
        engine = choose_engine(n) if self.engine == "auto" else self.engine
        size = chunk_size(n) if engine == "chunked" else n
        powers, readout = constants(self.octave, self._frequency(), self.readout.to(u.dtype), size + 1)
        direct = self.direct.to(u.dtype)
        if engine == "chunked":
            y, states = by_chunks(u, powers, readout, direct, start)
        else:
            y = by_fft(u, powers, readout, direct, start)
        if start is None:
            return y, None
        if engine == "chunked" and lengths is None and n % size == 0:
            return y, states[:, :, -1].transpose(0, 1)
        many = torch.as_tensor(n if lengths is None else lengths, device=u.device).expand(u.shape[1])
        end = end_by_chunks(u, powers, many, states) if engine == "chunked" else end_by_powers(u, powers, many, start)
        return y, end.transpose(0, 1)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the next state for one sample; x and y are (batch, dim), the state (batch, dim, k, 2)."""
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected one sample of shape (batch, {self.dim}), got {tuple(x.shape)}")
        self._check_state(state, len(x))
        work = self._dtype(x)
        pole, readout = self._step_constants(work)
        u = x.to(work)
        state = turned(state.to(work), pole)
        state[..., 0] += u[..., None]
        y = torch.addcmul((state * readout).sum((-1, -2)), u, self.direct.to(work))
        return y.to(x.dtype), state

    def _step_constants(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the poles (k, 2) and the conjugate readout (dim, k, 2); without gradients they are kept.

        What is kept is used while the parameters equal those it was made of, value by value: no change is overlooked,
        whoever made it, and comparing costs a tenth of computing.
        """
        keep = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        parameters = (self.octave, self.turns, self.spacing, self.readout)
        if keep and self._kept is not None:
            made_of, made = self._kept
            if (
                made[0].dtype == dtype
                and made[0].device == self.octave.device
                and all(map(torch.equal, made_of, parameters))
            ):
                return made
        pole = make_poles(self.octave, self._frequency(), dtype)[0]
        made = pole, conjugate(make_readout(self.readout.to(dtype), make_energy(pole)))
        if keep:
            self._kept = [p.detach().clone() for p in parameters], made
        return made

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_resonators={self.num_resonators}, engine={self.engine!r}"
