"""Automaton: a finite automaton that runs exactly at any length, and its extraction from a network's states.

A network of turning frames (`turning`) that has learned a group has its frames at the group's elements, up to errors
of training that grow with the length of a word.  `extract_automaton` reads a table from words of training length and
accepts it only under conditions by which it is right at every length (prop:extraction).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from .spectral import check_ids

LARGEST_GRID = 60  # of the orders that `phase_codes` tries
CANDIDATES = 16  # codes that sets are formed of: those that know most about the label
FEW = 50  # words, which refute most sets of codes
MOST_POINTS = 256  # of a head's points that `point_codes` tells apart
FEW = 4096  # frames that show whether a head has more
NEAR = 1 / 3  # of the distance of two grid points: how far a turn may lie from one


@dataclass(frozen=True)
class Automaton:
    """States 0 .. S-1, of which 0 is the first: `transitions` (S, tokens) and `outputs` (S,), integers.

    `parts`: the indices of the codes that it was extracted from.  The first state's output, which no token precedes,
    is -1 where no word came back to it.
    """

    transitions: np.ndarray
    outputs: np.ndarray
    parts: tuple[int, ...] = ()

    def run(self, ids: Tensor) -> Tensor:
        """Outputs (batch, n) after every token of ids (batch, n), in integers: one look-up a token."""
        rows, outputs, found = self.transitions.tolist(), self.outputs.tolist(), []
        for word in check_ids(ids, len(rows[0])).tolist():
            state = 0
            for token in word:
                state = rows[state][token]
                found.append(outputs[state])
        return torch.tensor(found, dtype=torch.long, device=ids.device).view(ids.shape)


def phase_codes(turns: Tensor) -> Tensor:
    """Phases on every grid that the turns of a head fit: (words, n + 1, candidates) of turns (words, n, heads), cycles.

    A grid of m = 1, 2, .. points fits where every turn lies within a third of a step of a whole multiple of 1/m; no
    multiple of a grid that fits is tried.  The code is the sum of whole steps modulo m, in integers.
    """
    codes = []
    for turn in turns.detach().double().unbind(-1):
        fitting: list[int] = []
        for m in range(2, LARGEST_GRID + 1):
            steps = (m * turn).round()
            if any(m % one == 0 for one in fitting) or (m * turn - steps).abs().max() > NEAR:
                continue
            fitting.append(m)
            codes.append(torch.nn.functional.pad(steps.long().cumsum(1) % m, (1, 0)))
    return torch.stack(codes, dim=-1) if codes else torch.zeros(len(turns), turns.shape[1] + 1, 0, dtype=torch.long)


def point_codes(frames: Tensor, radius: float) -> Tensor:
    """Codes (words, n + 1, heads) of unit quaternions (words, n, heads, 4), q and -q one rotation: the nearest seen.

    A frame has the code of the first one, from no turn on, within `radius` of it.  A head with more than `MOST_POINTS`
    gets -1 for those beyond, or throughout.
    """
    start = frames.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(frames), 1, frames.shape[2], 4)
    points = torch.cat([start, frames.detach()], dim=1).double().flatten(0, 1)  # (words (n + 1), heads, 4)
    codes = torch.full(points.shape[:2], -1)
    for own, code in zip(points.unbind(1), codes.unbind(1), strict=True):
        if (_first_near(own[:FEW], radius) >= 0).all():  # what is too many among the first is too many among all
            code.copy_(_first_near(own, radius))
    return codes.view(len(frames), -1, frames.shape[2])


def _first_near(points: Tensor, radius: float) -> Tensor:
    """For each of some unit quaternions (points, 4) the number of the first within `radius`; -1 beyond MOST_POINTS."""
    code = torch.full(points.shape[:1], -1)
    for at in range(MOST_POINTS):
        left = (code < 0).nonzero()
        if not len(left):
            break
        near = (points @ points[left[0, 0]]).abs() >= 1 - radius**2 / 2
        code[near & (code < 0)] = at
    return code


def extract_automaton(codes: Tensor, ids: Tensor, labels: Tensor, tokens: int, *, most: int = 3) -> Automaton | None:
    """The automaton of the fewest codes of a network's state that explain its labels; None where none do.

    codes: (words, n + 1, parts), integers, before the first token and after each, a negative one for no state; ids and
    labels: (words, n).  At most `most` parts are taken together.  They are accepted when their joint code determines
    the label after every token, when with the next token it determines the next joint code, when every state met after
    a token was followed by every one of the `tokens`, and when every token begins a word.  Where the label is itself
    the state of a deterministic automaton, of a group say, the result is right on every word (prop:extraction).
    Of more than `CANDIDATES` parts those that know most about the label are tried.
    Raises ValueError for shapes that do not fit.  Cost: 16^most / most! passes over some words.
    """
    if codes.dim() != 3 or codes.shape[:2] != (len(ids), ids.shape[1] + 1) or labels.shape != ids.shape:
        shapes = f"{tuple(codes.shape)}, {tuple(ids.shape)}, {tuple(labels.shape)}"
        raise ValueError(f"expected codes (words, n + 1, parts), ids and labels (words, n), got {shapes}")
    all_codes, all_ids, all_labels = codes.cpu().numpy(), check_ids(ids, tokens).cpu().numpy(), labels.cpu().numpy()
    usable = [part for part in range(codes.shape[2]) if all_codes[:, :, part].min() >= 0]
    known = {part: _information(all_codes[:, 1:, part], all_labels) for part in usable}
    candidates = sorted(sorted(usable, key=known.get, reverse=True)[:CANDIDATES])
    for parts in (parts for count in range(1, most + 1) for parts in combinations(candidates, count)):
        joint = _joint(all_codes[:, :, list(parts)])  # (words, n + 1)
        if (found := _table(joint, all_ids, all_labels, tokens)) is not None:
            return Automaton(*found, parts)
    return None


def _information(code: np.ndarray, labels: np.ndarray) -> float:
    """Mutual information of a code and the label over all places, in nats."""
    joint = np.bincount((code * (labels.max() + 1) + labels).ravel(), minlength=(code.max() + 1) * (labels.max() + 1))
    joint = joint.reshape(code.max() + 1, -1) / code.size
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    inside = joint > 0
    return float((joint[inside] * np.log(joint[inside] / apart[inside])).sum())


def _joint(codes: np.ndarray) -> np.ndarray:
    """One number for the codes (words, n + 1, parts) of each place."""
    sizes = codes.max(axis=(0, 1)) + 1
    return np.ravel_multi_index(tuple(np.moveaxis(codes, 2, 0)), tuple(sizes))


def _table(joint: np.ndarray, ids: np.ndarray, labels: np.ndarray, tokens: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Transitions and outputs of the states (words, n + 1); None where they are no closed automaton."""
    if _function(joint[:FEW, 1:], labels[:FEW], joint.max() + 1) is None:
        return None
    names, state = np.unique(joint, return_inverse=True)
    state = state.reshape(joint.shape)
    number = np.arange(len(names))  # of each state: the first gets 0, and its own goes to the state that had it
    number[[0, state[0, 0]]] = number[[state[0, 0], 0]]
    state = number[state]
    outputs = _function(state[:, 1:], labels, len(names))
    entries = state[:, :-1] * tokens + ids  # (words, n)
    transitions = _function(entries, state[:, 1:], len(names) * tokens)
    if outputs is None or transitions is None:
        return None
    # Seen after a token, when the label names the true state; where the first state comes back, too.
    seen = np.bincount(entries[:, 1:].ravel(), minlength=len(transitions)).reshape(-1, tokens) > 0
    if not seen[np.unique(state[:, 1:])].all() or len(np.unique(ids[:, 0])) < tokens:
        return None
    return transitions.reshape(-1, tokens), outputs


def _function(keys: np.ndarray, values: np.ndarray, count: int) -> np.ndarray | None:
    """Values as a function of keys 0 .. count-1, a table with -1 where a key is absent; None where they are none."""
    table = np.full(count, -1)
    table[keys] = values
    return table if (table[keys] == values).all() else None
