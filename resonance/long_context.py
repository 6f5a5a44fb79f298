"""Long contexts: chunks mixed separately, connected by the kept band of the whole sequence.

A layer adds a mixing within each chunk (local) and a mixing of the whole sequence (bridge):

    h' = h + S_l M_l W_l A_l u + gamma S_b M_b W_b norm(A_b u),    u = LayerNorm(h)

A_l acts within each chunk, A_b over the whole sequence on the grid of `max_context_length`.  The analysis of a long
sequence is a sum over its chunks, each with a phase factor for its position, so a chunk never needs its neighbours in
memory: only the 2 k dim numbers of the bridge are exchanged.  norm scales the coefficients of each frequency to a mean
square of 1 over the channels, as LayerNorm does for a token: the contribution of one token is then not lost among a
hundred thousand others that have no energy at that frequency.

What a layer adds depends on bands alone, so the backward pass recovers each layer's input from its output by
subtraction, one span of chunks at a time (a reversible network: Gomez et al. 2017).  Memory then grows with depth only
by the bands, 2 k_l / chunk_size of an activation.  What is written in place are buffers of the two passes themselves;
autograd keeps the stack's output, the bands and the weights, and raises when one of them changes in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .engines.chunked import transformed
from .layers import BandMixing
from .polar import mixed, weighted
from .settings import WithSettings, placed
from .spectral import check_sequences, without_autocast

EPSILON = 1e-12  # added to the mean square of a frequency's coefficients before dividing by its root
SPAN = 2**14  # samples processed at a time, rounded to whole chunks, so that activations stay in cache
LOCAL, BRIDGE, NORM = slice(4), slice(4, 8), slice(8, 10)  # the places of a layer's ten weights


def shifted(band: Tensor, frequencies: Iterable[int], grid: int, samples: int) -> Tensor:
    """A band (batch, 2k, d), real parts first, times exp(-2 pi i f samples / N): delayed by `samples`."""
    angles = [2.0 * math.pi * (f * samples % grid) / grid for f in frequencies]  # exact: reduced as integers
    angle = torch.tensor(angles, dtype=torch.float64)[:, None]  # (k, 1)
    return weighted(band, torch.cos(angle).to(band), -torch.sin(angle).to(band))


def spans(n: int, chunk_size: int) -> list[slice]:
    """Spans of a sequence of n samples: whole chunks, about `SPAN` samples together."""
    step = max(1, SPAN // chunk_size) * chunk_size
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class BridgedLayer(WithSettings):
    """h + local mixing of each chunk + bridge over the whole sequence, both of LayerNorm(h) (eq:bridge).

    h: (batch, n, dim) -> (batch, n, dim), n <= max_length.  gamma = sqrt(N / 2k): a band whose coefficients have a
    mean square of 1 becomes a wave of mean square 1.
    Parameters: 2 k dim + 2 k^2 for each of the two mixings, and the norm.
    """

    defines = ("chunk_size",)

    def __init__(self, dim: int, max_length: int, chunk_size: int, num_frequencies: int, local_frequencies: int):
        super().__init__()
        self.chunk_size = chunk_size
        self.norm = nn.LayerNorm(dim)
        self.local = BandMixing(dim, local_frequencies, window=chunk_size)
        self.bridge = BandMixing(dim, num_frequencies, window=max_length)
        self.grid = self.bridge.band_of(max_length).grid
        self.gain = math.sqrt(self.grid / (2 * num_frequencies))

    def forward(self, h: Tensor) -> Tensor:
        """Compute the layer by plain autograd on the whole sequence: the definition, which `Bridged` must equal."""
        u, weights = self.norm(h), self.weights()
        bridge = self.bridge.decode(self.bridged(self.bridge.encode(u), *weights[BRIDGE]), h.shape[1])
        return h + self.local_wave(self.local_bands(u, *weights[LOCAL]), h.shape[1]) + bridge  # (batch, n, dim)

    def weights(self) -> list[Tensor]:
        """W = a + i b and M = re + i im, as a, b, re, im, of local mixing and then of the bridge: eight tensors."""
        return [part for m in (self.local, self.bridge) for part in m.weight.pair() + m.interference.pair()]

    # The methods below act on a span: whole chunks h[:, start : start + n] of a sequence, the last one possibly short.

    def normed(self, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(h, self.norm.normalized_shape, weight, bias, self.norm.eps)

    def local_bands(self, u: Tensor, a: Tensor, b: Tensor, re: Tensor, im: Tensor) -> Tensor:
        """Mixed bands of the chunks of u; a last short one is continued by zeros, which changes no band."""
        size = min(self.chunk_size, u.shape[1])
        u = F.pad(u, (0, 0, 0, -u.shape[1] % size)) if u.shape[1] % size else u
        chunks = u.reshape(-1, size, u.shape[2])  # (batch chunks, size, dim)
        return mixed(self.local.encode(chunks), (a, b), (re, im))  # (batch chunks, 2k, dim)

    def local_wave(self, bands: Tensor, n: int) -> Tensor:
        """Output of local mixing on a span of n samples, from its bands."""
        size = min(self.chunk_size, n)
        chunks = self.local.decode(bands, size)  # (batch chunks, size, dim)
        return chunks.reshape(-1, n + -n % size, chunks.shape[2])[:, :n]  # (batch, n, dim)

    def collect(self, u: Tensor, start: int) -> Tensor:
        """Contribution of a span to the band of the whole sequence."""
        return shifted(self.bridge.encode(u), self.bridge.frequencies, self.grid, start)  # (batch, 2k, dim)

    def bridged(self, band: Tensor, a: Tensor, b: Tensor, re: Tensor, im: Tensor) -> Tensor:
        """Band of the bridge after norm, gain gamma, weights and interference, (batch, 2k, dim)."""
        pairs = band.unflatten(1, (2, -1))  # (batch, 2, k, dim)
        power = pairs.square().sum(1, keepdim=True).mean(dim=3, keepdim=True)  # (batch, 1, k, 1)
        return mixed((pairs * (self.gain * torch.rsqrt(power + EPSILON))).flatten(1, 2), (a, b), (re, im))

    def branch(self, local: Tensor, bridge: Tensor, start: int, n: int) -> Tensor:
        """Sum of local mixing and bridge on a span of n samples, from their mixed bands."""
        wave = self.bridge.decode(shifted(bridge, self.bridge.frequencies, self.grid, -start), n)
        return wave.add_(self.local_wave(local, n))

    def run(self, weights: Sequence[Tensor], h: Tensor, out: Tensor) -> list[Tensor]:
        """Write the layer's output into `out`, which may be h; return the bands that `reverse` needs."""
        parts = spans(h.shape[1], self.chunk_size)
        collected = sum(self.collect(self.normed(h[:, span], *weights[NORM]), span.start) for span in parts)
        bridge, local = self.bridged(collected, *weights[BRIDGE]), []
        for span in parts:
            local.append(self.local_bands(self.normed(h[:, span], *weights[NORM]), *weights[LOCAL]))
            branch = self.branch(local[-1], bridge, span.start, span.stop - span.start)
            torch.add(h[:, span], branch, out=out[:, span])
        return [collected, bridge, *local]

    def reverse(self, weights: Sequence[Tensor], bands, h: list[Tensor], gradient: Tensor, out: Tensor) -> None:
        """Replace the spans h of the output by those of the input, by new tensors: what autograd saves must not change.

        Write the input's gradient into `out`, which may be `gradient`, and those of the weights into their `grad`.
        """
        collected, bridge, *local = bands
        parts = spans(gradient.shape[1], self.chunk_size)
        band_gradient = sum(self.collect(gradient[:, span], span.start) for span in parts)  # the adjoint of synthesis
        band_gradient *= self.bridge.band_of(gradient.shape[1]).multiplicity(gradient).repeat(2)[:, None]
        with torch.enable_grad():
            leaf = collected.detach().requires_grad_(True)
            torch.autograd.backward(self.bridged(leaf, *weights[BRIDGE]), band_gradient)
        band_gradient = leaf.grad
        for i, span in enumerate(parts):
            branch = self.branch(local[i], bridge, span.start, span.stop - span.start)
            h[i] = torch.sub(h[i], branch, out=branch)
            with torch.enable_grad():
                leaf = h[i].detach().requires_grad_(True)
                u = self.normed(leaf, *weights[NORM])
                wave = self.local_wave(self.local_bands(u, *weights[LOCAL]), u.shape[1])
                band = self.collect(u, span.start)
            torch.autograd.backward([wave, band], [gradient[:, span], band_gradient])
            torch.add(gradient[:, span], leaf.grad, out=out[:, span])


