"""What `07_large_vocabulary` measures: distinct rows, seconds of lookups and output layers, embeddings of words."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.words import Tokens
from artifact.peers.vocabulary import HashingEmbedding, LowRankEmbedding, table
from artifact.studies.common.classification import tuned
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import paired_difference
from artifact.studies.common.timing import alternated, resident_bytes
from artifact.studies.large_vocabulary.word_model import CONTEXT, WordModel, build, perplexity, train
from resonance.layers import ResonanceLayer
from resonance.output_head import HierarchicalHead
from resonance.polar import count_parameters
from resonance.vocabulary import HierarchicalEmbedding

BLOCK = 8192  # ids at a time
STD = 0.1  # of every embedding's entries at the start of a language model: small, so that steps change them faster


# --------------------------------------------------------------------------- distinct rows


def row_blocks(embedding: nn.Module, vocab_size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (first id, rows) over the whole vocabulary, some thousand rows at a time."""
    with torch.no_grad():
        for ids in torch.arange(vocab_size).split(BLOCK):
            yield int(ids[0]), embedding(ids)


def distinct_rows(embedding: nn.Module, vocab_size: int, *, channels: int = 16, step: float = 1e-3) -> int:
    """A lower bound on the number of distinct rows: those whose first channels, rounded to `step`, differ.

    A count of vocab_size proves that all rows are distinct.
    """
    parts = [
        (rows[:, :channels].float() / step).round().to(torch.int32) for _, rows in row_blocks(embedding, vocab_size)
    ]
    keys = torch.cat(parts).numpy()
    return len(np.unique(np.ascontiguousarray(keys).view(np.dtype((np.void, keys.itemsize * keys.shape[1])))))


@torch.no_grad()
def nearest_rows(embedding: nn.Module, vocab_size: int, *, sample: int, seed: int) -> pd.DataFrame:
    """The row nearest by cosine, among all others, to each of `sample` random rows: id, nearest, cosine."""
    ids = torch.randperm(vocab_size, generator=torch.Generator().manual_seed(seed))[:sample]
    some = F.normalize(embedding(ids).float(), dim=1)
    best, where = torch.full((sample,), -2.0), torch.zeros(sample, dtype=torch.long)
    for start, rows in row_blocks(embedding, vocab_size):
        cosine = F.normalize(rows.float(), dim=1) @ some.T
        inside = (ids >= start) & (ids < start + len(rows))
        cosine[ids[inside] - start, inside.nonzero().squeeze(1)] = -2.0  # a row does not count as its own neighbour
        value, place = cosine.max(dim=0)
        where = torch.where(value > best, start + place, where)
        best = torch.maximum(value, best)
    return pd.DataFrame({"id": ids.numpy(), "nearest": where.numpy(), "cosine": best.numpy()})


def chance_cosine(vocab_size: int, dim: int) -> float:
    """Approximate largest cosine of a random direction with vocab_size others: sqrt(2 log V / dim)."""
    return math.sqrt(2 * math.log(vocab_size) / dim)


# --------------------------------------------------------------------------- seconds


