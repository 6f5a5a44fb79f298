"""Convergence of one polar weight: critical points, the bound of the flow, contraction of descent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.stable_gradients.convergence import COORDINATES, contraction, flow, one_weight_loss


def hessian(r, angle, target):
    point = torch.tensor([r, angle], dtype=torch.float64)
    return (
        torch.autograd.functional.jacobian(lambda p: one_weight_loss(p[0], p[1], target), point),
        torch.autograd.functional.hessian(lambda p: one_weight_loss(p[0], p[1], target), point),
    )


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(-4, 4), st.floats(0.05, 4))
def test_the_loss_is_the_distance_of_complex_weights(r, angle, target):
    w = r * torch.polar(torch.tensor(1.0, dtype=torch.float64), torch.tensor(angle, dtype=torch.float64))
    loss = one_weight_loss(torch.tensor(r, dtype=torch.float64), torch.tensor(angle, dtype=torch.float64), target)
    assert loss.item() == pytest.approx((w - target).abs().square().item() / 2, abs=1e-12)


@pytest.mark.parametrize("target", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_critical_points_are_minima_or_strict_saddles(target, sign):
    gradient, second = hessian(0.0, sign * math.pi / 2, target)
    expected = [(1 - math.sqrt(1 + 4 * target**2)) / 2, (1 + math.sqrt(1 + 4 * target**2)) / 2]
    assert gradient.norm() < 1e-12 and expected[0] < 0
    torch.testing.assert_close(torch.linalg.eigvalsh(second), torch.tensor(expected, dtype=torch.float64))
    gradient, second = hessian(sign * target, (1 - sign) * math.pi / 2, target)  # r may be negative
    assert gradient.norm() < 1e-12
    torch.testing.assert_close(second, torch.diag(torch.tensor([1, target**2], dtype=torch.float64)))


@settings(max_examples=12, deadline=None)
@given(st.floats(0.01, 4), st.floats(-1.55, 1.55), st.floats(0.05, 4))
def test_the_flow_is_within_its_bound(r, angle, target):
    table = flow([(r, angle)], [target])
    assert (table["loss"] <= table["bound"] * (1 + 1e-6) + 1e-12).all()
    assert (table["loss"].diff().dropna() <= 1e-12).all()


def test_the_bound_is_close_for_a_small_phase_and_takes_both_conditions():
    table = flow([(1.0, 1e-4)], [0.3])
    assert (table["loss"] / table["bound"]).min() > 0.999
    for start in ((0.0, 0.5), (-1.0, 0.5), (1.0, math.pi / 2)):
        with pytest.raises(ValueError, match="r0 > 0"):
            flow([start], [1.0])


def test_past_a_right_angle_the_rate_is_lost():
    r, angle = torch.tensor(1e-4, dtype=torch.float64), torch.tensor(math.pi / 2, dtype=torch.float64)
    slopes = [one_weight_loss(r, angle, 1.0)]
    for _ in range(100):  # the flow by Euler steps: into the saddle's neighbourhood, the loss hardly falls
        r, angle = r + 0.01 * (angle.cos() - r), angle - 0.01 * r * angle.sin()
        slopes.append(one_weight_loss(r, angle, 1.0))
    assert slopes[-1] > 0.999 * slopes[0] > 0.49


def test_descent_contracts_by_its_law():
    table = contraction([0.1, 0.3, 0.7, 1.4, 3.0])
    assert set(table["coordinates"]) == set(COORDINATES)
    assert (table["measured"] - table["law"]).abs().max() < 2e-4
    polar = table[table["coordinates"] == "polar"].set_index("target")["law"]
    assert polar.loc[[0.1, 0.3, 3.0]].tolist() == pytest.approx([0.995, 0.955, 1 - 0.5 / 9])
