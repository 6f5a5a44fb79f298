"""A language model that is trained in parallel and generates as a recurrence with a state of constant size.

ids -> embedding -> blocks -> norm -> logits, by the rows of the embedding (tied)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .causal import CausalResonance, State
from .layers import FeedForward
from .recall import HolographicRecall, PlainRecall
from .settings import placed
from .spectral import check_ids
from .training.checkpoint import read_weights, save_weights

ENDS = ("narrow", "output_projection")  # names of the matrices that end a residual branch


class Block(nn.Module):
    """h + mixer(norm h) for each mixer in turn, then a feed-forward `width` wide; h is (batch, n, dim) or (batch, dim).

    A mixer is a causal sublayer with `forward`, `extend`, `step` and `initial_state`, as `CausalResonance`.
    """

    def __init__(self, dim: int, mixers: Sequence[nn.Module], width: int | None = None):
        super().__init__()
        self.mixers = nn.ModuleList(mixers)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in mixers)
        self.feed_forward = FeedForward(dim, width)

    def forward(self, h: Tensor, mix: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Pass h through the block, mix(mixer, u) being the output of a mixer for u."""
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            h = h + mix(mixer, norm(h))
        return self.feed_forward(h)


class CausalBlocks(nn.ModuleList):
    """A stack of `Block`s with the states of all mixers in one flat dict, keys <index of the mixer>.<its own key>."""

    @property
    def mixers(self) -> list[nn.Module]:
        """Mixers of all blocks, in order."""
        return [mixer for block in self for mixer in block.mixers]

    def forward(self, h: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Run the parallel form from the zero state; h is (batch, n, dim)."""
        for block in self:
            h = block(h, lambda mixer, u: mixer(u) if lengths is None else mixer(u, lengths))
        return h

    def carried(self, method: str, h: Tensor, state: State) -> tuple[Tensor, State]:
        """Run each mixer's `extend` (h is (batch, n, dim)) or `step` (batch, dim): the output and the next state."""
        after: State = {}
        indices = iter(range(len(self.mixers)))

        def mix(mixer: nn.Module, u: Tensor) -> Tensor:
            prefix = f"{next(indices)}."
            own = {key.removeprefix(prefix): part for key, part in state.items() if key.startswith(prefix)}
            y, new = getattr(mixer, method)(u, own)
            after.update({prefix + key: part for key, part in new.items()})
            return y

        for block in self:
            h = block(h, mix)
        return h, after

    def initial_state(self, batch: int, **place) -> State:
        """Zero states of all mixers; place: device and dtype."""
        states = enumerate(mixer.initial_state(batch, **place) for mixer in self.mixers)
        return {f"{at}.{key}": part for at, own in states for key, part in own.items()}


class LanguageModel(nn.Module):
    """Logits of the next id after each id, from causal blocks; the output weights are the embedding.

    Matrices are drawn from N(0, std^2), those that end a residual branch with std / sqrt(branches), biases are zero,
    whatever the mixer (`start_`).  Poles, readouts and recall layers keep their own initialisation.
    Raises TypeError and ValueError for ids that are not integers, out of range, or of the wrong shape.
    """

    std = 0.08  # near 1/sqrt(128): both families learn faster in few steps than with GPT-2's 0.02

    def __init__(self, vocab_size: int, dim: int, blocks: Sequence[Block]):
        super().__init__()
        if min(vocab_size, dim, len(blocks)) < 1:
            raise ValueError(f"expected vocab_size, dim, layers >= 1, got {vocab_size}, {dim}, {len(blocks)}")
        self.vocab_size, self.dim = vocab_size, dim
        self.embedding = nn.Embedding(vocab_size, dim)
        self.blocks = CausalBlocks(blocks)
        self.norm = nn.LayerNorm(dim)
        self.start_()

    @torch.no_grad()
    def start_(self) -> None:
        """Draw every matrix anew by the rule of the class, the same for every mixer."""
        branches = sum(len(block.mixers) + 1 for block in self.blocks)
        own = {part for mixer in self.blocks.mixers if isinstance(mixer, PlainRecall) for part in mixer.modules()}
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding) and module not in own:
                ends = name.rpartition(".")[2] in ENDS
                nn.init.normal_(module.weight, std=self.std / math.sqrt(branches) if ends else self.std)
                if getattr(module, "bias", None) is not None:
                    module.bias.zero_()

    def embed(self, ids: Tensor, state: State | None) -> Tensor:
        """Vectors of ids that follow `state` (None: the zero state)."""
        return self.embedding(ids)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch, n, vocab_size) of ids (batch, n) from the zero state: logits[:, t] predict id t + 1."""
        return self._logits(self.blocks(self.embed(self._checked(ids, 2), None)))

    def extend(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits of ids (batch, n) that continue `state`, and the state after them."""
        return self._carried("extend", self._checked(ids, 2), state)

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (batch, vocab_size) after one id a sequence, ids (batch,), and the state after it."""
        return self._carried("step", self._checked(ids, 1), state)

    def _carried(self, method: str, ids: Tensor, state: State) -> tuple[Tensor, State]:
        h, after = self.blocks.carried(method, self.embed(ids, state), state)
        return self._logits(h), after

    def _logits(self, h: Tensor) -> Tensor:
        return F.linear(self.norm(h), self.embedding.weight)

    def _checked(self, ids: Tensor, axes: int) -> Tensor:
        ids = check_ids(ids, self.vocab_size)
        if ids.dim() != axes or (axes == 2 and ids.shape[1] == 0):
            shape = "(batch, n)" if axes == 2 else "(batch,)"
            raise ValueError(f"expected ids of shape {shape}, at least one, got {tuple(ids.shape)}")
        return ids

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """State before any id, for a batch; by default on the device and in the dtype of the weights."""
        weight = self.embedding.weight
        return self.blocks.initial_state(batch, device=device or weight.device, dtype=dtype or weight.dtype)

    def save_state(self, state: State, path: str | Path) -> None:
        """Write a state to a safetensors file, atomically."""
        save_weights(state, path)

    def load_state(self, path: str | Path) -> State:
        """Read a state from a file, to the device of the weights; raises ValueError for another model's state."""
        state = read_weights(path)
        batch = len(next(iter(state.values()))) if state else 1
        own, found = ({name: part.shape for name, part in s.items()} for s in (self.initial_state(batch), state))
        if own != found:
            raise ValueError(f"{path} is the state of another model: expected {own}, got {found}")
        return {name: tensor.to(self.embedding.weight.device) for name, tensor in state.items()}

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Continue a prompt (batch, n) by max_new_tokens sampled ids: (batch, n + max_new_tokens).

        The prompt takes one call of the parallel form, and each new id one step of the recurrence.  Ids are drawn from
        softmax(logits / temperature) among the top_k likeliest; top_k = 1 takes the likeliest.
        Raises as `forward`, and ValueError for max_new_tokens < 0, temperature <= 0, top_k < 1.
        """
        ids, most = self._checked(prompt, 2), 1 if top_k is None else top_k
        counts = max_new_tokens >= 0 and most >= 1 and int(max_new_tokens) == max_new_tokens and int(most) == most
        if not (counts and 0 < temperature < math.inf):
            expected = "expected max_new_tokens >= 0 and top_k >= 1, whole numbers, and a finite temperature > 0"
            raise ValueError(f"{expected}, got {max_new_tokens}, {top_k} and {temperature}")
        written, (logits, state) = [ids], self.extend(self.readable(ids), self.initial_state(len(ids)))
        logits = logits[:, -1]
        for left in range(max_new_tokens, 0, -1):
            written.append(sample(logits, temperature, top_k, generator)[:, None])
            if left > 1:
                logits, state = self.follow(written, state)
        return torch.cat(written, dim=1)

    def readable(self, ids: Tensor) -> Tensor:
        """Part of a prompt that fits the context: all of it, unless a subclass bounds its context."""
        return ids

    def follow(self, written: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Logits after the last id written, and the state: one step, unless a subclass bounds its context."""
        return self.step(written[-1][:, 0], state)


