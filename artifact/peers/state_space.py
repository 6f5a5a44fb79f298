"""Diagonal linear recurrences that do not depend on the input: S4D and the LRU, for the block of `relatives`.

    S4D    x_t = e^(D A) x_(t-1) + u_t,    y_t = 2 Re sum_n C_n (e^(D A_n) - 1) / A_n x_tn + D u_t     a channel
    LRU    x_t = lambda x_(t-1) + gamma B u_t,    y_t = Re C x_t + D u_t                               all channels

Sources: Gu, Goel, Gupta, Re, "On the parameterization and initialization of diagonal state space models" (2022),
S4D-Lin, zero-order hold; Orvieto et al., "Resurrecting recurrent neural networks for long sequences" (2023).  Unlike
there no parameter has a learning rate of its own, and D starts at one, as the direct gain of `CausalMixing` does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 32  # steps of a chunk of the LRU, and the least of the two levels of S4D's kernel


class S4D(nn.Module):
    """Poles of its own for each channel, in `pairs` conjugate pairs, from a discretised continuous-time system.

    value (batch, n, dim) -> (batch, n, dim); `u` is not read.  State: complex (batch, dim, pairs).
    Parameters: dim (4 pairs + 2).  Cost: n log n a channel by FFT, and 2 n pairs for the kernel: the powers of a pole
    are products of a power below B and one of e^(D A B), so that the kernel is a matrix product.
    """

    def __init__(self, dim: int, pairs: int = 32):
        super().__init__()
        if dim < 1 or pairs < 1:
            raise ValueError(f"expected dim >= 1 and pairs >= 1, got dim={dim}, pairs={pairs}")
        self.dim, self.pairs = dim, pairs
        self.log_step = nn.Parameter(torch.empty(dim).uniform_(math.log(1e-3), math.log(1e-1)))
        self.log_decay = nn.Parameter(torch.full((dim, pairs), math.log(0.5)))  # A = -e^log_decay + i frequency
        self.frequency = nn.Parameter(math.pi * torch.arange(pairs).float().repeat(dim, 1))
        self.readout = nn.Parameter(torch.randn(dim, pairs, 2) * math.sqrt(0.5))
        self.direct = nn.Parameter(torch.ones(dim))

    def poles(self) -> tuple[Tensor, Tensor]:
        """log of the poles, D A, and the readout 2 C (e^(D A) - 1) / A, complex (dim, pairs)."""
        rate = torch.complex(-self.log_decay.exp(), self.frequency)
        log = rate * self.log_step.exp()[:, None]
        return log, 2 * torch.view_as_complex(self.readout) * torch.expm1(log) / rate

    def kernel(self, n: int) -> Tensor:
        """The impulse response without D, (dim, n)."""
        (log, readout), size = self.poles(), max(CHUNK, math.isqrt(n - 1) + 1)  # size^2 >= n
        place = torch.arange(size, device=log.device)
        low = (log[..., None] * place).exp()  # (dim, pairs, B)
        high = readout[..., None] * (log[..., None] * (size * place[: -(-n // size)])).exp()  # (dim, pairs, n / B)
        left, right = torch.cat([high.real, -high.imag], 1), torch.cat([low.real, low.imag], 1)
        return (left.mT @ right).flatten(1)[:, :n]

    def forward(self, u: Tensor, value: Tensor) -> Tensor:
        n, x = value.shape[1], value.permute(2, 0, 1)  # (dim, batch, n)
        spectrum = torch.fft.rfft(x, 2 * n) * torch.fft.rfft(self.kernel(n), 2 * n)[:, None]
        return torch.fft.irfft(spectrum, 2 * n)[..., :n].permute(1, 2, 0) + value * self.direct

    def initial_state(self, batch: int) -> Tensor:
        """The zero state."""
        return torch.complex(*self.readout.new_zeros(2, batch, self.dim, self.pairs))

    def step(self, u: Tensor, value: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One token: value (batch, dim) -> (batch, dim), and the next state."""
        log, readout = self.poles()
        state = state * log.exp() + value[..., None]
        return (state * readout).sum(-1).real + value * self.direct, state


