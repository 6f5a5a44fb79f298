"""The live models' peer: causal attention with a key-value cache, and positions that need no table."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import length_mask
from .spectral import check_sequences

State = dict[str, Tensor]


class CachedAttention(nn.Module):
    """Causal attention with its projections: fused in parallel, and step by step with a cache of keys and values.

        y_t = W_out softmax_(s <= t)(q_t k_s / sqrt(head)) v_s,    q and k turned by their position

    (batch, n, dim) -> (batch, n, dim); the interface of `CausalResonance`.  Rotary positions (Su et al. 2024) speak of
    distances alone and fit any length.  State: "keys" and "values" (batch, heads, room, head) and "seen" (batch,);
    the room doubles when it is full, and a step writes into it in place.
    Raises ValueError for a dim that the heads do not divide into even parts, or a wrong shape.
    Parameters: 4 dim^2 + 4 dim.  Cost: n^2 dim and 4 n dim^2 in parallel; 2 t dim and 4 dim^2 for step t.
    """

    def __init__(self, dim: int, num_heads: int = 4):
        super().__init__()
        if dim % (2 * num_heads):
            raise ValueError(f"expected a dim that 2 x num_heads divides, got dim={dim}, num_heads={num_heads}")
        self.dim, self.num_heads = dim, num_heads
        self.input_projection, self.output_projection = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        half = dim // num_heads // 2
        rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("rates", rates, persistent=False)

    def _parts(self, x: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return turned queries, turned keys and values, each (batch, heads, n, head), at positions (n,)."""
        q, k, v = self.input_projection(x).unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0).transpose(2, 3)
        angle = place.double()[:, None] * self.rates.double()
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)

        def turned(z: Tensor) -> Tensor:
            a, b = z.chunk(2, dim=-1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)

        return turned(q), turned(k), v

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return y (batch, n, dim), zero behind a sequence's length."""
        check_sequences(x, self.dim)
        if lengths is not None:
            x = x.masked_fill(~length_mask(x, lengths), 0.0)
        q, k, v = self._parts(x, torch.arange(x.shape[1], device=x.device))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = self.output_projection(y.transpose(1, 2).flatten(2))
        return y if lengths is None else y.masked_fill(~length_mask(y, lengths), 0.0)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None, room: int = 64) -> State:
        """Return an empty cache with room for so many tokens."""
        weight = self.output_projection.weight
        options = {"device": device or weight.device, "dtype": dtype or weight.dtype}
        shape = (batch, self.num_heads, room, self.dim // self.num_heads)
        cache = {name: torch.zeros(shape, **options) for name in ("keys", "values")}
        return cache | {"seen": torch.zeros(batch, dtype=torch.long, device=options["device"])}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return y and the cache with one token more, for sequences of equal age; x and y are (batch, dim)."""
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected one token of shape (batch, {self.dim}), got {tuple(x.shape)}")
        keys, values, seen = state["keys"], state["values"], int(state["seen"][0])
        if seen == keys.shape[2]:
            keys, values = (torch.cat([cache, torch.zeros_like(cache)], dim=2) for cache in (keys, values))
        q, k, v = self._parts(x[:, None], state["seen"][:1])
        keys[:, :, seen : seen + 1], values[:, :, seen : seen + 1] = k, v
        y = F.scaled_dot_product_attention(q, keys[:, :, : seen + 1], values[:, :, : seen + 1])
        y = self.output_projection(y.transpose(1, 2).flatten(1))
        return y, {"keys": keys, "values": values, "seen": state["seen"] + 1}
