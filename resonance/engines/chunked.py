"""The poles of causal mixing: stable for any parameter value, and their powers, the same numbers in every engine.

    lambda_j = exp(-1 / tau_j + 2 pi i f_j)      tau = 2^o steps, o bounded between -4 and 20; f cycles per step

Computed in float64 and rounded once to the precision of the work: from there on lambda is that rounded number.  A
recurrence multiplies by it; a parallel form takes its powers, in float64 from its logarithm, because the angle of
lambda^l is l arg lambda and an error in it would grow with l.  So the two stay equal over any length.

Complex numbers are real pairs, a last axis of 2.


Causal mixing computed two ways: by FFT, the reference, and by chunks with a carried state, linear in n.

The map, for k poles shared by all channels, complex readouts c_jc and direct gains b_c (report, eq. "causal"):

    s_t = lambda s_(t-1) + x_t                 k complex states a channel
    y_t = b x_t + Re sum_j c_j s_tj            the kernel is h_l = b [l = 0] + Re sum_j c_j lambda_j^l

    fft        y = h * x by a product of spectra, zero-padded to 2 n                   n log n
    chunked    x in chunks of B: inside a chunk a B x B Toeplitz product a channel, one product that collects the
               state of each chunk, a scan over chunks, one product that reads the states out    n (B + 4k) a channel

Both work on channels first, (d, batch, n), where each product is one call and nothing is transposed.  Arguments are
those of `causal_poles.constants`: powers (count, k, 2) and readout (d, k, 2), complex numbers as real pairs; states are
(d, batch, k, 2).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

OCTAVES = (-4.0, 20.0)  # bounds on log2 of a time scale: in float32 exp(-2^-20) is still below 1, by 16 of its steps
MIDDLE, REACH = sum(OCTAVES) / 2, (OCTAVES[1] - OCTAVES[0]) / 2


def octave_of(time_scale: Tensor) -> Tensor:
    """Return the parameter o whose bounded octave is log2 of a time scale in steps."""
    return MIDDLE + REACH * torch.atanh((time_scale.log2() - MIDDLE) / REACH)


def make_poles(octave: Tensor, frequency: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the poles rounded to dtype, (k, 2), and the rates 1/tau, (k,), in float64."""
    bend = torch.tanh((octave.double() - MIDDLE) / REACH)
    rate = torch.exp2(-(MIDDLE + REACH * bend))
    angle = 2 * math.pi * torch.remainder(frequency.double(), 1.0)
    pole = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.exp(-rate)[:, None]
    return pole.to(dtype), rate


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
    """Powers (count, k, 2) and readout (d, k, 2) in one step, a third of the operations that autograd would record.

    The same formulas as above, of complex numbers.
    """

    @staticmethod
    def forward(ctx, octave, frequency, readout, count):
        bend = (octave.double() - MIDDLE).div_(REACH).tanh_()
        rate = torch.exp2(-(MIDDLE + REACH * bend))
        pole = torch.polar(torch.exp(-rate), torch.remainder(frequency.double(), 1.0).mul_(2 * math.pi))
        log = pole.to(readout.dtype.to_complex()).to(pole.dtype).log()  # of the rounded pole
        l = torch.arange(count, dtype=torch.float64, device=octave.device)[:, None]  # noqa: E741
        powers = (l * log).exp_().to(readout.dtype.to_complex())
        energy = (2 * log.real).expm1_().neg_().sqrt_()
        ctx.save_for_backward(readout, rate, bend, energy, powers, l)
        return torch.view_as_real(powers), make_readout(readout, energy)

    @staticmethod
    @once_differentiable
    def backward(ctx, g_powers, g_readout):
        readout, rate, bend, energy, powers, l = ctx.saved_tensors  # noqa: E741
        g_powers = torch.view_as_complex(g_powers.contiguous())
        # d lambda^l / d log lambda = l lambda^l
        g_size, g_angle = torch.view_as_real((g_powers * powers.conj() * l).sum(0)).unbind(1)
        g_scaled = g_readout.permute(2, 1, 0)  # (2, k, d)
        g_energy = (g_scaled * readout.view(g_scaled.shape)).sum((0, 2))
        g_size = g_size - g_energy * (1 - energy.square()) / energy
        g_octave = math.log(2) * rate * (1 - bend.square()) * g_size
        g_parameter = (g_scaled * energy.to(readout.dtype)[:, None]).flatten(0, 1)
        return g_octave.to(readout.dtype), (2 * math.pi * g_angle).to(readout.dtype), g_parameter, None


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


def conjugate(pairs: Tensor) -> Tensor:
    """Return complex pairs (..., 2) conjugated: Re(c z) is then a plain product of the pairs of c and conj z."""
    return torch.stack([pairs[..., 0], -pairs[..., 1]], dim=-1)


