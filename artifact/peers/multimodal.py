"""Peers of `MultimodalResonanceNet`, with its fronts and heads: late fusion, and a Transformer over the same tokens."""

from __future__ import annotations

import torch
from torch import nn

from artifact.peers.transformer import sinusoidal_positions, transformer_layer
from resonance.multimodal import MODALITIES, MultimodalNet, MultimodalResonanceNet, Tokens
from resonance.polar import count_parameters


class LateFusion(MultimodalResonanceNet):
    """The same encoders, each modality alone through the layers; only their logits meet.

    Where the modalities are independent given the class, as in `paired_digits`, adding log-odds is the best that can
    be done with what each encoder says: a strong peer, and the right answer if its encoders are calibrated.
    """

    def trunk(self, tokens: Tokens) -> Tokens:
        return {name: x for m in tokens for name, x in super(LateFusion, self).trunk({m: tokens[m]}).items()}


def parameters_in_use(net: MultimodalNet) -> int:
    """Return the trained parameters; of a `LateFusion`, without the blocks of M that join two modalities."""
    unused = 0
    if isinstance(net, LateFusion):
        for layer in net.layers:
            sizes = [band.size for band in layer.mixing.bands.values()]
            unused += 2 * (sum(sizes) ** 2 - sum(size**2 for size in sizes))
    return count_parameters(net) - unused


class MultimodalTransformer(MultimodalNet):
    """A Transformer over the tokens of all modalities present, one after the other in one sequence.

    Pre-norm layers of torch with fused attention; sinusoidal positions within each modality, and a learned vector that
    tells the modality.  Fronts, heads and errors: as `MultimodalResonanceNet`.
    Cost a layer: 2 n^2 dim multiply-adds for attention, n the tokens of all modalities, and 12 n dim^2.
    """

    def __init__(
        self,
        text_vocab_size: int,
        hidden_dim: int = 768,
        num_layers: int = 8,
        num_heads: int = 4,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        patch_size: int = 16,
        frame: int = 256,
        hop: int = 128,
        dropout: float = 0.1,
    ):
        super().__init__(text_vocab_size, hidden_dim, num_classes, in_channels, patch_size, frame, hop)
        self.kinds = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(hidden_dim)) for name in MODALITIES})
        self.layers = nn.ModuleList(
            transformer_layer(hidden_dim, num_heads, dropout=dropout) for _ in range(num_layers)
        )

    def trunk(self, tokens: Tokens) -> Tokens:
        lines = {name: x.flatten(1, -2) for name, x in tokens.items()}
        placed = [x + sinusoidal_positions(x.shape[1], x.shape[2], like=x) + self.kinds[m] for m, x in lines.items()]
        h = torch.cat(placed, dim=1)
        for layer in self.layers:
            h = layer(h)
        return dict(zip(lines, h.split([x.shape[1] for x in lines.values()], dim=1), strict=True))
