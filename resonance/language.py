"""A language model that is trained in parallel and writes as a recurrence of constant state.

    ids -> embedding -> blocks -> norm -> logits, by the rows of the embedding (tied)
    block    h + mixer(norm h) for each of its mixers, then h + feed-forward(norm h)

A mixer is a causal sublayer with `forward`, `extend`, `step` and `initial_state` (see `causal`).  The model asks
nothing else of it: `baselines_language.RotaryGPT` is the same model with attention for a mixer and a cache for a state.

A state is a flat dict of tensors, each with the batch as its first axis, named <place of the mixer>.<its own name>.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .causal import CausalResonance
from .recall import HolographicRecall, PlainRecall
from .training.checkpoint import read_weights, save_weights
from .vocabulary import check_ids

State = dict[str, Tensor]
ENDS = ("out", "output_projection")  # names of matrices that end a branch


class FeedForward(nn.Module):
    """W_2 gelu(W_1 x), `ratio` times as wide inside; (..., dim) -> (..., dim)."""

    def __init__(self, dim: int, ratio: int = 4):
        super().__init__()
        self.widen, self.out = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.widen(x)))


class Block(nn.Module):
    """h + mixer(norm h) for each mixer in turn, then h + feed-forward(norm h); h is (batch, n, dim) or (batch, dim)."""

    def __init__(self, dim: int, mixers: Sequence[nn.Module], ratio: int = 4):
        super().__init__()
        self.mixers = nn.ModuleList(mixers)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in mixers)
        self.feed_norm, self.feed_forward = nn.LayerNorm(dim), FeedForward(dim, ratio)

    def forward(self, h: Tensor, mix: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Return h after the block; mix(mixer, u) says how a mixer is run."""
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            h = h + mix(mixer, norm(h))
        return h + self.feed_forward(self.feed_norm(h))


class LanguageModel(nn.Module):
    """Logits of the next id after each id, from causal blocks; the output layer is the embedding.

    Matrices start as N(0, std^2), those that end a branch at 1/sqrt(branches) of that, biases at zero, whatever
    the mixer: `start_`.  Poles, readouts and holograms start as they say themselves.
    Raises TypeError and ValueError for ids that are no integers, out of range, or of the wrong shape.
    """

    std = 0.08  # near 1/sqrt(128): both families learn faster in few steps than from GPT-2's 0.02

    def __init__(self, vocab_size: int, dim: int, blocks: Sequence[Block]):
        super().__init__()
        if min(vocab_size, dim, len(blocks)) < 1:
            raise ValueError(
                f"expected vocab_size, dim and layers >= 1, got {vocab_size}, {dim} and {len(blocks)} layers"
            )
        self.vocab_size, self.dim = vocab_size, dim
        self.embedding = nn.Embedding(vocab_size, dim)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim)
        self.start_()

    @property
    def mixers(self) -> list[nn.Module]:
        """The mixers of all blocks, in order: their places in the state."""
        return [mixer for block in self.blocks for mixer in block.mixers]

    @torch.no_grad()
    def start_(self) -> None:
        """Draw every matrix anew, by the same rule for every mixer."""
        branches = sum(len(block.mixers) + 1 for block in self.blocks)
        own = {part for mixer in self.mixers if isinstance(mixer, PlainRecall) for part in mixer.modules()}
        for name, module in self.named_modules():
            if module in own:
                continue
            if isinstance(module, nn.Linear):
                ends = name.rpartition(".")[2] in ENDS
                nn.init.normal_(module.weight, std=self.std / math.sqrt(branches) if ends else self.std)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.std)

    # ----------------------------------------------------------------------- three ways to run it

    def embed(self, ids: Tensor, state: State | None) -> Tensor:
        """Return the vectors of ids that follow what `state` has seen (None: nothing)."""
        return self.embedding(ids)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (batch, n, vocab_size) for ids (batch, n), from silence: logits[:, t] are of id t + 1."""
        h = self.embed(self._checked(ids, 2), None)
        for block in self.blocks:
            h = block(h, lambda mixer, u: mixer(u))
        return self._logits(h)

    def extend(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of ids (batch, n) that follow what `state` has seen, and the state after them."""
        return self._carried("extend", self._checked(ids, 2), state)

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Return logits (batch, vocab_size) after one id each, ids (batch,), and the state after it."""
        return self._carried("step", self._checked(ids, 1), state)

    def _carried(self, way: str, ids: Tensor, state: State) -> tuple[Tensor, State]:
        parts: list[State] = [{} for _ in self.mixers]
        for key, tensor in state.items():
            place, _, name = key.partition(".")
            parts[int(place)][name] = tensor
        after, places = {}, iter(enumerate(parts))

        def mix(mixer: nn.Module, u: Tensor) -> Tensor:
            place, part = next(places)
            y, new = getattr(mixer, way)(u, part)
            after.update({f"{place}.{name}": tensor for name, tensor in new.items()})
            return y

        h = self.embed(ids, state)
        for block in self.blocks:
            h = block(h, mix)
        return self._logits(h), after

    def _logits(self, h: Tensor) -> Tensor:
        return F.linear(self.norm(h), self.embedding.weight)

    def _checked(self, ids: Tensor, axes: int) -> Tensor:
        ids = check_ids(ids, self.vocab_size)
        shape = "(batch, n)" if axes == 2 else "(batch,)"
        if ids.dim() != axes or ids.numel() == 0:
            raise ValueError(f"expected ids of shape {shape}, at least one, got {tuple(ids.shape)}")
        return ids

    # ----------------------------------------------------------------------- the state

    def initial_state(self, batch: int, *, device: torch.device | str | None = None, dtype=None) -> State:
        """Return the state before any id, for a batch; by default where the weights are, in their dtype."""
        place = {"device": device or self.embedding.weight.device, "dtype": dtype or self.embedding.weight.dtype}
        return {
            f"{at}.{name}": tensor
            for at, mixer in enumerate(self.mixers)
            for name, tensor in mixer.initial_state(batch, **place).items()
        }

    def save_state(self, state: State, path: str | Path) -> None:
        """Write a state to a safetensors file, aside and renamed."""
        save_weights(state, path)

    def load_state(self, path: str | Path) -> State:
        """Return the state in a file, where this model has its weights; raises ValueError for another model's state."""
        state = read_weights(path)
        batch = len(next(iter(state.values()))) if state else 1
        own = {name: tensor.shape for name, tensor in self.initial_state(batch).items()}
        found = {name: tensor.shape for name, tensor in state.items()}
        if own != found:
            wrong = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
            raise ValueError(f"{path} is the state of another model: expected {own}, found other {wrong[:5]}")
        return {name: tensor.to(self.embedding.weight.device) for name, tensor in state.items()}

    # ----------------------------------------------------------------------- writing

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return a prompt (batch, n) and max_new_tokens ids drawn after it, (batch, n + max_new_tokens).

        The prompt is read by the parallel form, and each id then costs one step of the recurrence.  Draws follow
        softmax(logits / temperature) among the top_k likeliest; top_k = 1 takes the likeliest.
        Raises ValueError for an empty prompt, ids out of range, temperature <= 0, top_k < 1; TypeError for ids that
        are no integers.
        """
        ids = self._checked(prompt, 2)
        if max_new_tokens < 0 or int(max_new_tokens) != max_new_tokens:
            raise ValueError(f"expected max_new_tokens >= 0, a whole number, got {max_new_tokens}")
        check_sampling(temperature, top_k)
        written, (logits, state) = [ids], self.extend(self.readable(ids), self.initial_state(len(ids)))
        logits = logits[:, -1]
        for left in range(max_new_tokens, 0, -1):
            written.append(sample(logits, temperature, top_k, generator)[:, None])
            if left > 1:
                logits, state = self.follow(written, state)
        return torch.cat(written, dim=1)

    def readable(self, ids: Tensor) -> Tensor:
        """Return what of a prompt the model can read: all of it, unless its context is bounded."""
        return ids

    def follow(self, written: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Return the logits after the last id written, and the state; a model without bounds takes one step."""
        return self.step(written[-1][:, 0], state)


