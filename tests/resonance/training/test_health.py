"""Gradient health: numbers of hand-made cases, and the same numbers in TensorBoard's files."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn

from resonance import PolarTrainer, PolarWeight, ResonanceNet
from resonance.training.health import DEAD, PolarHealth, gradient_norm, wrapped


def two_weights() -> nn.ModuleDict:
    model = nn.ModuleDict({"a": PolarWeight(2), "b": PolarWeight(3)})
    with torch.no_grad():
        for weight in model.values():
            weight.magnitude.fill_(1.0)
            weight.phase.fill_(3.0)
    return model


def test_phase_drift_is_the_rms_angle_over_all_weights():
    model = two_weights()
    health = PolarHealth(model)
    assert health.read() == {"phase_drift": 0.0, "dead_magnitudes": 0.0}
    with torch.no_grad():
        model["a"].phase.copy_(torch.tensor([3.0 + 0.3, 3.0 - 0.4]))
        model["b"].phase += 2 * math.pi * torch.tensor([1.0, -3.0, 0.0]) + torch.tensor([0.0, 0.0, -1.2])
    expected = math.sqrt((0.3**2 + 0.4**2 + 1.2**2) / 5)  # whole turns are no drift
    assert health.read()["phase_drift"] == pytest.approx(expected, rel=1e-5)


def test_phase_drift_goes_the_short_way_round():
    model = two_weights()
    health = PolarHealth(model)
    with torch.no_grad():
        for weight in model.values():
            weight.phase.fill_(-3.0)  # across pi: 0.283 radians away, not 6
    assert health.read()["phase_drift"] == pytest.approx(2 * math.pi - 6.0, rel=1e-5)


def test_a_magnitude_that_changes_its_sign_turns_its_weight_by_half_a_turn():
    model = two_weights()
    health = PolarHealth(model)
    with torch.no_grad():
        model["a"].magnitude[0] = -1.0
    assert health.read()["phase_drift"] == pytest.approx(math.pi / math.sqrt(5), rel=1e-5)
    with torch.no_grad():
        model["a"].phase[0] += math.pi  # the same weight as at the start
    assert health.read()["phase_drift"] == pytest.approx(0.0, abs=1e-6)


def test_drift_of_phases_that_forgot_their_start_is_pi_over_root_three():
    model = nn.ModuleDict({"a": PolarWeight(20000)})
    health = PolarHealth(model)
    with torch.no_grad():
        model["a"].phase.uniform_(-50.0, 50.0, generator=torch.Generator().manual_seed(0))
    assert health.read()["phase_drift"] == pytest.approx(math.pi / math.sqrt(3), rel=0.02)


def test_wrapped_lies_within_half_a_turn():
    angles = torch.linspace(-30.0, 30.0, 1001, dtype=torch.float64)
    found = wrapped(angles)
    assert found.min() >= -math.pi and found.max() < math.pi
    torch.testing.assert_close(torch.cos(found), torch.cos(angles))
    torch.testing.assert_close(torch.sin(found), torch.sin(angles))


def test_dead_magnitudes_count_both_signs_below_the_threshold():
    model = two_weights()
    with torch.no_grad():
        model["a"].magnitude.copy_(torch.tensor([0.0, 0.5 * DEAD]))
        model["b"].magnitude.copy_(torch.tensor([-0.9 * DEAD, -1.1 * DEAD, 2.0]))
    assert PolarHealth(model).read()["dead_magnitudes"] == 3 / 5


def test_gradient_norm_of_a_group():
    a, b, without = (nn.Parameter(torch.zeros(n)) for n in (2, 1, 4))
    assert gradient_norm([without]).item() == 0.0
    a.grad, b.grad = torch.tensor([3.0, 4.0]), torch.tensor([-12.0])
    assert gradient_norm([a, without, b]).item() == 13.0


def small_trainer(**options) -> PolarTrainer:
    torch.manual_seed(0)
    return PolarTrainer(ResonanceNet(3, 5, 8, 1, dropout=0.0), 1e-2, 1e-2, **options)


def test_metrics_of_a_step():
    """A step of Adam turns each phase by its rate; health is reported on request, and only with polar weights."""
    x = torch.randn(4, 16, 3)
    _, metrics = small_trainer().train_step((x, -x))
    assert metrics["phase_drift"] == pytest.approx(1e-2, rel=0.1) and metrics["dead_magnitudes"] == 0.0
    _, metrics = small_trainer(monitor_stability=False).train_step((x, -x))
    assert set(metrics) == {"loss", "grad_norm", "clipped", "skipped", "skipped_steps"}
    _, metrics = PolarTrainer(nn.Linear(3, 3)).train_step((x, -x))
    assert "grad_norm/rest" in metrics and "phase_drift" not in metrics


def test_drift_is_measured_from_the_start_of_the_run_after_a_restart(tmp_path):
    x = torch.randn(4, 16, 3)
    trainer, other = small_trainer(), small_trainer()
    for _ in range(5):
        trainer.train_step((x, -x))
    trainer.save(tmp_path)
    other.resume(tmp_path)
    assert other.train_step((x, -x)) == trainer.train_step((x, -x))


def test_tensorboard_holds_every_metric_of_every_step(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    x, found = torch.randn(4, 16, 3), []
    trainer = small_trainer()
    step = trainer.train_step

    def recorded(batch):
        loss, metrics = step(batch)
        found.append(metrics)
        return loss, metrics

    trainer.train_step = recorded
    history = trainer.fit(lambda epoch: [(x, -x)] * 3, 2, lambda model: model(x).mean().item(), log_folder=tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {*found[0], "validation"}
    for tag in found[0]:
        scalars = events.Scalars(tag)
        assert [event.step for event in scalars] == [1, 2, 3, 4, 5, 6]
        assert [event.value for event in scalars] == pytest.approx([metrics[tag] for metrics in found], rel=1e-6)
    validation = events.Scalars("validation")
    assert [event.step for event in validation] == [0, 3, 6]
    assert [event.value for event in validation] == pytest.approx(history.validation, rel=1e-6)


def test_tensorboard_is_needed_only_where_it_is_used(monkeypatch, tmp_path):
    x = torch.randn(4, 16, 3)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    small_trainer().fit(lambda epoch: [x], 1)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        small_trainer().fit(lambda epoch: [x], 1, log_folder=tmp_path)