class Bridged(torch.autograd.Function):
    """A stack of bridged layers, reversible: (batch, n, dim) -> (batch, n, dim), of h and ten weights a layer.

    The gradient is not differentiable itself; that of `BridgedLayer.forward` is.
    """

    @staticmethod
    def forward(ctx, h, layers, *weights):
        ctx.layers, saved, out = layers, [], torch.empty_like(h, memory_format=torch.contiguous_format)
        for i, layer in enumerate(layers):
            own = weights[10 * i : 10 * i + 10]
            saved += [*own, *layer.run(own, h, out)]
            h = out
        ctx.save_for_backward(out, *saved)
        return out

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            raise RuntimeError("create_graph=True needs the activations of each layer, not stored here: use torch.func")
        h, *saved = ctx.saved_tensors
        out, each, found = torch.empty_like(h), len(saved) // len(ctx.layers), []
        h = [h[:, span].clone() for span in spans(h.shape[1], ctx.layers[0].chunk_size)]
        ctx.maybe_clear_saved_tensors()  # frees the stack's output, unless the graph is retained
        with without_autocast(gradient):
            for i in reversed(range(len(ctx.layers))):
                needs = ctx.needs_input_grad[2 + 10 * i : 12 + 10 * i]
                weights = [w.detach().requires_grad_(need) for w, need in zip(saved[each * i :], needs, strict=False)]
                ctx.layers[i].reverse(weights, saved[each * i + 10 :], h, gradient, out)
                del saved[each * i :]
                gradient, found = out, [w.grad for w in weights] + found
        return gradient, None, *found


