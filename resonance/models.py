"""Models of the architecture: sequence to sequence with a holographic memory, and classifiers of token sequences."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import FeedForward, ResonanceLayer, length_mask
from .memory import HolographicMemory
from .settings import placed
from .spectral import check_ids, check_lengths, check_sequences


class Recollection(nn.Module):
    """Associative read of a memory for a cue c: r = sum_i a_i P_i / rms(P_i), one step of a modern Hopfield network.

        (a_0, a_1, ..., a_N) = softmax(beta (tau, cos(c, P_1), ..., cos(c, P_N)))        (eq:recollection)

    a_0, the share of the threshold tau, contributes nothing: an empty memory returns exactly 0, a cue whose cosines all
    stay well below tau nearly 0.  It is an attention of the cue over stored patterns (Ramsauer et al. 2021); no token
    is compared with another.
    cue: (batch, dim) -> (batch, dim), differentiable in the cue, in beta (stored as its logarithm) and in tau.
    Parameters: 2.  Cost: as `HolographicMemory.correlate` and `superpose`.
    """

    @placed
    def __init__(self, *, device=None, dtype=None):
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor([math.log(16.0)]))  # log beta; `fully_shard` takes no scalars
        self.threshold = nn.Parameter(torch.tensor([0.5]))  # tau: below the cosine of a pattern with one half of it

    def forward(self, memory: HolographicMemory, cue: Tensor) -> Tensor:
        energy = memory.energy.to(memory.dtype)  # (capacity,)
        rms = (energy / memory.dim).sqrt().masked_fill(energy == 0, 1.0)
        return memory.superpose(self.weights(memory, cue) / rms).to(cue.dtype)  # (batch, dim)

    def weights(self, memory: HolographicMemory, cue: Tensor) -> Tensor:
        """a_1 .. a_N, (batch, capacity): not negative, 0 on free carriers, at most 1 in sum."""
        inner = memory.correlate(cue)  # (batch, capacity)
        size = cue.to(inner.dtype).norm(dim=-1, keepdim=True) * memory.energy.to(inner.dtype).sqrt()
        nothing = size < torch.finfo(inner.dtype).tiny  # zero vectors have cosine 0
        cosine = inner.masked_fill(nothing, 0.0) / size.masked_fill(nothing, 1.0)
        logits = torch.cat([self.threshold.expand(cosine.shape[0], 1), cosine], dim=1)  # (batch, 1 + capacity)
        # Free carriers are masked after the product: the gradient of beta would be 0 times infinity.
        free = F.pad(memory.index.age == 0, (1, 0))
        logits = (logits * self.log_sharpness.exp()).masked_fill(free, -math.inf)
        return F.softmax(logits, dim=1)[:, 1:]  # (batch, capacity)


class ResonanceNet(nn.Module):
    """Sequence to sequence: input projection, `num_layers` resonance layers, LayerNorm, output projection.

    (batch, n, input_dim) -> (batch, n, output_dim); output_dim is input_dim unless given.  `window` as in `BandMixing`.

    `holographic_memory` holds `holographic_capacity` real patterns of input_dim (0: no memory); it is part of the state
    dict.  The summary s of a sequence is the mean of its tokens.  With use_memory each summary is a cue: the result r
    of `Recollection` is added after the layers, h + gate * (W_in r) at every position (eq:recollection), with a gate a
    channel that starts at 0.  With store_to_memory each summary is written, as a constant without gradient; in a full
    memory it replaces the oldest pattern.  With both, the whole batch is read before any of it is written.
    Under DistributedDataParallel, broadcast_buffers=False gives each process a memory of its own; a network trained
    without use_memory needs holographic_capacity=0, because its gate would get no gradient.
    Raises ValueError for a wrong shape, a band too short, a memory used where there is none.
    Parameters: num_layers (2 k hidden + 2 k^2 + 2 hidden), 2 hidden, the two projections, and hidden + 2 to read.

    >>> model, x = ResonanceNet(3, 5, hidden_dim=8, output_dim=1, window=20).eval(), torch.randn(2, 20, 3)
    >>> torch.equal(model(x, use_memory=True), model(x))  # (2, 20, 1); the gate is 0 until it is trained
    True
    """

    @placed
    def __init__(
        self,
        input_dim: int,
        num_frequencies: int = 64,
        hidden_dim: int = 256,
        num_layers: int = 4,
        holographic_capacity: int = 1000,
        dropout: float = 0.1,
        *,
        output_dim: int | None = None,
        engine: str = "auto",
        window: int | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if num_layers < 1 or input_dim < 1 or holographic_capacity < 0:
            got = f"got {num_layers=}, {input_dim=}, {holographic_capacity=}"
            raise ValueError(f"expected num_layers >= 1, input_dim >= 1 and holographic_capacity >= 0, {got}")
        self.input_dim, self.holographic_capacity = input_dim, holographic_capacity
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        options = {"engine": engine, "dropout": dropout, "window": window}
        self.layers = nn.ModuleList(ResonanceLayer(hidden_dim, num_frequencies, **options) for _ in range(num_layers))
        self.holographic_memory = None
        if holographic_capacity > 0:
            self.holographic_memory = HolographicMemory(input_dim, holographic_capacity)
            self.recollection = Recollection()
            self.memory_gate = nn.Parameter(torch.zeros(hidden_dim))
        self.norm = nn.LayerNorm(hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, output_dim or input_dim)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, *, use_memory: bool = False, store_to_memory: bool = False
    ) -> Tensor:
        """(batch, n, input_dim) -> (batch, n, output_dim); `lengths` as in `ResonanceLayer`."""
        if (use_memory or store_to_memory) and self.holographic_memory is None:
            raise ValueError("this model has no memory (holographic_capacity=0): it can neither use nor store")
        check_sequences(x, self.input_dim)
        if lengths is not None:
            lengths = check_lengths(lengths, *x.shape[:2], x.device)
            x = x.masked_fill(~length_mask(x, lengths), 0.0)
        h = self.input_projection(x)  # (batch, n, hidden_dim)
        for layer in self.layers:
            h = layer(h, lengths)
        if use_memory or store_to_memory:
            total = x.sum(dim=1, dtype=torch.promote_types(x.dtype, torch.float32))
            summary = (total / (x.shape[1] if lengths is None else lengths[:, None])).to(x.dtype)  # (batch, input_dim)
        if use_memory:
            recalled = self.recollection(self.holographic_memory, summary)  # (batch, input_dim)
            h = h + (self.memory_gate * F.linear(recalled, self.input_projection.weight))[:, None]
        if store_to_memory and x.shape[0] > 0:
            self.holographic_memory.encode(summary, overwrite="oldest")
        return self.output_projection(self.norm(h))  # (batch, n, output_dim)


PADDING, UNKNOWN = 0, 1  # reserved token ids
GAIN = 4.0  # scales the pooled mean, whose variance between documents is small


class PooledClassifier(nn.Module):
    """Classify documents: embedding -> `encode` -> LayerNorm -> mean over the document's positions -> linear.

    Integer ids (batch, n), with anything behind `lengths` (batch,), n unless given -> logits (batch, classes).
    Raises TypeError or ValueError for ids, shapes or lengths that do not fit.
    """

    embedding_std = 0.02  # small, as in BERT

    def __init__(self, vocabulary: int, classes: int, dim: int, *, dropout: float = 0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim, padding_idx=PADDING)
        with torch.no_grad():
            self.embedding.weight.mul_(self.embedding_std)  # drawn from N(0, 1); padding stays 0
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, classes)

    def encode(self, h: Tensor, lengths: Tensor) -> Tensor:
        """The encoded positions, (batch, n, dim); the values in the padding are ignored."""
        raise NotImplementedError

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.shape[1] < 1:
            raise ValueError(f"expected ids as a tensor (batch, n), n >= 1, got {getattr(ids, 'shape', type(ids))}")
        lengths = torch.full_like(ids[:, 0], ids.shape[1], dtype=torch.long) if lengths is None else lengths
        lengths = check_lengths(lengths, *ids.shape, ids.device)
        inside = length_mask(ids, lengths)  # (batch, n, 1)
        ids = check_ids(ids, self.embedding.num_embeddings, inside=inside[..., 0])
        h = self.encode(self.embedding(ids), lengths)  # (batch, n, dim)
        total = self.norm(h).masked_fill(~inside, 0.0).sum(dim=1)  # (batch, dim)
        return self.head(self.dropout(GAIN * total / lengths[:, None]))  # (batch, classes)


class DocumentClassifier(PooledClassifier):
    """Classify documents by resonance: `depth` blocks of a resonance layer and a pointwise feed-forward.

    Arguments: vocabulary, number of ids; classes, their number; window, the longest document in tokens, whose grid all
    documents share.  Raises ValueError for a longer document.
    Parameters a block: 2 k dim + 2 k^2 + 8 dim^2.  Cost: linear in n; no attention, no product of two tokens.

    >>> model, ids = DocumentClassifier(100, 3, window=64).eval(), torch.randint(2, 100, (2, 30))
    >>> torch.allclose(model(ids, torch.tensor([30, 20]))[1:], model(ids[1:, :20]), atol=1e-5)  # without the padding
    True
    """

    @placed
    def __init__(
        self,
        vocabulary: int,
        classes: int,
        dim: int = 32,
        depth: int = 1,
        *,
        window: int,
        num_frequencies: int = 32,
        dropout: float = 0.1,
        device=None,
        dtype=None,
    ):
        super().__init__(vocabulary, classes, dim, dropout=dropout)
        self.mixing = nn.ModuleList(
            ResonanceLayer(dim, num_frequencies, window=window, dropout=dropout) for _ in range(depth)
        )
        self.pointwise = nn.ModuleList(FeedForward(dim) for _ in range(depth))

    def encode(self, h: Tensor, lengths: Tensor) -> Tensor:
        for mixing, pointwise in zip(self.mixing, self.pointwise, strict=True):
            h = pointwise(mixing(h, lengths))  # (batch, n, dim)
        return h
