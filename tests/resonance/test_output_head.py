"""The output head along the tree: normalised, exact, and its best-first search."""

from __future__ import annotations

import pytest
import torch

from resonance import HierarchicalHead
from resonance.polar import count_parameters

SIZES = [(2, 0, 2), (61, 5, 2), (125, 0, 3), (126, 0, 3), (1000, 17, 3), (97, 96, 4), (50, 0, 2)]


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


def test_no_hidden_states_have_no_log_probabilities():
    head, empty = HierarchicalHead(100, 8), torch.zeros(0, 5, 8)
    assert head(empty, torch.zeros(0, 5, dtype=torch.uint16)).shape == (0, 5)
    assert head.log_prob(empty).shape == (0, 5, 100)
    assert [part.shape for part in head.topk(empty[:, 0], 3)] == [(0, 3), (0, 3), (0,)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_follows_float32(dtype):
    torch.manual_seed(0)
    head, hidden, target = HierarchicalHead(300, 16), torch.randn(7, 16), torch.randint(300, (7,))
    expected = head(hidden, target)
    torch.testing.assert_close(head.to(dtype)(hidden.to(dtype), target).float(), expected, rtol=0.02, atol=0.05)
    assert head.topk(hidden.to(dtype), 2).ids.shape == (7, 2)


def test_a_graph_of_any_batch_checks_its_targets(in_one_graph):
    head = HierarchicalHead(1000, 8)
    torch.relu_(head(torch.randn(3, 8), torch.arange(3))).sum().backward()  # an activation in place behind it
    hidden, targets = torch.randn(9, 8), torch.randint(1000, (9,))
    compiled, _ = in_one_graph(head, (hidden[:4], targets[:4]), (hidden, targets))
    with pytest.raises(RuntimeError, match=r"targets in 0\.\.999"):
        compiled(hidden, targets - 1000)


def test_the_head_refuses_what_does_not_fit():
    head = HierarchicalHead(100, 8)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 8\)"):
        head.log_prob(torch.randn(3, 7))
    with pytest.raises(ValueError, match="one target"):
        head(torch.randn(3, 8), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"targets in 0\.\.99"):
        head(torch.randn(1, 8), torch.tensor([100]))
