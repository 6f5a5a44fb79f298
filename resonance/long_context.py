"""Long contexts: chunks mixed separately, connected by the kept band of the whole sequence.

A layer adds a mixing within each chunk (local) and a mixing of the whole sequence (bridge):

    h' = h + S_l M_l W_l A_l u + gamma S_b M_b W_b norm(A_b u),    u = LayerNorm(h)

A_l acts within each chunk, A_b over the whole sequence on the grid of `max_context_length`.  The analysis of a long
sequence is a sum over its chunks, each with a phase factor for its position, so a chunk never needs its neighbours in
memory: only the 2 k dim numbers of the bridge are exchanged.  norm scales the coefficients of each frequency to a mean
square of 1 over the channels, as LayerNorm does for a token: the contribution of one token is then not lost among a
hundred thousand others that have no energy at that frequency.

The backward pass stores nothing of length n for a layer.  What a layer adds depends on bands alone, so its input is its
output minus a function of the saved bands: the backward pass recovers each layer's input by subtraction, in place, one
span of chunks at a time (a reversible network: Gomez et al. 2017).  Memory then grows with depth only by the bands,
2 k_l / chunk_size of an activation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .band import make_band
from .layers import BandMixing
from .polar import weighted
from .spectral import check_sequences

EPSILON = 1e-12  # added to the mean square of a frequency's coefficients before dividing by its root
SPAN = 2**14  # samples processed at a time, rounded to whole chunks, so that activations stay in cache

# A band is one real tensor, (batch, 2k, d), real parts before imaginary ones, as in `BandMixing`.


def shifted(band: Tensor, frequencies: Iterable[int], grid: int, samples: int) -> Tensor:
    """A band (batch, 2k, d) times exp(-2 pi i f samples / N): the band of the sequence delayed by `samples`."""
    angles = [2.0 * math.pi * (f * samples % grid) / grid for f in frequencies]  # exact: reduced as integers
    angle = torch.tensor(angles, dtype=torch.float64)[:, None]  # (k, 1)
    return weighted(band, torch.cos(angle).to(band), -torch.sin(angle).to(band))


class BridgedLayer(nn.Module):
    """h + local mixing of each chunk + bridge over the whole sequence, both of LayerNorm(h) (eq:bridge).

    h: (batch, n, dim) -> (batch, n, dim), n <= max_length.  gamma = sqrt(N / 2k): a band whose coefficients have a
    mean square of 1 becomes a wave of mean square 1.
    Parameters: 2 k dim + 2 k^2 for each of the two mixings, and the norm.
    """

    def __init__(self, dim: int, max_length: int, chunk_size: int, num_frequencies: int, local_frequencies: int):
        super().__init__()
        self.chunk_size = chunk_size
        self.norm = nn.LayerNorm(dim)
        self.local = BandMixing(dim, local_frequencies, window=chunk_size)
        self.bridge = BandMixing(dim, num_frequencies, window=max_length)
        self.grid = self.bridge.band_of(max_length).grid
        self.gain = math.sqrt(self.grid / (2 * num_frequencies))

    def forward(self, h: Tensor) -> Tensor:
        """The layer by plain autograd on the whole sequence: the definition, which `Bridged` must equal."""
        u = self.norm(h)
        bridge = self.bridge.decode(self.mixed(self.bridge.encode(u)), h.shape[1])
        return h + self.local_wave(self.local_bands(u), h.shape[1]) + bridge  # (batch, n, dim)

    # The methods below act on a span: whole chunks h[:, start : start + n] of a sequence, the last one possibly short.

    def local_bands(self, u: Tensor) -> Tensor:
        """The mixed bands of the chunks of u; a last short one is continued by zeros, which changes no band."""
        size = min(self.chunk_size, u.shape[1])
        u = F.pad(u, (0, 0, 0, -u.shape[1] % size)) if u.shape[1] % size else u
        chunks = u.reshape(-1, size, u.shape[2])  # (batch chunks, size, dim)
        return self.local.mix(self.local.encode(chunks))  # (batch chunks, 2k, dim)

    def local_wave(self, bands: Tensor, n: int) -> Tensor:
        """The output of local mixing on a span of n samples, from its bands."""
        size = min(self.chunk_size, n)
        chunks = self.local.decode(bands, size)  # (batch chunks, size, dim)
        return chunks.reshape(-1, n + -n % size, chunks.shape[2])[:, :n]  # (batch, n, dim)

    def collect(self, u: Tensor, start: int) -> Tensor:
        """The contribution of a span to the band of the whole sequence."""
        return shifted(self.bridge.encode(u), self.bridge.frequencies, self.grid, start)  # (batch, 2k, dim)

    def mixed(self, band: Tensor) -> Tensor:
        """The bridge's band after norm, gain gamma, weights and interference, (batch, 2k, dim)."""
        pairs = band.unflatten(1, (2, -1))  # (batch, 2, k, dim)
        power = pairs.square().sum(1, keepdim=True).mean(dim=3, keepdim=True)  # (batch, 1, k, 1)
        return self.bridge.mix((pairs * (self.gain * torch.rsqrt(power + EPSILON))).flatten(1, 2))

    def branch(self, local: Tensor, bridge: Tensor, start: int, n: int) -> Tensor:
        """The sum of local mixing and bridge on a span of n samples, from their mixed bands."""
        wave = self.bridge.decode(shifted(bridge, self.bridge.frequencies, self.grid, -start), n)
        return wave.add_(self.local_wave(local, n))


