"""Small recordings' outputs and a small series, for tests of the live networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from artifact.studies.live.speech import Outputs
from resonance.forecasting import Series, forecast_task


@pytest.fixture
def toy_outputs():
    """Three recordings of 4, 2 and 1 frames, two classes, right from frame 3, 1 and never."""
    says = torch.tensor([[0.6, 0.55, 0.2, 0.1], [0.3, 0.05, 0.05, 0.05], [0.9, 0.9, 0.9, 0.9]])
    return Outputs(torch.stack([says, 1 - says], dim=-1), torch.tensor([4, 2, 1]), torch.tensor([1, 1, 1]))


@pytest.fixture
def task():
    """900 steps of two channels with a cycle of 12 and a trend, forecast 6 steps ahead."""
    t = np.arange(900)[:, None]
    noise = np.random.default_rng(0).standard_normal((900, 2))
    values = np.sin(2 * np.pi * t / 12 + np.arange(2)) + 0.002 * t + 0.1 * noise
    return forecast_task(Series("toy", values, ("c0", "c1"), period=12, step="hour"), 6)
