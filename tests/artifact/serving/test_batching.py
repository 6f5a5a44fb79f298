"""Streams in one batch: each as if alone, whatever joins, leaves or fails."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from artifact.serving.batching import Batcher


def run(coroutine):
    return asyncio.run(coroutine)


def test_streams_at_once_are_as_streams_alone(models):
    model, sizes = models["classifier"], []
    sounds = torch.randn(9, 12, 1, model.hop, generator=torch.Generator().manual_seed(0)) / 10

    def step(x, state):
        sizes.append(len(x))
        return model.step(x, state)

    async def stream(batcher, at):
        state = model.initial_state(1)
        for frame in sounds[at][: at + 4]:  # streams of unequal length
            logits, state = await batcher(frame, state)
        return logits, state

    async def together():
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(step, pool, most=5)
            return await asyncio.gather(*(stream(batcher, at) for at in range(9)))

    found = run(together())
    assert max(sizes) == 5 and sum(sizes) == sum(range(4, 13))
    for at, (logits, state) in enumerate(found):
        alone = model.initial_state(1)
        with torch.no_grad():
            for frame in sounds[at][: at + 4]:
                expected, alone = model.step(frame, alone)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        for name, part in alone.items():
            torch.testing.assert_close(state[name], part, rtol=1e-4, atol=1e-5)


def test_a_fault_reaches_those_of_its_batch_and_no_later_one():
    def step(x, state):
        if (x < 0).any():
            raise ArithmeticError("negative")
        return 2 * x, state

    async def tried():
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(step, pool)
            x = torch.ones(1, 1)
            first = await asyncio.gather(batcher(x, {"s": x}), batcher(-x, {"s": x}), return_exceptions=True)
            return first, await batcher(x, {"s": x})

    first, then = run(tried())
    assert all(isinstance(each, ArithmeticError) for each in first)
    assert then[0].item() == 2


def test_a_stream_that_leaves_stops_no_other():
    async def tried():
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(lambda x, state: (x + state["s"], state), pool)
            calls = [asyncio.create_task(batcher(torch.full((1, 1), at), {"s": torch.ones(1, 1)})) for at in range(3)]
            await asyncio.sleep(0)
            calls[1].cancel()
            return await asyncio.gather(*calls, return_exceptions=True)

    first, second, third = run(tried())
    assert first[0].item() == 1 and third[0].item() == 3
    assert isinstance(second, asyncio.CancelledError)


@pytest.mark.parametrize("most", [1, 64])
def test_answers_come_in_the_order_of_their_streams(most):
    async def tried():
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(lambda x, state: (x, state), pool, most)
            return await asyncio.gather(*(batcher(torch.tensor([at]), {"s": torch.tensor([at])}) for at in range(50)))

    assert [(int(x), int(state["s"])) for x, state in run(tried())] == [(at, at) for at in range(50)]