class ResonanceLM(LanguageModel):
    """A language model of damped resonators: O(n) in the context, constant state, no key-value cache.

    Each block mixes by `CausalResonance(hidden_dim, num_resonators)`, followed by
    `HolographicRecall(hidden_dim, recall_heads)` when recall_heads > 0, and a feed-forward `ratio` times as wide.
    Time scales start spread over the octaves up to `longest` steps; texts may be longer.
    Parameters a block: about (3 + 2 ratio) d^2 + 2 k d, d channels and k resonators.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_dim: int,
        num_layers: int,
        num_resonators: int,
        recall_heads: int = 0,
        *,
        ratio: int = 4,
        longest: int = 2048,
    ):
        if recall_heads < 0:
            raise ValueError(f"expected recall_heads >= 0, got {recall_heads}")

        def mixers() -> list[nn.Module]:
            resonance = CausalResonance(hidden_dim, num_resonators, longest=longest)
            return [resonance, HolographicRecall(hidden_dim, recall_heads)] if recall_heads else [resonance]

        super().__init__(vocab_size, hidden_dim, [Block(hidden_dim, mixers(), ratio) for _ in range(num_layers)])


def check_sampling(temperature: float, top_k: int | None) -> None:
    """Raise ValueError for a temperature that is not positive and finite, or top_k < 1."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"expected a finite temperature > 0, got {temperature}")
    if top_k is not None and (top_k < 1 or int(top_k) != top_k):
        raise ValueError(f"expected top_k >= 1, a whole number, or None, got {top_k}")


def sample(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """Return one id a row, (batch,), drawn by softmax(logits / temperature) among the top_k likeliest."""
    if top_k is not None and top_k < logits.shape[-1]:
        logits, kept = logits.topk(top_k)
    else:
        kept = None
    drawn = torch.multinomial(F.softmax(logits.float() / temperature, dim=-1), 1, generator=generator)
    return (drawn if kept is None else kept.gather(1, drawn))[:, 0]
