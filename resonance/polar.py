"""Polar weights: complex weights whose magnitude and phase are separate real parameters.

    glossary   code          report
               magnitude     r = |w|
               phase         phi = arg w
               g             dL/da + i dL/db for w = a + i b: what PyTorch calls the gradient of a complex weight

The chain rule through w = r e^{i phi} gives, with u = e^{i phi} (report, section "Gradients"),

    dL/dr = Re(g conj(u)),    dL/dphi = Im(g conj(w)),

so the phase gradient carries the factor r: at small r raw descent stops turning the phase.  The Euclidean metric in
polar coordinates is dr^2 + r^2 dphi^2, hence the natural step divides the phase gradient by r^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ROLES = ("magnitude", "phase", "interference", "rest")


def complex_product(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the elementwise product of two complex tensors held as (re, im) pairs."""
    return torch.addcmul(a[0] * b[0], a[1], b[1], value=-1), torch.addcmul(a[0] * b[1], a[1], b[0])


def complex_matmul(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the matrix product of two complex tensors held as (re, im) pairs: four real products."""
    return a[0] @ b[0] - a[1] @ b[1], a[0] @ b[1] + a[1] @ b[0]


def weighted(spectrum: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return (a + i b) times a spectrum (batch, 2k, d), real parts before imaginary ones, in the same layout."""
    re, im = spectrum.chunk(2, dim=1)
    return torch.cat([torch.addcmul(re * a, im, b, value=-1), torch.addcmul(re * b, im, a)], dim=1)


def real_form(re: Tensor, im: Tensor) -> Tensor:
    """Return the real matrix of a complex one, (2k, 2k): [[re, -im], [im, re]]."""
    return torch.cat([torch.cat([re, -im], dim=1), torch.cat([im, re], dim=1)])


class _Mixed(torch.autograd.Function):
    """M W y as one step, so that a layer's backward pass is a dozen operations and not thirty.

    Inputs: y (batch, 2k, d), W = a + i b (k, d), M = re + i im (k, k).  The backward pass is made of differentiable
    operations on the inputs: every higher derivative works.
    """

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
        inner = real_form(re, im).T @ gradient
        matrix = (gradient @ weighted(spectrum, a, b).mT).sum(0)
        (y_re, y_im), (g_re, g_im) = spectrum.chunk(2, dim=1), inner.chunk(2, dim=1)
        return (
            weighted(inner, a, -b),
            torch.addcmul(g_re * y_re, g_im, y_im).sum(0),
            torch.addcmul(g_im * y_re, g_re, y_im, value=-1).sum(0),
            matrix[:k, :k] + matrix[k:, k:],
            matrix[k:, :k] - matrix[:k, k:],
        )

    @staticmethod
    def jvp(ctx, spectrum_t, a_t, b_t, re_t, im_t):
        spectrum, a, b, re, im = ctx.saved_tensors
        moved = weighted(spectrum_t, a, b) + weighted(spectrum, a_t, b_t)
        return real_form(re, im) @ moved + real_form(re_t, im_t) @ weighted(spectrum, a, b)


def mixed(spectrum: Tensor, weight: tuple[Tensor, Tensor], matrix: tuple[Tensor, Tensor]) -> Tensor:
    """Return M W y for a spectrum (batch, 2k, d), real parts before imaginary ones, in the same layout.

    weight: W (k, d), matrix: M (k, k), as (re, im) pairs.  Cost: 4 k^2 multiply-adds a channel, as one real product.
    Under autocast the band keeps the precision of the weights: it is small, and its errors would reach every sample.
    """
    kind = spectrum.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return mixed(spectrum.to(weight[0].dtype), weight, matrix)
    if torch.compiler.is_compiling():  # a compiler derives the same gradients from the operations themselves
        return real_form(*matrix) @ weighted(spectrum, *weight)
    return _Mixed.apply(spectrum, *weight, *matrix)


class PolarWeight(nn.Module):
    """Complex weights r e^{i phi} of any shape, as two real parameters `magnitude` and `phase`.

    At the start r is near `scale` and phi even over the circle: the branches of a pre-norm stack then add up like a
    random walk, and its gradient grows like the root of its depth, not in proportion to it.  Nothing keeps r positive:
    a negative magnitude is the same weight turned by pi.
    Parameters: 2 reals a weight.  Cost: a sine, a cosine and a product a weight.
    """

    def __init__(self, *shape: int, scale: float = 1.0):
        super().__init__()
        self.magnitude = nn.Parameter(scale * (1.0 + 0.02 * torch.randn(*shape)))
        self.phase = nn.Parameter(math.pi * (2.0 * torch.rand(*shape) - 1.0))

    @torch.no_grad()
    def set_(self, re: Tensor, im: Tensor) -> PolarWeight:
        """Set the weights to re + i im (shapes as the parameters'); return self."""
        if re.shape != self.magnitude.shape or im.shape != self.phase.shape:
            raise ValueError(
                f"expected weights of shape {tuple(self.magnitude.shape)}, got {tuple(re.shape)} and {tuple(im.shape)}"
            )
        self.magnitude.copy_(torch.hypot(re, im))
        self.phase.copy_(torch.atan2(im, re))
        return self

    def pair(self) -> tuple[Tensor, Tensor]:
        """Return the weights as (re, im) = (r cos phi, r sin phi)."""
        return self.magnitude * torch.cos(self.phase), self.magnitude * torch.sin(self.phase)

    def forward(self, re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply a spectrum (re, im) by the weights, elementwise with broadcasting."""
        return complex_product(self.pair(), (re, im))


class Interference(nn.Module):
    """A complex matrix M across frequencies, the same for every channel: Z_f = sum_g M_fg Y_g (see `mixed`).

    Near the identity at the start.  Parameters: 2 k^2 reals.
    """

    def __init__(self, num_frequencies: int):
        super().__init__()
        k = num_frequencies
        noise = 0.02 / math.sqrt(k)
        self.re = nn.Parameter(torch.eye(k) + noise * torch.randn(k, k))
        self.im = nn.Parameter(noise * torch.randn(k, k))

    def pair(self) -> tuple[Tensor, Tensor]:
        """Return M as (re, im)."""
        return self.re, self.im


def parameter_roles(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Yield (role, name, parameter) for each parameter once; the role is one of `ROLES`, by the module that owns it."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            role = "rest"
            if isinstance(module, PolarWeight):
                role = name
            elif isinstance(module, Interference):
                role = "interference"
            yield role, f"{prefix}.{name}" if prefix else name, parameter


def frame_radius(magnitude: Tensor, floor: float = 1e-3) -> Tensor:
    """Return r with its sign, at least `floor` in size: the length of the coordinate vector dw/dphi."""
    return magnitude.abs().clamp_min(floor).copysign(magnitude)


def polar_weights(model: nn.Module) -> list[PolarWeight]:
    """Return the polar weights of a model whose phases have a gradient, tied ones once.

    Raises ValueError for a phase shared by two magnitudes: its arc has no one radius.
    """
    weights: dict[int, PolarWeight] = {}
    for module in model.modules():
        if not isinstance(module, PolarWeight) or module.phase.grad is None:
            continue
        if weights.setdefault(id(module.phase), module).magnitude is not module.magnitude:
            raise ValueError("two weights share a phase but not their magnitude: expected both shared, or neither")
    return list(weights.values())


@torch.no_grad()
def natural_polar_gradients_(model: nn.Module, floor: float = 1e-3) -> None:
    """Divide each phase gradient by r^2 (at least floor^2), in place: the natural gradient of polar coordinates.

    The metric dr^2 + r^2 dphi^2 makes plain descent on (r, phi) that of the complex weight itself to first order.
    Call it between backward and step.  For optimisers that undo a rescaling of gradients: `natural_polar_step`.
    """
    for weight in polar_weights(model):
        weight.phase.grad /= frame_radius(weight.magnitude, floor).square()


@torch.no_grad()
def arc_gradients_(model: nn.Module, floor: float = 1e-3) -> None:
    """Divide each phase gradient by r, in place: the gradient along the arc s = r dphi, orthonormal to dr."""
    for weight in polar_weights(model):
        weight.phase.grad /= frame_radius(weight.magnitude, floor)


@contextmanager
def arc_step(model: nn.Module, floor: float = 1e-3) -> Iterator[None]:
    """Turn each phase by s / r, where s is what the optimiser step taken inside makes of an arc that stands at 0."""
    before = [
        (w.phase, w.phase.detach().clone(), frame_radius(w.magnitude.detach(), floor)) for w in polar_weights(model)
    ]
    with torch.no_grad():  # arcs from 0: the difference of two rounded phases would lose a small step
        for phase, _, _ in before:
            phase.zero_()
    try:
        yield
    finally:  # an interrupted step must not lose the phases
        with torch.no_grad():
            for phase, old, radius in before:
                phase.copy_(old + phase / radius)


@contextmanager
def natural_polar_step(model: nn.Module, floor: float = 1e-3) -> Iterator[None]:
    """Let the optimiser step taken inside act on arc lengths r dphi instead of angles: natural under any optimiser.

        with natural_polar_step(model):
            optimizer.step()

    The optimiser sees the gradient in the orthonormal frame (dr, r dphi).  Under plain descent that is
    `natural_polar_gradients_`; under Adam, which undoes a rescaling of gradients, it is Adam in that frame.  Phases
    should have no weight decay.  `NaturalPolarTrainer` does this with the rest of training.
    """
    arc_gradients_(model, floor)
    with arc_step(model, floor):
        yield


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained real parameters; a complex number counts as two."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters() if p.requires_grad)
