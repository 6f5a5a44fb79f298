"""The peers of `ResonanceLM`: GPTs of the same shell, with causal attention for a mixer.

    GPT          learned positions and the start of GPT-2 (Radford et al. 2019), as in nanoGPT: the control
    RotaryGPT    rotary positions (Su et al. 2021) and the start of ours: learns several times faster in few steps

Pre-norm blocks, fused attention, tied embeddings; only the mixer differs from ours.  They write with a key-value cache,
kept in place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.peers.causal import CausalAttention
from resonance.language import Block, LanguageModel, State


class CachedAttention(CausalAttention):
    """`CausalAttention` of at most `longest` positions whose cache is its state, as a mixer of `LanguageModel`.

    (batch, n, dim) -> the same.  The cache is allocated once and written in place: the state that was passed in is
    used up.  Cost: n^2 d + 4 n d^2 multiply-adds, a step 2 t d + 4 d^2 at the t-th position.
    Raises ValueError past `longest`, and where dim is no multiple of heads.
    """

    def __init__(self, dim: int, heads: int, longest: int):
        super().__init__(dim, heads)
        self.longest = longest

    def initial_state(self, batch: int, *, device=None, dtype=None) -> State:
        """Return an empty cache: keys and values (batch, heads, longest, dim / heads), length (batch,)."""
        shape = (batch, self.num_heads, self.longest, self.dim // self.num_heads)
        cache = {name: torch.zeros(shape, device=device, dtype=dtype) for name in ("keys", "values")}
        return cache | {"length": torch.zeros(batch, dtype=torch.long, device=device)}

    def extend(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output for x (batch, n, dim) that follows what the cache holds, and the cache."""
        start = int(state["length"][0])
        end = start + x.shape[1]
        if end > self.longest:
            raise ValueError(f"expected at most {self.longest} positions, got {end}")
        query, key, value = self._heads(x)
        query, key = self._placed(query, start), self._placed(key, start)
        state["keys"][:, :, start:end], state["values"][:, :, start:end] = key, value
        keys, values = (state[name][:, :, :end] for name in ("keys", "values"))
        if x.shape[1] == 1:  # faster than the fused kernel, which is made for many queries
            scores = (query @ keys.mT) * (self.dim // self.num_heads) ** -0.5
            y = scores.softmax(dim=-1) @ values
        elif start == 0:
            y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            seen = torch.ones(x.shape[1], end, dtype=torch.bool, device=x.device).tril(start)
            y = F.scaled_dot_product_attention(query, keys, values, attn_mask=seen)
        return self.output_projection(y.transpose(1, 2).flatten(2)), state | {"length": state["length"] + x.shape[1]}

    def _placed(self, vectors: Tensor, start: int) -> Tensor:
        """Return queries or keys (batch, heads, n, dim / heads) of positions from `start` on as they are compared."""
        return vectors

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output (batch, dim) for one position x (batch, dim), and the cache."""
        y, state = self.extend(x[:, None], state)
        return y[:, 0], state


class RotaryAttention(CachedAttention):
    """`CachedAttention` whose queries and keys are turned by their positions: scores depend on distances alone.

    Pair j of m = dim / heads / 2 is turned by position / 10000^(j / m) radians.
    Raises ValueError for a head of an odd number of channels.
    """

    def __init__(self, dim: int, heads: int, longest: int):
        super().__init__(dim, heads, longest)
        if dim // heads % 2:
            raise ValueError(f"expected heads of an even number of channels, got {dim // heads}")
        pairs = dim // heads // 2
        rates = 10000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        angles = torch.outer(torch.arange(longest, dtype=torch.float64), rates)
        self.register_buffer("cosines", angles.cos().float(), persistent=False)
        self.register_buffer("sines", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.longest:
            raise ValueError(f"expected at most {self.longest} positions, got {x.shape[1]}")
        query, key, value = self._heads(x)
        y = F.scaled_dot_product_attention(self._placed(query, 0), self._placed(key, 0), value, is_causal=True)
        return self.output_projection(y.transpose(1, 2).flatten(2))

    def _placed(self, vectors: Tensor, start: int) -> Tensor:
        cosines, sines = (table[start : start + vectors.shape[2]] for table in (self.cosines, self.sines))
        a, b = vectors.chunk(2, dim=-1)
        return torch.cat([a * cosines - b * sines, a * sines + b * cosines], dim=-1)


class RotaryGPT(LanguageModel):
    """Ids (batch, n) -> logits (batch, n, vocab_size) for n up to context_length; four times as wide inside.

    Parameters: 12 d^2 a block and vocab_size d.  When the cache is full, `generate` reads the last half of the context
    again.
    """

    attention = RotaryAttention

    def __init__(self, vocab_size: int, hidden_dim: int, num_layers: int, num_heads: int, context_length: int):
        def block() -> Block:
            return Block(hidden_dim, [self.attention(hidden_dim, num_heads, context_length)])

        super().__init__(vocab_size, hidden_dim, [block() for _ in range(num_layers)])
        self.context_length = context_length

    def embed(self, ids: Tensor, state: State | None) -> Tensor:
        start, n = (0 if state is None else int(state["0.length"][0])), ids.shape[1] if ids.dim() == 2 else 1
        if start + n > self.context_length:
            raise ValueError(f"expected at most {self.context_length} ids, got {start + n}")
        return self.placed(self.embedding(ids), start)

    def placed(self, h: Tensor, start: int) -> Tensor:
        """Return vectors (batch, n, dim) or (batch, dim) with what the positions from `start` on add to them."""
        return h

    def readable(self, ids: Tensor) -> Tensor:
        return ids[:, -self.context_length :]

    def follow(self, written: list[Tensor], state: State) -> tuple[Tensor, State]:
        if int(state["0.length"][0]) < self.context_length:
            return super().follow(written, state)
        recent = torch.cat(written, dim=1)[:, -max(1, self.context_length // 2) :]
        logits, state = self.extend(recent, self.initial_state(len(recent)))
        return logits[:, -1], state


class GPT(RotaryGPT):
    """A GPT as nanoGPT has it: learned positions, context_length d parameters more, and the start of GPT-2."""

    attention, std = CachedAttention, 0.02

    def __init__(self, vocab_size: int, hidden_dim: int, num_layers: int, num_heads: int, context_length: int):
        super().__init__(vocab_size, hidden_dim, num_layers, num_heads, context_length)
        self.positions = nn.Parameter(self.std * torch.randn(context_length, hidden_dim))

    def placed(self, h: Tensor, start: int) -> Tensor:
        return h + (self.positions[start : start + h.shape[1]] if h.dim() == 3 else self.positions[start])

    @property
    def customary_parameters(self) -> int:
        """The parameters without those of positions."""
        return sum(p.numel() for p in self.parameters()) - self.positions.numel()