class ResonanceLM(LanguageModel):
    """A language model of damped resonators: O(n) in the context, constant state, no key-value cache.

    Each block has `CausalResonance(hidden_dim, num_resonators)`, then `HolographicRecall(hidden_dim, recall_heads)` if
    recall_heads > 0, then a feed-forward 4 hidden_dim wide.  Time scales start even in octaves up to `longest` steps,
    64, not 2048: fast ones learn sooner (ablation in 13_language); texts may be longer.
    Parameters a block: about 11 d^2 + 2 k d, d channels and k resonators.

    >>> model, ids = ResonanceLM(50, 16, num_layers=2, num_resonators=4), torch.randint(50, (1, 9))
    >>> logits, state = model.extend(ids[:, :8], model.initial_state(1))
    >>> torch.allclose(model.step(ids[:, 8], state)[0], model(ids)[:, 8], atol=1e-4)
    True
    """

    @placed
    def __init__(
        self,
        vocab_size: int,
        hidden_dim: int,
        num_layers: int,
        num_resonators: int,
        recall_heads: int = 0,
        *,
        longest: int = 64,
        device=None,
        dtype=None,
    ):
        if recall_heads < 0:
            raise ValueError(f"expected recall_heads >= 0, got {recall_heads}")

        def mixers() -> list[nn.Module]:
            resonance = CausalResonance(hidden_dim, num_resonators, longest=longest)
            return [resonance, HolographicRecall(hidden_dim, recall_heads)] if recall_heads else [resonance]

        super().__init__(vocab_size, hidden_dim, [Block(hidden_dim, mixers()) for _ in range(num_layers)])


def sample(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One id a row, (batch,), drawn from softmax(logits / temperature) among the top_k likeliest."""
    limited = top_k is not None and top_k < logits.shape[-1]
    if limited:
        logits, kept = logits.topk(top_k)
    drawn = torch.multinomial(F.softmax(logits.float() / temperature, dim=-1), 1, generator=generator)
    return (kept.gather(1, drawn) if limited else drawn)[:, 0]
