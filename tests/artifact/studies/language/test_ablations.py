"""Every ablation is a causal model and changes what it names."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from artifact.studies.language.ablations import OPEN, VARIANTS, variant

VOCAB = 11


def ids_of(*shape, seed=0):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_the_same_map_three_ways_and_learns(name):
    torch.manual_seed(0)
    model, ids = variant(name, VOCAB, 16, 2, 4).double(), ids_of(2, 17)
    with torch.no_grad():
        _, state = model.extend(ids[:, :16], model.initial_state(2))
        torch.testing.assert_close(model.step(ids[:, 16], state)[0], model(ids)[:, -1], rtol=1e-9, atol=1e-9)
    model(ids).logsumexp(dim=-1).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_variants_change_what_they_name():
    assert F.silu(torch.tensor(OPEN, dtype=torch.float64)).item() == pytest.approx(1, abs=1e-12)
    size = (VOCAB, 16, 1, 8)
    (shiftless,), (blind,), (same,) = (
        variant(n, *size).blocks.mixers for n in ("no token shift", "no memory", "one time scale")
    )
    x = torch.randn(1, 9, 16)
    assert torch.equal(shiftless.shift(x), x)
    y, z = blind.mixing(x), x.clone()
    z[:, :4] = 7.0
    torch.testing.assert_close(blind.mixing(z)[:, 4:], y[:, 4:])  # what came before changes nothing but its rounding
    torch.testing.assert_close(
        same.mixing.time_scales(), torch.full((8,), 32.0, dtype=torch.float64), rtol=1e-4, atol=0
    )
    assert same.mixing.frequencies().abs().max().item() == pytest.approx(0.5, abs=1e-4)
    assert variant("8 resonators", *size).blocks.mixers[0].mixing.num_resonators == 8
    (ungated,) = variant("no output gate", *size).blocks.mixers
    with torch.no_grad():
        mixed = ungated.mixing(ungated.input_projection(ungated.shift(x))[0])
        torch.testing.assert_close(ungated(x), ungated.output_projection(mixed))