def zipf_ids(vocab_size: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random ids of frequency proportional to 1 / (rank + 1), as that of words."""
    uniform = torch.rand(shape, generator=generator)
    return (torch.exp(uniform * math.log(vocab_size + 1)) - 1).long().clamp_max(vocab_size - 1)


def lookup_seconds(vocab_size: int, dim: int, *, batch: int, rounds: int, seed: int = 0) -> pd.DataFrame:
    """Seconds of a lookup, and of one with its backward pass, for a table and for digit waves.

    Every lookup has new ids, so that the rows of the table come from memory, as in use: drawn uniformly, and with the
    frequencies of words.  The table has sparse gradients, its cheapest.
    """
    ours = HierarchicalEmbedding(vocab_size, dim)
    rows_of = nn.Embedding(1, dim, sparse=True)
    rows_of.weight = nn.Parameter(torch.empty(vocab_size, dim).fill_(0.1))
    generator = torch.Generator().manual_seed(seed)
    cotangent, rows = torch.randn(batch, dim, generator=generator), []
    drawn = {
        "even": lambda: torch.randint(vocab_size, (batch,), generator=generator),
        "like words": lambda: zipf_ids(vocab_size, (batch,), generator),
    }
    for name, draw in drawn.items():
        batches = cycle([draw() for _ in range(32)])

        def forward(model: nn.Module, batches=batches) -> Callable[[], None]:
            return torch.no_grad()(lambda: model(next(batches)))

        def both(model: nn.Module, batches=batches) -> Callable[[], None]:
            def step() -> None:
                model.zero_grad(set_to_none=True)
                model(next(batches)).backward(cotangent)

            return step

        for what, make in (("forward", forward), ("forward and backward", both)):
            seconds = alternated({"table": make(rows_of), "hierarchical": make(ours)}, rounds=rounds)
            rows += [{"ids": name, "pass": what, "embedding": key, "seconds": s} for key, s in seconds.items()]
    return pd.DataFrame(rows)


def speed_facts(lookups: pd.DataFrame, heads: pd.DataFrame) -> dict[str, float]:
    """Measures for the ledger: speed relative to the table, milliseconds, and sizes of the heads.

    Heads are given at the largest vocabulary, and at the largest for which the full softmax was timed.
    """
    facts = {}
    for (ids, what), group in lookups.groupby(["ids", "pass"]):
        seconds = group.set_index("embedding")["seconds"]
        name = f"lookup.{ids.replace(' ', '_')}.{what.replace(' ', '_')}"
        facts |= {
            f"{name}.speed": seconds["table"] / seconds["hierarchical"],
            f"{name}.ms": 1e3 * seconds["hierarchical"],
        }
    sizes = {"largest": heads["vocab"].max(), "compared": heads.loc[heads["head"] == "full softmax", "vocab"].max()}
    for size, vocab in sizes.items():
        facts[f"head.{size}.vocab"] = vocab
        for row in heads[heads["vocab"] == vocab].itertuples():
            name = f"head.{size}.{row.head.replace(' ', '_')}"
            facts |= {f"{name}.ms": 1e3 * row.seconds, f"{name}.parameters": row.parameters}
    return facts


class FullSoftmax(nn.Linear):
    """The output layer without a hierarchy: all scores, for one target a hidden state."""

    def forward(self, hidden: Tensor, target: Tensor) -> Tensor:
        return -F.cross_entropy(super().forward(hidden), target, reduction="none")


class AdaptiveSoftmax(nn.AdaptiveLogSoftmaxWithLoss):
    """Torch's adaptive softmax, with the cutoffs of its documentation where they fit."""

    def __init__(self, vocab_size: int, dim: int):
        super().__init__(dim, vocab_size, [c for c in (vocab_size // 100, vocab_size // 10) if c])

    def forward(self, hidden: Tensor, target: Tensor) -> Tensor:
        return super().forward(hidden, target).output


def head_seconds(vocab_size: int, dim: int, *, batch: int, rounds: int, full: bool, seed: int = 0) -> pd.DataFrame:
    """Parameters and seconds of a training step of each output layer, for targets with the frequencies of words."""
    generator = torch.Generator().manual_seed(seed)
    heads = {"hierarchical": HierarchicalHead(vocab_size, dim), "adaptive softmax": AdaptiveSoftmax(vocab_size, dim)}
    if full:
        heads["full softmax"] = FullSoftmax(dim, vocab_size)
    hidden = torch.randn(batch, dim, generator=generator, requires_grad=True)
    batches = cycle([zipf_ids(vocab_size, (batch,), generator) for _ in range(8)])

    def step(head: nn.Module) -> Callable[[], None]:
        def run() -> None:
            head.zero_grad(set_to_none=True)
            (-head(hidden, next(batches)).mean()).backward()

        return run

    seconds = alternated({name: step(head) for name, head in heads.items()}, rounds=rounds)
    size = {name: count_parameters(head) for name, head in heads.items()}
    return pd.DataFrame(
        [{"vocab": vocab_size, "head": name, "parameters": size[name], "seconds": s} for name, s in seconds.items()]
    )


def printed_call(vocab_size: int = 500_000, hidden: int = 768, layers: int = 8, *, length: int = 512) -> pd.DataFrame:
    """Parameters, bytes and seconds of building the printed sizes, and of one pass over a short text.

    Embedding, resonance layers of 64 frequencies, output head; ids to the log-probability of the ids.  Runs in a
    process of its own, so that its peak of memory, above what the libraries hold, is that of the call.
    """
    job = vocab_size, hidden, layers, length
    return spread(_printed_call, [job], processes=1, threads=torch.get_num_threads())[0]


def _printed_call(vocab_size: int, hidden: int, layers: int, length: int) -> pd.DataFrame:
    started, before = time.perf_counter(), resident_bytes(peak=False)
    embedding, head = HierarchicalEmbedding(vocab_size, hidden), HierarchicalHead(vocab_size, hidden)
    stack = nn.Sequential(*(ResonanceLayer(hidden, 64) for _ in range(layers)), nn.LayerNorm(hidden))
    built = time.perf_counter()
    ids = torch.randint(vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        finite = bool(head(stack(embedding(ids)), ids).isfinite().all())
    done, grown = time.perf_counter(), resident_bytes(peak=True) - before
    parts = {"embedding": embedding, "layers": stack, "head": head}
    rows = [{"part": name, "parameters": count_parameters(part)} for name, part in parts.items()]
    whole = {"part": "all", "parameters": sum(row["parameters"] for row in rows), "finite": finite}
    whole |= {"megabytes": grown / 1e6, "build_seconds": built - started, "pass_seconds": done - built}
    tables = 2 * vocab_size * hidden
    return pd.DataFrame([*rows, whole, {"part": "two tables", "parameters": tables, "megabytes": 4 * tables / 1e6}])


def call_facts(call: pd.DataFrame) -> dict[str, float]:
    """Measures of `printed_call` for the ledger."""
    parts = call.set_index("part")
    facts = {f"call.{part.replace(' ', '_')}.parameters": parts.loc[part, "parameters"] for part in parts.index}
    return facts | {f"call.{name}": parts.loc["all", name] for name in ("megabytes", "build_seconds", "pass_seconds")}


# --------------------------------------------------------------------------- embeddings of words


def embeddings(vocab_size: int, dim: int, share: float, *, levels: int = 2) -> dict[str, Callable[[], nn.Module]]:
    """Constructors of each embedding: the full table, and the others within `share` of its parameters.

    "hashing, own rows" has the own rows of "hierarchical" and hashes the rest into as many numbers as the waves have.
    Raises ValueError for a share too small for the digit waves.
    """
    budget = int(share * vocab_size * dim)

    def waves(direct: int) -> int:
        return count_parameters(HierarchicalEmbedding(vocab_size, dim, levels=levels, direct=direct).waves)

    direct = (budget - waves(0)) // dim - 1
    if direct < 1:
        raise ValueError(f"a budget of {budget} numbers is less than the digit waves need, {waves(0) + dim}")
    return {
        "full table": lambda: table(vocab_size, dim, std=STD),
        "hierarchical": lambda: HierarchicalEmbedding(vocab_size, dim, levels=levels, direct=direct, std=STD),
        "hashing": lambda: HashingEmbedding(vocab_size, dim, budget // dim, std=STD),
        "low rank": lambda: LowRankEmbedding(vocab_size, dim, max(1, budget // (vocab_size + dim)), std=STD),
        "hashing, own rows": lambda: HashingEmbedding(vocab_size, dim, waves(direct) // dim, direct=direct, std=STD),
    }


def compare(
    candidates: dict[str, Callable[[], nn.Module]],
    words: Tokens,
    *,
    dim: int,
    rates: Sequence[float],
    tuning_steps: int,
    steps: int,
    seeds: Sequence[int],
    head_direct: int,
    limit: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(tuning, scores): each embedding at each rate on validation, then at its best rate, by seed, on test.

    The tuning seed is none of `seeds`.  `limit`: about how many words of a part are scored.
    """

    def trained(name: str, rate: float, count: int, seed: int) -> WordModel:
        model = build(candidates[name], words, dim, head_direct=head_direct, seed=seed)
        train(model, words, count, rate=rate, seed=seed)
        return model

    tuning, scores = [], []
    for name in candidates:

        def validate(rate: float, name: str = name) -> float:
            model = trained(name, rate, tuning_steps, max(seeds) + 1)
            return -perplexity(model, words, "validation", limit=limit)

        table, best = tuned(validate, rates)
        tuning += [{"embedding": name, "rate": row.rate, "perplexity": -row.validation} for row in table.itertuples()]
        for seed in seeds:
            model = trained(name, best, steps, seed)
            found = {"embedding": name, "seed": seed, "rate": best, "parameters": count_parameters(model.embedding)}
            scores.append(found | {"perplexity": perplexity(model, words, "test", limit=limit)})
    return pd.DataFrame(tuning), pd.DataFrame(scores)


def gaps(scores: pd.DataFrame) -> pd.DataFrame:
    """Excess of the test perplexity of "hierarchical" over each other embedding's, in percent.

    Paired by seed: the mean difference of log perplexities and its Student interval, as percent of the other's.
    Columns: task, embedding, percent, low, high.
    """
    table = scores.assign(log=np.log(scores["perplexity"]))
    logs = table.pivot(index="seed", columns=["task", "embedding"], values="log")
    rows = []
    for task, name in logs.columns:
        if name != "hierarchical":
            mean, low, high, _ = paired_difference(logs[task, "hierarchical"], logs[task, name])
            percent = [100 * math.expm1(value) for value in (mean, low, high)]
            rows.append({"task": task, "embedding": name} | dict(zip(("percent", "low", "high"), percent, strict=True)))
    return pd.DataFrame(rows)


@torch.inference_mode()
def decode(model: WordModel, words: Tokens, *, contexts: int, k: int, seed: int) -> pd.DataFrame:
    """Whether best-first search finds the k most probable words of all log-probabilities, for random contexts.

    Columns: context, same, opened (nodes), nodes (inner nodes of the tree).
    """
    model.eval()
    length = CONTEXT + 1
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(words.inputs["test"]) - length, (contexts, 1), generator=generator)
    hidden = model(words.inputs["test"][starts + torch.arange(length)])[:, -1]
    found, every = model.head.topk(hidden, k), model.head.log_prob(hidden).topk(k).values
    same = torch.isclose(found.log_probs, every, atol=1e-4).all(dim=1)
    h = model.head.hierarchy
    inner = sum(h.nodes(depth) for depth in range(1, h.levels))
    return pd.DataFrame({"context": range(contexts), "same": same, "opened": found.opened, "nodes": inner})
