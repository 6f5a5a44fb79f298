"""The nearest relatives of causal resonance, in the block of `CausalResonance` with another map in its place.

    y = W_out (silu(g) * core(u, v)),    (v, g) = W_in u,    u = TokenShift(x)

S4D and LRU are fixed filters, `state_space`; the others choose what to keep by the input, `matrix_memory`.  What the
block shares with ours replaces the published ones: the token shift their short convolution, the gate their own.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from artifact.peers.matrix_memory import GatedDeltaNet, GatedLinearAttention, SelectiveScan
from artifact.peers.state_space import LRU, S4D
from resonance.causal import State, TokenShift
from resonance.spectral import check_sequences

RELATIVES: dict[str, Callable[[int, int], nn.Module]] = {  # a core of (dim, features): features x dim reals of state
    "S4D": lambda dim, features: S4D(dim, features // 2),
    "LRU": lambda dim, features: LRU(dim, dim),  # 2 dim reals: its states are shared by all channels
    "Mamba-2": lambda dim, features: SelectiveScan(dim, features=features),
    "GLA": lambda dim, features: GatedLinearAttention(dim, features=features),
    "gated DeltaNet": lambda dim, features: GatedDeltaNet(dim, features=features),
}


class GatedMixer(nn.Module):
    """The block around a core: x (batch, n, dim) -> (batch, n, dim), causal, without norm or residual.

    Parameters: 3 dim^2 + 4 dim, and the core's.  State: "previous" (batch, dim) and the core's.
    """

    def __init__(self, dim: int, core: nn.Module):
        super().__init__()
        self.dim, self.core = dim, core
        self.shift = TokenShift(dim)
        self.input_projection, self.output_projection = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (batch, n, dim) from the zero state."""
        check_sequences(x, self.dim)
        u = self.shift(x)
        value, gate = self.input_projection(u).chunk(2, dim=-1)
        return self.output_projection(F.silu(gate) * self.core(u, value))

    def initial_state(self, batch: int) -> State:
        """The zero state."""
        return {"previous": self.shift.share.new_zeros(batch, self.dim), "core": self.core.initial_state(batch)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token, x (batch, dim): y (batch, dim) and the next state."""
        u = self.shift(x[:, None], state["previous"])[:, 0]
        value, gate = self.input_projection(u).chunk(2, dim=-1)
        read, core = self.core.step(u, value, state["core"])
        return self.output_projection(F.silu(gate) * read), {"previous": x.clone(), "core": core}


def relative(name: str, dim: int, features: int = 64) -> GatedMixer:
    """A relative by name, with a state of features x dim reals where it can have one.

    Raises ValueError for an unknown name.
    """
    if name not in RELATIVES:
        raise ValueError(f"unknown relative {name!r}: expected one of {', '.join(RELATIVES)}")
    return GatedMixer(dim, RELATIVES[name](dim, features))
