"""What `07_large_vocabulary` measures: distinct rows, seconds of lookups and output layers, embeddings of words."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import cycle, product

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.words import Tokens
from artifact.peers.vocabulary import HashingEmbedding, LowRankEmbedding, table
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import holm, paired_difference, ratio_interval
from artifact.studies.common.timing import alternated, keep_freed_memory, resident_bytes, rounds_of
from artifact.studies.common.tuning import widened
from artifact.studies.large_vocabulary.word_model import CONTEXT, WordModel, build, perplexity, train
from resonance.layers import ResonanceLayer
from resonance.output_head import HierarchicalHead
from resonance.polar import count_parameters
from resonance.vocabulary import HierarchicalEmbedding

BLOCK = 8192  # ids at a time
STD = 0.1  # of every embedding's entries at the start of a language model: small, so that steps change them faster


# --------------------------------------------------------------------------- distinct rows


@torch.no_grad()
def distinct_rows(embedding: nn.Module, vocab_size: int, *, channels: int = 16, step: float = 1e-3) -> int:
    """A lower bound on the number of distinct rows: those whose first channels, rounded to `step`, differ."""
    blocks = (embedding(ids)[:, :channels].float() for ids in torch.arange(vocab_size).split(BLOCK))
    keys = torch.cat([(rows / step).round().to(torch.int32) for rows in blocks])
    return len(pd.DataFrame(keys.numpy()).drop_duplicates())


@torch.no_grad()
def nearest_rows(embedding: nn.Module, vocab_size: int, *, sample: int, seed: int) -> pd.DataFrame:
    """The row nearest by cosine, among all others, to each of `sample` random rows: id, nearest, cosine."""
    ids = torch.randperm(vocab_size, generator=torch.Generator().manual_seed(seed))[:sample]
    some = F.normalize(embedding(ids).float(), dim=1)
    best, where = torch.full((sample,), -2.0), torch.zeros(sample, dtype=torch.long)
    for block in torch.arange(vocab_size).split(BLOCK):
        start = int(block[0])
        cosine = F.normalize(embedding(block).float(), dim=1) @ some.T
        inside = (ids >= start) & (ids < start + len(block))
        cosine[ids[inside] - start, inside.nonzero().squeeze(1)] = -2.0  # a row does not count as its own neighbour
        value, place = cosine.max(dim=0)
        where = torch.where(value > best, start + place, where)
        best = torch.maximum(value, best)
    return pd.DataFrame({"id": ids.numpy(), "nearest": where.numpy(), "cosine": best.numpy()})


def chance_cosine(vocab_size: int, dim: int) -> float:
    """Mean of the largest cosine of a direction with vocab_size - 1 others, all uniform on the sphere.

    (1 + cosine)/2 has the law Beta((dim - 1)/2, (dim - 1)/2); the mean is over the quantiles of the largest.
    """
    from scipy.stats import beta

    levels = (np.arange(1000) + 0.5) / 1000
    tails = -np.expm1(np.log(levels) / (vocab_size - 1))  # of one cosine, beyond each quantile of the largest
    half = (dim - 1) / 2
    return float((2 * beta.isf(tails, half, half) - 1).mean())


# --------------------------------------------------------------------------- seconds


def zipf_ids(vocab_size: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random ids of frequency proportional to 1 / (rank + 1), as that of words."""
    uniform = torch.rand(shape, generator=generator)
    return (torch.exp(uniform * math.log(vocab_size + 1)) - 1).long().clamp_max(vocab_size - 1)


CASES = tuple(product(("even", "like words"), ("forward", "forward and backward")))
TIMES_A_TABLE = 2  # a lookup of new ids should take at most so many times a table's: ours, set before it was measured