def kernel(powers: Tensor, readout: Tensor, direct: Tensor) -> Tensor:
    """Return h, (d, count), from the powers (count, k, 2), the readout (d, k, 2) and the direct gains (d,)."""
    h = readout.flatten(1) @ conjugate(powers).flatten(1).T
    return torch.cat([h[:, :1] + direct[:, None], h[:, 1:]], dim=1)


# --------------------------------------------------------------------------- fft


def by_fft(x: Tensor, powers: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None) -> Tensor:
    """Return y (d, batch, n) of x (d, batch, n), from silence or from the states `start`; powers up to n."""
    n = x.shape[-1]
    h = kernel(powers[:n], readout, direct)
    y = torch.fft.irfft(torch.fft.rfft(x, 2 * n) * torch.fft.rfft(h, 2 * n)[:, None], 2 * n)[..., :n]
    return y if start is None else y + _read(start, powers[1:], readout)


def _read(states: Tensor, powers: Tensor, readout: Tensor) -> Tensor:
    """Return Re sum_j c_j s_j lambda_j^t for states (d, ..., k, 2) and powers (t, k, 2): (d, ..., t)."""
    factors = readout.view(len(readout), *[1] * (states.dim() - 3), *readout.shape[1:])
    return turned(states, factors).flatten(-2) @ conjugate(powers).flatten(1).T


def end_by_powers(x: Tensor, powers: Tensor, lengths: Tensor, start: Tensor | None) -> Tensor:
    """Return the states behind the first lengths[b] samples of each sequence of x (d, batch, n)."""
    weights, decay = _collecting(powers, lengths, x.shape[-1])
    end = _collected(x, weights)
    return end if start is None else end + turned(start, decay)


