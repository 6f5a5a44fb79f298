"""Distinct rows, timings, the comparison of embeddings, decoding, the report's table."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from artifact.datasets.words import tokens
from artifact.peers.vocabulary import SumEmbedding
from artifact.studies.common.latex import Cells
from artifact.studies.large_vocabulary import measures as large_vocabulary
from artifact.studies.large_vocabulary.tables import tables
from artifact.studies.large_vocabulary.word_model import build
from resonance import HierarchicalEmbedding
from resonance.polar import count_parameters

TEXT = ["The cat, the dog. The cat's dog! A cat? " * 60, "One dog; one cat: the end. The dog sat. " * 60]

# --------------------------------------------------------------------------- rows


@pytest.mark.parametrize(("vocab_size", "dim"), [(300, 16), (50, 3), (2, 8)])
def test_chance_is_the_mean_nearest_cosine_of_random_directions(vocab_size, dim):
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(2000, vocab_size - 1, dim, generator=generator, dtype=torch.float64)
    largest = torch.nn.functional.normalize(others, dim=-1)[..., 0].max(dim=1).values  # with the first axis
    error = 4 * (largest.std() / len(largest) ** 0.5).item()
    assert large_vocabulary.chance_cosine(vocab_size, dim) == pytest.approx(largest.mean().item(), abs=error)


def test_chance_among_a_million_is_below_its_first_order():
    found = large_vocabulary.chance_cosine(1_000_000, 768)
    assert found == pytest.approx(0.1745, abs=0.0005) and found < math.sqrt(2 * math.log(1_000_000) / 768)


def test_rows_are_distinct_and_nearly_orthogonal_where_sums_are_not():
    torch.manual_seed(0)
    count, dim = 30_000, 256
    model, added = HierarchicalEmbedding(count, dim), SumEmbedding(count, dim)
    assert large_vocabulary.distinct_rows(model, count) == count
    near = large_vocabulary.nearest_rows(model, count, sample=30, seed=0)
    far = large_vocabulary.nearest_rows(added, count, sample=30, seed=0)
    assert near["cosine"].max() < 0.75 < far["cosine"].median() + 0.1
    assert near["cosine"].median() < far["cosine"].median() - 0.2
    assert (near["id"] != near["nearest"]).all()


def test_distinct_rows_counts_copies_and_nearest_rows_finds_them():
    twins = nn.Embedding(9_000, 24)
    with torch.no_grad():
        twins.weight[8_500] = twins.weight[5]
        twins.weight[8_501] = twins.weight[6] + 1e-3
    assert large_vocabulary.distinct_rows(twins, 9_000) == 8_999
    near = large_vocabulary.nearest_rows(twins, 9_000, sample=9_000, seed=0).set_index("id")
    assert near.loc[5, "nearest"] == 8_500 and near.loc[8_501, "nearest"] == 6


# --------------------------------------------------------------------------- the comparison


def test_every_peer_keeps_the_budget_and_hardly_wastes_it():
    sizes = {name: count_parameters(make()) for name, make in large_vocabulary.embeddings(9_000, 64, 0.1).items()}
    assert sizes.pop("full table") == 9_000 * 64
    for name, size in sizes.items():
        assert 0.07 * 9_000 * 64 < size <= 0.1 * 9_000 * 64, name
    with pytest.raises(ValueError, match="budget"):
        large_vocabulary.embeddings(100, 64, 0.1)


def test_a_comparison_from_tuning_to_gaps():
    words = tokens(TEXT)
    candidates = {
        "full table": lambda: nn.Embedding(words.input_types, 16),
        "hierarchical": lambda: HierarchicalEmbedding(words.input_types, 16),
    }
    options = {"dim": 16, "rates": [1e-4, 1e-2], "tuning_steps": 8, "steps": 8, "seeds": range(2), "head_direct": 2}
    tuning, scores = large_vocabulary.compare(candidates, words, **options)
    best = tuning.loc[tuning.groupby("embedding")["perplexity"].idxmin()].set_index("embedding")["rate"]
    assert len(tuning) == 4 and len(scores) == 4 and (scores["rate"] == scores["embedding"].map(best)).all()
    gap = large_vocabulary.gaps(scores.assign(task="words")).iloc[0]
    mean = scores.groupby("embedding")["perplexity"].apply(lambda p: np.log(p).mean())
    assert gap["percent"] == pytest.approx(100 * math.expm1(mean["hierarchical"] - mean["full table"]))
    assert gap["low"] <= gap["percent"] <= gap["high"]
    assert gap["p"] == gap["p_holm"], "a family of one"
    assert len(large_vocabulary.compare(candidates, words, **options, wider=1)[0]) == 6, (
        "the best was an end of both grids"
    )


def test_decoding_in_the_model_agrees_with_all_log_probabilities():
    words = tokens(TEXT)
    model = build(lambda: HierarchicalEmbedding(words.input_types, 16), words, 16, head_direct=2, seed=0)
    table = large_vocabulary.decode(model, words, contexts=6, k=4, seed=0)
    assert table["same"].all() and (table["opened"] <= table["nodes"]).all()


# --------------------------------------------------------------------------- seconds, the printed call, the report


def test_timing_tables_and_the_printed_call_at_a_small_size():
    lookups = large_vocabulary.lookup_seconds(2_000, 16, batch=64, rounds=2)
    heads = large_vocabulary.head_seconds(2_000, 16, batch=8, rounds=1, full=True)
    call = large_vocabulary.printed_call(5_000, 128, 2, length=128)
    assert len(lookups) == 16 and set(heads["head"]) == {"hierarchical", "adaptive softmax", "full softmax"}
    assert (lookups["seconds"] > 0).all() and (heads["seconds"] > 0).all() and call["finite"].iloc[-2]
    facts = large_vocabulary.head_facts(heads) | large_vocabulary.call_facts(call)
    assert facts["call.two_tables.parameters"] == 2 * 5_000 * 128 and all(np.isfinite(v) for v in facts.values())


def test_ratios_of_lookups_are_paired_by_round():
    rows = [
        (dim, ids, "forward", embedding, at, seconds * (1 + at))
        for dim, ids in ((16, "even"), (32, "like words"))
        for embedding, seconds in (("table", 1.0), ("hierarchical", 1.5 if dim == 16 else 3.0))
        for at in range(3)
    ]
    lookups = pd.DataFrame(rows, columns=["dim", "ids", "pass", "embedding", "round", "seconds"])
    table = large_vocabulary.new_lookup_ratios(lookups)
    assert table["ratio"].tolist() == pytest.approx([1.5, 3.0]) and table["reached"].tolist() == [True, False]
    assert table["low"].tolist() == pytest.approx(table["high"].tolist())
    speeds = {key: value for key, value, *_ in large_vocabulary.lookup_speeds(lookups)}
    assert speeds["vocabulary.lookup.like_words.forward.speed"] == pytest.approx(1 / 3)
    assert speeds["vocabulary.lookup.even.forward.ms"] == pytest.approx(3000)


def test_zipf_ids_are_ranks_of_falling_frequency():
    ids = large_vocabulary.zipf_ids(1_000, (200_000,), torch.Generator().manual_seed(0))
    counts = torch.bincount(ids, minlength=1_000).double()
    assert counts[0] / counts[9] == pytest.approx(math.log(2) / math.log(11 / 10), rel=0.1) and len(counts) == 1_000


def test_the_printed_size_runs():
    call = large_vocabulary.printed_call(length=128).set_index("part")
    assert call.loc["all", "finite"]
    assert call.loc["embedding", "parameters"] < 0.02 * 500_000 * 768
    assert call.loc["all", "parameters"] < 0.03 * call.loc["two tables", "parameters"]


def test_the_table_of_the_report():
    keys = [
        f"vocabulary.words.{arm}.{figure}" for arm in ("full", "hashing") for figure in ("parameters", "perplexity")
    ]
    measures = pd.DataFrame({"value": [10.0, 300.0, 5.0, 310.0], "ci_low": [math.nan, 290, math.nan, 300]}, index=keys)
    body = tables(Cells(measures.assign(ci_high=[math.nan, 310, math.nan, 320])))["vocabulary"]
    assert "full table" in body and "hashing" in body and "low rank" not in body
    assert tables(Cells(measures.iloc[:0])) == {"vocabulary": ""}
