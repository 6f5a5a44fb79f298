"""The engines of causal mixing: gradients written out, the kernel as the response to an impulse."""

from __future__ import annotations

import torch

from resonance import CausalMixing
from resonance.engines.chunked import _Chunked, by_fft, by_operations, kernel, paired_product


def test_the_written_gradients_are_those_of_the_operations():
    torch.manual_seed(0)
    mixing = CausalMixing(3, 4).double()
    x = torch.randn(3, 2, 24, dtype=torch.float64, requires_grad=True)
    start = torch.randn(3, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    results = []
    for run in (_Chunked.apply, by_operations):
        powers, readout = mixing.constants(9)
        y, states = run(x, powers, readout, mixing.direct, start)
        leaves = [x, start, *mixing.parameters()]
        results.append((y, states, *torch.autograd.grad(y.square().sum() + states.pow(3).sum(), leaves)))
    for written, derived in zip(*results, strict=True):
        torch.testing.assert_close(written, derived, rtol=1e-9, atol=1e-9)


def test_kernel_and_engines_share_their_constants():
    mixing = CausalMixing(2, 3).double()
    powers, readout = mixing.constants(41)
    impulse = torch.zeros(2, 1, 40, dtype=torch.float64)
    impulse[..., 0] = 1
    torch.testing.assert_close(
        by_fft(impulse, powers, readout, mixing.direct, None)[:, 0], kernel(powers[:40], readout, mixing.direct)
    )
    assert torch.equal(paired_product(powers[:1], powers[5]), powers[5:6])
