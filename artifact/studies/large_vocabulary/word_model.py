"""A small causal model of words that compares embeddings: one resonance block, and the hierarchical output head."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from artifact.datasets.words import Tokens, passages
from artifact.studies.common.training import train_one_cycle
from resonance.causal import CausalResonance
from resonance.language import Block, CausalBlocks
from resonance.output_head import HierarchicalHead

CONTEXT = 64  # words of a training passage, and the least before each word that is scored
RESONATORS = 8


class WordModel(nn.Module):
    """Ids (batch, length) -> hidden states (batch, length, dim), from which `head` predicts the next word.

    Embedding, LayerNorm, a block of `CausalResonance` and a feed-forward 2 dim wide, LayerNorm.
    longest: the longest time scale at the start, in words.
    """

    def __init__(self, embedding: nn.Module, head: HierarchicalHead, *, longest: float = 16):
        super().__init__()
        dim = head.dim
        self.embedding, self.head = embedding, head
        self.embedding_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.blocks = CausalBlocks([Block(dim, [CausalResonance(dim, RESONATORS, longest=longest)], 2 * dim)])

    def forward(self, ids: Tensor) -> Tensor:
        return self.norm(self.blocks(self.embedding_norm(self.embedding(ids))))

    def loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Mean negative log-probability of the targets, in nats a word."""
        return -self.head(hidden, target).mean()


def build(embed: Callable[[], nn.Module], words: Tokens, dim: int, *, head_direct: int, seed: int) -> WordModel:
    """An untrained model around an embedding; all but the embedding starts the same for one seed."""
    torch.manual_seed(seed)
    head = HierarchicalHead(len(words.counts), dim, levels=2, direct=head_direct).start_from(words.counts)
    model = WordModel(nn.Identity(), head)
    model.embedding = embed()
    return model


def train(
    model: WordModel, words: Tokens, steps: int, *, rate: float, seed: int, length: int = CONTEXT, size: int = 16
) -> None:
    """Train for some steps of Adam by `train_one_cycle`, on `size` random passages of `length` words a step."""
    batches = passages(words, "train", length, size, torch.Generator().manual_seed(seed))
    adam = partial(torch.optim.Adam, betas=(0.9, 0.99))
    train_one_cycle(model, batches, steps, rate=rate, loss_fn=model.loss, optimizer=adam)


@torch.inference_mode()
def perplexity(model: WordModel, words: Tokens, part: str, *, limit: int | None = None, length: int = 256) -> float:
    """Exp of the mean negative log-probability of a part, or of about its first `limit` words.

    Passages overlap by CONTEXT, so that each word is predicted from at least so many words.
    """
    model.eval()
    inputs, targets = words.inputs[part], words.targets[part]
    end = len(inputs) if limit is None else min(limit, len(inputs))
    starts = torch.arange(0, max(1, end - length - CONTEXT + 1), length)
    total, count = 0.0, 0
    for chunk in starts.split(16):
        places = chunk[:, None] + torch.arange(min(length + CONTEXT, end))  # (passages, words)
        log_p = model.head(model(inputs[places])[:, CONTEXT:], targets[places][:, CONTEXT:])
        total, count = total - log_p.double().sum().item(), count + log_p.numel()
    return math.exp(total / count)
