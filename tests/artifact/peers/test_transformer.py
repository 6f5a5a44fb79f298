"""The Transformer and FNet encoders."""

from __future__ import annotations

import torch
from torch import nn

from artifact.peers.transformer import FNetEncoder, FNetLayer, TransformerEncoder
from resonance.layers import FeedForward


def test_transformer_baseline_uses_fused_attention():
    from torch.profiler import ProfilerActivity, profile

    model = TransformerEncoder(4, 32, 1)
    assert isinstance(model.layers[0], nn.TransformerEncoderLayer)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        assert model(torch.randn(2, 16, 4)).shape == (2, 16, 4)
    assert any("flash_attention" in event.key for event in trace.key_averages())


def test_fnet_mixes_tokens_by_the_transform_alone():
    layer, x = FNetLayer(8).double(), torch.randn(2, 6, 8, dtype=torch.float64)
    dft = [torch.fft.fft(torch.eye(n, dtype=torch.complex128)) for n in (6, 8)]
    mixed = (dft[0] @ x.to(torch.complex128) @ dft[1]).real
    h = layer.mixing_norm(x + mixed)
    feed = layer.narrow(torch.nn.functional.gelu(layer.widen(h)))
    assert torch.allclose(layer(x), layer.norm(h + feed))
    assert FNetEncoder(4, 8, 2, output_dim=3)(torch.randn(1, 5, 4)).shape == (1, 5, 3)
    assert FeedForward(8)(torch.zeros(1, 2, 8)).shape == (1, 2, 8)
