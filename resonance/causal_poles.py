"""The poles of causal mixing: stable for any parameter value, and their powers, the same numbers in every engine.

    lambda_j = exp(-1 / tau_j + 2 pi i f_j)      tau = 2^o steps, o bounded between -4 and 20; f cycles per step

Computed in float64 and rounded once to the precision of the work: from there on lambda is that rounded number.  A
recurrence multiplies by it; a parallel form takes its powers, in float64 from its logarithm, because the angle of
lambda^l is l arg lambda and an error in it would grow with l.  So the two stay equal over any length.

Complex numbers are real pairs, a last axis of 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

OCTAVES = (-4.0, 20.0)  # bounds on log2 of a time scale: in float32 exp(-2^-20) is still below 1, by 8 of its steps
MIDDLE, REACH = sum(OCTAVES) / 2, (OCTAVES[1] - OCTAVES[0]) / 2


def octave_of(time_scale: Tensor) -> Tensor:
    """Return the parameter o whose bounded octave is log2 of a time scale in steps."""
    return MIDDLE + REACH * torch.atanh((time_scale.log2() - MIDDLE) / REACH)


def make_poles(octave: Tensor, frequency: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return the poles rounded to dtype, (k, 2), and in float64 the rate 1/tau and the slope d log2 tau/do."""
    bend = torch.tanh((octave.double() - MIDDLE) / REACH)
    rate = torch.exp2(-(MIDDLE + REACH * bend))
    angle = 2 * math.pi * torch.remainder(frequency.double(), 1.0)
    pole = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.exp(-rate)[:, None]
    return pole.to(dtype), rate, 1 - bend.square()


def make_powers(pole: Tensor, count: int) -> Tensor:
    """Return lambda^0 .. lambda^(count-1), (count, k, 2), of poles (k, 2)."""
    re, im = pole.double().unbind(1)
    l = torch.arange(count, dtype=torch.float64, device=pole.device)[:, None]  # noqa: E741
    angle = l * torch.atan2(im, re)
    size = torch.exp(l * torch.hypot(re, im).log())
    return (torch.stack([angle.cos(), angle.sin()], dim=-1) * size[..., None]).to(pole.dtype)


def make_energy(pole: Tensor) -> Tensor:
    """Return sqrt(1 - |lambda|^2), (k,), in float64: times the kernel lambda^l it has unit energy."""
    return (1 - pole.double().square().sum(1)).sqrt()


def make_readout(readout: Tensor, energy: Tensor) -> Tensor:
    """Return the readout of unit resonators, (d, k, 2), from the parameter (2k, d) and the energies (k,)."""
    scaled = readout.unflatten(0, (2, -1)) * energy.to(readout.dtype)[:, None]
    return scaled.permute(2, 1, 0).contiguous()


class _Constants(torch.autograd.Function):
    """Powers (count, k, 2) and readout (d, k, 2) in one step: a dozen small operations less each way than autograd."""

    @staticmethod
    def forward(ctx, octave, frequency, readout, count):
        pole, rate, bend = make_poles(octave, frequency, readout.dtype)
        energy = make_energy(pole)
        powers = make_powers(pole, count)
        ctx.save_for_backward(readout, rate, bend, energy, powers)
        return powers, make_readout(readout, energy)

    @staticmethod
    @once_differentiable
    def backward(ctx, g_powers, g_readout):
        readout, rate, bend, energy, powers = ctx.saved_tensors
        l = torch.arange(len(powers), dtype=powers.dtype, device=powers.device)  # noqa: E741
        # d lambda^l / d log lambda = l lambda^l
        g_log = torch.view_as_complex(g_powers.contiguous()) * torch.view_as_complex(powers).conj() * l[:, None]
        g_size, g_angle = torch.view_as_real(g_log.sum(0).to(torch.complex128)).unbind(1)
        g_scaled = g_readout.permute(2, 1, 0)  # (2, k, d)
        g_energy = (g_scaled * readout.view(g_scaled.shape)).sum((0, 2)).double()
        g_size = g_size - g_energy * (1 - energy.square()) / energy
        g_octave = math.log(2) * rate * bend * g_size
        g_frequency = 2 * math.pi * g_angle
        g_parameter = (g_scaled * energy.to(readout.dtype)[:, None]).flatten(0, 1)
        return g_octave.to(readout.dtype), g_frequency.to(readout.dtype), g_parameter, None


def constants(octave: Tensor, frequency: Tensor, readout: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the powers lambda^0 .. lambda^(count-1), (count, k, 2), and the readout of unit resonators, (d, k, 2)."""
    if torch.compiler.is_compiling():  # a compiler derives the gradients from the operations themselves
        pole = make_poles(octave, frequency, readout.dtype)[0]
        return make_powers(pole, count), make_readout(readout, make_energy(pole))
    return _Constants.apply(octave, frequency, readout, count)


def turned(states: Tensor, factors: Tensor) -> Tensor:
    """Return the product of complex pairs (..., 2), with broadcasting."""
    if torch.compiler.is_compiling():  # compilers know real numbers
        (a, b), (re, im) = states.unbind(-1), factors.unbind(-1)
        return torch.stack([a * re - b * im, a * im + b * re], dim=-1)
    return torch.view_as_real(torch.view_as_complex(states.contiguous()) * torch.view_as_complex(factors))
