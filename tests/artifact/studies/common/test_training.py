"""The training loop that the studies share: it learns, repeats itself, stops early, names what is missing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from artifact.studies.common.training import train_one_cycle
from resonance import PolarTrainer, ResonanceLayer


def network():
    torch.manual_seed(0)
    return nn.Sequential(ResonanceLayer(4, 3), nn.Linear(4, 1))


def batches():
    generator = torch.Generator().manual_seed(1)
    while True:
        x = torch.randn(8, 10, 4, generator=generator)
        yield x, x[..., :1]


def test_training_learns_and_repeats_itself():
    options = {"rate": 3e-2, "loss_fn": nn.functional.mse_loss}
    first, again = (train_one_cycle(network(), batches(), 60, **options).losses for _ in range(2))
    assert first == again and len(first) == 60 and sum(first[-5:]) < 0.5 * sum(first[:5])
    plain = train_one_cycle(network(), batches(), 60, trainer=PolarTrainer, **options).losses
    assert plain[0] == first[0] and plain != first


@pytest.mark.parametrize("steps", [1, 2, 9, 20])
def test_the_rate_rises_and_falls_once_in_any_number_of_steps(steps):
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    train_one_cycle(network(), batches(), steps, rate=0.1, loss_fn=nn.functional.mse_loss, optimizer=Watched)
    top = rates.index(max(rates))
    assert len(rates) == steps and top <= 2 and (steps == 1 or math.isclose(max(rates), 0.1, rel_tol=0.02))
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)


def test_it_stops_early():
    seen = []

    def loss_fn(prediction, target):
        seen.append(1)
        return nn.functional.mse_loss(prediction, target)

    run = train_one_cycle(network(), batches(), 50, rate=1e-3, loss_fn=loss_fn, stop=lambda: len(seen) >= 7)
    assert len(run.losses) == 7 and run.seconds > 0


def test_a_stream_that_ends_is_named():
    with pytest.raises(ValueError, match="expected 3 batches, got 2"):
        x = torch.randn(2, 5, 4)
        train_one_cycle(network(), [(x, x[..., :1])] * 2, 3, rate=1e-3, loss_fn=nn.functional.mse_loss)
    with pytest.raises(ValueError, match="steps >= 1"):
        train_one_cycle(network(), [], 0, rate=1e-3, loss_fn=nn.functional.mse_loss)
