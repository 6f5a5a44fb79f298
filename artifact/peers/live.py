"""The live network's peer: causal attention that knows distances, with a key-value cache."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from artifact.peers.causal import CausalAttention
from resonance.layers import length_mask
from resonance.spectral import check_sequences

State = dict[str, Tensor]


class RotaryAttention(CausalAttention):
    """`CausalAttention` with rotary positions (Su et al. 2024), in the interface of `CausalResonance`.

        y_t = W_out softmax_(s <= t)(q_t k_s / sqrt(head)) v_s,    q and k turned by their position

    (batch, n, dim) -> (batch, n, dim).  State: "keys" and "values" (batch, heads, room, head) and "seen" (batch,); the
    room doubles when it is full, and a step writes one row in place.
    Raises ValueError for a dim that 2 heads do not divide, or a wrong shape.
    Parameters and cost: as `CausalAttention`.
    """

    def __init__(self, dim: int, num_heads: int = 4):
        if dim % (2 * num_heads):
            raise ValueError(f"expected a dim that 2 x num_heads divides, got dim={dim}, num_heads={num_heads}")
        super().__init__(dim, num_heads)
        half = dim // num_heads // 2
        rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("rates", rates, persistent=False)

    def _turned_heads(self, x: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys turned by positions (n,), and values, each (batch, heads, n, head)."""
        angle = place.double()[:, None] * self.rates.double()
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)

        def turned(z: Tensor) -> Tensor:
            a, b = z.chunk(2, dim=-1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)

        query, key, value = self._heads(x)
        return turned(query), turned(key), value

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return y (batch, n, dim), zero behind a sequence's length."""
        check_sequences(x, self.dim)
        inside = None if lengths is None else length_mask(x, lengths)
        x = x if inside is None else x.masked_fill(~inside, 0.0)
        y = F.scaled_dot_product_attention(
            *self._turned_heads(x, torch.arange(x.shape[1], device=x.device)), is_causal=True
        )
        y = self.output_projection(y.transpose(1, 2).flatten(2))
        return y if inside is None else y.masked_fill(~inside, 0.0)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None, room: int = 64) -> State:
        """Return an empty cache with room for so many tokens."""
        cache = super().initial_state(batch, room)
        cache = {name: part.to(device=device, dtype=dtype) for name, part in cache.items()}
        return cache | {"seen": torch.zeros(batch, dtype=torch.long, device=device or self.rates.device)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return y and the cache with one token more, for sequences of equal age; x and y are (batch, dim)."""
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected one token of shape (batch, {self.dim}), got {tuple(x.shape)}")
        keys, values, seen = state["keys"], state["values"], int(state["seen"][0])
        if seen == keys.shape[2]:
            keys, values = (torch.cat([cache, torch.zeros_like(cache)], dim=2) for cache in (keys, values))
        q, k, v = self._turned_heads(x[:, None], state["seen"][:1])
        keys[:, :, seen : seen + 1], values[:, :, seen : seen + 1] = k, v
        y = F.scaled_dot_product_attention(q, keys[:, :, : seen + 1], values[:, :, : seen + 1])
        y = self.output_projection(y.transpose(1, 2).flatten(1))
        return y, {"keys": keys, "values": values, "seen": state["seen"] + 1}
