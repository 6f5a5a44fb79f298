"""The peers of causal resonance: causal attention, fused in parallel, with a key-value cache step by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resonance.causal import State
from resonance.layers import length_mask
from resonance.spectral import check_sequences


class CausalAttention(nn.Module):
    """Causal attention as a sublayer, in the interface of `CausalResonance`, by torch's fused kernel.

        y_t = W_out softmax_(s <= t)(q_t' k_s / sqrt(head)) v_s

    x: (batch, n, dim) -> (batch, n, dim); query, key and value are one product.
    State: "keys" and "values" (batch, heads, room, head) and "length" (batch,).  A step writes one row in place, so a
    state that was passed in must not be used again; a full cache is copied to one twice as large.
    Arguments: room, the tokens that an empty cache has space for.
    Raises ValueError for a dim that num_heads does not divide, or a wrong shape.
    Parameters: 4 dim^2 + 4 dim.  Cost: n (4 dim^2 + n dim) multiply-adds; a step 4 dim^2 + 2 t dim at context t.
    """

    def __init__(self, dim: int, num_heads: int = 4, *, room: int = 64):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"expected dim divisible by num_heads, got dim={dim}, num_heads={num_heads}")
        self.dim, self.num_heads, self.room = dim, num_heads, room
        self.input_projection = nn.Linear(dim, 3 * dim)
        self.output_projection = nn.Linear(dim, dim)

    def _heads(self, x: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (batch, heads, n, head), of x (batch, n, dim) at positions from `start` on."""
        heads = self.input_projection(x).unflatten(-1, (3, self.num_heads, -1))  # (batch, n, 3, heads, head)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        return self.placed(query, start), self.placed(key, start), value

    def placed(self, vectors: Tensor, start: int) -> Tensor:
        """Encode the positions from `start` on in queries or keys (batch, heads, n, head); here, not at all."""
        return vectors

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map x (batch, n, dim): (batch, n, dim), zero after each sequence's length."""
        check_sequences(x, self.dim)
        inside = None if lengths is None else length_mask(x, lengths)
        x = x if inside is None else x.masked_fill(~inside, 0.0)
        y = F.scaled_dot_product_attention(*self._heads(x, 0), is_causal=True)
        y = self.output_projection(y.transpose(1, 2).flatten(2))
        return y if inside is None else y.masked_fill(~inside, 0.0)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """An empty cache."""
        like, shape = self.input_projection.weight, (batch, self.num_heads, self.room, self.dim // self.num_heads)
        options = {"device": device or like.device, "dtype": dtype or like.dtype}
        cache = {name: torch.zeros(shape, **options) for name in ("keys", "values")}
        return cache | {"length": torch.zeros(batch, dtype=torch.long, device=options["device"])}

    def extend(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Map x (batch, n, dim), the continuation of sequences of equal length: y, and the longer cache."""
        n, keys, values, start = x.shape[1], state["keys"], state["values"], int(state["length"][0])
        end = start + n
        if end > keys.shape[2]:
            more = max(keys.shape[2], end - keys.shape[2])
            keys, values = (F.pad(part, (0, 0, 0, more)) for part in (keys, values))
        query, key, value = self._heads(x, start)
        keys[:, :, start:end], values[:, :, start:end] = key, value
        if n == 1:  # faster than the fused kernel where the cache is long
            scores = query @ keys[:, :, :end].mT * (self.dim // self.num_heads) ** -0.5
            y = scores.softmax(dim=-1) @ values[:, :, :end]
        else:
            mask = torch.ones(n, end, dtype=torch.bool, device=x.device).tril(start) if start else None
            options = {"attn_mask": mask, "is_causal": mask is None}
            y = F.scaled_dot_product_attention(query, keys[:, :, :end], values[:, :, :end], **options)
        y = self.output_projection(y.transpose(1, 2).flatten(2))
        return y, {"keys": keys, "values": values, "length": state["length"] + n}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: x (batch, dim) and the cache give y (batch, dim) and the longer cache."""
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected one token of shape (batch, {self.dim}), got {tuple(x.shape)}")
        y, state = self.extend(x[:, None], state)
        return y[:, 0], state


class RotaryAttention(CausalAttention):
    """`CausalAttention` with rotary positions (Su et al. 2021): scores depend on distances alone.

    Channel pair j of m = head / 2 of queries and keys is rotated by position / 10000^(j / m) radians.
    Raises ValueError also for a head of an odd number of channels.
    """

    def __init__(self, dim: int, num_heads: int = 4, *, room: int = 64):
        if dim % (2 * num_heads):
            raise ValueError(f"expected a dim that 2 x num_heads divides, got dim={dim}, num_heads={num_heads}")
        super().__init__(dim, num_heads, room=room)
        self._rotations = torch.empty(0)  # (positions, 2, head / 2): cosines and sines

    def placed(self, vectors: Tensor, start: int) -> Tensor:
        end, pairs = start + vectors.shape[2], vectors.shape[3] // 2
        if end > len(self._rotations):
            rates = 10000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
            angles = torch.outer(torch.arange(max(end, 2 * len(self._rotations))), rates)
            self._rotations = torch.stack([angles.cos(), angles.sin()], dim=1).float()
        cos, sin = self._rotations[start:end].to(vectors).unbind(1)  # (n, head / 2)
        a, b = vectors.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def state_after(model: nn.Module, tokens: int) -> State:
    """A state of a causal model for timing, as after so many tokens: full caches of noise, all else initial.

    There is room for one token more, so that a step copies nothing.
    """
    state = model.initial_state(1)
    for name, part in state.items():
        if name.endswith(("keys", "values")):
            state[name] = torch.randn(*part.shape[:2], tokens + 1, part.shape[3])
        elif name.endswith("length"):
            state[name] = torch.full_like(part, tokens)
    return state


def state_bytes(state: State) -> int:
    """Bytes of all tensors of a state."""
    return sum(part.nbytes for part in state.values())
