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
    """A complex matrix M across frequencies, the same for every channel: Z_f = sum_g M_fg Y_g.

    (batch, k, d) -> (batch, k, d), as (re, im) pairs.  Near the identity at the start.
    Parameters: 2 k^2 reals.  Cost: 4 k^2 multiply-adds a channel.
    """

    def __init__(self, num_frequencies: int):
        super().__init__()
        k = num_frequencies
        noise = 0.02 / math.sqrt(k)
        self.re = nn.Parameter(torch.eye(k) + noise * torch.randn(k, k))
        self.im = nn.Parameter(noise * torch.randn(k, k))

    def forward(self, re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
        """Let the kept frequencies interfere: (M_re + i M_im)(re + i im), as one real product of 2k x 2k."""
        real = torch.cat([torch.cat([self.re, -self.im], dim=1), torch.cat([self.im, self.re], dim=1)])
        return (real @ torch.cat([re, im], dim=1)).chunk(2, dim=1)


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


@torch.no_grad()
def natural_polar_gradients_(model: nn.Module, floor: float = 1e-3) -> None:
    """Divide each phase gradient by r^2 (at least floor^2), in place: the natural gradient of polar coordinates.

    The metric dr^2 + r^2 dphi^2 makes plain descent on (r, phi) that of the complex weight itself to first order.
    Call it between backward and step.  For optimisers that undo a rescaling of gradients: `natural_polar_step`.
    """
    for module in model.modules():
        if isinstance(module, PolarWeight) and module.phase.grad is not None:
            module.phase.grad /= frame_radius(module.magnitude, floor).square()


@contextmanager
def natural_polar_step(model: nn.Module, floor: float = 1e-3) -> Iterator[None]:
    """Let the optimiser step taken inside act on arc lengths r dphi instead of angles: natural under any optimiser.

        with natural_polar_step(model):
            optimizer.step()

    Each phase gradient is divided by r on entry, each change of phase on exit: the optimiser sees the gradient in the
    orthonormal frame (dr, r dphi).  Under plain descent that is `natural_polar_gradients_`; under Adam, which undoes
    a rescaling of gradients, it is Adam in that frame.  Phases should have no weight decay.
    """
    weights = [m for m in model.modules() if isinstance(m, PolarWeight) and m.phase.grad is not None]
    before = [(w.phase, w.phase.detach().clone(), frame_radius(w.magnitude.detach(), floor)) for w in weights]
    for phase, _, radius in before:
        phase.grad /= radius
    yield
    with torch.no_grad():
        for phase, old, radius in before:
            phase.sub_(old).div_(radius).add_(old)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained real parameters; a complex number counts as two."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters() if p.requires_grad)
