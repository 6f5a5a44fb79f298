"""The peer of `ResonanceLM`: a GPT of the same shell, with causal attention for a mixer.

Pre-norm blocks, fused attention, learned positions, tied embeddings and the start of GPT-2 (Radford et al. 2019, as
in nanoGPT); only the mixer differs from ours.  It writes with a key-value cache, kept in place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .baselines_causal import CausalAttention
from .language import STD, Block, LanguageModel, State


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

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output (batch, dim) for one position x (batch, dim), and the cache."""
        y, state = self.extend(x[:, None], state)
        return y[:, 0], state


class GPT(LanguageModel):
    """Ids (batch, n) -> logits (batch, n, vocab_size) for n up to context_length; four times as wide inside.

    Parameters: 12 d^2 a block, vocab_size d, and context_length d for positions, which the customary count leaves out.
    When the cache is full, `generate` reads the last half of the context again.
    """

    def __init__(self, vocab_size: int, hidden_dim: int, num_layers: int, num_heads: int, context_length: int):
        def block() -> Block:
            return Block(hidden_dim, [CachedAttention(hidden_dim, num_heads, context_length)])

        super().__init__(vocab_size, hidden_dim, [block() for _ in range(num_layers)])
        self.context_length = context_length
        self.positions = nn.Parameter(STD * torch.randn(context_length, hidden_dim))

    def embed(self, ids: Tensor, state: State | None) -> Tensor:
        start, n = (0 if state is None else int(state["0.length"][0])), ids.shape[1] if ids.dim() == 2 else 1
        if start + n > self.context_length:
            raise ValueError(f"expected at most {self.context_length} ids, got {start + n}")
        positions = self.positions[start : start + n]
        return self.embedding(ids) + (positions if ids.dim() == 2 else positions[0])

    def readable(self, ids: Tensor) -> Tensor:
        return ids[:, -self.context_length :]

    def follow(self, written: list[Tensor], state: State) -> tuple[Tensor, State]:
        if int(state["0.length"][0]) < self.context_length:
            return super().follow(written, state)
        recent = torch.cat(written, dim=1)[:, -max(1, self.context_length // 2) :]
        logits, state = self.extend(recent, self.initial_state(len(recent)))
        return logits[:, -1], state

    @property
    def customary_parameters(self) -> int:
        """The parameters without those of positions."""
        return sum(p.numel() for p in self.parameters()) - self.positions.numel()
