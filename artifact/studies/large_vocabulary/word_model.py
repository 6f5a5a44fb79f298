"""TODO."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from artifact.datasets.words import Tokens, passages
from resonance.output_head import HierarchicalHead
from resonance.polar import PolarWeight
from resonance.spectral import check_sequences, synthesis
from resonance.training.natural import ResonanceTrainer

# --------------------------------------------------------------------------- the model


class WindowResonance(nn.Module):
    """Filter each channel by its last n samples: y_t = sum_(s<n) (S w)_s x_(t-s), w polar weights of k frequencies.

    What the band of the window, weighted and put back, gives for its newest sample (the circular filter of w, read at
    one place).  It depends on no later sample.  (batch, length, dim) -> the same; before the start stand zeros.
    Parameters: 2 k dim.  Cost: n dim multiply-adds a sample.
    """

    def __init__(self, dim: int, window: int, num_frequencies: int):
        super().__init__()
        self.dim, self.window = dim, window
        self.weight = PolarWeight(num_frequencies, dim, scale=num_frequencies**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.dim)
        re, im = self.weight.pair()
        kernel = synthesis(re[None], im[None], self.window, grid=self.window)[0]  # (window, dim), newest sample first
        past, length = F.pad(x, (0, 0, self.window - 1, 0)), x.shape[1]
        y = x * kernel[0]  # faster than a depthwise convolution on CPUs
        for lag in range(1, self.window):
            y = torch.addcmul(y, kernel[lag], past[:, self.window - 1 - lag :][:, :length])
        return y


class Block(nn.Module):
    """h + V (W u * sigmoid(G u)) with u the normalised h and W the window resonance; then a feed-forward layer."""

    def __init__(self, dim: int, window: int, num_frequencies: int):
        super().__init__()
        self.norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixing = WindowResonance(dim, window, num_frequencies)
        self.gate, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, h: Tensor) -> Tensor:
        u = self.norm(h)
        h = h + self.out(self.mixing(u) * torch.sigmoid(self.gate(u)))
        return h + self.narrow(F.gelu(self.widen(self.feed_norm(h))))


class WordModel(nn.Module):
    """Ids (batch, length) -> hidden states (batch, length, dim), from which `head` tells the next word."""

    def __init__(
        self,
        embedding: nn.Module,
        head: HierarchicalHead,
        *,
        window: int = 16,
        num_frequencies: int = 9,
        num_layers: int = 1,
    ):
        super().__init__()
        dim = head.dim
        self.embedding, self.head = embedding, head
        self.embedding_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(Block(dim, window, num_frequencies) for _ in range(num_layers))
        self.reach = num_layers * (window - 1)  # how many earlier words a prediction sees

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embedding_norm(self.embedding(ids))
        for block in self.blocks:
            h = block(h)
        return self.norm(h)

    def loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Return the mean negative log-probability of the targets, in nats a word."""
        return -self.head(hidden, target).mean()


# --------------------------------------------------------------------------- training and score


def build(embed: Callable[[], nn.Module], words: Tokens, dim: int, *, head_direct: int, seed: int) -> WordModel:
    """Return a model around an embedding; all but the embedding starts the same for one seed."""
    torch.manual_seed(seed)
    head = HierarchicalHead(len(words.counts), dim, levels=2, direct=head_direct).start_from(words.counts)
    model = WordModel(nn.Identity(), head)
    model.embedding = embed()
    return model


def train(model: WordModel, words: Tokens, steps: int, *, rate: float, seed: int, length: int = 64, size: int = 16):
    """Train for some steps of Adam under a one-cycle rate; return the mean loss of the last tenth of the steps."""
    batches = passages(words, "train", length, size, torch.Generator().manual_seed(seed))
    trainer = ResonanceTrainer(
        model,
        rate,
        monitor_stability=False,
        loss_fn=model.loss,
        optimizer=partial(torch.optim.Adam, betas=(0.9, 0.99)),
        schedule=lambda optimizer: OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.1),
    )
    losses = [trainer.train_step(next(batches))[0] for _ in range(steps)]
    return float(np.mean(losses[-max(1, steps // 10) :]))


@torch.inference_mode()
def perplexity(model: WordModel, words: Tokens, part: str, *, limit: int | None = None, length: int = 256) -> float:
    """Return exp of the mean negative log-probability of a part, or of about its first `limit` words.

    Each word is told from all the words that the model's reach covers: passages overlap by it.
    """
    model.eval()
    inputs, targets = words.inputs[part], words.targets[part]
    end = len(inputs) if limit is None else min(limit, len(inputs))
    starts = torch.arange(0, max(1, end - length - model.reach + 1), length)
    total, count = 0.0, 0
    for chunk in starts.split(16):
        places = chunk[:, None] + torch.arange(min(length + model.reach, end))
        seen = slice(model.reach, None)
        log_p = model.head(model(inputs[places])[:, seen], targets[places][:, seen])
        total, count = total - log_p.double().sum().item(), count + log_p.numel()
    return math.exp(total / count)
