"""Recurrences that can track a state: an LSTM, and the gated delta rule with eigenvalues below zero."""

from __future__ import annotations

from torch import Tensor, nn

from artifact.peers.matrix_memory import GatedDeltaNet, Parts


class LSTM(nn.Module):
    """torch's LSTM of `dim` units and a projection, (batch, n, dim) to the same.  Parameters: 9 dim (dim + 1)."""

    def __init__(self, dim: int):
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.output_projection = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map x from the zero state."""
        return self.output_projection(self.lstm(x)[0])


class ReflectingDeltaNet(GatedDeltaNet):
    """Gated DeltaNet with strengths b in (0, 2): 1 - b k k' then has an eigenvalue in (-1, 1) (Grazzi et al. 2025)."""

    def parts(self, for_query: Tensor, for_key: Tensor, for_gates: Tensor, value: Tensor) -> Parts:
        *parts, strength = super().parts(for_query, for_key, for_gates, value)
        return *parts, 2 * strength
