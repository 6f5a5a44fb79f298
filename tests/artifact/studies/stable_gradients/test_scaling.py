"""Gradients against length, and at the ends of the band."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.stable_gradients.gradients import gradient_problem
from artifact.studies.stable_gradients.scaling import end_bins, length_exponents, length_scaling, mixing_norm
from resonance.band import next_power_of_two
from resonance.layers import BandMixing


@st.composite
def problems(draw):
    n = draw(st.integers(1, 80))
    k = draw(st.integers(1, next_power_of_two(n) // 2 + 1))
    return gradient_problem(n, k, 2, seed=draw(st.integers(0, 10**6)), interference=draw(st.booleans()))


@settings(deadline=None, max_examples=30)
@given(problems())
def test_sum_of_gradients_is_bounded_without_n(problem):
    """sum |g| <= kappa |x| |dL/dy|: for a mean squared error, 2 kappa rms(x) rms(e)."""
    kappa = mixing_norm(problem.mixing, problem.x)
    bound = kappa * problem.x.norm() * problem.cotangent.norm()
    assert problem.g.abs().sum() <= bound * (1 + 1e-9)


def test_mixing_norm_is_the_norm_of_the_map():
    """Weights of one: the map's norm on whole signals is at most kappa, and without interference 1."""
    torch.manual_seed(0)
    mixing = BandMixing(1, 9, engine="fft").double()
    with torch.no_grad():
        mixing.interference.re += 0.3 * torch.randn(9, 9)
        mixing.weight.set_(torch.ones(9, 1).double(), torch.zeros(9, 1).double())
    matrix = torch.autograd.functional.jacobian(lambda x: mixing(x[None, :, None])[0, :, 0], torch.randn(16).double())
    x = torch.randn(1, 16, 1).double()
    assert torch.linalg.matrix_norm(matrix, 2).item() <= mixing_norm(mixing, x) * (1 + 1e-9)
    assert mixing_norm(BandMixing(1, 9, interference=False), x) == 1.0


def test_a_tone_is_level_under_a_mean_and_grows_under_a_sum():
    scaling = length_scaling([64, 256, 1024, 4096], seeds=3)
    assert (scaling["of_bound"] <= 1 + 1e-9).all()
    exponent = length_exponents(scaling).set_index(["signal", "loss", "gradient"])["exponent"]
    expected = {
        "noise": {"magnitude": -1.0, "phase": -1.0, "input": -1.0},
        "tone": {"magnitude": 0.0, "phase": 0.0, "input": -0.5},
    }
    for signal, of_gradient in expected.items():
        for gradient, value in of_gradient.items():
            assert abs(exponent[signal, "mean", gradient] - value) < 0.2, (signal, gradient)
            assert abs(exponent[signal, "sum", gradient] - exponent[signal, "mean", gradient] - 1) < 1e-9


@pytest.mark.parametrize("n", [16, 13])
def test_the_imaginary_part_is_unseen_at_the_ends_alone(n):
    bins = end_bins(n, seed=1)
    plain = bins[~bins["interference"]].set_index("frequency")
    ends = [0, 8]
    assert (plain.loc[ends, ["imaginary", "curvature"]] < 1e-12).all(axis=None)
    assert (plain.drop(ends)[["imaginary", "curvature"]] > 1e-6).all(axis=None)
    mixed = bins[bins["interference"]].set_index("frequency")
    assert (mixed.loc[ends, "curvature"] > 1e-6).all()  # interference carries it to other frequencies


@pytest.mark.parametrize("place", [0, 4])
@pytest.mark.parametrize("engine", ["fft", "dense"])
def test_the_output_never_moves_along_the_null_direction(place, engine):
    torch.manual_seed(0)
    mixing = BandMixing(2, 5, engine=engine, interference=False).double()
    x = torch.randn(3, 8, 2).double()
    before = mixing(x)
    re, im = (part.detach().clone() for part in mixing.weight.pair())
    im[place] += 10.0
    mixing.weight.set_(re, im)
    torch.testing.assert_close(mixing(x), before, rtol=1e-10, atol=1e-10)
    loss = mixing(x).square().sum()
    dr, dphi = torch.autograd.grad(loss, [mixing.weight.magnitude, mixing.weight.phase])
    r, phi = mixing.weight.magnitude.detach(), mixing.weight.phase.detach()
    across = r * phi.sin() * dr + phi.cos() * dphi  # zero where (dr, dphi) is parallel to (cos phi, -r sin phi)
    assert across[place].abs().max() < 1e-8 * dr[place].abs().max() * r[place].max()
