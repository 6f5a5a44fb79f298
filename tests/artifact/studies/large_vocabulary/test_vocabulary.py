"""Large vocabularies: the embedding, its output head, its peers, and the language model that compares them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from artifact.datasets.words import Tokens, passages, tokens
from artifact.peers.vocabulary import HashingEmbedding, LowRankEmbedding, SumEmbedding
from artifact.studies.large_vocabulary import measures as large_vocabulary
from artifact.studies.large_vocabulary.tables import vocabulary_tables
from artifact.studies.large_vocabulary.word_model import WindowResonance, WordModel, build, perplexity, train
from resonance import HierarchicalEmbedding, HierarchicalHead
from resonance.polar import count_parameters
from resonance.vocabulary import Hierarchy

SIZES = [(2, 0, 2), (61, 5, 2), (125, 0, 3), (126, 0, 3), (1000, 17, 3), (97, 96, 4), (50, 0, 2)]


def rows_by_hand(model, ids):
    """Return rows from the equation: irfft of each digit's polar weights, multiplied."""
    h, dim, rows = model.hierarchy, model.dim, []
    for t in ids.tolist():
        if t < h.direct:
            rows.append(model.rows[t])
            continue
        rest, row = t - h.direct, 1.0
        for level in reversed(range(h.levels)):
            weight, digit = model.waves.weight, rest % h.base
            spectrum = torch.polar(weight.magnitude[level, digit].abs(), weight.phase[level, digit])
            row = row * torch.fft.irfft(
                nn.functional.pad(spectrum, (0, dim // 2 + 1 - len(spectrum))), dim, norm="ortho"
            )
            rest //= h.base
        rows.append(model.common + row)
    return torch.stack(rows)


# --------------------------------------------------------------------------- the tree


@given(st.integers(1, 5000), st.integers(2, 5), st.data())
@settings(max_examples=60, deadline=None)
def test_digits_name_every_id_once_and_nodes_are_counted(vocab_size, levels, data):
    h = Hierarchy(vocab_size, levels, data.draw(st.integers(0, vocab_size - 1)))
    digits = torch.stack(h.digits(torch.arange(h.direct, vocab_size)))
    assert int(digits.min()) >= 0 and int(digits.max()) < h.base
    assert len(torch.unique(digits, dim=1).T) == vocab_size - h.direct
    assert h.base**levels >= vocab_size - h.direct > (h.base - 1) ** levels or h.base == 1
    for depth in range(1, levels + 1):
        assert h.nodes(depth) == len(torch.unique(digits[:depth], dim=1).T)


@pytest.mark.parametrize("sizes", [(0, 2, 0), (10, 1, 0), (10, 2, 10), (10, 2, -1)])
def test_sizes_that_make_no_tree(sizes):
    with pytest.raises(ValueError, match="expected"):
        Hierarchy(*sizes)


# --------------------------------------------------------------------------- the embedding


@pytest.mark.parametrize(("vocab_size", "direct", "levels"), SIZES)
@pytest.mark.parametrize("dim", [7, 8])
def test_rows_are_the_equation(vocab_size, direct, levels, dim):
    torch.manual_seed(0)
    model = HierarchicalEmbedding(vocab_size, dim, direct=direct, levels=levels, num_frequencies=3).double()
    nn.init.normal_(model.common)
    ids = torch.randint(vocab_size, (3 * model.hierarchy.base,))
    torch.testing.assert_close(model(ids), rows_by_hand(model, ids))
    torch.testing.assert_close(model(ids[:1]), rows_by_hand(model, ids[:1]))


@pytest.mark.parametrize(("vocab_size", "direct", "levels"), SIZES)
@pytest.mark.parametrize("few", [0, 12])  # of all ids, or mostly of those that own a row
def test_gradients_of_the_fused_lookup_are_those_of_the_equation(vocab_size, direct, levels, few, monkeypatch):
    torch.manual_seed(1)
    monkeypatch.setattr("resonance.vocabulary._Rows.CHUNK", 60)  # many chunks, the last one short
    model = HierarchicalEmbedding(vocab_size, 6, direct=direct, levels=levels).double()
    nn.init.normal_(model.common)
    few = min(few, vocab_size)
    ids = torch.randint(few or vocab_size, (2 * model.hierarchy.base + 5,))
    towards, parameters = torch.randn(len(ids), 6, dtype=torch.float64), list(model.parameters())
    torch.testing.assert_close(model(ids), rows_by_hand(model, ids))
    ours = torch.autograd.grad(model(ids), parameters, towards)
    expected = torch.autograd.grad(rows_by_hand(model, ids), parameters, towards, allow_unused=True)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b)


@pytest.mark.parametrize("count", [3, 400])  # both ways of looking up
def test_only_what_was_looked_up_gets_a_gradient(count):
    torch.manual_seed(0)
    model = HierarchicalEmbedding(5000, 16, direct=50)
    pool = torch.tensor([3, 49, 50, 777, 4999])
    ids = pool[torch.randint(len(pool), (count,))]
    model(ids).square().sum().backward()
    h = model.hierarchy
    seen = ids[ids < h.direct].unique()
    other = torch.ones(h.direct, dtype=torch.bool).index_fill(0, seen, False)
    assert model.rows.grad is None or (model.rows.grad[other] == 0).all()
    assert model.rows.grad is None or not len(seen) or (model.rows.grad[seen] != 0).any(dim=1).all()
    for level, digits in enumerate(h.digits(ids[ids >= h.direct])):
        other = torch.ones(h.base, dtype=torch.bool).index_fill(0, digits, False)
        for gradient in (model.waves.weight.magnitude.grad[level], model.waves.weight.phase.grad[level]):
            assert (gradient[other] == 0).all()
            assert (gradient[digits.unique()] != 0).any(dim=1).all()


def test_a_million_rows_at_the_printed_width_in_two_percent_of_the_table():
    model = HierarchicalEmbedding(1_000_000, 768)
    assert count_parameters(model) == 10_001 * 768 + 2 * 385 * 3 * 100 <= 0.02 * 1_000_000 * 768
    rows = model(torch.tensor([[0, 9_999, 10_000], [10_001, 500_000, 999_999]]))
    assert rows.shape == (2, 3, 768) and rows.isfinite().all()


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


@pytest.mark.parametrize("std", [1.0, 0.1])
@pytest.mark.parametrize(("levels", "k"), [(2, None), (3, None), (3, 9)])
def test_entries_start_at_the_given_spread(std, levels, k):
    torch.manual_seed(0)
    rows = HierarchicalEmbedding(20_000, 255, levels=levels, num_frequencies=k, std=std)(torch.arange(20_000))
    assert rows.square().mean().sqrt().item() == pytest.approx(std, rel=0.1)
    assert rows[:200].square().mean().sqrt().item() == pytest.approx(std, rel=0.05)


def test_bfloat16_rows_follow_float32():
    torch.manual_seed(0)
    model = HierarchicalEmbedding(3000, 64)
    ids = torch.randint(3000, (4, 500))
    exact = model(ids)
    half = model.to(torch.bfloat16)(ids)
    assert half.dtype == torch.bfloat16
    assert ((half.float() - exact).norm() / exact.norm()).item() < 0.03
    half.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("make", [HierarchicalEmbedding, lambda v, d: HashingEmbedding(v, d, 9), SumEmbedding])
def test_ids_that_are_none(make):
    model = make(200, 8)
    for ids in (torch.tensor([200]), torch.tensor([-1, 3])):
        with pytest.raises(ValueError, match=r"0\.\.199, got (-1|200)"):
            model(ids)
    for ids in (torch.tensor([1.0]), torch.tensor([True]), torch.tensor([1j])):
        with pytest.raises(TypeError, match="integer"):
            model(ids)
    with pytest.raises(TypeError, match="list"):
        model([1, 2])
    assert model(torch.zeros(0, 3, dtype=torch.int32)).shape == (0, 3, 8)
    assert model(torch.tensor(7, dtype=torch.uint8)).shape == (8,)


def test_frequencies_outside_the_band():
    with pytest.raises(ValueError, match="num_frequencies"):
        HierarchicalEmbedding(100, 8, num_frequencies=6)


# --------------------------------------------------------------------------- the output head


@pytest.mark.parametrize(("vocab_size", "direct", "levels"), [*SIZES, (1, 0, 2)])
def test_the_head_is_normalised_and_agrees_with_itself(vocab_size, direct, levels):
    torch.manual_seed(0)
    head = HierarchicalHead(vocab_size, 8, direct=direct, levels=levels).start_from(torch.rand(vocab_size) * 50)
    hidden, target = 3 * torch.randn(4, 5, 8), torch.randint(vocab_size, (4, 5))
    every = head.log_prob(hidden)
    torch.testing.assert_close(every.exp().sum(-1), torch.ones(4, 5), rtol=0, atol=2e-6)
    one = head(hidden, target)
    torch.testing.assert_close(one, every.gather(-1, target[..., None]).squeeze(-1), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("vocab_size", "direct", "levels"), [*SIZES, (1, 0, 2)])
@pytest.mark.parametrize("scale", [0.0, 6.0])
def test_best_first_is_exact(vocab_size, direct, levels, scale):
    torch.manual_seed(0)
    head = HierarchicalHead(vocab_size, 8, direct=direct, levels=levels).start_from(torch.rand(vocab_size) * 50)
    hidden, k = scale * torch.randn(6, 8), min(vocab_size, 12)
    every, found = head.log_prob(hidden), head.topk(hidden, k)
    torch.testing.assert_close(found.log_probs, every.topk(k).values, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(every.gather(1, found.ids), found.log_probs, rtol=1e-5, atol=2e-5)
    assert all(len(row.unique()) == k for row in found.ids)


def test_all_ids_are_decoded_in_order_and_a_peak_opens_few_nodes():
    torch.manual_seed(0)
    head = HierarchicalHead(300, 8, direct=10)
    found = head.topk(torch.randn(1, 8), 300)
    assert sorted(found.ids[0].tolist()) == list(range(300)) and (found.log_probs.diff() <= 1e-6).all()
    counts = torch.ones(300)
    counts[[3, 250]] = 1e6
    assert int(head.start_from(counts).topk(torch.zeros(1, 8), 2).opened) == 2
    with pytest.raises(ValueError, match=r"1\.\.300"):
        head.topk(torch.randn(1, 8), 301)


def test_without_scores_the_head_is_the_unigram_model():
    counts = torch.arange(1.0, 62.0)
    head = HierarchicalHead(61, 8, direct=5, levels=3).start_from(counts)
    torch.testing.assert_close(head.log_prob(torch.zeros(8)).exp(), counts / counts.sum(), rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="counts"):
        head.start_from(torch.ones(60))


def test_gradients_of_the_head_are_those_of_the_whole_distribution():
    torch.manual_seed(0)
    head = HierarchicalHead(80, 6, direct=4, levels=3).double()
    hidden, target = torch.randn(9, 6, dtype=torch.float64, requires_grad=True), torch.randint(80, (9,))
    inputs = [hidden, *head.parameters()]
    ours = torch.autograd.grad(head(hidden, target).sum(), inputs, allow_unused=True)
    every = head.log_prob(hidden).gather(1, target[:, None]).sum()
    for a, b in zip(ours, torch.autograd.grad(every, inputs, allow_unused=True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)  # log-probabilities are summed in float32


def test_a_million_targets_without_a_million_scores():
    torch.manual_seed(0)
    head = HierarchicalHead(1_000_000, 64)
    assert count_parameters(head) < 2.7 * 1_000_000  # a bias an id, and 1.6% of a table
    hidden = torch.randn(3, 64, requires_grad=True)
    log_p = head(hidden, torch.tensor([0, 500_000, 999_999]))
    log_p.sum().backward()
    assert log_p.isfinite().all() and hidden.grad.isfinite().all()


def test_the_head_refuses_what_does_not_fit():
    head = HierarchicalHead(100, 8)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 8\)"):
        head.log_prob(torch.randn(3, 7))
    with pytest.raises(ValueError, match="one target"):
        head(torch.randn(3, 8), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"targets in 0\.\.99"):
        head(torch.randn(1, 8), torch.tensor([100]))


# --------------------------------------------------------------------------- peers


def test_hashing_adds_two_rows_spread_evenly():
    torch.manual_seed(0)
    model = HashingEmbedding(50_000, 4, 100, direct=10)
    places = model.places(torch.arange(50_000))
    share = torch.bincount(places.flatten(), minlength=100) / 100_000
    assert share.min() > 0.008 and share.max() < 0.012
    ids = torch.tensor([3, 10, 49_999])
    expected = model.table[model.places(ids)].sum(1)
    expected[0] = model.own.weight[3]
    torch.testing.assert_close(model(ids), expected)


def test_every_peer_keeps_the_budget_and_hardly_wastes_it():
    sizes = {name: count_parameters(make()) for name, make in large_vocabulary.embedding_arms(9_000, 64, 0.1).items()}
    assert sizes.pop("full table") == 9_000 * 64
    for name, size in sizes.items():
        assert 0.07 * 9_000 * 64 < size <= 0.1 * 9_000 * 64, name
    with pytest.raises(ValueError, match="budget"):
        large_vocabulary.embedding_arms(100, 64, 0.1)


def test_low_rank_has_its_rank():
    rows = LowRankEmbedding(300, 16, 5)(torch.arange(300))
    assert torch.linalg.matrix_rank(rows) == 5


# --------------------------------------------------------------------------- words

TEXT = ["The cat, the dog. The cat's dog! A cat? " * 60, "One dog; one cat: the end. The dog sat. " * 60]


def test_words_are_ranked_by_the_training_part_and_parts_do_not_overlap():
    words = tokens(TEXT, held_out=0.1)
    assert (words.counts.diff() <= 0).all()
    assert words.input_types == len(words.counts) == int(max(p.max() for p in words.inputs.values())) + 1
    assert torch.equal(torch.bincount(words.inputs["train"], minlength=1)[:1] > 0, torch.tensor([True]))
    lengths = [len(words.inputs[part]) for part in ("train", "validation", "test")]
    assert lengths[0] == pytest.approx(0.8 * sum(lengths), rel=0.02) and lengths[1] == pytest.approx(
        lengths[2], rel=0.05
    )
    for part in words.inputs:
        assert len(words.inputs[part]) == len(words.targets[part])


def test_a_target_is_the_next_input():
    words = tokens(TEXT[:1], held_out=0.1)
    for part in words.inputs:
        assert torch.equal(words.inputs[part][1:], words.targets[part][:-1])


def test_a_pair_tells_the_last_two_words():
    plain, pairs = tokens(TEXT, held_out=0.1), tokens(TEXT, pairs=True, held_out=0.1)
    assert torch.equal(pairs.targets["test"], plain.targets["test"])
    told: dict[int, tuple[int, int]] = {}
    ids, now = pairs.inputs["train"].tolist(), plain.inputs["train"].tolist()
    for place in range(1, 300):
        assert told.setdefault(ids[place], (now[place - 1], now[place])) == (now[place - 1], now[place])
    assert pairs.input_types > plain.input_types


def test_passages_come_from_the_part_and_repeat_with_the_seed():
    words = tokens(TEXT)
    one, two = (next(passages(words, "train", 5, 7, torch.Generator().manual_seed(3))) for _ in range(2))
    assert torch.equal(one[0], two[0]) and one[0].shape == one[1].shape == (7, 5)
    assert torch.equal(one[0][:, 1:], one[1][:, :-1])


@pytest.mark.parametrize(("window", "k"), [(8, 5), (7, 2), (1, 1)])
def test_window_resonance_is_the_circular_filter_of_the_window_read_at_its_end(window, k):
    torch.manual_seed(0)
    layer = WindowResonance(3, window, k).double()
    x = torch.randn(2, 20, 3, dtype=torch.float64)
    past = torch.cat([torch.zeros(2, window - 1, 3, dtype=torch.float64), x], dim=1)
    weight = torch.complex(*layer.weight.pair()) / math.sqrt(window)
    for t in (0, 5, 19):
        # The kernel's transform is the weight: filter the window by it and read the last sample.
        kernel = torch.fft.irfft(nn.functional.pad(weight, (0, 0, 0, window // 2 + 1 - k)), window, dim=0) * window
        spectrum = torch.fft.rfft(past[:, t : t + window], dim=1) * torch.fft.rfft(kernel, dim=0)
        torch.testing.assert_close(layer(x)[:, t], torch.fft.irfft(spectrum, window, dim=1)[:, -1])


def small_model(vocab_size=40, **options):
    torch.manual_seed(0)
    return WordModel(
        HierarchicalEmbedding(vocab_size, 16, direct=4), HierarchicalHead(vocab_size, 16, direct=4), **options
    )


def test_no_prediction_sees_its_target_or_beyond_its_reach():
    model = small_model(window=4, num_frequencies=3, num_layers=2)
    ids = torch.randint(40, (1, 30))
    changed = ids.clone()
    changed[0, 12] = (ids[0, 12] + 1) % 40
    moved = (model(ids) - model(changed)).abs().amax(dim=(0, 2)) > 1e-7
    assert not moved[:12].any() and moved[12] and not moved[12 + model.reach + 1 :].any()


def test_perplexity_counts_each_word_once_with_its_whole_context():
    model = small_model(window=3, num_frequencies=2)
    stream = torch.randint(40, (1001,), generator=torch.Generator().manual_seed(0))
    words = Tokens({"test": stream[:-1]}, {"test": stream[1:]}, 40, torch.ones(40))
    with torch.no_grad():
        every = model.head(model(stream[None, :-1]), stream[None, 1:])[0, model.reach :]
    count = (1000 - model.reach) // 50 * 50
    expected = math.exp(-every[:count].double().mean())
    assert perplexity(model, words, "test", length=50) == pytest.approx(expected, rel=1e-5)


def test_training_learns_and_an_arm_differs_by_its_embedding_alone():
    words = tokens(TEXT)
    arms = {
        "full table": lambda: nn.Embedding(words.input_types, 16),
        "low rank": lambda: LowRankEmbedding(words.input_types, 16, 2),
    }
    one, two = (build(arm, words, 16, head_direct=2, seed=1) for arm in arms.values())
    for (name, a), (other, b) in zip(one.head.named_parameters(), two.head.named_parameters(), strict=True):
        assert name == other and torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(one.blocks.parameters(), two.blocks.parameters(), strict=True))
    before = perplexity(one, words, "test", length=8)
    train(one, words, 60, rate=0.01, seed=0, length=16, size=8)
    assert perplexity(one, words, "test", length=8) < 0.2 * before


def test_a_comparison_from_tuning_to_gaps():
    words = tokens(TEXT)
    arms = {
        "full table": lambda: nn.Embedding(words.input_types, 16),
        "hierarchical": lambda: HierarchicalEmbedding(words.input_types, 16),
    }
    options = {"dim": 16, "rates": [1e-4, 1e-2], "tuning_steps": 8, "steps": 8, "seeds": range(2), "head_direct": 2}
    tuning, scores = large_vocabulary.compare(arms, words, **options)
    best = tuning.loc[tuning.groupby("arm")["perplexity"].idxmin()].set_index("arm")["rate"]
    assert len(tuning) == 4 and len(scores) == 4 and (scores["rate"] == scores["arm"].map(best)).all()
    gap = large_vocabulary.gaps(scores.assign(task="words")).iloc[0]
    mean = scores.groupby("arm")["perplexity"].apply(lambda p: np.log(p).mean())
    assert gap["percent"] == pytest.approx(100 * math.expm1(mean["hierarchical"] - mean["full table"]))
    assert gap["low"] <= gap["percent"] <= gap["high"]


def test_decoding_in_the_model_agrees_with_all_log_probabilities():
    words = tokens(TEXT)
    model = build(lambda: HierarchicalEmbedding(words.input_types, 16), words, 16, head_direct=2, seed=0)
    table = large_vocabulary.decode(model, words, contexts=6, k=4, seed=0)
    assert table["same"].all() and (table["opened"] <= table["nodes"]).all()


# --------------------------------------------------------------------------- seconds, the printed call, the report


def test_timing_tables_and_the_printed_call_at_a_small_size():
    lookups = large_vocabulary.lookup_seconds(2_000, 16, batch=64, rounds=1)
    heads = large_vocabulary.head_seconds(2_000, 16, batch=8, rounds=1, full=True)
    call = large_vocabulary.printed_call(5_000, 128, 2, length=128)
    assert len(lookups) == 8 and set(heads["head"]) == {"hierarchical", "adaptive softmax", "full softmax"}
    assert (lookups["seconds"] > 0).all() and (heads["seconds"] > 0).all() and call["finite"].iloc[-2]
    facts = large_vocabulary.speed_facts(lookups, heads) | large_vocabulary.call_facts(call)
    assert facts["call.two_tables.parameters"] == 2 * 5_000 * 128 and all(np.isfinite(v) for v in facts.values())


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
    body = vocabulary_tables(measures.assign(ci_high=[math.nan, 310, math.nan, 320]))["vocabulary"]
    assert "full table" in body and "hashing" in body and "low rank" not in body
    assert vocabulary_tables(measures.iloc[2:]) == {}
