"""The peers of `ResonanceLM`: the same model with causal attention for a mixer and a key-value cache for a state.

GPT          learned positions and the initialisation of GPT-2 (Radford et al. 2019), as in nanoGPT: the control
RotaryGPT    rotary positions (Su et al. 2021) and our initialisation: learns several times faster in few steps
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from artifact.peers.causal import CausalAttention, RotaryAttention
from resonance.causal import State
from resonance.language import Block, LanguageModel


class RotaryGPT(LanguageModel):
    """Ids (batch, n) -> logits (batch, n, vocab_size) for n up to context_length; feed-forward four times as wide.

    Parameters: 12 d^2 a block and vocab_size d.  When the cache is full, `generate` restarts from the last half of the
    context.  Raises ValueError for more than context_length ids.
    """

    attention = RotaryAttention

    def __init__(self, vocab_size: int, hidden_dim: int, num_layers: int, num_heads: int, context_length: int):
        blocks = [
            Block(hidden_dim, [self.attention(hidden_dim, num_heads, room=context_length)]) for _ in range(num_layers)
        ]
        super().__init__(vocab_size, hidden_dim, blocks)
        self.context_length = context_length

    def embed(self, ids: Tensor, state: State | None) -> Tensor:
        start, n = (0 if state is None else int(state["0.length"][0])), ids.shape[1] if ids.dim() == 2 else 1
        if start + n > self.context_length:
            raise ValueError(f"expected at most {self.context_length} ids, got {start + n}")
        return self.placed(self.embedding(ids), start)

    def placed(self, h: Tensor, start: int) -> Tensor:
        """Add the encoding of positions from `start` on to vectors (batch, n, dim) or (batch, dim); here, none."""
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
    """A GPT as nanoGPT has it: learned positions, context_length d parameters more, and GPT-2's initialisation."""

    attention, std = CausalAttention, 0.02

    def __init__(self, vocab_size: int, hidden_dim: int, num_layers: int, num_heads: int, context_length: int):
        super().__init__(vocab_size, hidden_dim, num_layers, num_heads, context_length)
        self.positions = nn.Parameter(self.std * torch.randn(context_length, hidden_dim))

    def placed(self, h: Tensor, start: int) -> Tensor:
        return h + (self.positions[start : start + h.shape[1]] if h.dim() == 3 else self.positions[start])
