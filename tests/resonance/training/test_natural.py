"""The natural polar step: descent on the complex weight, for SGD and for adaptive optimisers."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor, nn

from resonance import NaturalPolarTrainer, PolarTrainer, PolarWeight, ResonanceNet, ResonanceTrainer
from resonance.polar import arc_gradients_, natural_polar_step


class Filter(nn.Module):
    """The pair (re, im) of some polar weights, whatever the input."""

    def __init__(self, re: Tensor, im: Tensor):
        super().__init__()
        self.weight = PolarWeight(len(re)).double().set_(re, im)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.stack(self.weight.pair())


class Cartesian(nn.Module):
    """The same, as plain real and imaginary parts."""

    def __init__(self, re: Tensor, im: Tensor):
        super().__init__()
        self.pair = nn.Parameter(torch.stack([re, im]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.pair


def draw(k: int = 40, smallest: float = 0.01) -> tuple[Tensor, Tensor, Tensor]:
    """Weights with magnitudes from `smallest` to 2, and a target."""
    generator = torch.Generator().manual_seed(0)
    r = torch.logspace(math.log10(smallest), math.log10(2.0), k, dtype=torch.float64)
    phi = 6.0 * torch.rand(k, generator=generator, dtype=torch.float64)
    return r * phi.cos(), r * phi.sin(), torch.randn(2, k, generator=generator, dtype=torch.float64)


ONE = torch.ones(1, dtype=torch.float64)
SUM = functools.partial(nn.functional.mse_loss, reduction="sum")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_cartesian_sgd_to_first_order(momentum):
    """The difference to a step on w itself falls with the square of the rate; raw polar descent is another step."""
    re, im, target = draw()
    sgd = functools.partial(torch.optim.SGD, momentum=momentum)
    errors = {}
    for rate in (1e-4, 1e-5):
        moved = []
        for model, trainer in ((Filter(re, im), NaturalPolarTrainer), (Cartesian(re, im), PolarTrainer)):
            fitted = trainer(model, rate, rate, gradient_clip=None, optimizer=sgd, loss_fn=SUM)
            for _ in range(3):
                fitted.train_step((ONE, target))
            moved.append((model(ONE).detach() - torch.stack([re, im])) / rate)
        errors[rate] = (moved[0] - moved[1]).abs().max().item() / moved[1].abs().max().item()
    assert errors[1e-5] < 2e-2 and errors[1e-5] == pytest.approx(0.1 * errors[1e-4], rel=0.3)
    raw = Filter(re, im)
    PolarTrainer(raw, 1e-5, 1e-5, gradient_clip=None, optimizer=sgd, loss_fn=SUM).train_step((ONE, target))
    step = (raw(ONE).detach() - torch.stack([re, im])) / 1e-5
    assert (step - 2 * (target - torch.stack([re, im]))).abs().max() > 0.5


def test_sgd_divides_the_phase_gradient_by_r_squared():
    re, im, target = draw(smallest=1e-5)  # some below the floor
    model, oracle = Filter(re, im), Filter(re, im)
    sgd = functools.partial(torch.optim.SGD)
    NaturalPolarTrainer(model, 1e-3, 5e-4, gradient_clip=None, optimizer=sgd, loss_fn=SUM).train_step((ONE, target))
    SUM(oracle(ONE), target).backward()
    for _ in range(2):  # phase gradients over r^2
        arc_gradients_(oracle, floor=NaturalPolarTrainer.floor)
    with torch.no_grad():
        oracle.weight.magnitude -= 1e-3 * oracle.weight.magnitude.grad
        oracle.weight.phase -= 5e-4 * oracle.weight.phase.grad
    torch.testing.assert_close(model.weight.phase, oracle.weight.phase)
    torch.testing.assert_close(model.weight.magnitude, oracle.weight.magnitude)


def test_adam_moves_the_arc_by_the_rate():
    """Adam's first step is its rate in each coordinate: r and the arc r dphi here, not the angle."""
    re, im, target = draw()
    model = Filter(re, im)
    before = [p.detach().clone() for p in (model.weight.magnitude, model.weight.phase)]
    NaturalPolarTrainer(model, 1e-4, gradient_clip=None, loss_fn=SUM).train_step((ONE, target))
    for step in (model.weight.magnitude - before[0], before[0] * (model.weight.phase - before[1])):
        torch.testing.assert_close(step.detach().abs(), torch.full_like(before[0], 1e-4), rtol=1e-4, atol=0)


def test_adam_is_adam_in_orthonormal_coordinates_over_many_steps():
    re, im, target = draw()
    model = Filter(re, im)
    trainer = NaturalPolarTrainer(model, 3e-3, gradient_clip=None, loss_fn=SUM)
    r, phi = (p.detach().clone() for p in (model.weight.magnitude, model.weight.phase))
    m, v = torch.zeros(2, 2, len(r), dtype=torch.float64)
    for step in range(1, 21):
        trainer.train_step((ONE, target))
        error = 2.0 * (torch.stack([r * phi.cos(), r * phi.sin()]) - target)
        radius = r.abs().clamp_min(1e-3).copysign(r)  # the frame turns with phi, and does not flip where r does
        gradient = torch.stack(
            [error[0] * phi.cos() + error[1] * phi.sin(), error[1] * phi.cos() - error[0] * phi.sin()]
        )
        gradient[1] *= r / radius
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        arc = -3e-3 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        r, phi = r + arc[0], phi + arc[1] / radius
    torch.testing.assert_close(model.weight.magnitude.detach(), r)
    torch.testing.assert_close(model.weight.phase.detach(), phi)


