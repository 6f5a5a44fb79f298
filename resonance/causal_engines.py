"""Causal mixing computed two ways: by FFT, the reference, and by chunks with a carried state, linear in n.

The map, for k poles lambda_j shared by all channels, complex readouts c_jc and direct gains b_c (report, eq. "causal"):

    s_t = lambda s_(t-1) + x_t                 k complex states a channel
    y_t = b x_t + Re sum_j c_j s_tj            the kernel is h_l = b [l = 0] + Re sum_j c_j lambda_j^l

    fft        y = h * x by a product of spectra, zero-padded to 2 n                   n log n
    chunked    x in chunks of B: inside a chunk a B x B Toeplitz product a channel, one product that collects the
               state of each chunk, a scan over chunks, one product that reads the states out    n (B + 4k) a channel

Both work on channels first, (d, batch, n), where each product is one call and nothing is transposed.  Complex numbers
are real tensors with a last axis (k, 2) or, in tables, 2k columns: real parts, then imaginary ones.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _Powers(torch.autograd.Function):
    """lambda^l for l = 0 .. count - 1, (count, 2k), from the poles (2, k).

    Logarithm and powers are taken in float64: the angle of lambda^l is l arg lambda, and its error would grow with l.
    """

    @staticmethod
    def forward(ctx, poles, count):
        log = torch.view_as_real(torch.view_as_complex(poles.double().T.contiguous()).log())  # (k, 2)
        l = torch.arange(count, dtype=torch.float64, device=poles.device)[:, None]  # noqa: E741
        size, angle = (l * log[:, 0]).exp_(), l * log[:, 1]
        powers = torch.cat([size * angle.cos(), size * angle.sin()], dim=1).to(poles.dtype)
        ctx.save_for_backward(poles, powers)
        return powers

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        poles, powers = ctx.saved_tensors
        l = torch.arange(len(powers), dtype=powers.dtype, device=powers.device)[:, None]  # noqa: E741
        (re, im), (g_re, g_im) = (powers * l).chunk(2, dim=1), gradient.chunk(2, dim=1)
        # The gradient of log lambda, then of lambda: divided by its conjugate.
        along, around = (g_re * re + g_im * im).sum(0), (g_im * re - g_re * im).sum(0)
        a, b = poles / poles.square().sum(0)
        return torch.stack([a * along - b * around, b * along + a * around]), None


def powers(poles: Tensor, count: int) -> Tensor:
    """Return lambda^0 .. lambda^(count-1), (count, 2k), of the poles (2, k): real parts, then imaginary ones."""
    if torch.compiler.is_compiling():  # a compiler derives the gradient from the operations themselves
        re, im = poles.double()
        l = torch.arange(count, dtype=torch.float64, device=poles.device)[:, None]  # noqa: E741
        size, angle = (0.5 * l * (re.square() + im.square()).log()).exp(), l * torch.atan2(im, re)
        return torch.cat([size * angle.cos(), size * angle.sin()], dim=1).to(poles.dtype)
    return _Powers.apply(poles, count)


def kernel(table: Tensor, readout: Tensor, direct: Tensor) -> Tensor:
    """Return h, (d, count), from the powers (count, 2k), the readout (2k, d) and the direct gains (d,)."""
    re, im = table.chunk(2, dim=1)
    h = readout.T @ torch.cat([re, -im], dim=1).T
    return torch.cat([h[:, :1] + direct[:, None], h[:, 1:]], dim=1)


def turned(states: Tensor, table: Tensor) -> Tensor:
    """Return states (..., k, 2) times complex factors given as (..., 2k)."""
    re, im = table.chunk(2, dim=-1)
    a, b = states.unbind(-1)
    return torch.stack([a * re - b * im, a * im + b * re], dim=-1)


# --------------------------------------------------------------------------- fft


def by_fft(x: Tensor, poles: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None) -> Tensor:
    """Return y (d, batch, n) of x (d, batch, n), from silence or from the states `start` (d, batch, k, 2)."""
    n = x.shape[-1]
    table = powers(poles, n + 1)
    h = kernel(table[:n], readout, direct)
    grid = 2 * n
    y = torch.fft.irfft(torch.fft.rfft(x, grid) * torch.fft.rfft(h, grid)[:, None], grid)[..., :n]
    if start is None:
        return y
    return y + _read(turned(start, _columns(readout)), table[1:])


def _columns(readout: Tensor) -> Tensor:
    """Return the readout (2k, d) as factors of states: (d, 1, 2k)."""
    return readout.T[:, None]


def _read(states: Tensor, table: Tensor) -> Tensor:
    """Return Re sum_j s_j lambda_j^t for states (d, batch, k, 2) and powers (t, 2k): (d, batch, t)."""
    re, im = table.chunk(2, dim=1)
    return states[..., 0] @ re.T - states[..., 1] @ im.T


def end_by_powers(x: Tensor, poles: Tensor, lengths: Tensor, start: Tensor | None) -> Tensor:
    """Return the states (d, batch, k, 2) behind the first lengths[b] samples of each sequence of x (d, batch, n)."""
    table = powers(poles, x.shape[-1] + 1)
    weights, decay = _collecting(table, lengths, x.shape[-1])
    end = _collected(x, weights)
    return end if start is None else end + turned(start, decay)


def _collecting(table: Tensor, lengths: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return lambda^(length-1-s) for s < length, else 0, (batch, n, 2k), and lambda^length, (batch, 2k)."""
    lag = lengths[:, None] - 1 - torch.arange(n, device=lengths.device)
    return table[lag.clamp_min(0)] * (lag >= 0)[..., None], table[lengths]


