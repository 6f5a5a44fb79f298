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
    lipschitz_ratios,
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
    options = {"interference": draw(st.booleans()), "negative": draw(st.booleans())}
    return gradient_problem(n, k, 2, seed=draw(st.integers(0, 10**6)), **options)


@settings(deadline=None, max_examples=30)
@given(problems())
def test_corrected_formulas_are_autograd(problem):
    magnitude, phase = polar_gradients(problem.g, problem.w, problem.mixing.weight.phase.detach())
    scale = problem.g.abs().max()
    torch.testing.assert_close(magnitude, problem.magnitude_gradient, rtol=1e-10, atol=1e-10 * scale.item())
    torch.testing.assert_close(phase, problem.phase_gradient, rtol=1e-10, atol=1e-10 * scale.item())


@pytest.mark.parametrize("negative", [False, True])
def test_the_direction_is_that_of_the_phase_where_a_magnitude_is_negative(negative):
    problem = gradient_problem(20, 7, 2, seed=0, negative=negative)
    by_weight, phase = polar_gradients(problem.g, problem.w)
    torch.testing.assert_close(phase, problem.phase_gradient)
    sign = problem.mixing.weight.magnitude.detach().sign()
    torch.testing.assert_close(by_weight * sign, problem.magnitude_gradient)
    assert torch.allclose(by_weight, problem.magnitude_gradient) != negative


@settings(deadline=None, max_examples=30)
@given(problems().filter(lambda problem: (problem.mixing.weight.magnitude > 0).all()))
def test_printed_phase_is_minus_the_magnitude_gradient(problem):
    magnitude, phase = printed_gradients(problem.g.conj(), problem.w)
    assert relative_error(-phase, problem.magnitude_gradient) < 1e-10
    assert relative_error(magnitude, problem.magnitude_gradient) < 1e-10


def test_printed_phase_is_wrong_under_every_convention():
    table = check_formulas([gradient_problem(64, 20, 3, seed=1)]).set_index("formula")
    assert (table["phase_error"].drop("corrected") > 0.5).all()
    assert table.loc["corrected", "phase_error"] < 1e-12


@pytest.mark.parametrize("reading", [lambda g: g / 2, lambda g: -g, lambda g: 1j * g, lambda g: 2 * g.conj()])
def test_readings_outside_the_rule_do_not_save_the_phase_formula(reading):
    """Both formulas under one reading: the phase is minus the magnitude formula, so the two are never right at once."""
    for seed in range(4):
        problem = gradient_problem(64, 20, 3, seed=seed)
        magnitude, phase = printed_gradients(reading(problem.g), problem.w)
        torch.testing.assert_close(phase, -magnitude)
        assert relative_error(phase, problem.phase_gradient) > 0.1


@settings(deadline=None, max_examples=30)
@given(problems())
def test_bounds_hold(problem):
    assert (bound_ratios(problem)[["g", "magnitude", "phase", "total"]] <= 1 + 1e-9).all(axis=None)


@settings(deadline=None, max_examples=30)
@given(problems())
def test_the_lipschitz_bound_holds(problem):
    ratios = lipschitz_ratios(problem)
    assert (ratios <= 1 + 1e-9).all()
    assert (ratios.flatten().numpy() <= bound_ratios(problem)["g"] + 1e-9).all()  # no tighter than thm:bounds


def test_the_lipschitz_bound_is_attained_and_depends_on_the_loss_by_its_constant_alone():
    """One frequency, one channel, a loss linear along the layer's output: the bound is the gradient."""
    torch.manual_seed(0)
    problem = gradient_problem(16, 1, 1, seed=0, batch=1, interference=False)
    direction = problem.mixing(problem.x).detach()
    for constant in (1.0, 100.0):
        cotangent = constant * direction / direction.norm()
        weight = problem.mixing.weight.magnitude
        dr = torch.autograd.grad((problem.mixing(problem.x) * cotangent).sum(), weight)[0]
        spectrum = problem.x.sum() / 4  # X at DC, where c = 1
        torch.testing.assert_close(
            dr.abs() / problem.mixing.weight.phase.cos().abs(), constant * spectrum.abs()[None, None]
        )


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
