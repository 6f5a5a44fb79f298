"""Causal mixing computed two ways: by FFT, the reference, and by chunks with a carried state, linear in n.

    s_t = lambda s_(t-1) + x_t                 k complex states a channel
    y_t = b x_t + Re sum_j c_j s_tj            the kernel is h_l = b [l = 0] + Re sum_j c_j lambda_j^l

    fft        y = h * x by a product of spectra, zero-padded to 2 n                   n log n
    chunked    x in chunks of B: inside a chunk a B x B Toeplitz product a channel, one product that collects the
               state of each chunk, a scan over chunks, one product that reads the states out    n (B + 4k) a channel

A recurrence multiplies by the pole as it is rounded to the working precision; the parallel forms take its powers from
its logarithm in float64, because an error in the angle of lambda grows l-fold in lambda^l.  So all forms stay equal
over any length.

Complex numbers are real pairs, a last axis of 2.  Both engines work on channels first, (d, batch, n), where each
product is one call and nothing is transposed: powers (count, k, 2), readout (d, k, 2), states (d, batch, k, 2).
The readout holds the factor sqrt(1 - |lambda|^2) already (`causal_mixing.unit_readout`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F


def transformed() -> bool:
    """Whether a compiler or a functional transform is at work: they take differentiable operations alone."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def make_powers(pole: Tensor, count: int) -> Tensor:
    """Powers lambda^0 .. lambda^(count-1), (count, k, 2), of poles (k, 2)."""
    return powers_at(pole, torch.arange(count, device=pole.device))


def powers_at(pole: Tensor, exponents: Tensor | Sequence[int]) -> Tensor:
    """Powers lambda^l, (count, k, 2), of poles (k, 2) at exponents l, (count,), from the logarithm in float64."""
    re, im = pole.double().unbind(1)
    l = torch.as_tensor(exponents, dtype=torch.float64, device=pole.device)[:, None]  # noqa: E741
    angle = l * torch.atan2(im, re)
    size = torch.exp(l * 0.5 * (re.square() + im.square()).log())
    return (torch.stack([angle.cos(), angle.sin()], dim=-1) * size[..., None]).to(pole.dtype)


def paired_product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply complex pairs (..., 2), with broadcasting."""
    if transformed():  # compilers support real numbers only
        (a_re, a_im), (b_re, b_im) = a.unbind(-1), b.unbind(-1)
        return torch.stack([a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re], dim=-1)
    return torch.view_as_real(torch.view_as_complex(a.contiguous()) * torch.view_as_complex(b))


def conjugate(pairs: Tensor) -> Tensor:
    """Conjugate complex pairs (..., 2): Re(c z) is then the dot product of the pairs of c and conj z."""
    return torch.stack([pairs[..., 0], -pairs[..., 1]], dim=-1)


def kernel(powers: Tensor, readout: Tensor, direct: Tensor) -> Tensor:
    """The impulse response h, (d, count), of powers (count, k, 2), readout (d, k, 2) and direct gains (d,)."""
    h = readout.flatten(1) @ conjugate(powers).flatten(1).T
    return h + F.pad(direct[:, None], (0, h.shape[1] - 1))


def by_fft(x: Tensor, powers: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None) -> Tensor:
    """Filter x (d, batch, n) by FFT, from the zero state or from the states `start`; powers up to n."""
    n = x.shape[-1]
    h = kernel(powers[:n], readout, direct)
    y = torch.fft.irfft(torch.fft.rfft(x, 2 * n) * torch.fft.rfft(h[:, None], 2 * n), 2 * n)[..., :n]
    return y if start is None else y + _read(start, powers[1:], readout)


def _read(states: Tensor, powers: Tensor, readout: Tensor) -> Tensor:
    """Re sum_j c_j s_j lambda_j^t, (d, ..., t), of states (d, ..., k, 2) and powers (t, k, 2)."""
    factors = readout.view(len(readout), *[1] * (states.dim() - 3), *readout.shape[1:])
    return paired_product(states, factors).flatten(-2) @ conjugate(powers).flatten(1).T


def _toeplitz(h: Tensor) -> Tensor:
    """The matrix (d, B, B) with h_(t-s) at row s, column t, and 0 for t < s, of h (d, B)."""
    d, size = h.shape
    return F.pad(h, (size, 0)).as_strided((d, size, size), (2 * size, 1, 1), 1).flip(1)


def _diagonal_sums(g: Tensor) -> Tensor:
    """Sum g (d, B, B) over its diagonals t - s = 0 .. B - 1, (d, B): the transpose of `_toeplitz`."""
    d, size, _ = g.shape
    g = g.mul_(g.new_ones(size, size).triu_())
    # With row stride B + 1, row s starts at its diagonal and continues into the zeros of row s + 1; the last row is
    # added apart.
    sums = g.as_strided((d, size - 1, size), (size * size, size + 1, 1)).sum(1)
    sums[:, 0] += g[:, -1, -1]
    return sums


class _Chunked(torch.autograd.Function):
    """y, and the states (d, batch, m + 1, k, 2) before each chunk and after the last, of x (d, batch, m B).

    The backward pass is written out; gradients of gradients are those of `by_operations`.
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
        states[:, :, 0] = start
        states[:, :, 1:] = (x.view(-1, size) @ collect).view(d, batch, chunks, k, 2)
        every, turn = torch.view_as_complex(states), torch.view_as_complex(powers[-1])
        for before, after in pairwise(every.unbind(2)):
            after.addcmul_(before, turn)
        read = torch.view_as_real(every[:, :, :-1] * torch.complex(*readout.unbind(-1))[:, None, None])
        y = torch.empty_like(x)  # no view: an activation in place may follow
        torch.bmm(x.view(d, -1, size), toeplitz, out=y.view(d, -1, size))
        y.view(-1, size).addmm_(read.view(-1, 2 * k), conj[1:].T)
        ctx.save_for_backward(x, powers, readout, direct, start, toeplitz, conj, collect, states, read)
        ctx.set_materialize_grads(False)
        return y, states

    @staticmethod
    def backward(ctx, g, g_states):
        saved = ctx.saved_tensors  # once: hooks on saved tensors may unpack them once alone
        x, states = saved[0], saved[-2]
        g = torch.zeros_like(x) if g is None else g.contiguous()
        back = torch.zeros_like(states) if g_states is None else g_states.contiguous().clone()
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):  # a step may run under autocast
            if torch.is_grad_enabled():
                return torch.func.vjp(by_operations, *saved[:5])[1]((g, back))
            return _chunked_gradients(*saved, g, back)


