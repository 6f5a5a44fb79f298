"""Polar weights, interference, and the natural polar step."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from resonance import (
    BandMixing,
    HierarchicalEmbedding,
    HierarchicalHead,
    NaturalPolarTrainer,
    PolarTrainer,
    ResonanceNet,
)
from resonance.polar import (
    Interference,
    PolarWeight,
    arc_gradients_,
    complex_matmul,
    complex_product,
    count_parameters,
    frame_radius,
    mixed,
    natural_polar_step,
    parameter_roles,
)


def test_interference_starts_near_the_identity():
    torch.manual_seed(0)
    m = BandMixing(4, 32).interference
    assert torch.linalg.matrix_norm(torch.complex(m.re, m.im) - torch.eye(32), 2) < 0.1


def test_pairs_multiply_as_complex_numbers():
    torch.manual_seed(0)
    a, b = (torch.randn(3, 3, dtype=torch.complex128) for _ in range(2))
    for product, exact in ((complex_product, a * b), (complex_matmul, a @ b)):
        re, im = product((a.real, a.imag), (b.real, b.imag))
        torch.testing.assert_close(torch.complex(re, im), exact)
    weight = PolarWeight(3, 3, dtype=torch.float64)
    assert weight.phase.dtype == torch.float64
    re, im = weight(a.real, a.imag)
    torch.testing.assert_close(torch.complex(re, im), torch.polar(weight.magnitude, weight.phase) * a)


@torch.no_grad()
def test_weights_start_as_they_say():
    torch.manual_seed(0)
    weight, matrix = PolarWeight(100, 100, scale=3.0), Interference(100)
    assert weight.magnitude.mean() == pytest.approx(3.0, rel=0.01)
    assert weight.magnitude.std() == pytest.approx(0.06, rel=0.05)
    assert PolarWeight(100, 100).magnitude.mean() == pytest.approx(1.0, rel=0.01)
    for sign in (-1, 1):  # uniform on the circle, and within one turn of it
        assert (sign * weight.phase).max() == pytest.approx(torch.pi, rel=0.01)
    assert weight.phase.abs().max() <= torch.pi and abs(weight.phase.mean()) < 0.1
    for noise in (matrix.re - torch.eye(100), matrix.im):
        assert noise.std() == pytest.approx(0.02 / 10, rel=0.05)
    assert count_parameters(matrix) == 2 * 100**2


def test_complex_parameters_count_twice_and_frozen_ones_not_at_all():
    model = nn.ParameterDict({"re": torch.zeros(3), "complex": torch.zeros(4, dtype=torch.complex64)})
    assert count_parameters(model) == 3 + 2 * 4
    model["re"].requires_grad_(False)
    assert count_parameters(model) == 8


def test_the_radius_of_a_frame_keeps_its_sign_and_a_least_size():
    radius = frame_radius(torch.tensor([2.0, -2.0, 1e-5, -1e-5, 0.0]))
    assert torch.equal(radius, torch.tensor([2.0, -2.0, 1e-3, -1e-3, 1e-3]))


def test_a_phase_shared_by_two_magnitudes_is_refused_and_shared_weights_count_once():
    first, second = PolarWeight(3), PolarWeight(3)
    second.phase = first.phase
    model = nn.ModuleList([nn.Linear(1, 1), first, second])
    first.phase.grad = torch.ones(3)
    with pytest.raises(ValueError, match="two weights share a phase"):
        arc_gradients_(model)
    second.magnitude = first.magnitude
    arc_gradients_(model)
    torch.testing.assert_close(first.phase.grad, 1 / first.magnitude.detach())
    assert not first.phase.grad.requires_grad


def test_phases_are_restored_after_a_failed_step_and_without_a_gradient_untouched():
    weight, other = PolarWeight(3), PolarWeight(3)
    weight.phase.grad = torch.ones(3)
    before = [w.phase.detach().clone() for w in (weight, other)]
    with pytest.raises(RuntimeError, match="stop"), natural_polar_step(nn.ModuleList([weight, other])):
        assert torch.equal(weight.phase, torch.zeros(3)) and torch.equal(other.phase, before[1])
        raise RuntimeError("stop")
    assert torch.equal(weight.phase, before[0]) and torch.equal(other.phase, before[1])


def test_the_mixing_of_a_band_under_autocast_keeps_the_precision_of_the_weights():
    torch.manual_seed(0)
    spectrum, weight, matrix = torch.randn(2, 6, 2), torch.randn(2, 3, 2).unbind(), torch.randn(2, 3, 3).unbind()
    with torch.autocast("cpu"):
        y = mixed(spectrum.bfloat16(), weight, matrix)
    assert torch.equal(y, mixed(spectrum.bfloat16().float(), weight, matrix))


def test_roles_cover_every_parameter_once():
    model = ResonanceNet(4, 3, 8, 2)
    roles = list(parameter_roles(model))
    assert len(roles) == len(list(model.parameters()))
    assert {role for role, _, _ in roles} == {"magnitude", "phase", "interference", "rest"}
    assert {name for _, name, _ in roles} == {name for name, _ in model.named_parameters()}


def test_set_round_trips_and_checks_shapes():
    weight = PolarWeight(3, 2)
    re, im = torch.randn(2, 3, 2)
    for a, b in zip(weight.set_(re, im).pair(), (re, im), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="expected weights of shape"):
        weight.set_(re[:2], im[:2])
    for wrong in ((re, im[:2]), (re[:2], im), (re, torch.ones(4, 2)), (torch.ones(4, 2), im)):
        with pytest.raises(ValueError, match="expected weights of shape"):
            weight.set_(*wrong)


def test_the_mixing_of_a_band_has_every_derivative():
    torch.manual_seed(0)
    spectrum = torch.randn(2, 6, 2, dtype=torch.float64)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in ((3, 2), (3, 2), (3, 3), (3, 3))]
    inputs = [t.requires_grad_(True) for t in (spectrum, *weights)]

    def mix(y, a, b, re, im):
        return mixed(y, (a, b), (re, im))

    y = torch.complex(*spectrum.chunk(2, dim=1))
    exact = torch.complex(*weights[2:]) @ (torch.complex(*weights[:2]) * y)
    torch.testing.assert_close(mix(*inputs), torch.cat([exact.real, exact.imag], dim=1))
    assert torch.autograd.gradcheck(mix, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(mix, inputs)
    assert type(mix(*inputs).grad_fn).__name__ == "_MixedBackward", "one function in the graph"
    each = torch.func.vmap(lambda y: mix(y[None], *inputs[1:])[0])(spectrum)
    torch.testing.assert_close(each, mix(*inputs))


def test_natural_step_is_the_cartesian_step_to_first_order():
    torch.manual_seed(0)
    weight = PolarWeight(50).double()
    target = torch.randn(2, 50, dtype=torch.float64)
    re, im = weight.pair()
    cartesian = [(part - goal).detach() for part, goal in zip((re, im), target, strict=True)]
    (0.5 * ((re - target[0]) ** 2 + (im - target[1]) ** 2)).sum().backward()
    for _ in range(2):  # phase gradients over r^2
        arc_gradients_(weight)
    rate = 1e-6
    with torch.no_grad():
        for p in weight.parameters():
            p -= rate * p.grad
        moved = [(a - b) / rate for a, b in zip(weight.pair(), (re, im), strict=True)]
    for step, gradient in zip(moved, cartesian, strict=True):
        torch.testing.assert_close(step, -gradient, rtol=1e-4, atol=1e-4)


def test_natural_step_of_plain_descent_is_the_natural_gradient():
    torch.manual_seed(0)
    a = PolarWeight(20).double()
    with torch.no_grad():
        a.magnitude.uniform_(-2, 2)  # a negative magnitude is a weight turned by pi
        a.magnitude[:3] = torch.tensor([0.0, 1e-5, -1e-5])
    b = PolarWeight(20).double()
    b.load_state_dict(a.state_dict())
    for weight in (a, b):
        weight.magnitude.grad, weight.phase.grad = torch.ones(20).double(), torch.arange(20.0).double()
    for _ in range(2):  # phase gradients over r^2
        arc_gradients_(a)
    torch.optim.SGD(a.parameters(), lr=0.1).step()
    with natural_polar_step(b):
        torch.optim.SGD(b.parameters(), lr=0.1).step()
    torch.testing.assert_close(a.phase, b.phase)
    torch.testing.assert_close(a.magnitude, b.magnitude)


def test_natural_step_of_adam_moves_arcs_not_angles():
    torch.manual_seed(0)
    weight = PolarWeight(50).double()
    with torch.no_grad():
        weight.magnitude.uniform_(0.05, 2)
    (re, im), r = weight.pair(), weight.magnitude.detach().clone()
    ((re - 1) ** 2 + (im + 2) ** 2).sum().backward()
    old, sign = weight.phase.detach().clone(), weight.phase.grad.sign()
    with natural_polar_step(weight):
        torch.optim.Adam(weight.parameters(), lr=1e-3).step()
    torch.testing.assert_close(r * (weight.phase - old), -1e-3 * sign, rtol=1e-4, atol=1e-9)


class Positive(nn.Module):
    """A magnitude as the exponential of what trains."""

    def forward(self, x):
        return x.exp()

    def right_inverse(self, magnitude):
        return magnitude.log()


def fitted(change, trainer, steps: int = 3):
    """A mixing with changed weights after some steps of plain descent, and its losses."""
    torch.manual_seed(0)
    model = BandMixing(3, 4, interference=False)
    change(model.weight)
    sgd = trainer(model, 0.1, 0.1, gradient_clip=None, optimizer=torch.optim.SGD)
    x, y = torch.randn(2, 5, 16, 3)
    return model, [sgd.train_step((x, y))[0] for _ in range(steps)]


@pytest.mark.parametrize("trainer", [PolarTrainer, NaturalPolarTrainer])
@pytest.mark.parametrize("part", ["magnitude", "phase"])
def test_pruned_weights_train_as_the_others_do(trainer, part):
    mask = torch.ones(4, 3)
    mask[1] = 0.0
    model, losses = fitted(lambda w: prune.custom_from_mask(w, part, mask), trainer)
    assert losses[-1] < losses[0]

    def pinned(weight):  # the same, by hand: the entry is 0 and has no gradient
        own = getattr(weight, part)
        own.data.mul_(mask)
        own.register_hook(lambda g: g * mask)

    twin, expected = fitted(pinned, trainer)
    assert losses == pytest.approx(expected, rel=1e-5)
    for ours, reference in zip(model.weight.pair(), twin.weight.pair(), strict=True):
        torch.testing.assert_close(ours, reference)
    again = BandMixing(3, 4, interference=False)
    prune.identity(again.weight, part)
    again.load_state_dict(model.state_dict())
    x = torch.randn(1, 16, 3)
    assert torch.equal(again(x), model(x))
    prune.remove(model.weight, part)
    assert torch.equal(again(x), model(x))


IDS = torch.arange(0, 300, 3)
PRUNED = {
    "embedding": (lambda: HierarchicalEmbedding(300, 8), lambda m: m.waves.weight, "magnitude", (IDS,)),
    "few ids": (lambda: HierarchicalEmbedding(300, 8), lambda m: m.waves.weight, "phase", (IDS[-4:],)),
    "head": (lambda: HierarchicalHead(300, 8), lambda m: m.waves.weight, "magnitude", (torch.randn(100, 8), IDS)),
    "interference": (lambda: BandMixing(3, 4), lambda m: m.interference, "re", (torch.randn(2, 16, 3),)),
}


@pytest.mark.parametrize(("make", "pruned", "part", "x"), PRUNED.values(), ids=PRUNED)
def test_pruned_weights_are_those_of_now_at_every_step(make, pruned, part, x):
    torch.manual_seed(0)
    model = make()
    prune.l1_unstructured(pruned(model), part, amount=0.5)
    descent = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(2):
        descent.zero_grad()
        model(*x).square().sum().backward()
        descent.step()
    with torch.no_grad():
        y = model(*x)
        prune.remove(pruned(model), part)
        assert torch.equal(model(*x), y)


@pytest.mark.parametrize("trainer", [PolarTrainer, NaturalPolarTrainer])
def test_a_parametrised_magnitude_trains_and_a_parametrised_phase_where_it_can(trainer):
    model, losses = fitted(lambda w: parametrize.register_parametrization(w, "magnitude", Positive()), trainer, 20)
    assert losses[-1] < losses[0] and (model.weight.magnitude > 0).all()
    roles = {role for role, _, _ in parameter_roles(model)}
    assert roles == {"magnitude", "phase"}
    re, im = torch.randn(2, 4, 3)
    for ours, given in zip(model.weight.set_(re, im).pair(), (re, im), strict=True):
        torch.testing.assert_close(ours, given)
    turn = nn.Identity()
    if trainer is PolarTrainer:
        model, losses = fitted(lambda w: parametrize.register_parametrization(w, "phase", turn), trainer)
        assert losses == fitted(lambda w: None, trainer)[1]
    else:
        with pytest.raises(ValueError, match="parametrised one in weight"):
            fitted(lambda w: parametrize.register_parametrization(w, "phase", turn), trainer)
