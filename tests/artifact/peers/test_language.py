"""The GPTs: sizes, initialisation, and what happens past their context."""

from __future__ import annotations

import math

import pytest
import torch

from artifact.peers.language import GPT, RotaryGPT
from resonance.language import ResonanceLM
from resonance.polar import count_parameters

VOCAB, CONTEXT = 11, 48


def ids_of(*shape, seed=0):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["GPT", "rotary"])
def test_a_gpt_goes_on_past_its_context_and_says_where_it_ends(kind):
    gpt = (GPT if kind == "GPT" else RotaryGPT)(VOCAB, 16, 2, 4, CONTEXT).eval()
    written = gpt.generate(ids_of(2, CONTEXT + 5), 2 * CONTEXT, top_k=1)
    assert written.shape == (2, 3 * CONTEXT + 5)
    with pytest.raises(ValueError, match=f"at most {CONTEXT} ids, got {CONTEXT + 1}"):
        gpt(ids_of(1, CONTEXT + 1))


def test_the_printed_sizes_and_one_rule_for_the_start():
    ours, gpt, published = ResonanceLM(65, 128, 4, 32), RotaryGPT(65, 128, 4, 4, 64), GPT(65, 128, 4, 4, 64)
    sizes = [count_parameters(ours), count_parameters(gpt), count_parameters(published) - published.positions.numel()]
    assert min(sizes) > 0.75e6 and max(sizes) < 0.85e6 and ours.std == gpt.std and published.std == 0.02
    for model in (ours, gpt, published):
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                end = name.split(".")[-1] in ("narrow", "output_projection")
                assert module.weight.std().item() == pytest.approx(
                    model.std / math.sqrt(8) if end else model.std, rel=0.03
                ), name
                assert not module.bias.any()
