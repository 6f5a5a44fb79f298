"""A small language model of words, to compare embeddings by: words of the books, the model, its training, its score.

    WindowResonance    each channel filtered by its last n samples through k frequencies: causal by construction
    WordModel          embedding -> blocks of window resonance and feed-forward -> hierarchical output head

Every arm of a comparison has the same model, the same head, the same batches and the same start but for its embedding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from .natural import ResonanceTrainer
from .output_head import HierarchicalHead
from .polar import PolarWeight
from .spectral import check_sequences, synthesis

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[.,;:!?]")


# --------------------------------------------------------------------------- words


@dataclass(frozen=True)
class Tokens:
    """Texts as ids by falling frequency in the training part: the id of a type is its rank.

    inputs and targets: {"train", "validation", "test"} -> int64, position by position: targets[i] follows inputs[i].
    counts: (vocab_size,) how often each target type stands in the training part.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    input_types: int
    counts: Tensor


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """Return the lower-case words and stops of each text."""
    return [WORD.findall(text.lower()) for text in texts]


def _ranked(texts: list[np.ndarray], train: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the texts with each id replaced by its rank in the training part, and the counts there, by rank."""
    types = int(max(text.max() for text in texts)) + 1
    counts = np.bincount(np.concatenate(train), minlength=types)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(types, np.int64)
    rank[order] = np.arange(types)
    return [rank[text] for text in texts], counts[order]


def tokens(texts: Sequence[str], *, pairs: bool = False, held_out: float = 0.05) -> Tokens:
    """Return the words of texts; the last `held_out` of each is its test part, as much before it its validation part.

    With pairs, an input is a pair of words, the one before and this one: a vocabulary of bigrams.  Targets are words.
    The types are those of all parts, ranked by the training part alone.
    """
    index: dict[str, int] = {}
    texts_ids = [np.array([index.setdefault(w, len(index)) for w in words], np.int64) for words in words_of(texts)]
    cut = [(round(len(t) * (1 - 2 * held_out)), round(len(t) * (1 - held_out))) for t in texts_ids]
    train = [t[:a] for t, (a, _) in zip(texts_ids, cut, strict=True)]
    targets, counts = _ranked(texts_ids, train)
    inputs, types = targets, len(index)
    if pairs:
        joined = [np.concatenate([t[:1] * types + t[:1], t[:-1] * types + t[1:]]) for t in targets]
        known = np.unique(np.concatenate(joined))
        joined = [np.searchsorted(known, t) for t in joined]
        inputs, _ = _ranked(joined, [t[:a] for t, (a, _) in zip(joined, cut, strict=True)])
        types = len(known)
    parts = {"train": lambda a, b: slice(0, a), "validation": slice, "test": lambda a, b: slice(b, None)}
    streams = []
    for stream, shift in ((inputs, slice(None, -1)), (targets, slice(1, None))):
        streams.append(
            {
                name: torch.from_numpy(
                    np.concatenate([t[part(*ends)][shift] for t, ends in zip(stream, cut, strict=True)])
                )
                for name, part in parts.items()
            }
        )
    return Tokens(*streams, types, torch.from_numpy(counts))


def passages(words: Tokens, part: str, length: int, size: int, generator: torch.Generator) -> Iterator:
    """Yield batches without end of (inputs, targets), each (size, length), from places drawn at random."""
    inputs, targets = words.inputs[part], words.targets[part]
    offsets = torch.arange(length)
    while True:
        places = torch.randint(len(inputs) - length + 1, (size, 1), generator=generator) + offsets
        yield inputs[places], targets[places]


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
