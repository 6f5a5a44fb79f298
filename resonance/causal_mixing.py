"""CausalMixing: k damped resonators along a sequence, trained in parallel and run as a recurrence.

    lambda_j = exp((-1 + 2 pi i q_j) / tau_j)          time scale tau (steps), turns q (cycles in one time scale)
    s_t = lambda s_(t-1) + x_t,   y_t = b x_t + Re sum_j c_j sqrt(1 - |lambda_j|^2) s_tj

The poles are polar: magnitude exp(-1/tau), phase 2 pi q / tau.  tau = 2^o with an octave o bounded between -4 and 20,
so that |lambda| < 1 for any value of the parameters, in float32 too.  All channels share the poles; each has its own
complex readout c_j and direct gain b.  A resonator has unit energy, whatever its time scale: sum_l (1 - |lambda|^2)
|lambda|^2l = 1.

Relatives: the poles of the LRU (Orvieto et al. 2023) are polar too, exp(-exp(nu) + i theta), with one dense input map;
S4D (Gu et al. 2022) has poles for each channel, which make its parallel form ten times slower here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .causal_engines import by_chunks, by_fft, end_by_chunks, end_by_powers, turned
from .layers import length_mask
from .spectral import check_sequences

ENGINES = ("auto", "fft", "chunked")
OCTAVES = (-4.0, 20.0)  # bounds on log2 of a time scale, in steps


def chunk_size(n: int) -> int:
    """Return B, the chunk that is fastest at length n, by measurement (`python -m resonance.causal_benchmark`)."""
    return min(n, 32 if n <= 2048 else 64 if n <= 8192 else 128)


def choose_engine(n: int) -> str:
    """Return the engine that is fastest at length n, by measurement (`python -m resonance.causal_benchmark`)."""
    return "chunked"


class CausalMixing(nn.Module):
    """Mix a sequence causally by damped resonators: y = h * x, one kernel h a channel, poles shared by the channels.

        h_l = b [l = 0] + Re sum_j c_j sqrt(1 - |lambda_j|^2) lambda_j^l

    x: (batch, n, dim) -> (batch, n, dim), linear in x; a state is (batch, dim, k, 2), the resonators' real and
    imaginary parts.  At the start time scales are even in octaves from 2 steps to `longest`, and turns are 0, 1/4,
    1/2 and 1 cycle in one time scale.
    Raises ValueError for a wrong shape, length or engine.  Parameters: 2 k for the poles, (2k + 1) dim.
    Cost: n (B + 4k) dim multiply-adds in chunks of B; 6 k dim a step.  Computed in float32 at least.
    """

    def __init__(self, dim: int, num_resonators: int, *, longest: float = 2048, engine: str = "auto"):
        super().__init__()
        if dim < 1 or num_resonators < 1:
            raise ValueError(
                f"expected dim >= 1 and num_resonators >= 1, got dim={dim}, num_resonators={num_resonators}"
            )
        if not 2 <= longest <= 2**19:
            raise ValueError(
                f"expected longest, the longest time scale at the start, in 2..{2**19} steps, got {longest}"
            )
        if engine not in ENGINES:
            raise ValueError(f"unknown engine {engine!r}: expected one of {', '.join(ENGINES)}")
        self.dim, self.num_resonators, self.engine = dim, num_resonators, engine
        k = num_resonators
        octave = torch.linspace(1.0, math.log2(longest), k, dtype=torch.float64)
        middle, reach = sum(OCTAVES) / 2, (OCTAVES[1] - OCTAVES[0]) / 2
        self.octave = nn.Parameter((middle + reach * torch.atanh((octave - middle) / reach)).float())
        self.turns = nn.Parameter(torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(-(-k // 4))[:k])
        self.readout = nn.Parameter(torch.randn(2 * k, dim) / math.sqrt(k))
        self.direct = nn.Parameter(torch.ones(dim))

    def poles(self, dtype: torch.dtype | None = None) -> Tensor:
        """Return the poles, (2, k): real and imaginary parts, rounded to `dtype` (by default the parameters').

        Computed in float64.  Every form of the map uses these rounded numbers and their exact powers: a recurrence
        multiplies by nothing else.
        """
        middle, reach = sum(OCTAVES) / 2, (OCTAVES[1] - OCTAVES[0]) / 2
        rate = torch.exp2(-(middle + reach * torch.tanh((self.octave.double() - middle) / reach)))
        size = torch.exp(-rate)
        angle = 2 * math.pi * torch.remainder(rate * self.turns.double(), 1.0)
        return torch.stack([size * angle.cos(), size * angle.sin()]).to(dtype or self.octave.dtype)

    def time_scales(self) -> Tensor:
        """Return tau, (k,), in steps: a resonator's amplitude falls by e in so many."""
        return -1.0 / self.poles(torch.float64).square().sum(0).log().mul(0.5)

    def frequencies(self) -> Tensor:
        """Return the resonators' frequencies, (k,), in cycles per step, in -1/2 .. 1/2."""
        re, im = self.poles(torch.float64)
        return torch.atan2(im, re) / (2 * math.pi)

    def response(self, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frequency response (re, im), each (frequencies, dim), at frequencies in cycles per step."""
        poles, readout, direct = self._constants(torch.float64)
        pole, factor = torch.complex(*poles), torch.complex(*readout.chunk(2))
        z = torch.exp(-2j * math.pi * frequencies.double())[:, None]
        # Re(c lambda^l) is half of c lambda^l and half of its conjugate, which is a pole of its own.
        pair = (1 / (1 - z * pole)) @ factor + (1 / (1 - z * pole.conj())) @ factor.conj()
        answer = direct + pair / 2
        return answer.real, answer.imag

    def _constants(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Return the poles (2, k), the readout (2k, dim) of unit resonators, and the direct gains, in a dtype."""
        poles = self.poles(dtype)
        # From the rounded poles: the norm of what is computed, and below 1 by construction.
        energy = (1.0 - poles.double().square().sum(0)).sqrt().to(dtype)
        return poles, self.readout.to(dtype) * energy.repeat(2)[:, None], self.direct.to(dtype)

    def _dtype(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(torch.promote_types(x.dtype, self.octave.dtype), torch.float32)

    def initial_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return the state of silence, zeros (batch, dim, k, 2)."""
        dtype = torch.promote_types(dtype or self.octave.dtype, torch.float32)
        shape = (batch, self.dim, self.num_resonators, 2)
        return torch.zeros(shape, device=self.octave.device if device is None else device, dtype=dtype)

    def _check_state(self, state: Tensor, batch: int) -> None:
        expected = (batch, self.dim, self.num_resonators, 2)
        if state.shape != expected:
            raise ValueError(f"expected a state of shape {expected}, got {tuple(state.shape)}")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the mixed sequence from silence; x and the result are (batch, n, dim), zero behind a length."""
        return self._run(x, None, lengths, False)[0]

    def extend(self, x: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the mixed sequence that goes on from `state`, and the state behind it (behind each own length)."""
        self._check_state(state, len(x))
        return self._run(x, state, lengths, True)

    def _run(self, x: Tensor, state: Tensor | None, lengths: Tensor | None, ask: bool) -> tuple[Tensor, Tensor | None]:
        check_sequences(x, self.dim)
        kind, dtype, n = x.device.type, x.dtype, x.shape[1]
        inside = None if lengths is None else length_mask(x, lengths)
        engine = choose_engine(n) if self.engine == "auto" else self.engine
        with torch.autocast(kind, enabled=False):  # in half precision a state would lose what it gathers
            work = self._dtype(x)
            constants = self._constants(work)
            u = x.to(work) if inside is None else x.to(work).masked_fill(~inside, 0.0)
            u = u.permute(2, 0, 1)
            start = None if state is None else state.to(work).transpose(0, 1)
            if engine == "fft":
                y = by_fft(u, *constants, start)
            else:
                y, states, table = by_chunks(u, *constants, start, chunk_size(n))
            end = None
            if ask and lengths is None and engine == "chunked" and n % (len(table) - 1) == 0:
                end = states[:, :, -1].transpose(0, 1)
            elif ask:
                many = torch.as_tensor(n if lengths is None else lengths, device=x.device).expand(len(x))
                if engine == "fft":
                    end = end_by_powers(u, constants[0], many, start).transpose(0, 1)
                else:
                    end = end_by_chunks(u, states, table, many).transpose(0, 1)
            y = y.permute(1, 2, 0).to(dtype)
        return (y if inside is None else y.masked_fill(~inside, 0.0)), end

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the next state for one sample; x and y are (batch, dim), the state (batch, dim, k, 2)."""
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected one sample of shape (batch, {self.dim}), got {tuple(x.shape)}")
        self._check_state(state, len(x))
        with torch.autocast(x.device.type, enabled=False):
            work = self._dtype(x)
            poles, readout, direct = self._constants(work)
            u = x.to(work)
            state = turned(state.to(work), poles.flatten())
            state = torch.stack([state[..., 0] + u[..., None], state[..., 1]], dim=-1)
            re, im = readout.T.chunk(2, dim=1)
            y = direct * u + (state[..., 0] * re - state[..., 1] * im).sum(-1)
            return y.to(x.dtype), state

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_resonators={self.num_resonators}, engine={self.engine!r}"
