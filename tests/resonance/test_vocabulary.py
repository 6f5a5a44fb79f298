"""The tree over ids, digit waves, and the hierarchical embedding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resonance import HierarchicalEmbedding
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


def test_ids_that_are_none():
    model = HierarchicalEmbedding(200, 8)
    for ids in (torch.tensor([200]), torch.tensor([-1, 3])):
        with pytest.raises(ValueError, match=r"0\.\.199, got \[(-1|200)\]"):
            model(ids)
    for ids in (torch.tensor([1.0]), torch.tensor([True]), torch.tensor([1j])):
        with pytest.raises(TypeError, match="integer"):
            model(ids)
    with pytest.raises(TypeError, match="list"):
        model([1, 2])
    assert model(torch.zeros(0, 3, dtype=torch.int32)).shape == (0, 3, 8)
    with pytest.raises(ValueError, match=str(2**64 - 1)):
        model(torch.tensor([2**64 - 1], dtype=torch.uint64))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32])
def test_ids_of_any_integer_type(dtype):
    model, ids = HierarchicalEmbedding(120, 8), torch.tensor([[0, 1], [77, 119]])
    torch.testing.assert_close(model(ids.to(dtype)), model(ids), rtol=0, atol=0)
    assert model(torch.tensor(7, dtype=dtype)).shape == (8,)


@pytest.mark.parametrize("direct", [0, 10])
@pytest.mark.parametrize("count", [3, 60])
def test_other_ways_to_the_same_rows(count, direct):
    """A second derivative, function transforms and the meta device take plain operations: the same rows."""
    torch.manual_seed(2)
    model = HierarchicalEmbedding(1000, 6, direct=direct).double()
    ids, parameters = torch.randint(1000, (2, count)), dict(model.named_parameters())

    def loss(parameters, ids):
        return torch.func.functional_call(model, parameters, (ids,)).pow(3).sum()

    rows = torch.vmap(model)(ids)
    torch.testing.assert_close(rows, model(ids))
    each = torch.vmap(torch.func.grad(loss), (None, 0))(parameters, ids)
    with pytest.raises(ValueError, match=r"0\.\.999, got \[1000, 1000\]"):
        torch.vmap(model)(ids.index_fill(1, torch.tensor([1]), 1000))
    total = torch.autograd.grad(loss(parameters, ids), parameters.values(), create_graph=True, allow_unused=True)
    for name, gradient in zip(parameters, total, strict=True):
        torch.testing.assert_close(each[name].sum(0), torch.zeros_like(each[name][0]) if gradient is None else gradient)
    again = torch.autograd.grad(loss(parameters, ids), model.waves.weight.phase, create_graph=True)[0].square().sum()
    ours = torch.autograd.grad(again, model.waves.weight.magnitude)[0]
    reference = rows_by_hand(model, ids.flatten()).pow(3).sum()
    again = torch.autograd.grad(reference, model.waves.weight.phase, create_graph=True)[0].square().sum()
    torch.testing.assert_close(ours, torch.autograd.grad(again, model.waves.weight.magnitude)[0])
    with torch.device("meta"):
        assert HierarchicalEmbedding(1000, 6, direct=direct)(ids.to("meta")).shape == (2, count, 6)
    torch.relu_(model(ids)).sum().backward()  # an activation in place behind it


def test_a_graph_of_any_batch_checks_its_ids(in_one_graph):
    model, ids = HierarchicalEmbedding(1000, 8), torch.randint(1000, (2, 5, 30))
    compiled, exported = in_one_graph(model, (ids[0],), (ids.flatten(0, 1),))
    for call in (compiled, exported):
        with pytest.raises(RuntimeError, match=r"ids in 0\.\.999"):
            call(torch.full((5, 30), 1000))


def test_frequencies_outside_the_band():
    with pytest.raises(ValueError, match="num_frequencies"):
        HierarchicalEmbedding(100, 8, num_frequencies=6)


def test_ids_from_outside_a_functional_transform_are_checked_within_it():
    layer, ids = HierarchicalEmbedding(100, 4), torch.tensor([[1, 99]])
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}

    def energy(weights, ids):
        return torch.func.functional_call(layer, weights, (ids,)).square().sum()

    found = torch.func.grad(energy)(weights, ids)
    energy(dict(layer.named_parameters()), ids).backward()
    for name, weight in layer.named_parameters():
        torch.testing.assert_close(found[name], weight.grad)
    with pytest.raises(ValueError, match="100"):
        torch.func.grad(energy)(weights, torch.tensor([[1, 100]]))


def test_waves_are_kept_while_no_gradient_is_recorded_and_the_weights_stay():
    model, ids = HierarchicalEmbedding(1000, 8), torch.randint(1000, (200,))
    with torch.no_grad():
        rows, waves = model(ids), model.waves.kept()
        assert model.waves.kept() is waves and torch.equal(model(ids), rows)
        model.waves().zero_()  # a caller's own
        assert torch.equal(model(ids), rows)
        model.waves.weight.phase.data.add_(0.1)
        assert not torch.equal(model(ids), rows)
        assert model.double().waves.kept().dtype == torch.float64
    model(ids).sum().backward()
    assert model.waves.weight.phase.grad.any()