def spans(n: int, chunk_size: int) -> list[slice]:
    """The spans of a sequence of n samples: whole chunks, about `SPAN` samples together."""
    step = max(1, SPAN // chunk_size) * chunk_size
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class Bridged(torch.autograd.Function):
    """A stack of bridged layers, in place and reversible: (batch, n, dim) -> (batch, n, dim).

    Its backward pass runs once and is not differentiable itself; that of `BridgedLayer.forward` is.
    """

    @staticmethod
    def forward(ctx, h, layers, *parameters):
        ctx.layers, ctx.kept = layers, []
        with torch.autocast(h.device.type, enabled=False):
            for layer in layers:
                ctx.kept.append(Bridged._layer_forward(layer, h))
        ctx.mark_dirty(h)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    def _layer_forward(layer: BridgedLayer, h: Tensor):
        parts = spans(h.shape[1], layer.chunk_size)
        collected = sum(layer.collect(layer.norm(h[:, span]), span.start) for span in parts)  # (batch, 2k, dim)
        bridge, local = layer.mixed(collected), []
        for span in parts:
            local.append(layer.local_bands(layer.norm(h[:, span])))
            h[:, span] += layer.branch(local[-1], bridge, span.start, span.stop - span.start)
        return collected, bridge, local

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        gradient = gradient.clone()
        found: dict[nn.Parameter, Tensor] = {}
        with torch.autocast(h.device.type, enabled=False):
            for layer, kept in zip(reversed(ctx.layers), reversed(ctx.kept), strict=True):
                Bridged._layer_backward(layer, kept, h, gradient, found)
        ctx.kept = None
        return gradient, None, *(found.get(p) for layer in ctx.layers for p in layer.parameters())

    @staticmethod
    def _layer_backward(layer: BridgedLayer, kept, h: Tensor, gradient: Tensor, found: dict) -> None:
        """Replace h by the layer's input and its gradient likewise, in place; add the weights' gradients to `found`."""
        collected, bridge, local = kept
        parts = spans(h.shape[1], layer.chunk_size)
        for span, bands in zip(parts, local, strict=True):
            h[:, span] -= layer.branch(bands, bridge, span.start, span.stop - span.start)
        # The adjoint of the bridge's synthesis.
        weight = make_band(h.shape[1], layer.bridge.frequencies, layer.grid).multiplicity(h).repeat(2)[:, None]
        band_gradient = sum(layer.collect(gradient[:, span], span.start) for span in parts) * weight

        def differentiate(outputs, source, cotangents, owners):
            parameters = [p for module in owners for p in module.parameters() if p.requires_grad]
            of_input, *of_parameters = torch.autograd.grad(outputs, [source, *parameters], cotangents)
            for parameter, part in zip(parameters, of_parameters, strict=True):
                found[parameter] = part if parameter not in found else found[parameter].add_(part)
            return of_input

        with torch.enable_grad():
            leaf = collected.detach().requires_grad_(True)
            band_gradient = differentiate([layer.mixed(leaf)], leaf, [band_gradient], [layer.bridge])
        for span in parts:
            with torch.enable_grad():
                leaf = h[:, span].detach().requires_grad_(True)
                u = layer.norm(leaf)
                outputs = [layer.local_wave(layer.local_bands(u), u.shape[1]), layer.collect(u, span.start)]
                cotangents = [gradient[:, span], band_gradient]
                step = differentiate(outputs, leaf, cotangents, [layer.norm, layer.local])
            gradient[:, span] += step


class LongContextResonanceNet(nn.Module):
    """Sequence to sequence over hundreds of thousands of tokens: projection, bridged layers, norm, projection.

    (batch, n, input_dim) -> (batch, n, output_dim), n <= max_context_length; output_dim is input_dim unless given.
    Every token reaches every other, at a cost linear in n.  One backward pass for each forward pass; the layers compute
    in the dtype of the parameters, autocast or not.
    Raises ValueError for a wrong shape, for n above max_context_length (naming both), for bands that do not fit.
    Parameters: num_layers (2 (k_l + k) hidden + 2 k_l^2 + 2 k^2 + 2 hidden), 2 hidden, and the two projections.
    """

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
    ):
        super().__init__()
        if min(input_dim, num_layers, chunk_size) < 1:
            raise ValueError(
                "expected input_dim >= 1, chunk_size >= 1 and num_layers >= 1, got "
                f"{input_dim}, {chunk_size} and {num_layers}"
            )
        if max_context_length < chunk_size:
            raise ValueError(f"max_context_length={max_context_length} is shorter than chunk_size={chunk_size}")
        self.input_dim, self.max_context_length, self.chunk_size = input_dim, max_context_length, chunk_size
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.layers = nn.ModuleList(
            BridgedLayer(hidden_dim, max_context_length, chunk_size, num_frequencies, local_frequencies)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, output_dim or input_dim)

    def _check(self, n: int) -> None:
        if n > self.max_context_length:
            raise ValueError(f"a sequence of n={n} tokens is longer than max_context_length={self.max_context_length}")

    def forward(self, x: Tensor) -> Tensor:
        self._check(check_sequences(x, self.input_dim).shape[1])
        parameters = [p for layer in self.layers for p in layer.parameters()]
        # (batch, n, hidden_dim), under autocast too in the dtype of the weights: the subtraction must be exact
        h = self.input_projection(x).to(self.norm.weight.dtype)
        h = Bridged.apply(h, list(self.layers), *parameters)
        return self.output_projection(self.norm(h))

    @torch.no_grad()
    def stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the output of each chunk of a sequence that is never in memory as a whole.

        `chunks` is iterated several times (a list or a data set, not a generator); it yields tensors (batch, length,
        input_dim), each but the last a multiple of chunk_size long.  For each layer one pass collects the bridge's
        band, from recomputed activations, and one more computes the outputs.
        Memory: one chunk's activations and one band a layer, whatever n.  Cost: num_layers + 1 passes over `chunks`,
        about (num_layers + 3) / 2 times the work of `forward`.
        Raises TypeError for an iterator that can be read only once, ValueError for misplaced or changing lengths.
        """
        if iter(chunks) is chunks:
            raise TypeError("expected chunks that can be read several times (a list, say), got a one-shot iterator")
        bridges: list[Tensor] = []
        length = None
        for layer in self.layers:
            collected, end = 0, 0
            for start, h in self._read(chunks, bridges):
                with torch.autocast(h.device.type, enabled=False):
                    collected = collected + layer.collect(layer.norm(h), start)
                end = start + h.shape[1]
            if end == 0:
                raise ValueError("expected at least one chunk, got none")
            if length not in (None, end):
                raise ValueError(f"the chunks had {length} tokens when first read, and {end} later")
            length = end
            with torch.autocast(collected.device.type, enabled=False):
                bridges.append(layer.mixed(collected))
        for _, h in self._read(chunks, bridges):
            yield self.output_projection(self.norm(h))

    def _read(self, chunks: Iterable[Tensor], bridges: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Yield (start, activations) of each chunk after as many layers as have their bridge's band."""
        start, ended = 0, False
        for x in chunks:
            n = check_sequences(x, self.input_dim).shape[1]
            if ended:
                raise ValueError(f"every chunk but the last must be a multiple of chunk_size={self.chunk_size} long")
            self._check(start + n)
            h = self.input_projection(x).to(self.norm.weight.dtype)
            with torch.autocast(h.device.type, enabled=False):
                for layer, bridge in zip(self.layers, bridges, strict=False):
                    h = h + layer.branch(layer.local_bands(layer.norm(h)), bridge, start, n)
            yield start, h
            start, ended = start + n, n % self.chunk_size != 0
