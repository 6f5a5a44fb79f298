"""T1: the corrected formulas, the printed ones, the bounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.stable_gradients.gradients import (
    ARRANGEMENTS,
    bound_ratios,
    branch_gain,
    check_formulas,
    depth_profile,
    gradient_problem,
    polar_gradients,
    printed_gradients,
    relative_error,
)
from resonance.band import next_power_of_two
from resonance.layers import ResonanceLayer


@st.composite
def problems(draw):
    n = draw(st.integers(1, 80))
    k = draw(st.integers(1, next_power_of_two(n) // 2 + 1))
    return gradient_problem(n, k, 2, seed=draw(st.integers(0, 10**6)), interference=draw(st.booleans()))


@settings(deadline=None, max_examples=30)
@given(problems())
def test_corrected_formulas_are_autograd(problem):
    magnitude, phase = polar_gradients(problem.g, problem.w)
    scale = problem.g.abs().max()
    torch.testing.assert_close(magnitude, problem.magnitude_gradient, rtol=1e-10, atol=1e-10 * scale.item())
    torch.testing.assert_close(phase, problem.phase_gradient, rtol=1e-10, atol=1e-10 * scale.item())


@settings(deadline=None, max_examples=30)
@given(problems())
def test_printed_phase_is_minus_the_magnitude_gradient(problem):
    magnitude, phase = printed_gradients(problem.g.conj(), problem.w)
    assert relative_error(-phase, problem.magnitude_gradient) < 1e-10
    assert relative_error(magnitude, problem.magnitude_gradient) < 1e-10


def test_printed_phase_is_wrong_under_every_convention():
    table = check_formulas([gradient_problem(64, 20, 3, seed=1)]).set_index("formula")
    assert (table["phase_error"].drop("corrected") > 0.5).all()
    assert table.loc["corrected", "phase_error"] < 1e-12


@settings(deadline=None, max_examples=30)
@given(problems())
def test_bounds_hold(problem):
    assert (bound_ratios(problem)[["g", "magnitude", "phase", "total"]] <= 1 + 1e-9).all(axis=None)


def test_gradients_follow_the_loss_not_the_spectrum():
    once, scaled = (gradient_problem(32, 9, 2, seed=0, scale=scale) for scale in (1.0, 100.0))
    assert torch.equal(once.x, scaled.x)
    torch.testing.assert_close(scaled.phase_gradient, 100 * once.phase_gradient)


@pytest.mark.parametrize("depth", [1, 5])
def test_depth_bound_holds(depth):
    for seed in range(5):
        profile = depth_profile("pre-norm", depth, seed=seed, n=32, dim=8, k=9)
        assert (profile["growth"] <= 10 ** profile["log10_upper"] * (1 + 1e-9)).all()


def test_lower_depth_bound_holds_where_it_says_something():
    for seed in range(5):
        profile = depth_profile("pre-norm", 4, seed=seed, n=32, dim=8, k=9, magnitude=0.05)
        assert (profile["log10_lower"] > -2).all()
        assert (profile["growth"] >= 10 ** profile["log10_lower"] * (1 - 1e-9)).all()
        assert (profile["growth"] <= 10 ** profile["log10_upper"] * (1 + 1e-9)).all()


def test_lower_depth_bound_is_not_empty_for_small_weights():
    torch.manual_seed(0)
    layer = ResonanceLayer(8, 9).double()
    with torch.no_grad():
        layer.mixing.weight.magnitude.mul_(0.1)
    h = torch.randn(2, 32, 8, dtype=torch.float64, requires_grad=True)
    gain = branch_gain(layer, h)
    assert 0 < gain < 1
    cotangent = torch.randn_like(h)
    gradient = torch.autograd.grad(layer(h), h, cotangent)[0]
    assert 1 - gain <= (gradient.norm() / cotangent.norm()).item() <= 1 + gain


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_arrangements_differ_as_named(arrangement):
    torch.manual_seed(0)
    layer = ARRANGEMENTS[arrangement](8, 5)
    x = torch.randn(1, 16, 8)
    expected = {
        "pre-norm": lambda: x + layer.mixing(layer.norm(x)),
        "post-norm, as printed": lambda: layer.norm(x + layer.mixing(x)),
        "residual, no norm": lambda: x + layer.mixing(x),
        "no residual": lambda: layer.mixing(x),
    }[arrangement]()
    torch.testing.assert_close(layer(x), expected)
