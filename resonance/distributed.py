"""Sequences split over the processes of a torch.distributed group: a rank holds a stretch, layers exchange bands.

A coefficient is a sum over samples.  So the band of a sequence is the sum of those of its stretches, each turned by the
phase of its offset t_r in the grid, and a stretch of the output is synthesised from the band turned back (eq:layer):

    X_f = sum_r exp(-2 pi i f t_r / N) X_f^(r),      y^(r) = S^(r) [exp(2 pi i f t_r / N) Y_f]

A and S on a rank are those of the stretch's own length, by any engine ("fft" pads it to the grid of the whole).  Every
rank holds all weights, adds its band to one all-reduce and mixes the sum: 2 k d numbers a sequence, layer and
direction, whatever n.  The causal form passes on states of 2 k d numbers (`Stretch.carried`) and the last token.

The loss is the sum of what the ranks call `backward` on, and each of them calls it.  An all-reduce is its own
transpose: the gradient of a stretch is that of the whole loss, and the gradient of a parameter on a rank is a part,
which `sum_gradients` adds up.  DistributedDataParallel and `fully_shard` average instead: with stretches of equal
length and a mean as loss on each rank, that is the gradient of the mean over all samples.

Dropout draws on each rank by itself: seed alike before the weights are made and by rank afterwards.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional as F

from .band import Band, OpenBand, open_band
from .causal import CausalResonance, FromChannels, ToChannels, TokenShift
from .causal_mixing import CausalMixing
from .engines.chunked import paired_product, powers_at
from .keys import KeyIndex
from .language import Block, CausalBlocks, ResonanceLM
from .layers import AsSelfAttention, BandMixing, FeedForward, ResonanceLayer
from .long_context import BridgedLayer, LongContextResonanceNet, shifted
from .memory import HolographicMemory
from .models import Recollection, ResonanceNet
from .polar import Interference, PolarWeight
from .selection import Selection
from .spectral import check_sequences, without_autocast

Group = dist.ProcessGroup | DeviceMesh | None  # a mesh of one dimension; None: all processes


def rank_in(group: Group) -> tuple[dist.ProcessGroup | None, int, int]:
    """Process group, rank in it, and size, of a group or one-dimensional mesh that this process belongs to."""
    group = group.get_group() if isinstance(group, DeviceMesh) else group
    if (rank := dist.get_rank(group)) < 0:
        raise ValueError("expected a group that this process belongs to, got one of other processes")
    return group, rank, dist.get_world_size(group)


@contextmanager
def exchange(what: str) -> Iterator[None]:
    """Say what failed, and on which rank, when another process has ended or does not answer."""
    try:
        yield
    except RuntimeError as error:
        why = "another rank has ended, failed or not come here within the timeout of the group"
        raise RuntimeError(f"rank {dist.get_rank()} could not exchange {what}: {why} ({error})") from error


def own_stretch(n: int, group: Group = None, *, multiple: int = 1) -> slice:
    """This rank's stretch of n samples: as equal as cuts at multiples of `multiple`, a chunk_size say, allow.

    Raises ValueError where that leaves a rank without a sample.
    """
    _, rank, size = rank_in(group)
    if (parts := -(-n // multiple)) < size:
        raise ValueError(f"expected a sample on each of {size} ranks, got n={n} cut at multiples of {multiple}")
    return slice(*(min(n, multiple * (parts * r // size)) for r in (rank, rank + 1)))


class Stretch:
    """The n samples of a sequence that this rank holds, where they start, and the exchanges with other ranks.

    Made on every rank at once: the lengths are gathered.  Raises ValueError where one is below 1.
    """

    def __init__(self, n: int, group: Group = None):
        self.n, (self.group, self.rank, self.size) = operator.index(n), rank_in(group)
        lengths = [0] * self.size
        with exchange("the lengths of the stretches"):
            dist.all_gather_object(lengths, self.n, group=self.group)
        if min(lengths) < 1:
            raise ValueError(f"expected a stretch of at least 1 sample on every rank, got {lengths}")
        self.starts = [0, *accumulate(lengths)]  # and, last, the length of the sequence
        self.start, self.total = self.starts[self.rank], self.starts[-1]

    def __deepcopy__(self, memo) -> Stretch:
        return self  # a copy of a model is split alike; a group cannot be copied

    def check(self, module: nn.Module, x: Tensor, *options) -> None:
        """Raise ValueError, naming the module, for another length, and for options that need the whole sequence."""
        name = type(module).__name__
        if check_sequences(x).shape[1] != self.n:
            raise ValueError(f"{name}: expected the stretch of n={self.n} given to split_sequence, got {x.shape[1]}")
        if any(option is not None and option is not False for option in options):
            raise ValueError(f"{name}: expected x alone: lengths, a state and a memory need the whole sequence")

    def sum_(self, x: Tensor) -> Tensor:
        """Replace x, contiguous, by its sum over the ranks; return it."""
        if self.size > 1:
            with exchange("bands"):
                dist.all_reduce(x, group=self.group)
        return x

    def summed(self, x: Tensor) -> Tensor:
        """Sum of x over the ranks, on every rank; differentiable."""
        return _Summed.apply(x, self)

    def passed(self, x: Tensor, by: int) -> Tensor:
        """The x of the rank `by` places before this one, zero where there is none; differentiable."""
        return _Passed.apply(x, by, self)

    def carried(self, state: Tensor, pole: Tensor) -> Tensor:
        """State before this stretch, from the one (batch, d, k, 2) that each rank's stretch alone leaves (eq:causal).

            s = sum_{q < r} lambda^(t_r - t_(q+1)) s^(q)        on rank r

        The transfer is linear, so a scan by doubling computes it: in round j a rank sends what its last 2^j stretches
        leave to the rank 2^j places on, in all ceil(log2 R) messages of 2 k d numbers.
        """
        before, reach = torch.zeros_like(state), 1  # what the last reach - 1 stretches leave
        while reach < self.size:
            left = state + paired_product(before, powers_at(pole, [self.n])[0]) if reach > 1 else state
            gap = self.start - self.starts[max(0, self.rank - reach + 1)]
            before = before + paired_product(self.passed(left, reach), powers_at(pole, [gap])[0])
            reach *= 2
        return before


class _Summed(torch.autograd.Function):
    """A sum over the ranks, its own transpose."""

    @staticmethod
    def forward(ctx, x, stretch):
        ctx.stretch = stretch
        return stretch.sum_(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx, gradient):
        return _Summed.apply(gradient, ctx.stretch), None


class _Passed(torch.autograd.Function):
    """A shift by ranks; its transpose shifts back."""

    @staticmethod
    def forward(ctx, x, by, stretch):
        ctx.by, ctx.stretch = by, stretch
        received = torch.zeros_like(x, memory_format=torch.contiguous_format)
        ends = (dist.isend, x.contiguous(), stretch.rank + by), (dist.irecv, received, stretch.rank - by)
        ends = [end for end in ends if 0 <= end[2] < stretch.size]
        with exchange("states"):
            parts = [dist.P2POp(op, part, group=stretch.group, group_peer=peer) for op, part, peer in ends]
            for work in dist.batch_isend_irecv(parts) if parts else ():
                work.wait()
        return received

    @staticmethod
    def backward(ctx, gradient):
        return _Passed.apply(gradient, -ctx.by, ctx.stretch), None, None


def end_state(x: Tensor, pole: Tensor) -> Tensor:
    """State (batch, d, k, 2) that x (batch, n, d) leaves (eq:causal), sum_t lambda^(n-1-t) x_t: 2 n k d products."""
    size = math.isqrt(n := x.shape[1])
    blocks = F.pad(x, (0, 0, -n % size, 0)).unflatten(1, (-1, size))  # (batch, blocks, size, d), zeros first
    within, over = powers_at(pole, [*range(size)][::-1]), powers_at(pole, [*range(0, n, size)][::-1])
    states = (blocks.mT @ within.flatten(1)).unflatten(-1, (-1, 2))  # (batch, blocks, d, k, 2)
    return paired_product(states, over[:, None]).sum(1)


class Split:
    """A module on a stretch of the sequence: methods that come before those of its own class."""

    stretch: Stretch


class SplitInput(Split):
    """A module whose input is the stretch, and nothing else."""

    def forward(self, x: Tensor, *others, **options) -> Tensor:
        self.stretch.check(self, x, *others, *options.values())
        return super().forward(x, *others, **options)


class SplitPlace(SplitInput):
    """`BandMixing` at the offset of the stretch in the grid of the whole sequence, its bands not summed."""

    def band_of(self, n: int) -> Band | OpenBand:
        return open_band(n, self.frequencies, super().band_of(self.stretch.total).grid)

    def turned(self, band: Tensor, samples: int) -> Tensor:
        """A band (batch, 2k, dim) delayed by `samples`."""
        return shifted(band, self.frequencies, self.band_of(1).grid, samples)

    def encode(self, x: Tensor) -> Tensor:
        return self.turned(super().encode(x), self.stretch.start)

    def decode(self, spectrum: Tensor, n: int) -> Tensor:
        return super().decode(self.turned(spectrum, -self.stretch.start), n)


class SplitBand(SplitPlace):
    """`BandMixing` of a split sequence: `encode` gives the band of the whole."""

    def encode(self, x: Tensor) -> Tensor:
        return self.stretch.summed(super().encode(x))


class SplitBridge(Split):
    """`BridgedLayer` of a split sequence: its bridge is a `SplitPlace`, its local mixing stays, of whole chunks."""

    def bridged(self, band: Tensor, *weights: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            self.stretch.sum_(band)  # in place: `run` keeps this band for `reverse`
        elif band.is_leaf and band.requires_grad:  # in `reverse`, the band kept: its gradient alone is to be summed
            band.register_hook(self.stretch.summed)
        else:
            band = self.stretch.summed(band)
        return super().bridged(band, *weights)


class SplitShift(Split):
    """`TokenShift` whose first token mixes with the last one of the rank before."""

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
        self.stretch.check(self, x, previous)
        return super().forward(x, self.stretch.passed(x[:, -1], 1))


class SplitCausal(Split):
    """`CausalMixing` that continues the state which the ranks before leave."""

    def extend(self, x: Tensor, state: Tensor | None, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        self.stretch.check(self, x, state, lengths)
        if self.stretch.size == 1:
            return super().extend(x, None)
        with without_autocast(x):
            pole = self.poles(work := self._dtype(x))
            before = self.stretch.carried(end_state(x.to(work), pole), pole)
        return super().extend(x, before)[0], None


MIXINS = (
    (BandMixing, SplitBand),
    (BridgedLayer, SplitBridge),
    (TokenShift, SplitShift),
    (CausalMixing, SplitCausal),
    (ResonanceLayer, SplitInput),
    (ResonanceNet, SplitInput),
    (LongContextResonanceNet, SplitInput),
)
# Modules of the library beside these that act on each position by itself, or not on a sequence.
POINTWISE = (FeedForward, PolarWeight, Interference, Selection, AsSelfAttention, HolographicMemory, KeyIndex)
POINTWISE += (Recollection, CausalResonance, ToChannels, FromChannels, ResonanceLM, Block, CausalBlocks)
# Modules of torch.nn that join positions: whole files, and two more.
FILES, JOINING = ("conv", "pooling", "rnn", "batchnorm", "instancenorm"), (nn.MultiheadAttention, nn.GroupNorm)


def cannot_split(module: nn.Module) -> bool:
    """Whether a module of the library or of torch.nn joins positions in a way that no class of `MIXINS` replaces."""
    homes = {base.__module__ for base in type(module).__mro__}
    if any(home.startswith("resonance.") for home in homes):
        return not isinstance(module, (*(kind for kind, _ in MIXINS), *POINTWISE))
    return isinstance(module, JOINING) or bool(homes & {f"torch.nn.modules.{name}" for name in FILES})


@cache
def joined(mixin: type, kind: type) -> type:
    """The class of a split module, made as `fully_shard` makes its own."""
    return type(f"Split{kind.__name__}", (mixin, kind), {})


def split_sequence(model: nn.Module, n: int, group: Group = None) -> nn.Module:
    """Split the sequences of a model over the ranks of a group, in place; return it, a map of stretches from now on.

    n: samples of this rank's stretch; it may differ between ranks, whose order is that of the stretches.  All ranks
    call this at once, and then the model; again for other lengths, and `whole` undoes it.  A grid without `window` is
    that of the whole length.  `BandMixing`, `CausalMixing`, `TokenShift` and `BridgedLayer` in the model exchange bands
    and states; modules that are not of the library must act on each position by itself.  Weights and state dict stay;
    DistributedDataParallel and `fully_shard` wrap the model afterwards.
    Raises ValueError, by name, for modules that pool, attend or recall over the sequence, for a length above a window,
    for stretches that cut a chunk of `LongContextResonanceNet`.  The model then raises ValueError for another length,
    for `lengths`, a state or the memory, and RuntimeError when another rank ends or passes the timeout of the group.
    """
    modules = dict(model.named_modules())
    if refused := [f"{name or 'model'} ({type(m).__name__})" for name, m in modules.items() if cannot_split(m)]:
        raise ValueError(f"expected a model whose sequence can be split, got {', '.join(refused)}")
    stretch = Stretch(n, group)
    bridged = [m for m in modules.values() if isinstance(m, BridgedLayer)]
    mixins = {m: mixin for m in modules.values() for kind, mixin in MIXINS if isinstance(m, kind)}
    for layer in bridged:
        mixins[layer.bridge] = SplitPlace
        del mixins[layer.local]
        if cut := [start for start in stretch.starts[:-1] if start % layer.chunk_size]:
            raise ValueError(f"expected stretches that start with a chunk of {layer.chunk_size}, got starts at {cut}")
    for module in mixins:
        if isinstance(module, BandMixing):
            BandMixing.band_of(module, stretch.total)  # raises ValueError where it does not fit
    for module, mixin in mixins.items():
        module.stretch = stretch
        if not isinstance(module, Split):
            module.__class__ = joined(mixin, type(module))
    return model


def whole(model: nn.Module) -> nn.Module:
    """Undo `split_sequence`, in place, before any `fully_shard`; return the model, a map of whole sequences again."""
    for module in model.modules():
        if isinstance(module, Split):
            del module.stretch
            module.__class__ = type(module).__bases__[1]
    return model


@torch.no_grad()
def sum_gradients(model: nn.Module, group: Group = None) -> None:
    """Replace each parameter's gradient by its sum over the ranks of a group: all that hold a part of the loss."""
    group, _, _ = rank_in(group)
    for parameter in model.parameters():
        if parameter.grad is not None:
            total = parameter.grad.contiguous()
            with exchange("gradients"):
                dist.all_reduce(total, group=group)
            parameter.grad.copy_(total)
