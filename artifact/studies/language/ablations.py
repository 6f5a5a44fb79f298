"""What `ResonanceLM` is made of, one part changed at a time; each arm builds a model of the same size but for the part.

no output gate       y = W_out CausalMixing(v): nothing multiplies the mixed values
no token shift       every token enters as it is
recall               a hologram of two heads beside the resonators in every block
8, 128 resonators    k
one time scale       all resonators start at 32 steps, their turns spread
no memory            the mixing is its direct gain alone: no token sees another, but for the shift
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from resonance.causal import CausalResonance
from resonance.causal_mixing import octave_of
from resonance.language import LanguageModel, ResonanceLM

OPEN = 1.2784645427610738  # silu(OPEN) = 1


class ValueAlone(nn.Linear):
    """An input projection to the value, beside a gate that is always open: (..., dim) -> two of (..., dim)."""

    def __init__(self, dim: int):
        super().__init__(dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value = super().forward(x)
        return value, torch.full_like(value, OPEN)


def without_gate_(layer: CausalResonance) -> None:
    """Replace the input projection by one without a gate."""
    layer.input_projection = ValueAlone(layer.dim)


@torch.no_grad()
def without_shift_(layer: CausalResonance) -> None:
    """Set the shares of the previous token to zero, and keep them there."""
    layer.shift.share.requires_grad_(False).zero_()


@torch.no_grad()
def without_memory_(layer: CausalResonance) -> None:
    """Set the readout of the resonators to zero, and keep it and the poles as they are."""
    layer.mixing.readout.zero_()
    for parameter in (layer.mixing.readout, layer.mixing.octave, layer.mixing.turns):
        parameter.requires_grad_(False)


@torch.no_grad()
def one_time_scale_(layer: CausalResonance, steps: float = 32.0) -> None:
    """Start all resonators at one time scale, their turns even from none to as many as tell two tokens apart."""
    layer.mixing.octave.fill_(octave_of(torch.tensor(steps, dtype=torch.float64)).item())
    layer.mixing.spacing.fill_(1 / steps)
    layer.mixing.turns.copy_(torch.linspace(0.0, steps / 2, layer.mixing.num_resonators))


def changed(
    change_: Callable[[CausalResonance], None], vocab_size: int, dim: int, layers: int, resonators: int
) -> LanguageModel:
    """Return a model whose every causal layer was changed before its matrices were drawn."""
    model = ResonanceLM(vocab_size, dim, layers, resonators)
    for mixer in model.blocks.mixers:
        change_(mixer)
    model.start_()
    return model


def with_resonators(number: int, vocab_size: int, dim: int, layers: int, resonators: int) -> LanguageModel:
    """Return a model of another number of resonators."""
    return ResonanceLM(vocab_size, dim, layers, number)


def with_recall(heads: int, vocab_size: int, dim: int, layers: int, resonators: int) -> LanguageModel:
    """Return a model with a hologram in every block."""
    return ResonanceLM(vocab_size, dim, layers, resonators, heads)


# Each builds an untrained model from (vocab_size, dim, layers, resonators).
ARMS: dict[str, Callable[[int, int, int, int], LanguageModel]] = {
    "no output gate": partial(changed, without_gate_),
    "no token shift": partial(changed, without_shift_),
    "no memory": partial(changed, without_memory_),
    "one time scale": partial(changed, one_time_scale_),
    "8 resonators": partial(with_resonators, 8),
    "128 resonators": partial(with_resonators, 128),
    "recall": partial(with_recall, 2),
}
