"""The recall task: what a batch holds, what can pass between chunks, and that bridges learn it."""

from __future__ import annotations

import pytest
import torch

from artifact.studies.long_context.recall import (
    CHUNK,
    VALUES,
    VARIANTS,
    MeanLayer,
    queries,
    recall_batch,
    recall_model,
    recall_scores,
    recall_study,
    train_recall,
)
from resonance.polar import count_parameters


@pytest.mark.parametrize("symbols", [1, 4])
def test_a_batch_holds_the_values_early_and_their_queries_late(symbols):
    n = 64
    x, value = recall_batch(16, n, torch.Generator().manual_seed(0), symbols)
    asked = queries(n, symbols)
    assert (x.sum(dim=2) == 1).all() and asked[-1] == n - 1 and (asked >= 3 * n // 4).all()
    assert (x[:, asked, VALUES + 1] == 1).all() and x[..., VALUES + 1].sum() == 16 * symbols
    cells = x[:, : n // 4, :VALUES].unflatten(1, (symbols, -1)).sum(dim=2)  # (batch, symbols, VALUES): one a cell
    assert torch.equal(cells.argmax(dim=2), value) and (cells.sum(dim=2) == 1).all() and value.shape == (16, symbols)
    assert x[:, n // 4 :, :VALUES].sum() == 0


def test_a_quarter_without_room_is_refused():
    with pytest.raises(ValueError, match="expected n >= 64 tokens, a quarter of 16 cells, got 63"):
        recall_batch(1, 63, torch.Generator(), 16)
    with pytest.raises(ValueError, match="unknown variant 'gates': expected one of bridges, mean, none"):
        recall_model(1024, "gates")


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_pass_between_chunks_by_exchange_alone(variant):
    torch.manual_seed(0)
    model, n = recall_model(2 * CHUNK, variant), 2 * CHUNK
    a, value = recall_batch(2, n, torch.Generator().manual_seed(0))
    b, other = recall_batch(2, n, torch.Generator().manual_seed(1))
    change = (model(a) - model(b))[:, CHUNK:].abs().max().item()
    assert (value != other).any() and (change == 0) == (variant == "none")


@torch.no_grad()
def test_a_mean_does_not_know_the_places():
    """What another chunk receives is the same, in whatever order the tokens of a chunk stand; a bridge's is not."""
    torch.manual_seed(0)
    layer, h = MeanLayer(8, 64, 32, 4, 4), torch.randn(1, 64, 8)
    mixed = torch.cat([h[:, torch.randperm(32)], h[:, 32:]], dim=1)
    torch.testing.assert_close(layer(mixed)[:, 32:], layer(h)[:, 32:], rtol=1e-5, atol=1e-5)
    lifted = h + 3.0 * torch.eye(8)[0]
    assert (layer(lifted)[:, 32:] - layer(h)[:, 32:] - 3.0 * torch.eye(8)[0]).abs().max() > 1e-3


def test_the_control_is_not_smaller():
    sizes = {variant: count_parameters(recall_model(2 * CHUNK, variant)) for variant in VARIANTS}
    assert sizes["none"] == sizes["bridges"] <= sizes["mean"] < 1.5 * sizes["bridges"]


def test_bridges_learn_and_keep_their_weights_at_another_length():
    model, losses = train_recall(2 * CHUNK, 0, steps=60, rate=1.2e-2)
    assert losses[-1] < 0.5 * losses[0]
    assert recall_scores(model, 2 * CHUNK, 0)[0] >= 0.9 and recall_scores(model, 16 * CHUNK, 0)[0] >= 0.85


def test_the_study_tries_rates_by_validation_and_has_a_row_a_seed():
    options = {"train_length": 2 * CHUNK, "rates": [1e-3, 2e-3], "wider": 0, "seeds": 2, "steps": 1}
    tried, recalled = recall_study(["none"], [2], [4 * CHUNK], **options)
    assert tried["value"].to_list() == [1e-3, 2e-3] and set(tried["symbols"]) == {2} and (tried["score"] > 0).all()
    assert (
        len(recalled) == 2 * 2
        and set(recalled["n"]) == {2 * CHUNK, 4 * CHUNK}
        and recalled["accuracy"].between(0, 0.5).all()
    )
    tried, _ = recall_study(["none"], [2], [], **(options | {"rates": [1e-3], "seeds": 1}))
    assert tried.empty and list(tried.columns) == ["variant", "symbols", "value", "score"]
