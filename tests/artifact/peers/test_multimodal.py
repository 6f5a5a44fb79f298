"""Late fusion and the Transformer over the tokens of all modalities."""

from __future__ import annotations

import itertools

import pytest
import torch

from artifact.peers.multimodal import LateFusion, MultimodalTransformer, parameters_in_use
from artifact.studies.multimodal import fusion
from resonance.multimodal import MultimodalResonanceNet
from resonance.polar import count_parameters

SMALL = {"num_classes": 10, "in_channels": 1, "patch_size": 4, "dropout": 0.0}
BANDS = {"vision_frequencies": (4, 4), "audio_frequencies": 16, "text_frequencies": 5}
EVERY = {"vision": (2, 1, 28, 28), "audio": (2, 5248)}


def small(kind=MultimodalResonanceNet):
    torch.manual_seed(0)
    if kind is MultimodalTransformer:
        return kind(48, 16, 2, **SMALL).eval()
    return kind(48, (28, 28), 16, 2, **SMALL, **BANDS).eval()


def example(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in EVERY.items()}
    return inputs | {"text": torch.randint(48, (2, 7), generator=generator)}


@pytest.mark.parametrize("kind", [LateFusion, MultimodalTransformer])
def test_any_subset_gives_finite_logits_and_unit_vectors(kind):
    net, inputs = small(kind), example()
    outputs = []
    for names in fusion.SUBSETS:
        part = {name: inputs[name] for name in names}
        logits, vectors = net(**part), net.embed(**part)
        assert logits.shape == (2, 10) and logits.isfinite().all()
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
        outputs.append(logits)
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.combinations(outputs, 2))


@pytest.mark.parametrize("kind", [LateFusion, MultimodalTransformer])
def test_padding_has_no_effect(kind):
    net, inputs, words = small(kind), example(), torch.tensor([3, 7])
    padded = inputs | {"text": inputs["text"].masked_fill(torch.arange(7) >= words[:, None], -1)}
    first = {name: x[:1] for name, x in inputs.items()} | {"text": inputs["text"][:1, :3]}
    torch.testing.assert_close(net(**padded, lengths={"text": words})[:1], net(**first), atol=1e-5, rtol=1e-4)


def test_late_fusion_adds_what_each_says_alone_and_ours_does_not():
    inputs = example()
    for kind, adds in ((LateFusion, True), (MultimodalResonanceNet, False)):
        net = small(kind)
        for layer in net.layers:
            layer.mixing.interference.re.data.add_(0.1)  # blocks between modalities that speak
        alone = sum(net(**{name: x}) for name, x in inputs.items())
        assert torch.allclose(net(**inputs), alone, atol=1e-4) == adds


def test_the_peers_share_fronts_and_heads():
    nets = [small(kind) for kind in (MultimodalResonanceNet, LateFusion, MultimodalTransformer)]
    for name in ("fronts", "heads", "norms", "projections"):
        assert len({count_parameters(getattr(net, name)) for net in nets}) == 1
    ours, late = parameters_in_use(nets[0]), parameters_in_use(nets[1])
    assert ours == count_parameters(nets[0]) and ours - late == 2 * 2 * 2 * (25 * 16 + 25 * 5 + 16 * 5)


def test_operations_are_linear_in_tokens_and_those_of_attention_are_not():
    nets = {"ours": small(), "attention": small(MultimodalTransformer)}
    table = fusion.cost_growth(nets, (16, 32), min_seconds=1e-4).set_index(["model", "tokens"])["operations"]
    ratio = {name: table[name, 3 * 32**2] / table[name, 3 * 16**2] for name in nets}
    assert 3.5 < ratio["ours"] < 4.2 and ratio["attention"] > 6
