"""Variants of `ResonanceLM` with one part changed, of otherwise the same size.

no output gate       y = W_out CausalMixing(v), without the product with the gate
no token shift       each token enters alone, unmixed with the one before it
recall               a hologram of two heads after the resonators in every block
recall from zero     the same, its output map starts at zero: at the start it adds nothing to the residual stream
8, 128 resonators    k
longest 2048         time scales start even in octaves up to 2048 steps instead of 64
one time scale       all resonators start at 32 steps, their frequencies spread
no memory            the mixing is its direct gain alone: no token depends on another, except by the shift
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from resonance.causal import CausalResonance
from resonance.causal_mixing import octave_of
from resonance.language import LanguageModel, ResonanceLM
from resonance.recall import HolographicRecall

OPEN = 1.2784645427610738  # silu(OPEN) = 1


class ValueAlone(nn.Linear):
    """An input projection to the value, with a gate that is always open: (..., dim) -> two of (..., dim)."""

    def __init__(self, dim: int):
        super().__init__(dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value = super().forward(x)
        return value, torch.full_like(value, OPEN)


def without_gate_(layer: CausalResonance) -> None:
    """Replace the input projection by one without a gate."""
    layer.input_projection = ValueAlone(layer.dim)


def without_shift_(layer: CausalResonance) -> None:
    """Set the shares of the previous token to zero and freeze them."""
    layer.shift.share.requires_grad_(False).zero_()


def without_memory_(layer: CausalResonance) -> None:
    """Set the readout of the resonators to zero and freeze it and the poles."""
    layer.mixing.readout.zero_()
    for parameter in (layer.mixing.readout, layer.mixing.octave, layer.mixing.turns):
        parameter.requires_grad_(False)


def one_time_scale_(layer: CausalResonance, steps: float = 32.0) -> None:
    """Start all resonators at one time scale, their frequencies even from zero to Nyquist."""
    layer.mixing.octave.fill_(octave_of(torch.tensor(steps, dtype=torch.float64)).item())
    layer.mixing.spacing.fill_(1 / steps)
    layer.mixing.turns.copy_(torch.linspace(0.0, steps / 2, layer.mixing.num_resonators))


CHANGES: dict[str, Callable[[CausalResonance], None]] = {
    "no output gate": without_gate_,
    "no token shift": without_shift_,
    "no memory": without_memory_,
    "one time scale": one_time_scale_,
}
NUMBERS = {"8 resonators": 8, "128 resonators": 128}
RECALL, RECALL_FROM_ZERO = "recall", "recall from zero"
LONGEST = {"longest 2048": 2048}
VARIANTS = (*CHANGES, *NUMBERS, *LONGEST, RECALL, RECALL_FROM_ZERO)


@torch.no_grad()
def variant(name: str, vocab_size: int, dim: int, layers: int, resonators: int) -> LanguageModel:
    """An untrained variant; the causal layers are changed before their matrices are drawn."""
    heads = 2 if name in (RECALL, RECALL_FROM_ZERO) else 0
    longest = LONGEST.get(name, 64)
    model = ResonanceLM(vocab_size, dim, layers, NUMBERS.get(name, resonators), heads, longest=longest)
    if name in CHANGES:
        for mixer in model.blocks.mixers:
            CHANGES[name](mixer)
        model.start_()
    if name == RECALL_FROM_ZERO:
        for mixer in model.blocks.mixers:
            if isinstance(mixer, HolographicRecall):
                nn.init.zeros_(mixer.output.weight)
    return model
