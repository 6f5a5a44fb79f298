"""Polar weights: complex weights whose magnitude and phase are separate real parameters.

For w = r e^{i phi} = a + i b, u = e^{i phi} and g = dL/da + i dL/db, the gradient of PyTorch, the chain rule gives
(thm:polar)

    dL/dr = Re(g conj(u)),    dL/dphi = Im(g conj(w)),

so the phase gradient has a factor r: at small r plain descent hardly changes the phase.  The Euclidean metric in polar
coordinates is dr^2 + r^2 dphi^2, hence the natural step divides the phase gradient by r^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from re import sub

import torch
from torch import Tensor, nn

from .settings import placed
from .spectral import PlainFunction, autocasts, without_autocast


def complex_product(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Elementwise product of two complex tensors stored as (re, im) pairs."""
    return torch.addcmul(a[0] * b[0], a[1], b[1], value=-1), torch.addcmul(a[0] * b[1], a[1], b[0])


def complex_matmul(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Matrix product of two complex tensors stored as (re, im) pairs: four real products."""
    return a[0] @ b[0] - a[1] @ b[1], a[0] @ b[1] + a[1] @ b[0]


def weighted(spectrum: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """W of eq:layer: (a + i b) times a spectrum (batch, 2k, d), real parts before imaginary ones."""
    re, im = spectrum.chunk(2, dim=1)  # (batch, k, d) each
    return torch.cat([torch.addcmul(re * a, im, b, value=-1), torch.addcmul(re * b, im, a)], dim=1)  # (batch, 2k, d)


def real_form(re: Tensor, im: Tensor) -> Tensor:
    """Real matrix [[re, -im], [im, re]] of a complex one (k, k)."""
    return torch.cat([torch.cat([re, -im], dim=1), torch.cat([im, re], dim=1)])  # (2k, 2k)


class _Mixed(PlainFunction):
    """M W y, W = a + i b, M = re + i im: a dozen operations in the backward pass, which is differentiable itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spectrum, a, b, re, im):
        return real_form(re, im) @ weighted(spectrum, a, b)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        spectrum, a, b, re, im = ctx.saved_tensors
        k = len(re)
        inner = real_form(re, im).T @ gradient  # (batch, 2k, d)
        matrix = (gradient @ weighted(spectrum, a, b).mT).sum(0)  # (2k, 2k)
        (y_re, y_im), (g_re, g_im) = spectrum.chunk(2, dim=1), inner.chunk(2, dim=1)  # (batch, k, d) each
        return (
            weighted(inner, a, -b),  # (batch, 2k, d)
            torch.addcmul(g_re * y_re, g_im, y_im).sum(0),  # (k, d)
            torch.addcmul(g_im * y_re, g_re, y_im, value=-1).sum(0),  # (k, d)
            matrix[:k, :k] + matrix[k:, k:],  # (k, k)
            matrix[k:, :k] - matrix[:k, k:],  # (k, k)
        )

    @staticmethod
    def jvp(ctx, spectrum_t, a_t, b_t, re_t, im_t):
        spectrum, a, b, re, im = ctx.saved_tensors
        moved = weighted(spectrum_t, a, b) + weighted(spectrum, a_t, b_t)
        return real_form(re, im) @ moved + real_form(re_t, im_t) @ weighted(spectrum, a, b)


def mixed(spectrum: Tensor, weight: tuple[Tensor, Tensor], matrix: tuple[Tensor, Tensor]) -> Tensor:
    """M W y of eq:layer for a spectrum (batch, 2k, d), real parts before imaginary ones, in the same layout.

    weight: W (k, d), matrix: M (k, k), as (re, im) pairs.  Cost: 4 k^2 multiply-adds a channel.
    Under autocast the band keeps the precision of the weights: it is small, and its errors would reach every sample.
    """
    if autocasts(spectrum):
        with without_autocast(spectrum):
            return mixed(spectrum.to(weight[0].dtype), weight, matrix)
    if torch.compiler.is_compiling():  # a compiler derives the same gradients from the operations themselves
        return real_form(*matrix) @ weighted(spectrum, *weight)
    return _Mixed.apply(spectrum, *weight, *matrix)