def _chunked_gradients(x, powers, readout, _direct, _start, toeplitz, conj, collect, states, read, g, back):
    """Cotangents of the inputs from those of y, g, and of the states, `back`, which is overwritten."""
    d, batch, n = x.shape
    size, k = len(powers) - 1, powers.shape[1]
    chunks = n // size
    every, turn = torch.view_as_complex(states), torch.view_as_complex(powers[-1]).conj()
    factors = torch.complex(*readout.unbind(-1))  # not a view: strides of one channel may be odd
    rows, g_rows = x.view(-1, size), g.view(-1, size)
    g_h = _diagonal_sums(torch.bmm(x.view(d, -1, size).mT, g.view(d, -1, size)))
    # Reading: y += Re c s lambda^(t + 1).
    g_read = torch.view_as_complex((g_rows @ conj[1:]).view(d, batch, chunks, k, 2))
    g_out = g_rows.T @ read.view(-1, 2 * k)  # (B, 2k)
    g_factors = (g_read * every[:, :, :-1].conj()).sum((1, 2))
    # The scan: the cotangent of a state, times conj lambda^B, adds to that of the state before it.
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
    return g_x.view(d, batch, n), g_powers, g_readout, g_h[:, 0], back[:, :, 0]


def by_operations(x: Tensor, powers: Tensor, readout: Tensor, direct: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The same as `_Chunked` by differentiable operations on real tensors, for compilers and functional transforms."""
    d, batch, n = x.shape
    size = len(powers) - 1
    x = x.reshape(d, batch, n // size, size)
    place = torch.arange(size, device=x.device)
    lag = place - place[:, None]
    toeplitz = kernel(powers[:-1], readout, direct)[:, lag.clamp_min(0)] * (lag >= 0)
    collected = (x @ powers[:-1].flip(0).flatten(1)).unflatten(-1, powers.shape[1:])  # (d, batch, m, k, 2)
    states = [start]
    for z in collected.unbind(2):
        states.append(paired_product(states[-1], powers[-1]) + z)
    states = torch.stack(states, dim=2)
    y = (x.flatten(1, 2) @ toeplitz).view_as(x) + _read(states[:, :, :-1], powers[1:], readout)
    return y.reshape(d, batch, n), states


def by_chunks(
    x: Tensor, powers: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Filter x in chunks of B = len(powers) - 1: y (d, batch, n), and the states before each chunk and after the last.

    x: (d, batch, n); the last chunk is padded with zeros, and the states after it are those after the zeros.
    """
    n, size = x.shape[-1], len(powers) - 1
    start = x.new_zeros(*x.shape[:2], *powers.shape[1:]) if start is None else start
    padded = F.pad(x, (0, -n % size)) if n % size else x.contiguous()
    y, states = (by_operations if transformed() else _Chunked.apply)(padded, powers, readout, direct, start)
    return (y[..., :n] if n % size else y), states


def end_state(x: Tensor, powers: Tensor, lengths: Tensor, states: Tensor) -> Tensor:
    """States after the first lengths[b] > 0 samples of x, (d, batch, k, 2), from those before each chunk of B."""
    size = len(powers) - 1
    chunk = (lengths - 1) // size
    rest = (lengths - chunk * size)[:, None]  # samples in a sequence's last chunk, 1 .. B
    sequence, place = torch.arange(x.shape[1], device=x.device), torch.arange(size, device=x.device)
    last = x[:, sequence[:, None], (chunk[:, None] * size + place).clamp_max(x.shape[-1] - 1)]  # (d, batch, B)
    weights = powers[(rest - 1 - place).clamp_min(0)] * (place < rest)[..., None, None]  # (batch, B, k, 2)
    collected = (last.transpose(0, 1) @ weights.flatten(2)).unflatten(-1, weights.shape[2:]).transpose(0, 1)
    return paired_product(states[:, sequence, chunk], powers[rest[:, 0]]) + collected
