"""Exact log-probabilities over a large vocabulary, along the tree of `vocabulary.Hierarchy`.

    log p(t | h) = log p(t | root)                                          t a leaf at the root
                 = log p(d_1 | root) + sum_l log p(d_l | d_1 .. d_{l-1})     otherwise

Each conditional is a softmax over the children of one node.  The score of the child d of the node d_1 .. d_{l-1} is

    dim^(-1/2) <h * x_1[d_1] * ... * x_{l-1}[d_{l-1}], x_l[d]> + its bias    (eq:head)

The product with h is taken first: all children of a node cost one matrix product with the b waves of their level.

Normalised (prop:head): the softmaxes along each path are, so the probabilities of all leaves add up to 1.  Best-first
search is exact: no leaf is more probable than a node above it, so when the most probable open node is a leaf, no other
leaf exceeds it.
Prior art: hierarchical softmax (Morin, Bengio, AISTATS 2005), adaptive softmax (Grave et al., ICML 2017).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count, islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .spectral import check_ids, traced
from .vocabulary import HierarchicalRows


class TopK(NamedTuple):
    """The k most probable ids, most probable first, and how many nodes were opened to find them."""

    log_probs: Tensor  # (count, k)
    ids: Tensor  # (count, k)
    opened: Tensor  # (count,)


def _by_probability(log_probs: Tensor) -> Iterator[tuple[float, int]]:
    """Log-probability and place of the children of a node, most probable first."""
    values, places = log_probs.sort(descending=True)
    known = int(values.isfinite().sum())
    return zip(values[:known].tolist(), places[:known].tolist(), strict=True)


class HierarchicalHead(HierarchicalRows):
    """Map hidden states to exact log-probabilities of a large vocabulary, far below the cost of the full softmax.

    `forward` scores targets, `log_prob` all ids, `topk` finds the most probable ones (eq:head, prop:head).
    Arguments: as `vocabulary.HierarchicalRows`; a head and an embedding share no weights.
    Raises ValueError for hidden states that are not (..., dim), and as `HierarchicalRows` and `check_ids`.
    Parameters: 2 k L b + direct dim, and a bias for each node, about vocab_size.
    Cost of the log-probability of a target: (direct + L b) dim multiply-adds, against vocab_size dim.

    >>> head, hidden = HierarchicalHead(500, 16), torch.randn(2, 16)
    >>> torch.allclose(head.log_prob(hidden).exp().sum(dim=1), torch.ones(2), atol=1e-4)
    True
    """

    def add_parameters(self) -> None:
        h = self.hierarchy
        self.root_bias = nn.Parameter(torch.zeros(h.direct + h.nodes(1)))
        self.biases = nn.ParameterList(torch.zeros(h.nodes(depth), h.base) for depth in range(1, h.levels))

    @torch.no_grad()
    def start_from(self, counts: Tensor) -> HierarchicalHead:
        """Set the biases to the log of each id's count in training data, (vocab_size,); return self.

        With scores of zero the head is then the unigram model; an id that never occurs counts as one half.
        Raises ValueError for another shape.
        """
        if counts.shape != (self.vocab_size,):
            raise ValueError(f"expected counts of shape ({self.vocab_size},), got {tuple(counts.shape)}")
        h = self.hierarchy
        mass = counts.double().clamp_min(0.5)
        own, mass = mass[: h.direct], mass[h.direct :]
        for depth in range(h.levels - 1, 0, -1):
            mass = F.pad(mass, (0, h.nodes(depth) * h.base - len(mass))).reshape(-1, h.base)
            self.biases[depth - 1].copy_(mass.clamp_min(1e-9).log())
            mass = mass.sum(dim=1)
        self.root_bias.copy_(torch.cat([own, mass]).log())
        return self

    def _root(self, hidden: Tensor, waves: Tensor) -> Tensor:
        """Log p of the root's children, own leaves first, (count, direct + nodes of depth 1)."""
        children = torch.cat([self.rows.to(waves.dtype), waves[: self.hierarchy.nodes(1)]])
        return F.log_softmax((hidden @ children.T).float() * self.dim**-0.5 + self.root_bias, dim=1)

    def _children(self, bound: Tensor, waves: Tensor, depth: int, parents: Tensor) -> Tensor:
        """Log p of the children of nodes at a depth, given hidden states times the waves above: (count, b)."""
        scores = (bound @ waves.T).float() * self.dim**-0.5 + F.embedding(parents, self.biases[depth - 1])
        child = parents[:, None] * self.hierarchy.base + torch.arange(self.hierarchy.base, device=parents.device)
        return F.log_softmax(scores.masked_fill(child >= self.hierarchy.nodes(depth + 1), -torch.inf), dim=1)

    def _flat(self, hidden: Tensor) -> Tensor:
        if hidden.shape[-1:] != (self.dim,):
            raise ValueError(f"expected hidden states of shape (..., {self.dim}), got {tuple(hidden.shape)}")
        return hidden.reshape(-1, self.dim)

    def forward(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Log p(target | hidden), of the shape of target, for hidden (*target.shape, dim)."""
        target = check_ids(target, self.vocab_size, "targets")
        if hidden.shape[:-1] != target.shape:
            raise ValueError(f"expected one target a hidden state, got {tuple(target.shape)} for {tuple(hidden.shape)}")
        h, states, ids, waves = self.hierarchy, self._flat(hidden), target.reshape(-1), self.waves.kept()
        below_root = ids >= h.direct
        # Where their number is not known the path of every id is scored, of own rows in vain.
        tail = torch.arange(ids.shape[0], device=ids.device) if traced(ids) else below_root.nonzero().squeeze(1)
        digits = h.digits(ids[tail].clamp_min(h.direct))
        place = torch.where(below_root, h.direct + (ids - h.direct) // h.base ** (h.levels - 1), ids)
        result = self._root(states, waves[0]).gather(1, place[:, None]).squeeze(1)
        bound, parents, below = states[tail], torch.zeros_like(tail), 0.0
        for depth in range(1, h.levels):
            bound = bound * F.embedding(digits[depth - 1], waves[depth - 1])
            parents = parents * h.base + digits[depth - 1]
            conditional = self._children(bound, waves[depth], depth, parents)
            below = below + conditional.gather(1, digits[depth][:, None]).squeeze(1)
        return result.index_add(0, tail, below.masked_fill(~below_root[tail], 0.0)).reshape(target.shape)

    def log_prob(self, hidden: Tensor) -> Tensor:
        """Log-probabilities of all ids, (..., dim) -> (..., vocab_size), at full cost: for small vocabularies."""
        h, states = self.hierarchy, self._flat(hidden)
        first, *others = self.waves.kept()
        root = self._root(states, first)
        nodes, rows = root[:, h.direct :], first[: h.nodes(1)]
        for depth, waves in enumerate(others, start=1):
            parents = torch.arange(len(rows), device=rows.device).repeat(len(states))
            bound = (states[:, None] * rows).reshape(-1, self.dim)
            below = self._children(bound, waves, depth, parents).reshape(len(states), len(rows), h.base)
            nodes = (nodes[..., None] + below).flatten(1)[:, : h.nodes(depth + 1)]
            rows = (rows[:, None] * waves).reshape(-1, self.dim)[: h.nodes(depth + 1)]
        return torch.cat([root[:, : h.direct], nodes], dim=1).reshape(*hidden.shape[:-1], self.vocab_size)

    @torch.no_grad()
    def topk(self, hidden: Tensor, k: int) -> TopK:
        """Find the k most probable ids of each hidden state (count, dim), exactly, by best-first search (prop:head).

        A node is opened only while no leaf found is as probable: few where the distribution is peaked, all where flat.
        Raises ValueError for k outside 1..vocab_size.
        """
        if not 1 <= k <= self.vocab_size:
            raise ValueError(f"expected k in 1..{self.vocab_size}, got {k}")
        states, waves = self._flat(hidden), self.waves.kept()
        found = [self._search(*row, waves, k) for row in zip(states, self._root(states, waves[0]), strict=True)]
        values, ids, opened = ([row[part] for row in found] for part in range(3))
        whole, shape = {"dtype": torch.long, "device": states.device}, (len(states), k)
        log_probs = torch.tensor(values, device=states.device).reshape(shape)
        return TopK(log_probs, torch.tensor(ids, **whole).reshape(shape), torch.tensor(opened, **whole))

    def _search(self, state: Tensor, root: Tensor, waves: Tensor, k: int) -> tuple[list, list, int]:
        """Search for one hidden state: log-probabilities, ids and the number of nodes opened."""
        h, heap, order = self.hierarchy, [], count()
        log_probs, ids, opened = [], [], 0

        def push(siblings: Iterator[tuple[float, int]], *node: object) -> None:
            # Siblings are sorted, so only the next of them has to be in the heap.
            for log_prob, child in islice(siblings, 1):
                heapq.heappush(heap, (-log_prob, next(order), child, siblings, node))

        # A node: its depth, its number at that depth, the hidden state times the waves of the digits down to it.
        push(_by_probability(root), 0, 0, state)
        while len(ids) < k:
            negative, _, child, siblings, (depth, parent, bound) = heapq.heappop(heap)
            push(siblings, depth, parent, bound)
            node = parent * h.base + child - (h.direct if depth == 0 else 0)
            if node < 0 or depth == h.levels - 1:
                log_probs.append(-negative)
                ids.append(h.direct + node)
                continue
            opened += 1
            bound = bound * waves[depth][node % h.base]
            below = self._children(bound[None], waves[depth + 1], depth + 1, torch.tensor([node], device=state.device))
            push(_by_probability(below[0] - negative), depth + 1, node, bound)
        return log_probs, ids, opened
