"""The Cartesian twin of a model of polar weights."""

from __future__ import annotations

import pytest
import torch

from artifact.peers.cartesian import CartesianWeight, to_cartesian
from resonance import ResonanceNet, ResonanceTimeSeriesNet
from resonance.layers import BandMixing
from resonance.polar import PolarWeight, count_parameters, parameter_roles


@pytest.mark.parametrize(
    "make, x",
    [
        (lambda: BandMixing(3, 5), torch.randn(2, 16, 3)),
        (lambda: ResonanceNet(4, 5, 6, 2, dropout=0.0), torch.randn(2, 12, 4)),
        (lambda: ResonanceTimeSeriesNet(8, 24, 2), torch.randn(2, 24, 2)),
    ],
)
def test_cartesian_twin_is_the_same_map(make, x):
    model = make()
    before, parameters = model(x), count_parameters(model)
    others = {name for role, name, _ in parameter_roles(model) if role not in ("magnitude", "phase")}
    twin = to_cartesian(model)
    assert not any(isinstance(m, PolarWeight) for m in twin.modules())
    assert any(isinstance(m, CartesianWeight) for m in twin.modules())
    torch.testing.assert_close(twin(x), before, rtol=1e-5, atol=1e-6)
    assert count_parameters(twin) == parameters and others <= {name for name, _ in twin.named_parameters()}
