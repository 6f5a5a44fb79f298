"""TurningMixing: resonators in a frame that every token turns, a causal mixing that can count.

    "plane"  R turns pairs of channels by an angle: a cumulative sum.  With `grid`, angles are whole multiples of a
             turn / grid and the sum is one of integers modulo the grid: exact at any length.
    "space"  R turns three of each four channels, v -> q v q*, by a unit quaternion q: turns that do not commute.

Prior art: Grazzi et al. 2025 (eigenvalues below zero), Mamba-3 (2026), whose angles are our plane with free angles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .causal_mixing import CausalMixing, masked
from .settings import WithSettings, placed
from .spectral import check_sequences, without_autocast

CHANNELS = {"plane": 2, "space": 4}  # that turn together
ANGLES = {"plane": 1, "space": 3}  # numbers of a head's turn


def product(p: Tensor, q: Tensor) -> Tensor:
    """Product p q of quaternions (..., 4), real part first, with broadcasting."""
    (a, b, c, d), (e, f, g, h) = p.unbind(-1), q.unbind(-1)
    re, i = a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g
    j, k = a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e
    return torch.stack([re, i, j, k], dim=-1)


def conjugate(q: Tensor) -> Tensor:
    """Conjugate of quaternions (..., 4): the inverse of a unit quaternion."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def unit_quaternion(turn: Tensor) -> Tensor:
    """Quaternion (..., 4) of a rotation by |turn| cycles about the axis of `turn`, (..., 3)."""
    square = turn.square().sum(-1, keepdim=True)
    half = math.pi * (square + torch.finfo(turn.dtype).tiny).sqrt()  # half the angle; its gradient is finite at zero
    return torch.cat([half.cos(), math.pi * turn * torch.sinc(half / math.pi)], dim=-1)


