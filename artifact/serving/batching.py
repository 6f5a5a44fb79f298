"""Steps of many streams in one call of the model: what waits while a call runs is the next batch.

A step of one stream is some dozens of small operations, whose overhead is most of its time; a batch of them costs
little more.  The rows of a batch do not interact, so no stream sees another's input or state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import torch
from torch import Tensor

State = dict[str, Tensor]
Step = Callable[[Tensor, State], tuple[Tensor, State]]


class Batcher:
    """Run `step(x, state)` of a model for one stream, together with those that wait at the same moment.

    step: maps x (batch, ...) and a state of tensors, batch first, to an output (batch, ...) and the next state.
    executor: where calls run, one after the other.  most: streams in one call.
    """

    def __init__(self, step: Step, executor: Executor, most: int = 64):
        self.step, self.executor, self.most = step, executor, most
        self._waiting: list[tuple[Tensor, State, asyncio.Future]] = []
        self._worker: asyncio.Task | None = None

    async def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Output and next state of one stream, x of (1, ...); raises what the step raises."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((x, state, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self.most], self._waiting[self.most :]
            batch = [entry for entry in batch if not entry[2].done()]  # a client that left has cancelled its own
            if not batch:
                continue
            try:
                results = await loop.run_in_executor(self.executor, self._run, batch)
            except Exception as error:
                results = [error] * len(batch)
            for (_, _, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    @torch.inference_mode()
    def _run(self, batch: list[tuple[Tensor, State, asyncio.Future]]) -> list[tuple[Tensor, State]]:
        states = [state for _, state, _ in batch]
        joined = {name: torch.cat([state[name] for state in states]) for name in states[0]}
        y, after = self.step(torch.cat([x for x, _, _ in batch]), joined)
        rows = {name: part.split(1) for name, part in after.items()}
        return [(y[at : at + 1], {name: parts[at] for name, parts in rows.items()}) for at in range(len(batch))]