def _collecting(powers: Tensor, lengths: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return lambda^(length-1-s) for s < length, else 0, (batch, n, k, 2), and lambda^length, (batch, k, 2)."""
    lag = lengths[:, None] - 1 - torch.arange(n, device=lengths.device)
    return powers[lag.clamp_min(0)] * (lag >= 0)[..., None, None], powers[lengths]


def _collected(x: Tensor, weights: Tensor) -> Tensor:
    """Return the states sum_s x_s weights_s for x (d, batch, n) and weights (batch, n, k, 2)."""
    return (x.transpose(0, 1) @ weights.flatten(2)).unflatten(-1, weights.shape[2:]).transpose(0, 1)


# --------------------------------------------------------------------------- chunks


def _toeplitz(h: Tensor) -> Tensor:
    """Return (d, B, B) with h_(t-s) at row s, column t, and 0 for t < s, from h (d, B)."""
    d, size = h.shape
    return F.pad(h, (size, 0)).as_strided((d, size, size), (2 * size, 1, 1), 1).flip(1)


def _diagonal_sums(g: Tensor) -> Tensor:
    """Return the sums of g (d, B, B) over its diagonals t - s = 0 .. B - 1, (d, B): the transpose of `_toeplitz`."""
    d, size, _ = g.shape
    g = g.mul_(g.new_ones(size, size).triu_())
    # A row read from its diagonal on runs into the next one, where it finds zeros; the last row would run out.
    sums = g.as_strided((d, size - 1, size), (size * size, size + 1, 1)).sum(1)
    sums[:, 0] += g[:, -1, -1]
    return sums


class _Chunked(torch.autograd.Function):
    """y, and the states (d, batch, m + 1, k, 2) before each chunk and behind the last, of x (d, batch, m B).

    The backward pass is written out: the same products, and one scan the other way.  The scan is a complex
    multiply-add for each chunk, of d k numbers, where it stands.
    """

    @staticmethod
    def forward(ctx, x, powers, readout, direct, start):
        d, batch, n = x.shape
        size, k = len(powers) - 1, powers.shape[1]
        chunks = n // size
        conj = conjugate(powers).view(size + 1, 2 * k)
        h = readout.view(d, 2 * k) @ conj[:-1].T
        h[:, 0] += direct
        toeplitz = _toeplitz(h)
        collect = powers[:-1].flip(0).view(size, 2 * k)
        states = x.new_empty(d, batch, chunks + 1, k, 2)
        states[:, :, 0] = 0 if start is None else start
        states[:, :, 1:] = (x.view(-1, size) @ collect).view(d, batch, chunks, k, 2)
        every, turn = torch.view_as_complex(states), torch.view_as_complex(powers[-1])
        for before, after in pairwise(every.unbind(2)):
            after.addcmul_(before, turn)
        read = torch.view_as_real(every[:, :, :-1] * torch.view_as_complex(readout)[:, None, None])
        y = torch.bmm(x.view(d, -1, size), toeplitz)
        y.view(-1, size).addmm_(read.view(-1, 2 * k), conj[1:].T)
        ctx.save_for_backward(x, powers, readout, toeplitz, conj, collect, states, read)
        ctx.set_materialize_grads(False)
        return y.view(d, batch, n), states

    @staticmethod
    @once_differentiable
    def backward(ctx, g, g_states):
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):  # a whole step may stand under autocast
            return _chunked_gradients(ctx, g, g_states)


def _chunked_gradients(ctx, g: Tensor | None, g_states: Tensor | None) -> tuple[Tensor | None, ...]:
    x, powers, readout, toeplitz, conj, collect, states, read = ctx.saved_tensors
    d, batch, n = x.shape
    size, k = len(powers) - 1, powers.shape[1]
    chunks = n // size
    every, turn = torch.view_as_complex(states), torch.view_as_complex(powers[-1]).conj()
    factors = torch.view_as_complex(readout)
    g = torch.zeros_like(x) if g is None else g.contiguous()
    rows, g_rows = x.view(-1, size), g.view(-1, size)
    g_h = _diagonal_sums(torch.bmm(x.view(d, -1, size).mT, g.view(d, -1, size)))
    # Reading: y += Re c s lambda^(t + 1).
    g_read = torch.view_as_complex((g_rows @ conj[1:]).view(d, batch, chunks, k, 2))
    g_out = g_rows.T @ read.view(-1, 2 * k)  # (B, 2k)
    g_factors = (g_read * every[:, :, :-1].conj()).sum((1, 2))
    # The scan: what reaches a state reaches the one before it, turned back.
    back = x.new_zeros(states.shape) if g_states is None else g_states.contiguous().clone()
    g_every = torch.view_as_complex(back)
    g_every[:, :, :-1].addcmul_(g_read, factors.conj()[:, None, None])
    turn = turn.resolve_conj()
    for after, before in pairwise(reversed(g_every.unbind(2))):
        before.addcmul_(after, turn)
    g_turn = (g_every[:, :, 1:] * every[:, :, :-1].conj()).sum((0, 1, 2))
    # Collecting: s += lambda^(B - 1 - t) x.
    g_collected = back[:, :, 1:].reshape(-1, 2 * k)
    g_x = torch.bmm(g.view(d, -1, size), toeplitz.mT).view(-1, size).addmm_(g_collected, collect.T)
    # Every use of the powers.
    g_conj = g_h.new_zeros(size + 1, 2 * k)
    torch.mm(g_h.T, readout.view(d, 2 * k), out=g_conj[:-1])
    g_conj[1:] += g_out
    g_powers = conjugate(g_conj.view(size + 1, k, 2))
    g_powers[:-1] += (rows.T @ g_collected).view(size, k, 2).flip(0)
    g_powers[-1] += torch.view_as_real(g_turn)
    g_readout = (g_h @ conj[:-1]).view(d, k, 2) + torch.view_as_real(g_factors)
    g_start = back[:, :, 0] if ctx.needs_input_grad[4] else None
    return g_x.view(d, batch, n), g_powers, g_readout, g_h[:, 0], g_start


def chunked(x: Tensor, powers: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what `_Chunked` does, by differentiable operations on real tensors: what a compiler is given."""
    d, batch, n = x.shape
    size = len(powers) - 1
    x = x.reshape(d, batch, n // size, size)
    place = torch.arange(size, device=x.device)
    lag = place - place[:, None]
    toeplitz = kernel(powers[:-1], readout, direct)[:, lag.clamp_min(0)] * (lag >= 0)
    collected = (x @ powers[:-1].flip(0).flatten(1)).unflatten(-1, powers.shape[1:])  # (d, batch, m, k, 2)
    state = torch.zeros_like(collected[:, :, 0]) if start is None else start
    states = [state]
    for z in collected.unbind(2):
        state = turned(state, powers[-1]) + z
        states.append(state)
    states = torch.stack(states, dim=2)
    y = (x.flatten(1, 2) @ toeplitz).view_as(x) + _read(states[:, :, :-1], powers[1:], readout)
    return y.reshape(d, batch, n), states


def by_chunks(
    x: Tensor, powers: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return y (d, batch, n) and the states before each chunk and behind the last, in chunks of B = len(powers) - 1.

    x: (d, batch, n); the last chunk is filled up with zeros, so the states behind it are those behind the zeros.
    """
    n, size = x.shape[-1], len(powers) - 1
    padded = F.pad(x, (0, -n % size)) if n % size else x.contiguous()
    run = chunked if torch.compiler.is_compiling() else _Chunked.apply
    y, states = run(padded, powers, readout, direct, start)
    return (y[..., :n] if n % size else y), states


def end_by_chunks(x: Tensor, powers: Tensor, lengths: Tensor, states: Tensor) -> Tensor:
    """Return the states behind the first lengths[b] samples of x, from the states before each chunk."""
    size = len(powers) - 1
    whole, rest = lengths // size, lengths % size
    sequence = torch.arange(x.shape[1], device=x.device)
    place = (whole * size)[:, None] + torch.arange(size, device=x.device)
    last = x[:, sequence[:, None], place.clamp_max(x.shape[-1] - 1)]  # (d, batch, B); what is past the end weighs 0
    weights, decay = _collecting(powers, rest, size)
    return turned(states[:, sequence, whole], decay) + _collected(last, weights)
