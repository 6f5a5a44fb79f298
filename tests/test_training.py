"""ResonanceTrainer: roles and rates, losses, clipping, errors, choosing on validation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from resonance import ResonanceNet, ResonanceTrainer


def small_net(**options):
    torch.manual_seed(0)
    return ResonanceNet(3, 5, 16, 1, dropout=0.0, **options)


def test_printed_api_and_rates():
    trainer = ResonanceTrainer(
        model=small_net(),
        learning_rate_magnitude=1e-4,
        learning_rate_phase=5e-5,
        gradient_clip=1.0,
        monitor_stability=True,
    )
    rates = {group["role"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {"magnitude": 1e-4, "phase": 5e-5, "interference": 1e-4, "rest": 1e-4}
    loss, metrics = trainer.train_step((torch.randn(2, 16, 3), torch.randn(2, 16, 3)))
    assert loss == metrics["loss"] > 0
    norms = [metrics[f"grad_norm/{role}"] for role in rates]
    assert metrics["grad_norm"] == pytest.approx(sum(n**2 for n in norms) ** 0.5)


def test_default_loss_follows_the_target():
    x = torch.randn(2, 16, 3)
    trainer = ResonanceTrainer(small_net(output_dim=4))
    prediction = trainer.model.train()(x).detach()
    floats, classes = torch.randn(2, 16, 4), torch.randint(0, 4, (2, 16))
    assert trainer.train_step((x, floats))[0] == pytest.approx(nn.functional.mse_loss(prediction, floats).item())
    prediction = trainer.model(x).detach()
    expected = nn.functional.cross_entropy(prediction.flatten(0, 1), classes.flatten()).item()
    assert trainer.train_step((x, classes))[0] == pytest.approx(expected)


def test_it_learns():
    trainer = ResonanceTrainer(small_net(), 1e-2, 1e-2)
    x = torch.randn(8, 16, 3)
    batch = (x, x.roll(1, dims=1))
    losses = [trainer.train_step(batch)[0] for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_clipping_bounds_the_step():
    model = small_net()
    trainer = ResonanceTrainer(model, 1.0, 1.0, gradient_clip=1e-3, optimizer=torch.optim.SGD)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    _, metrics = trainer.train_step((torch.randn(2, 16, 3), 100 * torch.randn(2, 16, 3)))
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert metrics["clipped"] == 1.0 and metrics["grad_norm"] > 1e-3
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_non_finite_loss_leaves_the_weights_alone():
    model = small_net()
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(2, 16, 3)
    x[0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="loss is nan"):
        ResonanceTrainer(model).train_step((x, torch.randn(2, 16, 3)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_fit_keeps_what_validation_prefers():
    model = small_net()
    trainer = ResonanceTrainer(model, 1e-2, 1e-2)
    figures = iter([3.0, 1.0, 2.0])
    kept = {}

    def validate(candidate):
        figure = next(figures)
        kept[figure] = copy.deepcopy(candidate.state_dict())
        return figure

    x = torch.randn(2, 16, 3)
    history = trainer.fit(lambda epoch: [(x, x)], 2, validate)
    assert history.best_epoch == 1 and history.validation == [3.0, 1.0, 2.0]
    assert all(torch.equal(kept[1.0][name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("options", [{"learning_rate_phase": 0.0}, {"gradient_clip": -1.0}, {"learning_rate": -1e-3}])
def test_bad_rates_are_refused(options):
    with pytest.raises(ValueError, match="positive"):
        ResonanceTrainer(small_net(), **options)


def test_a_target_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="prediction's shape"):
        ResonanceTrainer(small_net()).train_step((torch.randn(2, 16, 3), torch.randn(2, 16, 1)))
