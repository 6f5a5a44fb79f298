"""Cartesian weights a + i b: the control for `PolarWeight`, and a model with one in place of the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resonance.polar import PolarWeight, complex_product


class CartesianWeight(nn.Module):
    """Complex weights a + i b as two real parameters `re` and `im`, initialised with the values of polar weights.

    Parameters: 2 reals a weight.  Cost: a product a weight.
    """

    def __init__(self, start: PolarWeight):
        super().__init__()
        self.re, self.im = (nn.Parameter(part.detach().clone()) for part in start.pair())

    @property
    def magnitude(self) -> Tensor:
        """|a + i b|, whose dtype a mixing compares with its input's."""
        return torch.hypot(self.re, self.im)

    def pair(self) -> tuple[Tensor, Tensor]:
        """The weights as (re, im)."""
        return self.re, self.im

    def forward(self, re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply a spectrum (re, im) by the weights, elementwise with broadcasting."""
        return complex_product(self.pair(), (re, im))


@torch.no_grad()
def to_cartesian(model: nn.Module) -> nn.Module:
    """Replace every `PolarWeight` in a model by a `CartesianWeight` of the same value; return the model.

    The map that the model computes is unchanged, and so is every other parameter.
    """
    if isinstance(model, PolarWeight):
        return CartesianWeight(model)
    for name, child in model.named_children():
        setattr(model, name, to_cartesian(child))
    return model
