"""CausalResonance: a gated causal sublayer on damped resonators, parallel in training and recurrent in use.

u = TokenShift(x)                x_t mixed with x_(t-1)
v, g = W_in u                    value and gate
y = W_out (silu(g) * CausalMixing(v))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .causal_mixing import CausalMixing
from .layers import length_mask
from .spectral import check_sequences

State = dict[str, Tensor]


class TokenShift(nn.Module):
    """Mix each token with the one before it: y_t = x_t + mu (x_(t-1) - x_t), one learned share mu a channel.

    x: (batch, n, dim) -> (batch, n, dim); before the first token stands zero, or the `previous` one, (batch, dim).
    At the start the shares are even from 0 to 1/2.  Parameters: dim.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.share = nn.Parameter(torch.linspace(0.0, 0.5, dim))

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
        """Return the mixed tokens, (batch, n, dim)."""
        first = torch.zeros_like(x[:, :1]) if previous is None else previous[:, None].to(x.dtype)
        before = torch.cat([first, x[:, :-1]], dim=1)
        return torch.lerp(x, before, self.share.to(x.dtype))


class ToChannels(nn.Linear):
    """`nn.Linear` on (batch, n, in_features) whose result lies channels first in memory, as `CausalMixing` works."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, n, out_features), a view of (out_features, batch, n); one token (batch, in) as it is."""
        if x.dim() == 2:
            return super().forward(x)
        y = torch.addmm(self.bias[:, None], self.weight, x.reshape(-1, self.in_features).T)
        return y.view(self.out_features, *x.shape[:-1]).movedim(0, -1)


class FromChannels(nn.Linear):
    """`nn.Linear` on (batch, n, in_features) that may lie channels first in memory, without a copy."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, n, out_features); of one token (batch, in_features), (batch, out_features)."""
        y = torch.addmm(self.bias, x.reshape(-1, self.in_features), self.weight.T)
        return y.view(*x.shape[:-1], self.out_features)


class CausalResonance(nn.Module):
    """Mix a sequence causally: token shift, projection to value and gate, `CausalMixing`, gate, projection.

        y = W_out (silu(g) * CausalMixing(v)),    (v, g) = W_in TokenShift(x)

    A sublayer like attention with its projections: no norm, no residual.  `forward`, `extend` and `step` are one map:
    in parallel from silence, in parallel from a state, and one token at a time with a state of constant size.
    Arguments: dim, channels; num_resonators, k; longest, the longest time scale at the start, in steps; engine, how
    the parallel form is computed (never what it is): "auto", "fft" or "chunked".
    Raises ValueError for a wrong shape, length, state or engine.
    Parameters: 3 dim^2 + (2k + 5) dim + 2k.  Cost: n (3 dim^2 + (B + 4k) dim) multiply-adds in chunks of B.
    State: "resonators" (batch, dim, k, 2) and "previous" (batch, dim), whatever the context.
    """

    def __init__(self, dim: int, num_resonators: int, *, longest: float = 2048, engine: str = "auto"):
        super().__init__()
        self.dim = dim
        self.shift = TokenShift(dim)
        self.mixing = CausalMixing(dim, num_resonators, longest=longest, engine=engine)
        self.input_projection = ToChannels(dim, 2 * dim)
        self.output_projection = FromChannels(dim, dim)

    def initial_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the state of silence: real tensors, their first axis the batch."""
        device = self.shift.share.device if device is None else device
        resonators = self.mixing.initial_state(batch, device=device, dtype=dtype)
        previous = torch.zeros(batch, self.dim, device=device, dtype=dtype or self.shift.share.dtype)
        return {"resonators": resonators, "previous": previous}

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return y from silence; x and y are (batch, n, dim), y is zero behind a sequence's length."""
        return self._run(check_sequences(x, self.dim), None, lengths)[0]

    def extend(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Return y (batch, n, dim) that goes on from `state`, and the state behind it (behind each own length)."""
        return self._run(check_sequences(x, self.dim), state, lengths)

    def _run(self, x: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State | None]:
        inside = None if lengths is None else length_mask(x, lengths)
        if inside is not None:  # what stands in the padding, NaN say, must reach nothing
            x = x.masked_fill(~inside, 0.0)
        value, gate = self._value_and_gate(self.shift(x, None if state is None else state["previous"]))
        if state is None:
            mixed = self.mixing(value, lengths)
        else:
            mixed, resonators = self.mixing.extend(value, state["resonators"], lengths)
            last = x[:, -1] if lengths is None else x[torch.arange(len(x)), torch.as_tensor(lengths) - 1]
            state = {"resonators": resonators, "previous": last}
        y = self.output_projection(F.silu(gate) * mixed)
        return (y if inside is None else y.masked_fill(~inside, 0.0)), state

    def _value_and_gate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.input_projection(u).chunk(2, dim=-1)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return y and the next state for one token; x and y are (batch, dim)."""
        value, gate = self._value_and_gate(torch.lerp(x, state["previous"].to(x.dtype), self.shift.share.to(x.dtype)))
        mixed, resonators = self.mixing.step(value, state["resonators"])
        return self.output_projection(F.silu(gate) * mixed), {"resonators": resonators, "previous": x}
