"""The Transformer and FNet encoders."""

from __future__ import annotations

import torch
from torch import nn

from artifact.peers.transformer import TransformerEncoder


def test_transformer_baseline_uses_fused_attention():
    from torch.profiler import ProfilerActivity, profile

    model = TransformerEncoder(4, 32, 1)
    assert isinstance(model.layers[0], nn.TransformerEncoderLayer)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        assert model(torch.randn(2, 16, 4)).shape == (2, 16, 4)
    assert any("flash_attention" in event.key for event in trace.key_averages())
