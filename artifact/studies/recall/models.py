"""Networks that recall: two layers without feed-forward, as Zoology measures them.

    resonance                h + CausalResonance(norm h)
    resonance, plain sum     the same, then h + PlainRecall(norm h)
    resonance, delta rule    the same, then h + HolographicRecall(norm h)
    Mamba-2, GLA, gated DeltaNet    the same, then h + ShiftedMemory(norm h) with the memory of that name
    S4D, LRU                 h + GatedMixer(norm h), fixed filters as resonance is
    attention                h + ShiftedAttention(norm h), learned positions added to the embeddings

Embeddings are tied, of unit norm on average: small beside what recall adds, so that a token does not predict itself.
A resonance adds nothing at the start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.peers.matrix_memory import GatedDeltaNet, GatedLinearAttention, SelectiveScan, in_chunks
from artifact.peers.relatives import relative
from resonance.causal import CausalResonance, one_earlier
from resonance.recall import SPREAD, HolographicRecall, PlainRecall
from resonance.spectral import check_sequences

RESONATORS = 16  # of a resonance layer
RESONANCE, PLAIN, DELTA, ATTENTION = "resonance", "resonance, plain sum", "resonance, delta rule", "attention"
RECALLS = {PLAIN: PlainRecall, DELTA: HolographicRecall}
MEMORIES = {"Mamba-2": SelectiveScan, "GLA": GatedLinearAttention, "gated DeltaNet": GatedDeltaNet}
FILTERS = ("S4D", "LRU")
KEYS = {RESONANCE: "alone", PLAIN: "plain", DELTA: "delta", ATTENTION: "attention"}
KEYS |= {"Mamba-2": "mamba2", "GLA": "gla", "gated DeltaNet": "gdn", "S4D": "s4d", "LRU": "lru"}


class ShiftedAttention(nn.Module):
    """Causal attention whose keys come from the token before: the peer of `PlainRecall`, initialised like it.

    Fused softmax attention; keys, values and queries from learnable mixes of the current token and the previous one;
    query and key equal at the start, of the same scale as there; the output the inverse of the value map.
    x: (batch, n, dim) -> (batch, n, dim).  Raises ValueError for heads that do not divide dim.
    Parameters: 4 dim^2 + 3 dim.  State: 2 n dim reals after n tokens.  Cost: n^2 dim multiply-adds.
    """

    def __init__(self, dim: int, heads: int = 2):
        super().__init__()
        if heads < 1 or dim < heads or dim % heads:
            raise ValueError(f"expected heads that divide dim, got heads={heads}, dim={dim}")
        self.dim, self.heads = dim, heads
        self.shift = nn.Parameter(torch.tensor([1.0, 0.0, 0.0])[:, None].repeat(1, dim))
        self.key, self.value, self.query, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        nn.init.normal_(self.key.weight, std=SPREAD / math.sqrt(dim))
        nn.init.orthogonal_(self.value.weight)
        with torch.no_grad():
            self.query.weight.copy_(self.key.weight)
            self.output.weight.copy_(self.value.weight.T)

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.dim)
        change = one_earlier(x, None) - x
        keys, values, queries = (
            linear(torch.addcmul(x, change, mix)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, mix in zip((self.key, self.value, self.query), self.shift, strict=True)
        )  # (batch, heads, n, dim / heads)
        read = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.output(read.transpose(1, 2).flatten(2))


class ShiftedMemory(nn.Module):
    """A memory of `MEMORIES` under the token shift of `PlainRecall`, initialised like it: its peer of equal state.

    Queries, keys, values and gates come from learnable mixes of the current token and the previous one; query and key
    are equal at the start, the output is the inverse of the value map, and whatever the input the memory fades by e in
    four times `length` steps.  x: (batch, n, dim) -> (batch, n, dim).  Raises ValueError as the memory.
    Parameters: 2 dim^2 + 4 dim, and the memory's.  State: features dim reals, as of `PlainRecall`.
    """

    def __init__(self, kind: str, dim: int, heads: int, *, features: int, length: int):
        super().__init__()
        self.dim, self.features = dim, features
        self.shift = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.5])[:, None].repeat(1, dim))
        self.memory = MEMORIES[kind](dim, heads, features=features)
        self.memory.remember_(4.0 * length)
        self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(2))
        nn.init.normal_(self.memory.key.weight, std=1 / math.sqrt(dim))
        nn.init.orthogonal_(self.value.weight)
        with torch.no_grad():
            self.memory.query.weight.copy_(self.memory.key.weight)
            self.output.weight.copy_(self.value.weight.T)

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.dim)
        change = one_earlier(x, None) - x
        for_key, for_value, for_query, for_gates = (torch.addcmul(x, change, mix) for mix in self.shift)
        value = self.value(for_value)
        parts = self.memory.parts(for_query, for_key, for_gates, value)
        return self.output(self.memory.normed(in_chunks(*parts, size=self.memory.chunk), value))


class RecallNet(nn.Module):
    """Predict the value at each query: tied embeddings around pre-norm residual sublayers of one kind, two layers.

    tokens (batch, n) -> logits (batch, n, vocab_size); with `queried` (batch, n) booleans, logits (queries, vocab_size)
    at those positions alone.  Raises ValueError for an unknown kind.
    Parameters: vocab_size dim, and those of the sublayers.  Cost: mostly the logits, vocab_size dim a position.
    """

    def __init__(self, kind: str, vocab_size: int, dim: int, *, length: int, heads: int = 2, features: int = 64):
        super().__init__()
        if kind not in KEYS:
            raise ValueError(f"unknown kind {kind!r}: expected one of {', '.join(KEYS)}")
        self.embedding = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.positions = nn.Parameter(0.02 * torch.randn(length, dim)) if kind == ATTENTION else None
        self.sublayers = nn.ModuleList()
        for _ in range(2):
            if kind == ATTENTION:
                self.sublayers.append(ShiftedAttention(dim, heads))
                continue
            if kind in FILTERS:
                self.sublayers.append(relative(kind, dim, features))
                continue
            self.sublayers.append(CausalResonance(dim, RESONATORS, longest=length))
            for parameter in self.sublayers[-1].output_projection.parameters():
                nn.init.zeros_(parameter)
            if kind in RECALLS:
                self.sublayers.append(RECALLS[kind](dim, heads, features=features))
            elif kind in MEMORIES:
                self.sublayers.append(ShiftedMemory(kind, dim, heads, features=features, length=length))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in self.sublayers)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, queried: Tensor | None = None) -> Tensor:
        h = self.embedding(tokens)
        if self.positions is not None:
            h = h + self.positions[: h.shape[1]]
        for norm, sublayer in zip(self.norms, self.sublayers, strict=True):
            h = h + sublayer(norm(h))
        return F.linear(self.norm(h if queried is None else h[queried]), self.embedding.weight)


def recalls(model: RecallNet) -> list[nn.Module]:
    """The sublayers that recall: holograms, other memories, or attention."""
    return [part for part in model.sublayers if isinstance(part, (PlainRecall, ShiftedMemory, ShiftedAttention))]


@torch.no_grad()
def maps_apart(model: RecallNet) -> RecallNet:
    """Draw query and output maps anew, independent of the key and value maps: nothing is recalled at the start.

    Raises ValueError for a network with a `ShiftedMemory`.
    """
    for sublayer in recalls(model):
        if isinstance(sublayer, ShiftedMemory):
            raise ValueError("expected holograms or attention, got a network with a memory of a relative")
        sublayer.query.weight.normal_(std=SPREAD / math.sqrt(sublayer.dim))
        nn.init.orthogonal_(sublayer.output.weight)
    return model


@torch.no_grad()
def unshifted(model: RecallNet) -> RecallNet:
    """Take keys from the current token and freeze the mixes: recall cannot relate a token to what followed."""
    for sublayer in recalls(model):
        sublayer.shift.zero_().requires_grad_(False)
    return model