class PolarWeight(nn.Module):
    """Complex weights r e^{i phi} of any shape, as two real parameters `magnitude` and `phase` (eq:layer).

    Initialisation: r near `scale`, phi uniform on the circle, so that the branches of a pre-norm stack add up like a
    random walk and its gradient grows like the root of the depth, not in proportion to it.  r may become negative.
    Both may be pruned (`torch.nn.utils.prune`) or parametrised; the natural step needs a phase that is not.
    Parameters: 2 reals a weight.

    >>> re, im = torch.randn(2, 3, 4)
    >>> torch.allclose(PolarWeight(3, 4).set_(re, im).pair()[0], re, atol=1e-5)
    True
    """

    @placed
    def __init__(self, *shape: int, scale: float = 1.0, device=None, dtype=None):
        super().__init__()
        self.magnitude = nn.Parameter(scale * (1.0 + 0.02 * torch.randn(*shape)))
        self.phase = nn.Parameter(math.pi * (2.0 * torch.rand(*shape) - 1.0))

    @torch.no_grad()
    def set_(self, re: Tensor, im: Tensor) -> PolarWeight:
        """Set the weights to re + i im (shapes as the parameters'); return self."""
        if re.shape != self.magnitude.shape or im.shape != self.phase.shape:
            got = f"got {tuple(re.shape)} and {tuple(im.shape)}"
            raise ValueError(f"expected weights of shape {tuple(self.magnitude.shape)}, {got}")
        for part, value in (("magnitude", torch.hypot(re, im)), ("phase", torch.atan2(im, re))):
            own = trained(self, part)
            own.copy_(value) if own is not None else setattr(self, part, value)  # a parametrisation inverts itself
        return self

    def pair(self) -> tuple[Tensor, Tensor]:
        """Weights as (re, im) = (r cos phi, r sin phi)."""
        return self()  # a call, so that the hooks run by which `prune` applies its masks

    def forward(self, *spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Weights as (re, im), or their elementwise product with a spectrum re, im, with broadcasting."""
        magnitude, phase = self.magnitude, self.phase
        pair = magnitude * torch.cos(phase), magnitude * torch.sin(phase)
        return complex_product(pair, (spectrum[0], spectrum[1])) if spectrum else pair

    def polar(self) -> tuple[Tensor, Tensor]:
        """Weights as (r, phi), with the masks of `prune` on the parameters of now."""
        for hook in self._forward_pre_hooks.values():
            hook(self, ())
        return self.magnitude, self.phase


class Interference(nn.Module):
    """M of eq:layer, a complex k x k matrix across frequencies shared by all channels, initially near the identity."""

    @placed
    def __init__(self, num_frequencies: int, *, device=None, dtype=None):
        super().__init__()
        k, noise = num_frequencies, 0.02 / math.sqrt(num_frequencies)
        self.re = nn.Parameter(torch.eye(k) + noise * torch.randn(k, k))
        self.im = nn.Parameter(noise * torch.randn(k, k))

    def pair(self) -> tuple[Tensor, Tensor]:
        """M as (re, im)."""
        return self()  # a call, as in `PolarWeight`

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.re, self.im


def trained(weight: PolarWeight, part: str) -> nn.Parameter | None:
    """Parameter of a magnitude or phase, also where `prune` has renamed it; None where it is parametrised."""
    own = dict(weight.named_parameters(recurse=False))
    return own.get(part, own.get(f"{part}_orig"))


def parameter_roles(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Yield (role, name, parameter) for each parameter once; roles: magnitude, phase, interference, rest.

    What a pruned or parametrised magnitude or phase is computed from has its role.
    """
    for name, parameter in model.named_parameters():
        owner, _, own_name = sub(r"parametrizations\.(\w+)\.original\d*$", r"\1", name).rpartition(".")
        module = model.get_submodule(owner)
        role = own_name.removesuffix("_orig") if isinstance(module, PolarWeight) else "rest"
        yield "interference" if isinstance(module, Interference) else role, name, parameter


def frame_radius(magnitude: Tensor, floor: float = 1e-3) -> Tensor:
    """r with its sign, at least `floor` in size: the length of the coordinate vector dw/dphi."""
    return magnitude.abs().clamp_min(floor).copysign(magnitude)


@torch.no_grad()
def arcs(model: nn.Module, floor: float) -> list[tuple[nn.Parameter, Tensor]]:
    """Phases of a model that have a gradient, tied ones once, each with its `frame_radius`.

    Raises ValueError for a parametrised phase, and for one shared by two magnitudes: its arc would have two radii.
    """
    found: dict[nn.Parameter, PolarWeight] = {}
    for name, module in model.named_modules():
        if not isinstance(module, PolarWeight):
            continue
        if (phase := trained(module, "phase")) is None:
            if any(p.grad is not None for p in module.parametrizations.phase.parameters()):
                raise ValueError(f"expected a phase that is a parameter, got a parametrised one in {name or 'model'}")
        elif phase.grad is not None and (first := found.setdefault(phase, module)) is not module:
            one, other = trained(first, "magnitude"), trained(module, "magnitude")
            if one is None or one is not other:
                raise ValueError("two weights share a phase but not their magnitude: expected both shared, or neither")
    return [(phase, frame_radius(weight.magnitude, floor)) for phase, weight in found.items()]


@torch.no_grad()
def arc_gradients_(model: nn.Module, floor: float = 1e-3) -> None:
    """Divide each phase gradient by r, in place: the gradient along the arc s = r dphi, orthonormal to dr."""
    for phase, radius in arcs(model, floor):
        phase.grad /= radius


@contextmanager
def arc_step(model: nn.Module, floor: float = 1e-3) -> Iterator[None]:
    """Run the optimiser step taken inside on arc lengths s = r dphi, starting from 0, and add s / r to each phase."""
    before = [(phase, phase.detach().clone(), radius) for phase, radius in arcs(model, floor)]
    with torch.no_grad():  # from 0: a small step would be lost in the difference of two rounded phases
        for phase, _, _ in before:
            phase.zero_()
    try:
        yield
    finally:  # also after an interrupt: the phases must be restored
        with torch.no_grad():
            for phase, start, radius in before:
                phase.copy_(start + phase / radius)


@contextmanager
def natural_polar_step(model: nn.Module, floor: float = 1e-3) -> Iterator[None]:
    """Take the natural polar step: the optimiser step inside acts on arc lengths r dphi instead of angles.

        with natural_polar_step(model):
            optimizer.step()

    The optimiser gets the gradient in the orthonormal frame (dr, r dphi), eq:natural.  Plain descent then divides each
    phase gradient by r^2: descent on the complex weight itself, to first order.  Phases should have no weight decay.
    Raises ValueError for a parametrised phase.  `NaturalPolarTrainer` does this within a whole training step.

    >>> (before := (weight := PolarWeight(5)).pair()[0]).sum().backward()
    >>> with natural_polar_step(weight): torch.optim.SGD(weight.parameters(), lr=1e-3).step()
    >>> torch.allclose(weight.pair()[0], before - 1e-3, atol=1e-4)  # as descent on the complex weight
    True
    """
    arc_gradients_(model, floor)
    with arc_step(model, floor):
        yield


def count_parameters(model: nn.Module) -> int:
    """Count the trained real parameters; a complex number counts as two."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters() if p.requires_grad)
