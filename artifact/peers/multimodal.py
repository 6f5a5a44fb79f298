"""Peers of `MultimodalResonanceNet` with its fronts and heads: late fusion, and a Transformer over the same tokens."""

from __future__ import annotations

import torch
from torch import nn

from artifact.peers.transformer import sinusoidal_positions, transformer_layer
from resonance.layers import length_mask
from resonance.multimodal import MODALITIES, Counts, MultimodalNet, MultimodalResonanceNet, Tokens
from resonance.polar import count_parameters


class LateFusion(MultimodalResonanceNet):
    """The same encoders, each modality alone through the layers; only the logits are combined.

    Where the modalities are independent given the class, as in `paired_digits`, adding log-odds is optimal given what
    each encoder computes: a strong peer, and the right model if its encoders are calibrated.
    """

    def trunk(self, tokens: Tokens, counts: Counts = None) -> Tokens:
        return {name: x for m in tokens for name, x in super(LateFusion, self).trunk({m: tokens[m]}, counts).items()}


def parameters_in_use(net: MultimodalNet) -> int:
    """Number of trained parameters; of a `LateFusion`, without the blocks of M that couple two modalities."""
    unused = 0
    if isinstance(net, LateFusion):
        for layer in net.layers:
            sizes = [band.size for band in layer.mixing.bands.values()]
            unused += 2 * (sum(sizes) ** 2 - sum(size**2 for size in sizes))
    return count_parameters(net) - unused


class MultimodalTransformer(MultimodalNet):
    """A Transformer over the concatenated tokens of all modalities present.

    Pre-norm layers of torch with fused attention; sinusoidal positions within each modality, and a learned vector for
    each modality.  `options`, errors: as `MultimodalNet`.
    Cost a layer: 2 n^2 dim multiply-adds for attention, n the tokens of all modalities, and 12 n dim^2.
    """

    def __init__(
        self, text_vocab_size: int, dim: int, num_layers: int, num_heads: int = 4, *, dropout: float = 0.1, **options
    ):
        super().__init__(text_vocab_size, dim, **options)
        self.kinds = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(dim)) for name in MODALITIES})
        self.layers = nn.ModuleList(transformer_layer(dim, num_heads, dropout=dropout) for _ in range(num_layers))

    def trunk(self, tokens: Tokens, counts: Counts = None) -> Tokens:
        lines = {name: x.flatten(1, -2) for name, x in tokens.items()}  # (batch, n_m, dim)
        placed = [x + sinusoidal_positions(x.shape[1], x.shape[2], like=x) + self.kinds[m] for m, x in lines.items()]
        h = torch.cat(placed, dim=1)  # (batch, n, dim)
        every = {name: x.new_full(x.shape[:1], x.shape[1]) for name, x in lines.items()} | dict(counts or {})
        padding = torch.cat([~length_mask(x, every[name])[..., 0] for name, x in lines.items()], dim=1)  # (batch, n)
        for layer in self.layers:
            h = layer(h, src_key_padding_mask=padding if counts else None)  # without a mask it is faster
        return dict(zip(lines, h.split([x.shape[1] for x in lines.values()], dim=1), strict=True))