def _collected(x: Tensor, weights: Tensor) -> Tensor:
    """Return sum_s x_s weights_s, as states (d, batch, k, 2), for x (d, batch, n) and weights (batch, n, 2k)."""
    z = x.transpose(0, 1) @ weights  # (batch, d, 2k)
    return z.unflatten(-1, (2, -1)).movedim(-2, -1).transpose(0, 1)


# --------------------------------------------------------------------------- chunks


def _toeplitz(h: Tensor) -> Tensor:
    """Return (d, B, B) with h_(t-s) at row s, column t, and 0 for t < s, from h (d, B)."""
    d, size = h.shape
    padded = F.pad(h, (size, 0))
    return padded.as_strided((d, size, size), (2 * size, 1, 1), 1).flip(1)


def _diagonal_sums(g: Tensor) -> Tensor:
    """Return the sums of g (d, B, B) over its diagonals t - s = 0 .. B - 1, (d, B): the transpose of `_toeplitz`."""
    d, size, _ = g.shape
    padded = F.pad(g, (0, size))  # row s shifted left by s: element t - s
    return padded.as_strided((d, size, size), (2 * size * size, 2 * size + 1, 1)).sum(1)


class _Chunked(torch.autograd.Function):
    """y and the states before every chunk, and behind the last, from x (d, c m, B): see `by_chunks`.

    The backward pass is written out: it is the same products, and one scan the other way.
    """

    @staticmethod
    def forward(ctx, x, table, readout, direct, start):
        d, batch, n = x.shape
        size = len(table) - 1
        k, chunks = table.shape[1] // 2, n // size
        rows = x.view(d, batch * chunks, size)
        re, im = table.chunk(2, dim=1)
        h = readout.T @ torch.cat([re[:-1], -im[:-1]], dim=1).T
        h[:, 0] += direct
        toeplitz = _toeplitz(h)
        collect = _pairs(table[:-1].flip(0))  # (B, k, 2)
        y = torch.bmm(rows, toeplitz)
        states = x.new_empty(d, batch, chunks + 1, k, 2)
        states[:, :, 1:] = (x.view(-1, size) @ collect.flatten(1)).view(d, batch, chunks, k, 2)
        if start is None:
            states[:, :, 0] = 0
        else:
            states[:, :, 0] = start
        complex_states = torch.view_as_complex(states)
        turn = torch.view_as_complex(_pairs(table[-1:])[0])
        steps = complex_states.unbind(2)
        for before, after in pairwise(steps):
            after.addcmul_(before, turn)
        factors = torch.view_as_complex(_pairs(readout.T))  # (d, k)
        read = torch.view_as_real(complex_states[:, :, :-1] * factors[:, None, None]).view(-1, 2 * k)
        out = torch.stack([re[1:], -im[1:]], dim=-1).flatten(1)  # (B, 2k)
        y.view(-1, size).addmm_(read, out.T)
        ctx.save_for_backward(x, table, readout, states, toeplitz)
        ctx.set_materialize_grads(False)
        return y.view(d, batch, n), states

    @staticmethod
    @once_differentiable
    def backward(ctx, g, g_states):
        kind = ctx.saved_tensors[0].device.type
        with torch.autocast(kind, enabled=False):  # where a whole training step stands under autocast
            return _chunked_gradients(ctx, g, g_states)


