"""CausalResonance: a gated causal sublayer on damped resonators, parallel in training and recurrent in use."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .causal_mixing import CausalMixing, masked
from .settings import placed
from .spectral import check_sequences

State = dict[str, Tensor]


def one_earlier(x: Tensor, previous: Tensor | None) -> Tensor:
    """Tokens one step before those of x, (batch, n, dim): zero, or `previous`, (batch, dim), before the first."""
    if previous is None:
        return F.pad(x, (0, 0, 1, -1))
    return torch.cat([previous[:, None].to(x.dtype), x], dim=1)[:, :-1]


def last_token(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Last token of each sequence, (batch, dim), in memory of its own: a state outlives its input."""
    return x[:, -1].clone() if lengths is None else x[torch.arange(x.shape[0], device=x.device), lengths - 1]


class TokenShift(nn.Module):
    """Mix each token with the one before it: y_t = x_t + mu (x_(t-1) - x_t), one learned share mu a channel.

    x: (batch, n, dim) -> (batch, n, dim); x_(-1) is zero, or `previous`, (batch, dim).  Parameters: dim.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.share = nn.Parameter(torch.linspace(0.0, 0.5, dim))

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
        return torch.lerp(x, one_earlier(x, previous), self.share.to(x.dtype))


class ToChannels(nn.Linear):
    """Project tokens to value and gate by one product, channels first in memory, the layout of `CausalMixing`.

    (batch, n, dim) -> two of (batch, n, dim), views of (dim, batch, n); one token (batch, dim) -> two of (batch, dim).
    """

    def __init__(self, dim: int):
        super().__init__(dim, 2 * dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.dim() == 2:
            return super().forward(x).chunk(2, dim=-1)
        both = torch.addmm(self.bias[:, None], self.weight, x.reshape(-1, self.in_features).T)  # (2 dim, batch n)
        value, gate = both.view(2, self.in_features, *x.shape[:-1]).unbind(0)
        return value.movedim(0, -1), gate.movedim(0, -1)


class FromChannels(nn.Linear):
    """`nn.Linear` that takes (batch, n, in_features) laid out channels first in memory without a copy."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.bias, x.reshape(-1, self.in_features), self.weight.T)
        return y.view(*x.shape[:-1], self.out_features)


class CausalResonance(nn.Module):
    """Mix a sequence causally: token shift, projection to value and gate, `CausalMixing`, gate, projection.

        y = W_out (silu(g) * CausalMixing(v)),    (v, g) = W_in TokenShift(x)        (eq:sublayer)

    A sublayer like attention with its projections: no norm, no residual.  `forward`, `extend` and `step` are one map:
    in parallel from the zero state, in parallel from a given state, one token at a time with a state of constant size.
    Arguments: dim, channels; num_resonators, k; longest, the longest time scale at the start, in steps; engine, how
    the parallel form is computed (never what it is): "auto", "fft" or "chunked".
    Raises ValueError for a wrong shape, length, state or engine.
    Parameters: 3 dim^2 + (2k + 5) dim + 2k.  Cost: n (3 dim^2 + (B + 4k) dim) multiply-adds in chunks of B.
    State: "resonators" (batch, dim, k, 2) and "previous" (batch, dim), whatever the context.

    >>> layer, x = CausalResonance(4, 3), torch.randn(2, 10, 4)
    >>> torch.allclose(layer(x)[:, :6], layer(x[:, :6]), atol=1e-4)  # later tokens have no effect
    True
    """

    @placed
    def __init__(
        self, dim: int, num_resonators: int, *, longest: float = 2048, engine: str = "auto", device=None, dtype=None
    ):
        super().__init__()
        self.dim = dim
        self.shift = TokenShift(dim)
        self.mixing = CausalMixing(dim, num_resonators, longest=longest, engine=engine)
        self.input_projection = ToChannels(dim)
        self.output_projection = FromChannels(dim, dim)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """Zero state: real tensors, batch first."""
        place = {"device": device or self.shift.share.device, "dtype": dtype or self.shift.share.dtype}
        resonators = self.mixing.initial_state(batch, **place)
        return {"resonators": resonators, "previous": torch.zeros(batch, self.dim, **place)}

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map x (batch, n, dim) from the zero state: (batch, n, dim), zero after each sequence's length."""
        return self.extend(x, None, lengths)[0]

    def extend(self, x: Tensor, state: State | None, lengths: Tensor | None = None) -> tuple[Tensor, State | None]:
        """Map x, the continuation of `state` (None: zero): y and, given a state, the one after each sequence."""
        check_sequences(x, self.dim)
        x, lengths, padding = masked(x, lengths)
        value, gate = self.input_projection(self.shift(x, None if state is None else state["previous"]))
        if state is None:
            mixed = self.mixing(value, lengths)
        else:
            mixed, resonators = self.mixing.extend(value, state["resonators"], lengths)
            state = {"resonators": resonators, "previous": last_token(x, lengths)}
        y = self.output_projection(F.silu(gate) * mixed)
        return (y if padding is None else y.masked_fill(padding, 0.0)), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: x (batch, dim) and a state give y (batch, dim) and the next state."""
        check_sequences(x, self.dim, ())
        value, gate = self.input_projection(torch.lerp(x, state["previous"].to(x.dtype), self.shift.share.to(x.dtype)))
        mixed, resonators = self.mixing.step(value, state["resonators"])
        return self.output_projection(F.silu(gate) * mixed), {"resonators": resonators, "previous": x.clone()}
