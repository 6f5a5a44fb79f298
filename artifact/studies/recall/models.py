"""Networks that recall: two layers without feed-forward, as Zoology measures them, of four kinds.

    resonance                h + CausalResonance(norm h)
    resonance, plain sum     the same, then h + PlainRecall(norm h)
    resonance, delta rule    the same, then h + HolographicRecall(norm h)
    attention                h + ShiftedAttention(norm h), learned positions added to the embeddings

Embeddings are tied, of unit norm on average: small beside what recall adds, so that a token does not predict itself.
A resonance adds nothing at the start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resonance.causal import CausalResonance
from resonance.recall import SPREAD, HolographicRecall, PlainRecall
from resonance.spectral import check_sequences

RESONATORS = 16  # of a resonance layer
RESONANCE, PLAIN, DELTA, ATTENTION = "resonance", "resonance, plain sum", "resonance, delta rule", "attention"
KEYS = {RESONANCE: "alone", PLAIN: "plain", DELTA: "delta", ATTENTION: "attention"}
RECALLS = {PLAIN: PlainRecall, DELTA: HolographicRecall}


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
        change = F.pad(x[:, :-1], (0, 0, 1, 0)) - x
        keys, values, queries = (
            linear(torch.addcmul(x, change, mix)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, mix in zip((self.key, self.value, self.query), self.shift, strict=True)
        )  # (batch, heads, n, dim / heads)
        read = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.output(read.transpose(1, 2).flatten(2))


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
            self.sublayers.append(CausalResonance(dim, RESONATORS, longest=length))
            for parameter in self.sublayers[-1].output_projection.parameters():
                nn.init.zeros_(parameter)
            if kind in RECALLS:
                self.sublayers.append(RECALLS[kind](dim, heads, features=features))
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
    """The sublayers that recall: holograms, or attention."""
    return [part for part in model.sublayers if isinstance(part, (PlainRecall, ShiftedAttention))]


@torch.no_grad()
def maps_apart(model: RecallNet) -> RecallNet:
    """Draw query and output maps anew, independent of the key and value maps: nothing is recalled at the start."""
    for sublayer in recalls(model):
        sublayer.query.weight.normal_(std=SPREAD / math.sqrt(sublayer.dim))
        nn.init.orthogonal_(sublayer.output.weight)
    return model


@torch.no_grad()
def unshifted(model: RecallNet) -> RecallNet:
    """Take keys from the current token and freeze the mixes: recall cannot relate a token to what followed."""
    for sublayer in recalls(model):
        sublayer.shift.zero_().requires_grad_(False)
    return model