def _chunked_gradients(ctx, g, g_states):
    x, table, readout, states, toeplitz = ctx.saved_tensors
    d, batch, n = x.shape
    size = len(table) - 1
    k, chunks = table.shape[1] // 2, n // size
    re, im = table.chunk(2, dim=1)
    g = torch.zeros_like(x) if g is None else g.contiguous()
    g_rows = g.view(d, batch * chunks, size)
    g_x = torch.bmm(g_rows, toeplitz.mT).view(-1, size)
    g_h = _diagonal_sums(torch.bmm(x.view(d, -1, size).mT, g_rows))  # (d, B)
    # Readout of the states.
    complex_states = torch.view_as_complex(states)
    turn = torch.view_as_complex(_pairs(table[-1:])[0])
    factors = torch.view_as_complex(_pairs(readout.T))
    out = torch.stack([re[1:], -im[1:]], dim=-1).flatten(1)
    g_read = torch.view_as_complex((g.view(-1, size) @ out).view(d, batch, chunks, k, 2))
    read = torch.view_as_real(complex_states[:, :, :-1] * factors[:, None, None]).view(-1, 2 * k)
    g_out = (read.T @ g.view(-1, size)).view(k, 2, size)
    g_factors = (g_read * complex_states[:, :, :-1].conj()).sum((1, 2))
    # The scan the other way.
    g_all = x.new_zeros(states.shape) if g_states is None else g_states.contiguous().clone()
    g_complex = torch.view_as_complex(g_all)
    g_complex[:, :, :-1] += g_read * factors.conj()[:, None, None]
    steps, back = g_complex.unbind(2), turn.conj().resolve_conj()
    for after, before in pairwise(reversed(steps)):
        before.addcmul_(after, back)
    g_turn = (g_complex[:, :, 1:] * complex_states[:, :, :-1].conj()).sum((0, 1, 2))
    g_collected = g_all[:, :, 1:].reshape(-1, 2 * k)
    collect = _pairs(table[:-1].flip(0)).flatten(1)
    g_x.addmm_(g_collected, collect.T)
    g_collect = (x.view(-1, size).T @ g_collected).view(size, k, 2).flip(0)
    # Everything that the powers and the readout do.
    real = torch.cat([re[:-1], -im[:-1]], dim=1)
    g_real = g_h.T @ readout.T  # (B, 2k)
    g_readout = real.T @ g_h.T + torch.view_as_real(g_factors).permute(2, 1, 0).reshape(2 * k, d)
    g_table = torch.zeros_like(table)
    g_table[:-1] += torch.cat([g_real[:, :k], -g_real[:, k:]], dim=1) + g_collect.transpose(1, 2).flatten(1)
    g_table[1:] += torch.cat([g_out[:, 0].T, -g_out[:, 1].T], dim=1)
    g_table[-1] += torch.view_as_real(g_turn).T.flatten()
    g_start = g_all[:, :, 0] if ctx.needs_input_grad[4] else None
    return g_x.view(d, batch, n), g_table, g_readout, g_h[:, 0], g_start


def _pairs(table: Tensor) -> Tensor:
    """Return (rows, 2k), real parts before imaginary ones, as contiguous (rows, k, 2)."""
    return torch.stack(table.chunk(2, dim=1), dim=-1)


def _chunked(x: Tensor, table: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """`_Chunked` by differentiable operations, real ones: what a compiler is given."""
    d, batch, n = x.shape
    size = len(table) - 1
    x = x.reshape(d, batch, n // size, size)
    y = (x.flatten(1, 2) @ _toeplitz_by_index(kernel(table[:-1], readout, direct))).view_as(x)
    collected = (x @ table[:-1].flip(0)).unflatten(-1, (2, -1)).movedim(-2, -1)  # (d, batch, chunks, k, 2)
    state = torch.zeros_like(collected[:, :, 0]) if start is None else start
    states = [state]
    for z in collected.unbind(2):
        state = turned(state, table[-1]) + z
        states.append(state)
    states = torch.stack(states, dim=2)
    read = turned(states[:, :, :-1], readout.T[:, None, None])
    y = y + _read(read, table[1:])
    return y.reshape(d, batch, n), states


def _toeplitz_by_index(h: Tensor) -> Tensor:
    place = torch.arange(h.shape[1], device=h.device)
    lag = place - place[:, None]
    return h[:, lag.clamp_min(0)] * (lag >= 0)


def by_chunks(
    x: Tensor, poles: Tensor, readout: Tensor, direct: Tensor, start: Tensor | None, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y (d, batch, n), the states before each chunk and behind the last, and the powers up to B = size.

    x: (d, batch, n), padded with zeros to whole chunks; start: (d, batch, k, 2) or None for silence.
    """
    n = x.shape[-1]
    table = powers(poles, size + 1)
    padded = F.pad(x, (0, -n % size)) if n % size else x.contiguous()
    run = _chunked if torch.compiler.is_compiling() else _Chunked.apply
    y, states = run(padded, table, readout, direct, start)
    return y[..., :n], states, table


def end_by_chunks(x: Tensor, states: Tensor, table: Tensor, lengths: Tensor) -> Tensor:
    """Return the states (d, batch, k, 2) behind lengths[b] samples, from the states before each chunk of x."""
    size = len(table) - 1
    whole, rest = lengths // size, lengths % size
    sequence = torch.arange(x.shape[1], device=x.device)
    place = (whole * size)[:, None] + torch.arange(size, device=x.device)
    last = x[:, sequence[:, None], place.clamp_max(x.shape[-1] - 1)]  # (d, batch, B); what is past the end weighs 0
    weights, decay = _collecting(table, rest, size)
    return turned(states[:, sequence, whole], decay) + _collected(last, weights)
