"""Networks that recall: two layers without feed-forward, as Zoology measures them, one arm for each way to mix tokens.

    resonance                h + CausalResonance(norm h)
    resonance, plain sum     the same, then h + PlainRecall(norm h)
    resonance, delta rule    the same, then h + HolographicRecall(norm h)
    attention                h + ShiftedAttention(norm h), learned positions added to the embeddings

Embeddings are tied: what reads a value out is what it went in as.  They have unit norm on average, little beside what
recall adds, so that a token does not answer with itself.  A resonance adds nothing at the start.
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


class ShiftedAttention(nn.Module):
    """Causal attention whose keys come from the token before: the peer of `PlainRecall`, with its initial values.

    Fused softmax attention; keys, values and queries from learnable mixes of the present token and the previous one;
    query and key equal at the start, and as wide as there; the output the inverse of the value map.
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
        """Return y; x and y are (batch, n, dim)."""
        check_sequences(x, self.dim)
        change = F.pad(x[:, :-1], (0, 0, 1, 0)) - x
        keys, values, queries = (
            linear(torch.addcmul(x, change, mix)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, mix in zip((self.key, self.value, self.query), self.shift, strict=True)
        )
        read = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.output(read.transpose(1, 2).flatten(2))


RESONANCE, PLAIN, DELTA, ATTENTION = "resonance", "resonance, plain sum", "resonance, delta rule", "attention"
KEYS = {RESONANCE: "alone", PLAIN: "plain", DELTA: "delta", ATTENTION: "attention"}
RECALLS = {PLAIN: PlainRecall, DELTA: HolographicRecall}


class RecallNet(nn.Module):
    """Name the next token: tied embeddings around pre-norm residual sublayers of one arm, two layers of them.

    tokens (batch, n) -> logits (batch, n, vocab_size); with `asked` (batch, n) booleans, logits (asked, vocab_size) of
    those positions alone.  Raises ValueError for an unknown arm.
    Parameters: vocab_size dim, and those of the sublayers.  Cost: the logits, vocab_size dim a position, lead.
    """

    def __init__(
        self, arm: str, vocab_size: int, dim: int, *, length: int, heads: int = 2, features: int = 64, layers: int = 2
    ):
        super().__init__()
        if arm not in KEYS:
            raise ValueError(f"unknown arm {arm!r}: expected one of {', '.join(KEYS)}")
        self.embedding = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.positions = nn.Parameter(0.02 * torch.randn(length, dim)) if arm == ATTENTION else None
        sublayers: list[nn.Module] = []
        for _ in range(layers):
            if arm == ATTENTION:
                sublayers.append(ShiftedAttention(dim, heads))
                continue
            resonance = CausalResonance(dim, RESONATORS, longest=length)
            nn.init.zeros_(resonance.output_projection.weight)
            nn.init.zeros_(resonance.output_projection.bias)
            sublayers.append(resonance)
            if arm in RECALLS:
                sublayers.append(RECALLS[arm](dim, heads, features=features))
        self.sublayers = nn.ModuleList(sublayers)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in sublayers)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, asked: Tensor | None = None) -> Tensor:
        """Return the logits."""
        h = self.embedding(tokens)
        if self.positions is not None:
            h = h + self.positions[: h.shape[1]]
        for norm, sublayer in zip(self.norms, self.sublayers, strict=True):
            h = h + sublayer(norm(h))
        return F.linear(self.norm(h if asked is None else h[asked]), self.embedding.weight)


@torch.no_grad()
def maps_apart(model: RecallNet) -> RecallNet:
    """Draw query and output maps anew, apart from the key and value maps: nothing is recalled at the start."""
    for sublayer in recalls(model):
        sublayer.query.weight.normal_(std=SPREAD / math.sqrt(sublayer.dim))
        nn.init.orthogonal_(sublayer.output.weight)
    return model


@torch.no_grad()
def unshifted(model: RecallNet) -> RecallNet:
    """Make keys of the present token, and leave it so: recall cannot know what followed."""
    for sublayer in recalls(model):
        sublayer.shift.zero_().requires_grad_(False)
    return model


def recalls(model: RecallNet) -> list[nn.Module]:
    """Return the sublayers that recall: holograms, or attention."""
    return [part for part in model.sublayers if isinstance(part, (PlainRecall, ShiftedAttention))]
