"""T1: the corrected formulas, the printed ones, the bounds."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.stable_gradients.gradients import (
    ARRANGEMENTS,
    UnnormedLayer,
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
    problems = [gradient_problem(64, 20, 3, seed=seed) for seed in (1, 2)]
    table = check_formulas(problems).set_index("formula")
    assert (table["phase_error"].drop("corrected") > 0.5).all()
    assert table.loc["corrected", "phase_error"] < 1e-12
    alone = pd.concat([check_formulas([problem]) for problem in problems]).groupby("formula")["phase_error"]
    assert table["phase_error"].to_dict() == alone.max().to_dict()
    assert table["phase_least"].to_dict() == alone.min().to_dict()


@pytest.mark.parametrize("reading", [lambda g: -1j * g, lambda g: -g, lambda g: 1j * g, lambda g: 2 * g.conj()])
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


def signed_growths(depth, seed, phases=None):
    """|D|^2 / (nd) / prod (1 + gain^2) and |D|^2 / (nd), D = dh_L / dh_0, averaged over the signs of all phases.

    Turning every phase of a layer by pi turns its branch over: over these 2^depth stacks e^(i phi) has mean zero, which
    is all that the theorem asks of the phases, so that its expectation is a finite sum.
    """
    torch.manual_seed(seed)
    n, dim = 8, 3
    layers = [ResonanceLayer(dim, 5).double() for _ in range(depth)]  # the whole band, DC and Nyquist included
    for layer in layers:
        with torch.no_grad():
            layer.norm.weight.uniform_(0.5, 1.5)
            layer.norm.bias.normal_()
            if phases is not None:
                layer.mixing.weight.phase.fill_(phases)
    x = torch.randn(1, n, dim, dtype=torch.float64)
    ratios, growths = [], []
    for signs in itertools.product((0, 1), repeat=depth):
        product, h = 1.0, x
        with torch.no_grad():
            for layer, sign in zip(layers, signs, strict=True):
                layer.mixing.weight.magnitude.mul_((-1) ** sign)  # -r e^(i phi) = r e^(i (phi + pi))
                product *= 1 + branch_gain(layer, h) ** 2
                h = layer(h)
        whole = torch.autograd.functional.jacobian(lambda h: torch.nn.Sequential(*layers)(h), x)
        growths.append(whole.square().sum().item() / (n * dim))
        ratios.append(growths[-1] / product)
        with torch.no_grad():
            for layer, sign in zip(layers, signs, strict=True):
                layer.mixing.weight.magnitude.mul_((-1) ** sign)
    return sum(ratios) / len(ratios), sum(growths) / len(growths), max(ratios)


@pytest.mark.parametrize("seed", range(3))
def test_the_depth_bound_over_phases_is_an_exact_mean(seed):
    ratio, growth, _ = signed_growths(3, seed)
    assert ratio <= 1 + 1e-12
    assert growth >= 1 - 1e-12  # in mean square no gradient vanishes


def test_the_depth_bound_over_phases_is_one_of_the_mean_alone():
    """Aligned branches exceed it: it needs the phases' mean, which the bound with first powers does not."""
    small = [signed_growths(1, seed, phases=0.0) for seed in range(3)]
    assert all(ratio <= 1 + 1e-12 for ratio, *_ in small)
    torch.manual_seed(0)
    layer = ResonanceLayer(3, 5, interference=False).double()
    with torch.no_grad():
        layer.mixing.weight.magnitude.fill_(0.05)
        layer.mixing.weight.phase.zero_()
    h = torch.randn(1, 8, 3, dtype=torch.float64)
    whole = torch.autograd.functional.jacobian(lambda h: layer(h), h)
    assert whole.square().sum().item() / 24 > 1 + branch_gain(layer, h) ** 2


def test_an_orthogonal_branch_attains_the_depth_bound_over_phases():
    """Whole band, no LayerNorm, no interference, |w| = 1: the branch is orthogonal but at the real ends, a = s = 1."""
    torch.manual_seed(0)
    layer = UnnormedLayer(2, 8, interference=False).double()  # inner frequencies and DC of 16
    with torch.no_grad():
        layer.mixing.weight.magnitude.fill_(1.0)
    total = 0.0
    for sign in (1, -1):
        with torch.no_grad():
            layer.mixing.weight.magnitude.fill_(float(sign))
        x = torch.randn(1, 16, 2, dtype=torch.float64)
        total += torch.autograd.functional.jacobian(lambda h: layer(h), x).square().sum().item() / 2
    ends = layer.mixing.weight.phase[0].detach().cos().square().sum().item()  # DC keeps the real part of its weight
    assert total == pytest.approx(32 + 2 * 14 + ends)


@pytest.mark.parametrize("squared_error", [False, True])
def test_the_profile_carries_both_bounds(squared_error):
    profile = depth_profile("pre-norm", 6, seed=0, n=32, dim=8, k=9, squared_error=squared_error)
    assert (profile["log10_mean"].iloc[:-1] < profile["log10_upper"].iloc[:-1]).all()
    assert profile["log10_mean"].is_monotonic_decreasing and profile["log10_mean"].iloc[-1] == 0
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
