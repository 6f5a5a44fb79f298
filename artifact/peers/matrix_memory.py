"""Recurrences whose state is a matrix that the input writes, fades and reads, for the block of `relatives`.

    Mamba-2          S_t = a_t S_(t-1) + k_t (D_t v_t)'                      y_t = S_t' q_t + D v_t
    GLA              S_t = diag(a_t) S_(t-1) + k_t v_t'                      y_t = S_t' q_t
    gated DeltaNet   S_t = a_t S_(t-1) + b_t k_t (v_t - a_t S_(t-1)' k_t)'   y_t = S_t' q_t

Sources: Dao, Gu, "Transformers are SSMs" (2024); Yang et al., "Gated linear attention transformers with
hardware-efficient training" (2024); Yang, Kautz, Hatamizadeh, "Gated delta networks" (2025).  As there, each head's
reading is divided by its root mean square, in Mamba-2 before the gate; values are linear, without a SiLU.
In parallel, chunks by matrix products (`in_chunks`), the delta rule by a triangular system.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]  # query, key, value, log decay, strength or None


class MatrixMemory(nn.Module):
    """What the three share: maps to queries and keys, heads, the norm of a reading.

    (u, value), each (batch, n, dim), -> (batch, n, dim).  State: (batch, heads, features, dim / heads).
    Raises ValueError for heads that do not divide dim, or features < 1.
    """

    chunk = 64

    def __init__(self, dim: int, heads: int, features: int, groups: int):
        super().__init__()
        if heads < 1 or dim < heads or dim % heads or features < 1:
            raise ValueError(f"expected heads that divide dim, features >= 1, got {heads=}, {dim=}, {features=}")
        self.dim, self.heads, self.features = dim, heads, features
        self.query, self.key = (nn.Linear(dim, groups * features, bias=False) for _ in range(2))
        self.scale = nn.Parameter(torch.ones(dim))

    def parts(self, for_query: Tensor, for_key: Tensor, for_gates: Tensor, value: Tensor) -> Parts:
        """Query, key (batch, heads or 1, n, features), value, log decay and strength of inputs (batch, n, dim)."""
        raise NotImplementedError

    def remember_(self, steps: float) -> None:
        """Start with a decay by e in `steps` steps, whatever the input."""
        raise NotImplementedError

    def by_head(self, x: Tensor) -> Tensor:
        """(batch, n, heads width) -> (batch, heads, n, width)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def normed(self, read: Tensor, value: Tensor) -> Tensor:
        """Readings (batch, heads, n, width), each of unit root mean square, as (batch, n, dim)."""
        return F.rms_norm(read, read.shape[-1:], eps=1e-5).transpose(1, 2).flatten(2) * self.scale

    def forward(self, u: Tensor, value: Tensor) -> Tensor:
        return self.normed(in_chunks(*self.parts(u, u, u, value), size=self.chunk), value)

    def initial_state(self, batch: int) -> Tensor:
        """The zero state."""
        return self.scale.new_zeros(batch, self.heads, self.features, self.dim // self.heads)

    def step(self, u: Tensor, value: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One token, u and value (batch, dim): y (batch, dim) and the next state."""
        u, value = u[:, None], value[:, None]
        query, key, values, log_decay, strength = self.parts(u, u, u, value)
        state = state * log_decay.exp().mT
        written = values if strength is None else strength * (values - key @ state)
        state = state + key.mT * written
        return self.normed(query @ state, value)[:, 0], state


class Gates(nn.Module):
    """log a = -e^A softplus(w' u + c), a head, and softplus(w' u + c): the decays of Mamba-2 and gated DeltaNet.

    e^A starts uniform in 1 .. 16, the step softplus(c) log-uniform in 0.001 .. 0.1.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.weight = nn.Linear(dim, heads, bias=False)
        self.bias = nn.Parameter(torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp().expm1().log())
        self.log_rate = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor]:
        step = F.softplus(self.weight(u) + self.bias).transpose(1, 2)[..., None]  # (batch, heads, n, 1)
        return -self.log_rate.exp()[:, None, None] * step, step

    @torch.no_grad()
    def remember_(self, steps: float) -> None:
        """Start with steps of one and a decay by e in `steps` of them."""
        self.weight.weight.zero_()
        self.bias.fill_(math.log(math.expm1(1.0)))
        self.log_rate.fill_(-math.log(steps))


class SelectiveScan(MatrixMemory):
    """Mamba-2: one decay a head, and queries and keys that all heads share, each with a SiLU.

    Parameters: dim (2 features + heads + 1) + 3 heads.  Cost a token: about dim (C + 2 features) in chunks of C.
    """

    def __init__(self, dim: int, heads: int = 4, *, features: int = 64):
        super().__init__(dim, heads, features, 1)
        self.gates = Gates(dim, heads)
        self.direct = nn.Parameter(torch.ones(heads))

    def parts(self, for_query: Tensor, for_key: Tensor, for_gates: Tensor, value: Tensor) -> Parts:
        log_decay, step = self.gates(for_gates)
        query, key = F.silu(self.query(for_query))[:, None], F.silu(self.key(for_key))[:, None]
        return query, key, self.by_head(value) * step, log_decay, None

    def normed(self, read: Tensor, value: Tensor) -> Tensor:
        return super().normed(read + self.direct[:, None, None] * self.by_head(value), value)

    @torch.no_grad()
    def remember_(self, steps: float) -> None:
        self.gates.remember_(steps)
        self.direct.zero_()  # a reading alone, as every other memory gives


class GatedLinearAttention(MatrixMemory):
    """GLA: a decay for every feature, sigmoid(w' u + c)^(1/16), w of rank 16.

    Parameters: dim (2 F + 17) + 17 F for F = heads x features.  Cost as `SelectiveScan`.  In chunks of 32, whose
    decays are taken from the middle: the factors overflow only if a feature falls by e^88 in 16 steps.
    """

    chunk, rank, power = 32, 16, 1 / 16

    def __init__(self, dim: int, heads: int = 2, *, features: int = 64):
        super().__init__(dim, heads, features, heads)
        self.narrow_decay = nn.Linear(dim, self.rank, bias=False)
        self.wide_decay = nn.Linear(self.rank, heads * features, bias=False)
        self.bias = nn.Parameter(torch.zeros(heads * features))

    def parts(self, for_query: Tensor, for_key: Tensor, for_gates: Tensor, value: Tensor) -> Parts:
        decay = self.power * F.logsigmoid(self.wide_decay(self.narrow_decay(for_gates)) + self.bias)
        query = self.query(for_query) * self.features**-0.5
        return self.by_head(query), self.by_head(self.key(for_key)), self.by_head(value), self.by_head(decay), None

    @torch.no_grad()
    def remember_(self, steps: float) -> None:
        self.wide_decay.weight.zero_()
        self.bias.fill_(-math.log(math.expm1(1 / (self.power * steps))))


class GatedDeltaNet(MatrixMemory):
    """Gated DeltaNet: one decay and one strength b in (0, 1) a head; queries and keys SiLU, of unit length.

    Parameters: dim (2 F + 2 heads + 1) + 3 heads for F = heads x features.  Cost as `SelectiveScan`, and a triangular
    system of C equations a chunk.
    """

    def __init__(self, dim: int, heads: int = 2, *, features: int = 64):
        super().__init__(dim, heads, features, heads)
        self.gates = Gates(dim, heads)
        self.strength = nn.Linear(dim, heads, bias=False)
        self.strength_bias = nn.Parameter(torch.zeros(heads))

    def parts(self, for_query: Tensor, for_key: Tensor, for_gates: Tensor, value: Tensor) -> Parts:
        query, key = (
            F.normalize(F.silu(self.by_head(linear(x))), dim=-1)
            for linear, x in ((self.query, for_query), (self.key, for_key))
        )
        strength = self.by_head(self.strength(for_gates) + self.strength_bias).sigmoid()
        return query, key, self.by_head(value), self.gates(for_gates)[0], strength

    @torch.no_grad()
    def remember_(self, steps: float) -> None:
        self.gates.remember_(steps)
        self.strength.weight.zero_()
        self.strength_bias.fill_(-1.0)  # as `PlainRecall` starts


def in_chunks(
    query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, strength: Tensor | None, *, size: int = 64
) -> Tensor:
    """Readings (batch, heads, n, width) of a memory that starts empty, in chunks of `size`.

    query, key: (batch, heads or 1, n, features); log_decay: (batch, heads, n, 1 or features); strength: (batch, heads,
    n, 1) for the delta rule, which needs one decay a head, else None.
    """
    n = value.shape[2]
    parts = (F.pad(x, (0, 0, 0, -n % size)).unflatten(2, (-1, size)) for x in (query, key, value, log_decay))
    query, key, value, log_decay = parts  # (batch, heads, chunks, C, .)
    total = log_decay.cumsum(dim=-2)  # since before the chunk
    end = total[..., -1:, :]
    if log_decay.shape[-1] == 1:
        later = torch.ones(size, size, dtype=torch.bool, device=value.device).triu(1)
        between = (total - total.mT).masked_fill(later, -math.inf).exp()  # from s to t
        scores = (query @ key.mT) * between
    else:
        middle = total[..., size // 2, None, :]
        scores = ((query * (total - middle).exp()) @ (key * (middle - total).exp()).mT).tril()
    first, last = query * total.exp(), (key * (end - total).exp()).mT
    memory = torch.zeros_like(last[:, :, 0] @ value[:, :, 0])
    memories, written, fades = [], [], end.exp().mT.unbind(2)
    if strength is None:
        for added, fade in zip((last @ value).unbind(2), fades, strict=True):
            memories.append(memory)
            memory = torch.addcmul(added, fade, memory)
    else:  # U = own - seen S
        strength = F.pad(strength, (0, 0, 0, -n % size)).unflatten(2, (-1, size))
        system = (strength * (key @ key.mT) * between).tril(-1)
        right = strength * torch.cat([value, key * total.exp()], dim=-1)
        solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
        own, seen = solved.split([value.shape[-1], key.shape[-1]], dim=-1)
        for own_c, seen_c, last_c, fade in zip(own.unbind(2), seen.unbind(2), last.unbind(2), fades, strict=True):
            memories.append(memory)
            written.append(own_c - seen_c @ memory)
            memory = fade * memory + last_c @ written[-1]
        value = torch.stack(written, dim=2)
    read = first @ torch.stack(memories, dim=2) + scores @ value
    return read.flatten(2, 3)[:, :, :n]