class LRU(nn.Module):
    """`states` complex poles of learned magnitude and phase between two dense complex maps.

    value (batch, n, dim) -> (batch, n, dim); `u` is not read.  State: complex (batch, states).
    Magnitudes start in a ring, r^2 uniform between 0.9^2 and 0.999^2, phases uniform over the circle.
    Parameters: 4 dim states + 3 states + dim.  Cost: n states (4 dim + 4 B) multiply-adds in chunks of B.
    """

    def __init__(self, dim: int, states: int, *, ring: tuple[float, float] = (0.9, 0.999)):
        super().__init__()
        if dim < 1 or states < 1:
            raise ValueError(f"expected dim >= 1 and states >= 1, got dim={dim}, states={states}")
        self.dim, self.states = dim, states
        magnitude = torch.empty(states).uniform_(ring[0] ** 2, ring[1] ** 2).sqrt()
        self.log_decay = nn.Parameter((-magnitude.log()).log())  # lambda = exp(-e^log_decay + i phase)
        self.phase = nn.Parameter(torch.empty(states).uniform_(0, 2 * math.pi))
        self.log_gain = nn.Parameter((1 - magnitude.square()).sqrt().log())
        self.collect = nn.Linear(dim, 2 * states, bias=False)  # real and imaginary parts
        self.read = nn.Linear(2 * states, dim, bias=False)
        self.direct = nn.Parameter(torch.ones(dim))

    def collected(self, value: Tensor) -> Tensor:
        """gamma B u, complex (..., states)."""
        return torch.complex(*(self.collect(value).unflatten(-1, (2, -1)) * self.log_gain.exp()).unbind(-2))

    def output(self, x: Tensor, value: Tensor) -> Tensor:
        """Re C x + D u of states x, complex (..., states): (..., dim)."""
        return self.read(torch.cat([x.real, x.imag], dim=-1)) + value * self.direct

    def log_pole(self) -> Tensor:
        """log lambda, complex (states,)."""
        return torch.complex(-self.log_decay.exp(), self.phase)

    def forward(self, u: Tensor, value: Tensor) -> Tensor:
        return self.output(diagonal_scan(self.log_pole(), self.collected(value)), value)

    def initial_state(self, batch: int) -> Tensor:
        """The zero state."""
        return torch.complex(*self.phase.new_zeros(2, batch, self.states))

    def step(self, u: Tensor, value: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One token: value (batch, dim) -> (batch, dim), and the next state."""
        state = state * self.log_pole().exp() + self.collected(value)
        return self.output(state, value), state


def diagonal_scan(log_pole: Tensor, x: Tensor, size: int = CHUNK) -> Tensor:
    """x_t <- lambda x_(t-1) + x_t in chunks: complex (batch, n, states) of log lambda (states,).

    In a chunk a Toeplitz product for each state, (B, B); between chunks a loop.
    """
    batch, n, states = x.shape
    place = torch.arange(size, device=x.device)
    powers = (log_pole[:, None] * torch.arange(size + 1, device=x.device)).exp()  # (states, B + 1)
    lag = place - place[:, None]  # t - s, at row s
    toeplitz = powers[:, lag.clamp_min(0)] * (lag >= 0)
    parts = F.pad(x, (0, 0, 0, -n % size)).unflatten(1, (-1, size)).permute(3, 0, 1, 2)  # (states, batch, chunks, B)
    own = (parts.flatten(1, 2) @ toeplitz).view(states, batch, -1, size)
    carried, every, turn = torch.zeros_like(own[:, :, 0, 0]), [], powers[:, -1:]
    for last in own[..., -1].unbind(2):
        every.append(carried)
        carried = torch.addcmul(last, carried, turn)
    own = own + torch.stack(every, dim=2)[..., None] * powers[:, None, None, 1:]
    return own.permute(1, 2, 3, 0).flatten(1, 2)[:, :n]
