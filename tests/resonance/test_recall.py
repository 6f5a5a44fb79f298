"""Recall by holography: one map in three forms, exact where references are orthogonal, causal."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.common.graph import token_products
from artifact.studies.recall.capacity import read_back, welch_bound
from resonance.recall import CHUNK, HolographicRecall, PlainRecall, waves

CLASSES = [PlainRecall, HolographicRecall]


def layer_of(cls, dim=8, heads=2, features=6, seed=0, dtype=torch.float64):
    """Return a layer with every parameter moved away from its initial value."""
    torch.manual_seed(seed)
    layer = cls(dim, heads, features=features).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer.to(dtype)


def by_definition(layer, x):
    """Return y of one sequence (n, dim), the definition word for word: a loop over steps and heads, matrices alone."""
    n, width, m = len(x), layer.dim // layer.heads, layer.features // 2
    before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
    key_in, value_in, query_in, strength_in = ((1 - mix) * x + mix * before for mix in layer.shift)
    beta = torch.sigmoid(layer.strength(strength_in))
    read = torch.zeros_like(x)
    for head in range(layer.heads):
        rows, channels = slice(head * m, (head + 1) * m), slice(head * width, (head + 1) * width)
        hologram = torch.zeros(2 * m, width, dtype=x.dtype)
        for t in range(n):
            r, q = (
                torch.cat([torch.cos(phase), torch.sin(phase)]) / math.sqrt(m)
                for phase in (layer.key.weight[rows] @ key_in[t], layer.query.weight[rows] @ query_in[t])
            )
            value = layer.value.weight[channels] @ value_in[t]
            if isinstance(layer, HolographicRecall):
                value = value - hologram.T @ r
            hologram = hologram + beta[t, head] * torch.outer(r, value)
            read[t, channels] = hologram.T @ q
    return read @ layer.output.weight.T


def stepped(layer, x, state=None):
    state, ys = state or layer.initial_state(len(x)), []
    for token in x.unbind(1):
        y, state = layer.step(token, state)
        ys.append(y)
    return torch.stack(ys, 1), state


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("n", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17])
def test_chunks_steps_and_the_definition_agree(cls, n):
    layer, x = layer_of(cls), torch.randn(2, n, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([by_definition(layer, one) for one in x])
        torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(stepped(layer, x)[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cls", CLASSES)
@settings(deadline=None, max_examples=15)
@given(data=st.data(), n=st.integers(2, 150), seed=st.integers(0, 99))
def test_state_is_carried_across_any_cuts(cls, data, n, seed):
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=3)))
    layer = layer_of(cls, seed=seed)
    x = torch.randn(2, n, 8, dtype=torch.float64)
    with torch.no_grad():
        state, parts = layer.initial_state(2), []
        for part in torch.tensor_split(x, cuts, dim=1):
            y, state = layer.extend(part, state)
            parts.append(y)
        torch.testing.assert_close(torch.cat(parts, 1), layer(x), rtol=1e-10, atol=1e-10)
        _, stepped_state = stepped(layer, x)
        for name in ("hologram", "previous"):
            torch.testing.assert_close(state[name], stepped_state[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cls", CLASSES)
def test_unequal_lengths_are_each_as_alone_whatever_stands_in_the_padding(cls):
    layer, lengths = layer_of(cls), torch.tensor([100, 1, 63, 65])
    x = torch.randn(4, 100, 8, dtype=torch.float64)
    padded = x.masked_fill(torch.arange(100)[None, :, None] >= lengths[:, None, None], math.nan).requires_grad_()
    start = stepped(layer, torch.randn(4, 3, 8, dtype=torch.float64))[1]
    y, state = layer.extend(padded, start, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone, alone_state = layer.extend(x[i : i + 1, :n], {name: part[i : i + 1] for name, part in start.items()})
        torch.testing.assert_close(y[i : i + 1, :n], alone, rtol=1e-10, atol=1e-10)
        assert not y[i, n:].any()
        for name, part in alone_state.items():
            torch.testing.assert_close(state[name][i : i + 1], part, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer(padded, lengths)[0], layer(x)[0], rtol=1e-10, atol=1e-10)
    y.sum().backward()
    assert padded.grad.isfinite().all() and not padded.grad[1, 1:].any()


@pytest.mark.parametrize("cls", CLASSES)
def test_no_output_depends_on_what_comes_later(cls):
    layer, n = layer_of(cls, dim=4, features=4), CHUNK + 6
    x = torch.randn(1, n, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x).sum((0, 2)), x)[:, 0].abs().sum(-1)  # (out, in)
    assert not jacobian.triu(1).any(), "a later token reached an earlier output"
    assert (jacobian.tril().sum(1) > 0).all() and jacobian[-1, 0] > 0, "and the first one reaches the last"


@pytest.mark.parametrize("cls", CLASSES)
def test_gradients(cls):
    layer, x = layer_of(cls, dim=4, features=4), torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    state = {name: torch.randn_like(part, requires_grad=True) for name, part in layer.initial_state(2).items()}

    def run(x, hologram, previous, *parameters):  # gradcheck moves the parameters in place
        y, after = layer.extend(x, {"hologram": hologram, "previous": previous})
        return y, after["hologram"]

    assert torch.autograd.gradcheck(run, (x, *state.values(), *layer.parameters()))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 5e-2)])
def test_lower_precision_stays_near(cls, dtype, tolerance):
    layer, x = layer_of(cls), torch.randn(2, 130, 8, dtype=torch.float64)
    expected, low = layer(x), layer_of(cls, dtype=dtype)
    y, state = low.extend(x.to(dtype), low.initial_state(2))
    assert y.dtype == dtype and state["hologram"].dtype == torch.float32
    error = (y.double() - expected).norm() / expected.norm()
    assert error < tolerance
    assert ((stepped(low, x.to(dtype))[0].double() - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("cls", CLASSES)
def test_autocast_keeps_the_hologram_in_float32(cls):
    layer, x = layer_of(cls, dtype=torch.float32), torch.randn(2, 130, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer.extend(x, layer.initial_state(2))
        steps = stepped(layer, x)[0]
    assert state["hologram"].dtype == torch.float32
    for found in (y, steps):
        assert (found.float() - layer(x)).norm() < 0.05 * layer(x).norm()


def test_a_pair_recorded_again_and_again_adds_nothing_under_the_delta_rule():
    layer = layer_of(HolographicRecall, dtype=torch.float32)
    x = torch.randn(1, 1, 8).repeat(1, 4000, 1)
    _, state = layer.extend(x, layer.initial_state(1))
    value = layer.value(x[:, 0]).norm()
    assert state["hologram"].norm() < 3 * value
    plain = layer_of(PlainRecall, dtype=torch.float32)
    assert plain.extend(x, plain.initial_state(1))[1]["hologram"].norm() > 100 * value


def orthogonal_references(count, features, heads=1):
    """Return plane waves of m carriers, then the same in quadrature: 2m orthogonal references in F = 2m reals."""
    m = features // 2
    turns = torch.outer(torch.arange(m), torch.arange(m)).double() / m
    first, second = waves(2 * math.pi * turns), waves(2 * math.pi * (turns + 0.25))
    return torch.cat([first, second])[None, None, :count].expand(1, heads, -1, -1)


@pytest.mark.parametrize("cls", CLASSES)
def test_orthogonal_references_recall_exactly_up_to_the_feature_count(cls):
    features, channels = 16, 6
    layer = cls(channels, 1, features=features).double()
    references = orthogonal_references(features, features)
    gram = references[0, 0] @ references[0, 0].T
    torch.testing.assert_close(gram, torch.eye(features, dtype=torch.float64), atol=1e-12, rtol=0)
    values = torch.randn(features, channels, dtype=torch.float64)
    torch.testing.assert_close(read_back(layer, references, values), values, atol=1e-12, rtol=0)
    one_more = torch.cat([references, waves(torch.randn(1, 1, 1, features // 2).double())], dim=2)
    more = torch.randn(features + 1, channels, dtype=torch.float64)
    assert (read_back(layer, one_more, more) - more).norm() > 0.1, "no linear reading holds F + 1 in F features"


def test_delta_reads_the_last_exactly_and_replaces_where_the_sum_adds():
    references = waves(torch.randn(1, 1, 5, 8, dtype=torch.float64))
    references = torch.cat([references, references[:, :, :1]], dim=2)  # the first reference again
    values = torch.randn(6, 4, dtype=torch.float64)
    delta, plain = (cls(4, 1, features=16).double() for cls in (HolographicRecall, PlainRecall))
    read = read_back(delta, references, values)
    torch.testing.assert_close(read[-1], values[-1], atol=1e-12, rtol=0)
    torch.testing.assert_close(read[0], values[-1], atol=1e-12, rtol=0)
    crosstalk = (references[0, 0, 0] @ references[0, 0, 1:5].T) @ values[1:5]
    expected = values[0] + values[-1] + crosstalk
    torch.testing.assert_close(read_back(plain, references, values)[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_pair_is_recalled_at_the_start_of_training(cls):
    """Query and key agree, the output undoes the value map: what followed a token comes back when it comes again."""
    torch.manual_seed(0)
    layer = cls(64, 2, features=256)
    tokens = torch.nn.functional.layer_norm(torch.randn(1, 10, 64), (64,))
    x = torch.cat([tokens, tokens[:, 3:4]], dim=1)
    similarity = torch.cosine_similarity(layer(x)[0, -1], tokens[0], dim=-1)
    assert similarity.argmax() == 4 and similarity[4] > 0.8


def test_references_have_unit_norm_and_random_ones_the_variance_of_theory():
    references = waves(2 * math.pi * torch.rand(400, 16, dtype=torch.float64))
    gram = references @ references.T
    torch.testing.assert_close(gram.diagonal(), torch.ones(400, dtype=torch.float64))
    off = gram[~torch.eye(400, dtype=torch.bool)]
    assert off.square().mean().item() == pytest.approx(1 / 32, rel=0.03)
    assert off.square().mean().item() >= welch_bound(400, 32)
    assert welch_bound(32, 32) == 0 and welch_bound(10**9, 32) == pytest.approx(1 / 32, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 6, "heads": 4}, "divide dim"),
        ({"dim": 4, "heads": 0}, "divide dim"),
        ({"dim": 4, "features": 7}, "even number"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        HolographicRecall(**options)


def test_bad_input_is_named():
    layer = HolographicRecall(8, 2)
    with pytest.raises(ValueError, match=r"\(batch, n, 8\)"):
        layer(torch.randn(2, 3, 4))
    with pytest.raises(TypeError, match="floating"):
        layer(torch.ones(2, 3, 8, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\(batch, 8\)"):
        layer.step(torch.randn(2, 1, 8), layer.initial_state(2))
    with pytest.raises(ValueError, match=r"state of hologram \(2, 2, 64, 4\)"):
        layer.extend(torch.randn(2, 3, 8), layer.initial_state(1))
    with pytest.raises(ValueError, match=r"1\.\.3"):
        layer(torch.randn(2, 3, 8), torch.tensor([3, 4]))


@pytest.mark.parametrize("cls", CLASSES)
def test_recall_multiplies_token_by_token(cls):
    """Queries with keys within a chunk, and queries with what keys and values made: F.free does not hold of recall."""
    assert "bmm" in token_products(layer_of(cls, dtype=torch.float32), torch.randn(1, 2 * CHUNK, 8))