def test_norm_and_clipping_are_those_of_the_complex_weight():
    re, im, target = draw()
    sgd = torch.optim.SGD
    norm = PolarTrainer(Cartesian(re, im), optimizer=sgd, loss_fn=SUM).train_step((ONE, target))[1]["grad_norm"]
    model = Filter(re, im)
    trainer = NaturalPolarTrainer(model, 1e-3, gradient_clip=0.1, optimizer=sgd, loss_fn=SUM)
    assert trainer.train_step((ONE, target))[1]["grad_norm"] == pytest.approx(norm)
    assert (model(ONE).detach() - torch.stack([re, im])).norm().item() == pytest.approx(1e-4, rel=1e-3)


def test_small_steps_survive_large_phases_in_float32():
    """An arc below the resolution of the phase is not lost where the angle it corresponds to is above it."""
    model = nn.ModuleDict({"weight": PolarWeight(1)})
    with torch.no_grad():
        model["weight"].magnitude.fill_(1e-2)
        model["weight"].phase.fill_(3.0)

    class Turn(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = model["weight"]

        def forward(self, x):
            return x * self.weight.phase.sum()

    # An arc of 1e-7 is below half the spacing of floats at 3, 2.4e-7 / 2; the turn is 1e-5.
    NaturalPolarTrainer(Turn(), 1e-7, loss_fn=lambda y, target: y).train_step((torch.ones(()), None))
    assert model["weight"].phase.item() == pytest.approx(3.0 - 1e-5, abs=3e-7)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "RAdam", "Adamax", "Adagrad"])
def test_it_learns_a_filter_with_small_weights(name):
    """From magnitudes of 0.01, where raw polar descent hardly turns, every optimiser comes near the target."""
    _, _, target = draw()
    rate = {"SGD": 0.1, "Adagrad": 0.5}.get(name, 0.05)
    model = Filter(0.01 * ONE.expand(40).clone(), 0.0 * ONE.expand(40).clone())
    trainer = NaturalPolarTrainer(model, rate, gradient_clip=None, optimizer=getattr(torch.optim, name), loss_fn=SUM)
    losses = [trainer.train_step((ONE, target))[0] for _ in range(300)]
    assert losses[-1] < 0.02 * losses[0]


def test_an_interrupted_step_keeps_the_phases(monkeypatch):
    trainer = NaturalPolarTrainer(ResonanceNet(3, 5, 8, 1), 1e-2)
    phase = trainer.model.layers[0].mixing.weight.phase.detach().clone()

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.train_step(torch.randn(2, 16, 3))
    assert torch.equal(trainer.model.layers[0].mixing.weight.phase, phase)


def test_rates_skips_and_checkpoints_are_the_trainers(tmp_path):
    x = torch.randn(2, 16, 3)
    torch.manual_seed(0)
    trainer = NaturalPolarTrainer(ResonanceNet(3, 5, 8, 1, dropout=0.0), 1e-2)
    assert {group["role"]: group["lr"] for group in trainer.optimizer.param_groups}["phase"] == 1e-2
    trainer.train_step((x, -x))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    assert trainer.train_step((x, float("nan") * x))[1]["skipped"] == 1.0
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    trainer.save(tmp_path)
    other = NaturalPolarTrainer(ResonanceNet(3, 5, 8, 1, dropout=0.0), 1e-2)
    assert other.resume(tmp_path)
    assert other.train_step((x, -x)) == trainer.train_step((x, -x))
    with pytest.raises(ValueError, match="of another run: expected"):
        PolarTrainer(ResonanceNet(3, 5, 8, 1), 1e-2, 1e-2).resume(tmp_path)


def test_the_printed_call_takes_the_step_that_won():
    torch.manual_seed(0)
    model = ResonanceNet(3, 5, 8, 1)
    trainer = ResonanceTrainer(
        model=model, learning_rate_magnitude=1e-4, learning_rate_phase=5e-5, gradient_clip=1.0, monitor_stability=True
    )
    assert isinstance(trainer, NaturalPolarTrainer)
    loss, metrics = trainer.train_step((torch.randn(2, 16, 3), torch.randn(2, 16, 3)))
    rates = [metrics[f"learning_rate/{role}"] for role in ("magnitude", "phase")]
    assert rates == [1e-4, 5e-5] and math.isfinite(loss) and metrics["grad_norm"] > 0


def test_tied_weights_move_once_and_half_tied_ones_are_refused():
    torch.manual_seed(0)
    one, other = PolarWeight(5), PolarWeight(5)
    other.magnitude, other.phase = one.magnitude, one.phase
    pair = nn.ModuleList([one, other])
    alone = PolarWeight(5)
    alone.load_state_dict(one.state_dict())
    for model in (pair, alone):
        weight = model[0] if model is pair else model
        weight.phase.grad, weight.magnitude.grad = torch.ones(5), torch.zeros(5)
        with natural_polar_step(model):
            torch.optim.SGD([weight.phase], 0.1).step()
    torch.testing.assert_close(one.phase, alone.phase)
    other.magnitude = nn.Parameter(torch.ones(5))
    with pytest.raises(ValueError, match="share a phase"), natural_polar_step(pair):
        pass