class LongContextResonanceNet(nn.Module):
    """Sequence to sequence over hundreds of thousands of tokens: projection, bridged layers, norm, projection.

    (batch, n, input_dim) -> (batch, n, output_dim), n <= max_context_length; output_dim is input_dim unless given.
    Every token reaches every other, at a cost linear in n.  The layers compute in the dtype of the parameters, autocast
    or not.  Training stores the activations of one layer, and create_graph=True raises RuntimeError; but compiled, in
    torch.func, and with a hook on a layer or its norm, the layers run by plain autograd and each stores its own.
    `torch.export` fixes n: how many chunks there are, and the rest of the last one, decide the operations.
    Raises ValueError for a wrong shape, for n above max_context_length (naming both), for bands that do not fit.
    Parameters: num_layers (2 (k_l + k) hidden + 2 k_l^2 + 2 k^2 + 2 hidden), 2 hidden, and the two projections.

    >>> model = LongContextResonanceNet(2, 64, 16, 2, hidden_dim=8, num_frequencies=4, local_frequencies=4)
    >>> x = torch.randn(1, 40, 2)
    >>> torch.allclose(torch.cat([*model.stream(x.split(16, dim=1))], dim=1), model(x), atol=1e-4)
    True
    """

    @placed
    def __init__(
        self,
        input_dim: int,
        max_context_length: int = 262144,
        chunk_size: int = 2048,
        num_layers: int = 6,
        *,
        hidden_dim: int = 256,
        num_frequencies: int = 64,
        local_frequencies: int = 32,
        output_dim: int | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if min(input_dim, num_layers, chunk_size) < 1 or max_context_length < chunk_size:
            got = f"got {input_dim=}, {num_layers=}, {chunk_size=} and {max_context_length=}"
            raise ValueError(f"expected num_layers >= 1, input_dim >= 1, 1 <= chunk_size <= max_context_length, {got}")
        self.input_dim, self.max_context_length, self.chunk_size = input_dim, max_context_length, chunk_size
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        sizes = hidden_dim, max_context_length, chunk_size, num_frequencies, local_frequencies
        self.layers = nn.ModuleList(BridgedLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, output_dim or input_dim)

    def forward(self, x: Tensor) -> Tensor:
        h = self._project(x)
        with without_autocast(h):
            if self._is_plain():
                for layer in self.layers:
                    h = layer(h)
            else:
                parts = [(*layer.weights(), layer.norm.weight, layer.norm.bias) for layer in self.layers]
                h = Bridged.apply(h, list(self.layers), *(w for part in parts for w in part))
        return self.output_projection(self.norm(h))

    def _project(self, x: Tensor, start: int = 0) -> Tensor:
        """(batch, n, hidden_dim), under autocast too in the dtype of the weights: the subtraction must be exact."""
        if (n := start + check_sequences(x, self.input_dim).shape[1]) > self.max_context_length:
            raise ValueError(f"a sequence of n={n} tokens is longer than max_context_length={self.max_context_length}")
        return self.input_projection(x).to(self.norm.weight.dtype)

    def _is_plain(self) -> bool:
        """Whether plain autograd must run the layers: one is traced, or it or its norm is watched or changed."""
        hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
        watched = any(getattr(m, name) for layer in self.layers for m in (layer, layer.norm) for name in hooks)
        changed = any(type(layer.norm).forward is not nn.LayerNorm.forward for layer in self.layers)
        return transformed() or watched or changed

    @torch.no_grad()
    def stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the output of each chunk of a sequence that is never in memory as a whole.

        `chunks` is iterated several times (a list or a data set, not a generator); it yields tensors (batch, length,
        input_dim), each but the last a multiple of chunk_size long.  Memory: one chunk's activations and one band a
        layer, whatever n.  Cost: num_layers + 1 passes, about (num_layers + 3) / 2 times the work of `forward`.
        Raises TypeError for an iterator that can be read only once, ValueError for misplaced or changing lengths.
        """
        if iter(chunks) is chunks:
            raise TypeError("expected chunks that can be read several times (a list, say), got a one-shot iterator")
        bridges: list[Tensor] = []
        length = None
        for layer in self.layers:
            collected, end = 0, 0
            for start, h in self._read(chunks, bridges):
                with without_autocast(h):
                    collected = collected + layer.collect(layer.norm(h), start)
                end = start + h.shape[1]
            if end == 0:
                raise ValueError("expected at least one chunk, got none")
            if length not in (None, end):
                raise ValueError(f"the chunks had {length} tokens when first read, and {end} later")
            length = end
            bridges.append(layer.bridged(collected, *layer.weights()[BRIDGE]))
        for _, h in self._read(chunks, bridges):
            yield self.output_projection(self.norm(h))

    def _read(self, chunks: Iterable[Tensor], bridges: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Yield (start, activations) of each chunk after as many layers as have their bridge's band."""
        start, ended = 0, False
        for x in chunks:
            if ended:
                raise ValueError(f"every chunk but the last must be a multiple of chunk_size={self.chunk_size} long")
            h = self._project(x, start)
            n = h.shape[1]
            with without_autocast(h):
                for layer, bridge in zip(self.layers, bridges, strict=False):
                    local = layer.local_bands(layer.norm(h), *layer.weights()[LOCAL])
                    h = h + layer.branch(local, bridge, start, n)
            yield start, h
            start, ended = start + n, n % self.chunk_size != 0
