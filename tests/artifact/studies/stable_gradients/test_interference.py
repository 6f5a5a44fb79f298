"""Convergence with interference: the loss as rank-one factorisations, its critical points, the gauge, descent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from artifact.studies.stable_gradients.interference import (
    descend,
    factorisation,
    least_loss,
    losses_of,
    phases_found,
    uncorrelated_regression,
)

TASK = uncorrelated_regression(4, 3, 16, seed=0)


def stacked(layers):
    return {name: p.detach() for name, p in torch.func.stack_module_state(layers)[0].items()}


def complex_parts(parameters):
    """(M, W) of stacked parameters."""
    r, phi = parameters["weight.magnitude"], parameters["weight.phase"]
    matrix = torch.complex(parameters["interference.re"], parameters["interference.im"])
    return matrix, torch.complex(r * phi.cos(), r * phi.sin())


def test_inputs_are_uncorrelated_across_frequencies_and_not_across_channels():
    source, _ = TASK.spectra()
    across = torch.einsum("bfc,bgc->cfg", source, source.conj()) / len(source)
    diagonal = torch.diagonal(across, dim1=1, dim2=2).real
    torch.testing.assert_close(across, torch.diag_embed(diagonal).to(across.dtype), atol=1e-12, rtol=0)
    assert ((diagonal > 0.49) & (diagonal < 2.01)).all()
    assert (source[:, 0, 0].conj() @ source[:, 0, 1]).abs() > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_a_layer_is_a_sum_of_rank_one_factorisations(seed):
    torch.manual_seed(seed)
    layer = TASK.layer()
    with torch.no_grad():
        layer.interference.re.normal_()
        layer.interference.im.normal_()
        layer.weight.magnitude.normal_()  # of either sign
    matrices, constant, powers = factorisation(TASK)
    parameters = stacked([layer])
    matrix, w = (part[0] for part in complex_parts(parameters))
    form = constant + sum(
        (math.sqrt(2) * torch.outer(matrix[:, g], powers[g].sqrt() * w[g]) - matrices[g]).abs().square().sum()
        for g in range(TASK.k)
    )
    loss = TASK.loss(layer(TASK.x)).item()
    assert loss == pytest.approx(form.item(), rel=1e-12)
    assert losses_of(TASK, parameters).item() == pytest.approx(loss, rel=1e-12)
    assert loss > least_loss(TASK)


def test_correlated_inputs_break_the_form():
    """The hypothesis is needed: with one input added to another frequency the sum is no longer the loss."""
    source, _ = TASK.spectra()
    assert (source[:, 0].conj() * source[:, 1]).sum(0).abs().max() < 1e-10
    shifted = type(TASK)(TASK.x.roll(1, dims=0) + TASK.x, TASK.target, TASK.k)
    torch.manual_seed(0)
    layer = shifted.layer()
    with torch.no_grad():
        layer.interference.re.normal_()
    matrices, constant, powers = factorisation(shifted)
    matrix, w = (part[0] for part in complex_parts(stacked([layer])))
    form = constant + sum(
        (math.sqrt(2) * torch.outer(matrix[:, g], powers[g].sqrt() * w[g]) - matrices[g]).abs().square().sum()
        for g in range(TASK.k)
    )
    assert abs(shifted.loss(layer(shifted.x)).item() / form.item() - 1) > 1e-3


def test_the_gauge_changes_no_output():
    torch.manual_seed(1)
    layer = TASK.layer()
    before = layer(TASK.x)
    turn = torch.polar(torch.rand(TASK.k).double() + 0.5, 6 * torch.rand(TASK.k).double())
    matrix = torch.complex(layer.interference.re, layer.interference.im) / turn
    with torch.no_grad():
        layer.interference.re.copy_(matrix.real)
        layer.interference.im.copy_(matrix.imag)
        layer.weight.magnitude.mul_(turn.abs()[:, None])
        layer.weight.phase.add_(turn.angle()[:, None])
    torch.testing.assert_close(layer(TASK.x), before)


def test_each_singular_pair_but_the_first_is_a_strict_saddle():
    """At sigma_i u_i v_i^* the gradient is zero; along u_1, v_1 the curvature is 2 sigma_i (sigma_i - sigma_1)."""
    matrices, _, _ = factorisation(TASK)
    target = matrices[0]
    u, values, vh = torch.linalg.svd(target, full_matrices=False)

    def loss(point):
        m, w = (
            torch.view_as_complex(point[: 2 * len(u)].view(-1, 2)),
            torch.view_as_complex(point[2 * len(u) :].view(-1, 2)),
        )
        return (torch.outer(m, w) - target).abs().square().sum()

    def packed(m, w):
        return torch.view_as_real(torch.cat([m, w])).flatten()

    for i, value in enumerate(values):
        point = packed(value.sqrt() * u[:, i], value.sqrt() * vh[i])
        assert torch.autograd.functional.jacobian(loss, point).norm() < 1e-10
        second = torch.autograd.functional.hessian(loss, point)
        least = torch.linalg.eigvalsh(second)[0]
        if i == 0:
            assert least > -1e-10
            assert loss(point).item() == pytest.approx(values[1:].square().sum().item())
        else:
            along = packed(value.sqrt() * u[:, 0], value.sqrt() * vh[0])
            assert (along @ second @ along / 2).item() == pytest.approx(2 * value.item() * (value - values[0]).item())
            assert least < 0
    zero = torch.autograd.functional.hessian(loss, packed(u[:, 0] * 0, vh[0] * 0))
    assert torch.linalg.eigvalsh(zero)[0].item() == pytest.approx(-2 * values[0].item())


def test_descent_from_random_starts_reaches_the_least_loss_and_finds_relative_phases_alone():
    path, end = descend(TASK, starts=4, steps=1000, rate=0.05, seed=0)
    first, last = (path[path["step"] == step]["excess"] for step in (0, 1000))
    assert (first > 0.3).all() and (last < 1e-6).all() and (last > -1e-12).all()
    phases = phases_found(end)
    off = {name: np.angle(np.exp(1j * (phases[name] - phases[f"{name}_first"]))) for name in ("found", "relative")}
    assert len(phases) == 3 * 4 * 2
    assert np.abs(off["relative"]).max() < 1e-2 < 1 < np.sqrt(np.mean(off["found"] ** 2))


def test_what_is_no_inner_band_is_refused():
    for k, n in ((8, 16), (0, 16), (3, 12)):
        with pytest.raises(ValueError, match="n/2"):
            uncorrelated_regression(k, 2, n, seed=0)