def lookup_seconds(
    vocab_size: int, dim: int, *, batch: int, rounds: int, cases: Iterable[tuple[str, str]] = CASES, seed: int = 0
) -> pd.DataFrame:
    """Seconds of a lookup, and of one with its backward pass, for a table with sparse gradients and for digit waves.

    Every lookup has new ids, so that the rows of the table come from memory: uniform, or with frequencies of words.
    The two alternate, in a process that keeps freed memory.  Columns: dim, ids, pass, embedding, round, seconds.
    """
    keep_freed_memory()
    models = {"table": nn.Embedding(1, dim, sparse=True), "hierarchical": HierarchicalEmbedding(vocab_size, dim)}
    models["table"].weight = nn.Parameter(torch.empty(vocab_size, dim).fill_(0.1))
    generator = torch.Generator().manual_seed(seed)
    cotangent, rows = torch.randn(batch, dim, generator=generator), []

    def step(model: nn.Module, batches: Iterator[Tensor], backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            found = model(next(batches))
        if backward:
            found.backward(cotangent)
            model.zero_grad(set_to_none=True)

    drawn = {
        "even": [torch.randint(vocab_size, (batch,), generator=generator) for _ in range(256)],
        "like words": [zipf_ids(vocab_size, (batch,), generator) for _ in range(256)],
    }
    for ids, what in cases:
        batches = cycle(drawn[ids])
        steps = {key: partial(step, model, batches, what != "forward") for key, model in models.items()}
        for key, taken in rounds_of(steps, rounds=rounds).items():
            rows += [(dim, ids, what, key, at, seconds) for at, seconds in enumerate(taken)]
    return pd.DataFrame(rows, columns=["dim", "ids", "pass", "embedding", "round", "seconds"])


def lookup_speeds(lookups: pd.DataFrame) -> Iterator[tuple]:
    """Yield the speed of a lookup relative to the table's, over rounds, and milliseconds: rows of the ledger."""
    for (ids, what), own in lookups.groupby(["ids", "pass"], sort=False):
        taken, key = own.pivot(index="round", columns="embedding", values="seconds"), f"vocabulary.lookup.{ids}.{what}"
        speed, *interval = ratio_interval(taken["table"], taken["hierarchical"])
        yield f"{key}.speed".replace(" ", "_"), speed, "", tuple(interval)
        yield f"{key}.ms".replace(" ", "_"), 1e3 * taken["hierarchical"].median(), "ms", (math.nan, math.nan)


def new_lookup_ratios(lookups: pd.DataFrame) -> pd.DataFrame:
    """Time of a lookup over the table's by number of channels: dim, ratio, low, high, reached (`TIMES_A_TABLE`)."""
    rows = []
    for dim, own in lookups.groupby("dim"):
        taken = own.pivot(index="round", columns="embedding", values="seconds")
        rows.append((dim, *ratio_interval(taken["hierarchical"], taken["table"])))
    table = pd.DataFrame(rows, columns=["dim", "ratio", "low", "high"])
    return table.assign(reached=table["high"] <= TIMES_A_TABLE)


def head_facts(heads: pd.DataFrame) -> dict[str, float]:
    """Milliseconds and sizes of the heads for the ledger.

    At the largest vocabulary, and at the largest for which the full softmax was timed.
    """
    facts = {}
    sizes = {"largest": heads["vocab"].max(), "compared": heads.loc[heads["head"] == "full softmax", "vocab"].max()}
    for size, vocab in sizes.items():
        facts[f"head.{size}.vocab"] = vocab
        for row in heads[heads["vocab"] == vocab].itertuples():
            facts[f"head.{size}.{row.head}.ms"] = 1e3 * row.seconds
            facts[f"head.{size}.{row.head}.parameters"] = row.parameters
    return {key.replace(" ", "_"): value for key, value in facts.items()}


def head_seconds(vocab_size: int, dim: int, *, batch: int, rounds: int, full: bool, seed: int = 0) -> pd.DataFrame:
    """Parameters and seconds of a training step of each output layer, for targets with the frequencies of words.

    The adaptive softmax has the cutoffs of torch's documentation, where they fit.
    """
    generator = torch.Generator().manual_seed(seed)
    cutoffs = [c for c in (vocab_size // 100, vocab_size // 10) if c]
    ours, adaptive = HierarchicalHead(vocab_size, dim), nn.AdaptiveLogSoftmaxWithLoss(dim, vocab_size, cutoffs)
    heads = {
        "hierarchical": (ours, lambda target: -ours(hidden, target).mean()),
        "adaptive softmax": (adaptive, lambda target: adaptive(hidden, target).loss),
    }
    if full:
        linear = nn.Linear(dim, vocab_size)
        heads["full softmax"] = linear, lambda target: F.cross_entropy(linear(hidden), target)
    hidden = torch.randn(batch, dim, generator=generator, requires_grad=True)
    batches = cycle([zipf_ids(vocab_size, (batch,), generator) for _ in range(8)])

    def step(head: nn.Module, loss: Callable[[Tensor], Tensor]) -> None:
        head.zero_grad(set_to_none=True)
        loss(next(batches)).backward()

    seconds = alternated({name: partial(step, *pair) for name, pair in heads.items()}, rounds=rounds)
    size = {name: count_parameters(head) for name, (head, _) in heads.items()}
    return pd.DataFrame(
        {"vocab": vocab_size, "head": list(heads), "parameters": size.values(), "seconds": seconds.values()}
    )


def printed_call(vocab_size: int = 500_000, hidden: int = 768, layers: int = 8, *, length: int = 512) -> pd.DataFrame:
    """Parameters, bytes and seconds of building the printed sizes, and of one pass over a short text.

    Embedding, resonance layers of 64 frequencies, output head.  Runs in a process of its own, whose peak of memory,
    above what the libraries hold, is that of the call.
    """
    return spread(_printed_call, [(vocab_size, hidden, layers, length)], threads=torch.get_num_threads())[0]


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


def embeddings(vocab_size: int, dim: int, share: float) -> dict[str, Callable[[], nn.Module]]:
    """Constructors of each embedding: the full table, and the others within `share` of its parameters.

    "hashing, own rows" has the own rows of "hierarchical" and hashes the rest into as many numbers as the waves have.
    Raises ValueError for a share too small for the digit waves.
    """
    budget = int(share * vocab_size * dim)
    digits = partial(HierarchicalEmbedding, vocab_size, dim, levels=2, std=STD)
    hashing = partial(HashingEmbedding, vocab_size, dim, std=STD)
    waves = count_parameters(digits(direct=0).waves)
    direct = (budget - waves) // dim - 1
    if direct < 1:
        raise ValueError(f"a budget of {budget} numbers is less than the digit waves need, {waves + dim}")
    return {
        "full table": partial(table, vocab_size, dim, std=STD),
        "hierarchical": partial(digits, direct=direct),
        "hashing": partial(hashing, budget // dim),
        "low rank": partial(LowRankEmbedding, vocab_size, dim, max(1, budget // (vocab_size + dim)), std=STD),
        "hashing, own rows": lambda: hashing(count_parameters(digits(direct=direct).waves) // dim, direct=direct),
    }


def compare(
    candidates: dict[str, Callable[[], nn.Module]],
    words: Tokens,
    *,
    dim: int,
    rates: Sequence[float],
    wider: int = 0,
    tuning_steps: int,
    steps: int,
    seeds: Sequence[int],
    head_direct: int,
    limit: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(tuning, scores): each embedding at each rate on validation, then at its best rate, by seed, on test.

    The tuning seed is none of `seeds`.  wider: how often the grid of rates may widen (`tuning.widened`).  limit: about
    how many words of a part are scored.
    """

    def score(make: Callable[[], nn.Module], part: str, count: int, seed: int, rate: float) -> tuple[float, int]:
        model = build(make, words, dim, head_direct=head_direct, seed=seed)
        train(model, words, count, rate=rate, seed=seed)
        return perplexity(model, words, part, limit=limit), count_parameters(model.embedding)

    def validation_error(make: Callable[[], nn.Module], rate: float) -> float:
        return score(make, "validation", tuning_steps, max(seeds) + 1, rate)[0]

    tuning, scores = [], []
    for name, make in candidates.items():
        tried = widened(partial(validation_error, make), rates, wider=wider)
        tuning.append(tried.rename(columns={"value": "rate", "score": "perplexity"}).assign(embedding=name))
        best = tried.loc[tried["score"].idxmin(), "value"]
        for seed in seeds:
            result, size = score(make, "test", steps, seed, best)
            scores.append({"embedding": name, "seed": seed, "rate": best, "parameters": size, "perplexity": result})
    return pd.concat(tuning, ignore_index=True), pd.DataFrame(scores)


def gaps(scores: pd.DataFrame) -> pd.DataFrame:
    """Excess of the test perplexity of "hierarchical" over each other embedding's, in percent.

    Paired by seed: the mean difference of log perplexities, its Student interval, p, and p_holm, over all rows.
    """
    logs = np.log(scores.pivot(index="seed", columns=["task", "embedding"], values="perplexity"))
    rows = [
        (task, name, *100 * np.expm1(differs[:3]), differs[3])
        for task, name in logs.columns
        if name != "hierarchical"
        for differs in [paired_difference(logs[task, "hierarchical"], logs[task, name])]
    ]
    table = pd.DataFrame(rows, columns=["task", "embedding", "percent", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"]))


@torch.inference_mode()
def decode(model: WordModel, words: Tokens, *, contexts: int, k: int, seed: int) -> pd.DataFrame:
    """Whether best-first search finds the k most probable words, for random contexts, and how many nodes it opens."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(words.inputs["test"]) - CONTEXT - 1, (contexts, 1), generator=generator)
    hidden = model(words.inputs["test"][starts + torch.arange(CONTEXT + 1)])[:, -1]
    found, every = model.head.topk(hidden, k), model.head.log_prob(hidden).topk(k).values
    same = torch.isclose(found.log_probs, every, atol=1e-4).all(dim=1)
    inner = sum(model.head.hierarchy.nodes(depth) for depth in range(1, model.head.hierarchy.levels))
    return pd.DataFrame({"context": range(contexts), "same": same, "opened": found.opened, "nodes": inner})