def prefix_products(q: Tensor) -> Tensor:
    """Products q_t ... q_1 of quaternions (batch, n, heads, 4) along n: 2 n products, 2 log2 n of them in sequence."""
    n = q.shape[1]
    if n == 1:
        return q
    pairs = prefix_products(product(q[:, 1::2], q[:, : n - 1 : 2]))  # those of even t, (batch, n // 2, heads, 4)
    odd = product(q[:, 2::2], pairs[:, : (n - 1) // 2])
    odd = torch.cat([q[:, :1], odd], dim=1)  # those of odd t, (batch, (n + 1) // 2, heads, 4)
    both = torch.stack([odd[:, : n // 2], pairs], dim=2).flatten(1, 2)
    return torch.cat([both, odd[:, n // 2 :]], dim=1)


class TurningMixing(WithSettings):
    """Mix a sequence causally by resonators in a frame that its tokens turn, eq:turning.

        F_t = R(W x_t) F_(t-1),  F_0 = 1,    y_t = F_t [(h * F' x)_t + a]

    F, the frame: one rotation a head; h as in eq:causal; a, the `anchor`, which does not fade.
    x: (batch, n, dim) -> (batch, n, dim).  W starts at zero: the layer is then `CausalMixing`, plus a, which starts at
    zero too.  `turns`: "plane", by angles, which commute, or "space", by unit quaternions, which do not; each of
    `heads` turns dim / heads channels alike.  What either can and cannot express: prop:tracking.  `grid`, for "plane":
    angles are rounded to turns / grid, their gradients pass unchanged, and phases are exact at any length.
    A state is (batch, dim, k + 1, 2): the resonators', in the frame of the start, and in the last place the frame.
    In space an exported graph has one length.  Raises ValueError for a wrong shape, length, state or option.
    Parameters: as `CausalMixing`, dim, and dim heads or, in space, 3 dim heads.
    Cost: as `CausalMixing`, and n dim (heads + 4) or, in space, n dim (3 heads + 64) multiply-adds.

    >>> layer, x = TurningMixing(8, 3, heads=2), torch.randn(2, 10, 8)
    >>> torch.allclose(layer(x), layer.mixing(x), atol=1e-4)  # until `turn` is trained
    True
    """

    defines = "turns", "grid"

    @placed
    def __init__(
        self,
        dim: int,
        num_resonators: int,
        heads: int = 4,
        *,
        turns: str = "plane",
        grid: int | None = None,
        longest: float = 2048,
        engine: str = "auto",
        device=None,
        dtype=None,
    ):
        super().__init__()
        if turns not in CHANNELS:
            raise ValueError(f"unknown turns {turns!r}: expected one of {', '.join(CHANNELS)}")
        if heads < 1 or dim % (CHANNELS[turns] * heads):
            raise ValueError(f"expected dim, a multiple of {CHANNELS[turns]} heads >= 1, got dim={dim}, heads={heads}")
        if grid is not None and (turns != "plane" or not 2 <= grid <= 2**20):
            raise ValueError(f"expected a grid of 2 to 2^20 for turns='plane' alone, got grid={grid}, turns={turns!r}")
        self.dim, self.heads, self.turns, self.grid = dim, heads, turns, grid
        self.mixing = CausalMixing(dim, num_resonators, longest=longest, engine=engine)
        self.turn = nn.Parameter(torch.zeros(heads * ANGLES[turns], dim))
        self.anchor = nn.Parameter(torch.zeros(dim))

    def turns_of(self, x: Tensor) -> Tensor:
        """Turns of tokens x (..., dim) in cycles, as used: (..., heads) in a plane, (..., heads, 3) in space."""
        turn = x @ self.turn.to(x.dtype).T
        if self.turns == "space":
            return turn.unflatten(-1, (self.heads, 3))
        if self.grid is None:
            return turn
        return turn + ((turn * self.grid).round() / self.grid - turn).detach()

    def frames(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """Frames after each token of x (batch, n, dim), from `start`, by default the frame of no turn.

        In a plane (batch, n, heads), phases in cycles, on a grid exact multiples; in space (batch, n, heads, 4).
        """
        turn = self.turns_of(x)
        if self.turns == "space":
            frames = prefix_products(unit_quaternion(turn))
            frames = frames if start is None else product(frames, start[:, None])
            return torch.nn.functional.normalize(frames, dim=-1)
        first = 0.0 if start is None else start[:, None]
        total = turn.double().cumsum(1) + first
        if self.grid is not None:  # integers: their sum is exact, and its value replaces the rounded one
            exact = (turn.detach().double() * self.grid).round().long().cumsum(1)
            exact = torch.remainder(exact + torch.as_tensor(first * self.grid).round().long(), self.grid)
            return (total - total.detach() + exact.double() / self.grid).to(x.dtype)
        return torch.remainder(total, 1.0).to(x.dtype)

    def turned(self, x: Tensor, frames: Tensor, *, back: bool = False) -> Tensor:
        """F x, or F' x (`back`), of x (..., dim) and frames (..., heads) or (..., heads, 4)."""
        parts = x.unflatten(-1, (self.heads, -1, CHANNELS[self.turns]))  # (..., heads, groups, 2 or 4)
        if self.turns == "space":
            q = frames[..., None, :]  # (..., heads, 1, 4)
            p, q = (conjugate(q), q) if back else (q, conjugate(q))
            return product(product(p, parts), q).flatten(-3)
        angle = (2 * math.pi) * frames[..., None]  # (..., heads, 1)
        cos, sin = angle.cos(), angle.sin() * (-1 if back else 1)
        re, im = parts.unbind(-1)
        return torch.stack([re * cos - im * sin, re * sin + im * cos], dim=-1).flatten(-3)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> Tensor:
        """State before any token, (batch, dim, k + 1, 2): resonators at zero, frames without a turn."""
        resonators = self.mixing.initial_state(batch, device=device, dtype=dtype)
        frame = resonators.new_zeros(batch, self.heads, 4)
        frame[..., 0] = 1.0
        return self._joined(resonators, frame if self.turns == "space" else frame[..., 1])

    def _joined(self, resonators: Tensor, frame: Tensor) -> Tensor:
        flat = frame.flatten(1).to(resonators.dtype)
        flat = torch.nn.functional.pad(flat, (0, 2 * self.dim - flat.shape[1]))
        return torch.cat([resonators, flat.view(-1, self.dim, 1, 2)], dim=2)

    def _parted(self, state: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        expected = (batch, self.dim, self.mixing.num_resonators + 1, 2)
        if state.shape != expected:
            raise ValueError(f"expected a state of shape {expected}, got {tuple(state.shape)}")
        frame = state[:, :, -1].flatten(1)
        frame = frame[:, : 4 * self.heads].unflatten(1, (-1, 4)) if self.turns == "space" else frame[:, : self.heads]
        return state[:, :, :-1], frame

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mix x (batch, n, dim) from the initial state: (batch, n, dim), zero after each sequence's length."""
        return self.extend(x, None, lengths)[0]

    def extend(self, x: Tensor, state: Tensor | None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Mix x, the continuation of `state` (None: the initial one): y and, given a state, the one after each."""
        check_sequences(x, self.dim)
        resonators, frame = (None, None) if state is None else self._parted(state, x.shape[0])
        x, lengths, padding = masked(x, lengths)
        with without_autocast(x):
            work = torch.promote_types(x.dtype, torch.promote_types(self.turn.dtype, torch.float32))
            u = x.to(work)
            frames = self.frames(u, None if frame is None else frame.to(work))
            mixed, resonators = self.mixing.extend(self.turned(u, frames, back=True), resonators, lengths)
            y = self.turned(mixed + self.anchor.to(work), frames).to(x.dtype)
            if state is not None:
                row = torch.arange(len(x), device=x.device)
                state = self._joined(resonators, frames[row, -1 if lengths is None else lengths - 1])
        return (y if padding is None else y.masked_fill(padding, 0.0)), state

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One token of the recurrence: x (batch, dim) and a state give y (batch, dim) and the next state."""
        resonators, frame = self._parted(state, check_sequences(x, self.dim, ()).shape[0])
        with without_autocast(x):
            work = torch.promote_types(x.dtype, torch.promote_types(self.turn.dtype, torch.float32))
            u = x.to(work)
            frame = self.frames(u[:, None], frame.to(work))[:, 0]
            mixed, resonators = self.mixing.step(self.turned(u, frame, back=True), resonators)
            y = self.turned(mixed + self.anchor.to(work), frame)
        return y.to(x.dtype), self._joined(resonators, frame)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, heads={self.heads}, turns={self.turns!r}, grid={self.grid}"
