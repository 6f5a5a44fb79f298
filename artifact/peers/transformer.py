"""Transformer and FNet encoders, sequence to sequence: the peers of the mixing layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def transformer_layer(dim: int, num_heads: int = 4, *, dropout: float = 0.0) -> nn.TransformerEncoderLayer:
    """torch's encoder layer in its best form: pre-norm, GELU, 4x feed-forward, fused attention.

    Dropout acts on the residual branches and the feed-forward, not inside attention, where it would disable the fused
    kernel on CPUs.
    """
    layer = nn.TransformerEncoderLayer(
        dim, num_heads, 4 * dim, dropout, activation=F.gelu, batch_first=True, norm_first=True
    )
    layer.self_attn.dropout = 0.0
    return layer


class FNetLayer(nn.Module):
    """h = LayerNorm(x + Re FFT2(x)), then LayerNorm(h + feed-forward): as published (Lee-Thorp et al. 2022).

    FFT2 is the unnormalised transform over the sequence and the channels; it has no parameters.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.mixing_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mixing_norm(x + torch.fft.fft2(x).real)
        return self.norm(h + self.narrow(F.gelu(self.widen(h))))


class TransformerEncoder(nn.Module):
    """Sequence to sequence: projection, sinusoidal positions (Vaswani et al. 2017), layers, norm, projection.

    (batch, n, input_dim) -> (batch, n, output_dim); four heads, no dropout.
    Cost a layer: 2 n^2 d multiply-adds for attention and 12 n d^2 beside it.
    """

    layer, last_norm = staticmethod(transformer_layer), nn.LayerNorm

    def __init__(self, input_dim: int, hidden_dim: int = 256, num_layers: int = 4, *, output_dim: int | None = None):
        super().__init__()
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.layers = nn.Sequential(*(self.layer(hidden_dim) for _ in range(num_layers)))
        self.norm = self.last_norm(hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, output_dim or input_dim)

    def forward(self, x: Tensor) -> Tensor:
        h = self.input_projection(x)
        h = self.layers(h + sinusoidal_positions(h.shape[1], h.shape[2], like=h))
        return self.output_projection(self.norm(h))


class FNetEncoder(TransformerEncoder):
    """The same of FNet layers, each of which ends in a norm."""

    layer, last_norm = FNetLayer, nn.Identity


def sinusoidal_positions(n: int, dim: int, *, like: Tensor) -> Tensor:
    """Sines and cosines of geometrically spaced periods, (n, dim), in the dtype and on the device of `like`."""
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10000.0) / dim))
    angle = torch.outer(torch.arange(n, dtype=torch.float64), rates)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim].to(like)
