"""Products of two tokens, in the traced graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from artifact.peers.transformer import FNetEncoder, transformer_layer
from artifact.studies.common.graph import token_products
from resonance import LongContextResonanceNet, ResonanceNet


class Scores(nn.Module):
    def forward(self, x):
        return x @ x.transpose(1, 2) @ x


@pytest.mark.parametrize(
    "model",
    [
        ResonanceNet(4, 5, 8, 2),
        ResonanceNet(4, 5, 8, 2, engine="fft"),
        LongContextResonanceNet(4, 64, 16, 2, hidden_dim=8, num_frequencies=5, local_frequencies=3),
        FNetEncoder(4, 8, 1),
        nn.Linear(4, 4),
    ],
)
def test_mixing_by_weights_multiplies_no_two_tokens(model):
    assert token_products(model, torch.randn(1, 40, 4)) == []


def test_attention_is_found_fused_and_by_hand():
    assert any("attention" in name for name in token_products(transformer_layer(8, 2), torch.randn(1, 40, 8)))
    assert token_products(Scores(), torch.randn(1, 5, 4)) == ["bmm", "bmm"]
