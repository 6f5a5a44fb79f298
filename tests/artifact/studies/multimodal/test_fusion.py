"""Training and evaluation of fusion on paired digits."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from artifact.datasets.images import load_digits
from artifact.datasets.speech import load_scanned_digits
from artifact.studies.multimodal import fusion, paired_digits
from artifact.studies.multimodal.paired_digits import VOCABULARY
from resonance.multimodal import MODALITIES


@pytest.fixture(scope="module")
def stand_ins():
    return load_digits(), load_scanned_digits()


def test_contrastive_is_least_for_what_belongs_together():
    labels = torch.tensor([0, 0, 1, 2])
    basis = torch.eye(4)[labels]
    together = fusion.contrastive(basis, basis, labels)
    assert together < fusion.contrastive(basis, basis.roll(1, 1), labels)
    # By hand: row 0 has logits (10, 10, 0, 0) and target (1/2, 1/2, 0, 0).
    two = math.log(2 + 2 * math.exp(-10))
    one = math.log(1 + 3 * math.exp(-10))
    assert together.item() == pytest.approx((2 * two + 2 * one) / 4, rel=1e-5)


def trained(name, data, steps):
    """Return a tiny network after so many steps, and the cross-entropy of all modalities on training pairs."""
    train, _ = paired_digits.paired_digits(*data, 0)
    net = fusion.network(name, 8, fusion.Settings(16, 1, steps, 16), seed=0)
    if steps:
        fusion.train_fusion(net, train, steps, rate=2e-2, seed=3, batch=16)
    inputs, labels = train.all_recordings(torch.Generator().manual_seed(0), 200)
    with torch.no_grad():
        return net, torch.nn.functional.cross_entropy(net.eval()(**inputs), labels).item()


@pytest.mark.parametrize("name", ["resonance", "late", "transformer"])
def test_training_learns(stand_ins, name):
    share = {"transformer": 0.95}.get(name, 0.85)  # attention is slower to start
    assert trained(name, stand_ins, 60)[1] < share * trained(name, stand_ins, 0)[1]


def test_training_is_reproducible(stand_ins):
    a, b = (trained("resonance", stand_ins, 4)[0].state_dict() for _ in range(2))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_late_fusion_passes_on_the_summaries_of_each_modality_alone(stand_ins):
    train, _ = paired_digits.paired_digits(*stand_ins, 0)
    net = fusion.network("late", 8, fusion.Settings(16, 1, 0), seed=0).train()
    inputs, _ = train.all_recordings(torch.Generator().manual_seed(0), 6)
    logits, _ = fusion._Passes(net)(inputs, ("vision", "text"))
    torch.testing.assert_close(logits[-1], net(vision=inputs["vision"], text=inputs["text"]))


def test_the_network_has_no_convolution_and_no_attention_and_the_search_finds_the_transformers():
    nets = {name: fusion.network(name, 28, fusion.Settings(16, 1, 0), seed=0) for name in ("resonance", "transformer")}
    found = {name: fusion.made_of(net, 28) for name, net in nets.items()}
    assert found["resonance"] == {"convolutions": 0, "token products": 0}
    assert found["transformer"]["token products"] > 0


def test_best_matches_are_ranked_and_distinct(stand_ins):
    settings = fusion.Settings(16, 1, 2, 16)
    found = fusion.trial("late", stand_ins, 0, settings, 1e-3, limit=40)
    table = fusion.best_matches(found, 4)
    assert len(table) == 6 * 4 and table.groupby(["query", "gallery"])["similarity"].is_monotonic_decreasing.all()
    assert (table["item_label"] == found.labels[table["item"].tolist()].numpy()).all()
    for (_, gallery), part in table.groupby(["query", "gallery"]):
        items = found.inputs[gallery][part["item"].tolist()].flatten(1)
        assert len(items.unique(dim=0)) == 4


def test_conditions_and_margins_count_what_they_say():
    table = fusion.conditions()
    assert len(table) == 1 + 3 * 4 + 3 and (table.set_index("condition").loc["clean"] == 0).all()
    net, generator = fusion.network("resonance", 28, fusion.Settings(16, 2, steps=0), seed=0), torch.Generator()
    inputs = {
        "vision": torch.randn(2, 1, 28, 28, generator=generator),
        "audio": torch.randn(2, 5248, generator=generator),
    }
    inputs["text"] = torch.randint(len(VOCABULARY), (2, 7), generator=generator)
    scores = fusion.accuracies(net, inputs, torch.tensor([1, 2]))
    sizes = scores.groupby("condition").size()
    assert sizes["clean"] == 7 and all(sizes[f"{name} missing"] == 3 for name in MODALITIES)
    assert sizes.sum() == 13 * 7 + 3 * 3
    margin = fusion.margins(scores.assign(model="ours", seed=0)).set_index("condition")
    part = scores[scores["condition"] == "audio missing"].set_index("modalities")["accuracy"]
    best = max(part["vision"], part["text"])
    assert margin.loc["audio missing", "margin"] == part["vision+text"] - best
    direct = 100 * (net(**inputs).argmax(1) == torch.tensor([1, 2])).float().mean().item()
    assert margin.loc["clean", "fused"] == pytest.approx(direct)


def test_every_network_is_tuned_alike_and_a_grid_widens_past_its_end(monkeypatch):
    """The score is the share wrong with all modalities, on validation, at the rate that was tried."""
    seen = []

    def at(name, data, fold, settings, rate, *, held_out, limit):
        seen.append((name, fold, rate, held_out, limit))
        rows = [("clean", "vision", 1, 10.0), ("clean", "vision+audio", 2, 100 - abs(rate - 4))]
        scores = pd.DataFrame(rows, columns=["condition", "modalities", "count", "accuracy"])
        return fusion.Trial(None, {}, None, scores.assign(model=name, seed=fold))

    monkeypatch.setattr(fusion, "trial", at)
    table = fusion.tuned(["late", "resonance"], None, None, [1.0, 2.0], limit=7, wider=3)
    assert table["value"].tolist() == 2 * [1, 2, 4, 8] and table["score"].tolist() == 2 * [3, 2, 0, 4]
    assert {(name, fold, held_out, limit) for name, fold, _, held_out, limit in seen} == {
        (name, 0, "validation", 7) for name in ("late", "resonance")
    }
