"""A training run to be killed: a small server that forks one run for each line it reads, and kills it on request.

A line is JSON: folder (the run's); kill_after, null or [steps, seconds]: so long after so many steps; kill_at, null or
which point of writing to die at.  The reply is the run's wait status.  Forking spares each run the import of torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # what the first optimiser step would import
from torch.utils import tensorboard  # noqa: F401

from resonance import PolarTrainer, ResonanceNet
from resonance.training import checkpoint

EPOCHS, BATCHES, SIZE = 5, 5, 4


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Logged(PolarTrainer):
    """Append each step's loss, to the bit, to a file: what was written before a kill stays."""

    log: Path
    kill_after: tuple[int, float] | None
    done = 0

    def train_step(self, batch):
        loss, metrics = super().train_step(batch)
        with self.log.open("a") as file:
            file.write(f"{self.steps} {loss.hex()}\n")
        self.done += 1
        if self.kill_after is not None and self.done == self.kill_after[0]:
            if self.kill_after[1] == 0.0:
                die()
            threading.Timer(self.kill_after[1], die).start()
        return loss, metrics


def train(folder: Path, kill_after: tuple[int, float] | None) -> None:
    """Train a net whose order, noise, dropout, schedule and early stop all have something to lose by a restart."""
    torch.manual_seed(0)
    np.random.seed(1)  # noqa: NPY002 - the global source is what is tested
    random.seed(2)
    order, noise, coin = torch.Generator().manual_seed(3), np.random.default_rng(4), random.Random(5)
    data = torch.randn(BATCHES * SIZE, 16, 3, generator=torch.Generator().manual_seed(6))

    def batches(epoch):
        for index, rows in enumerate(torch.randperm(len(data), generator=order).split(SIZE)):
            x = data[rows] + 0.1 * torch.from_numpy(noise.standard_normal((SIZE, 16, 3))).float()
            x = x + 0.1 * random.random() + 0.1 * np.random.random() + 0.1 * coin.random()  # noqa: NPY002
            if (epoch, index) == (2, 3):
                x[0, 0, 0] = float("nan")  # a step to skip
            yield {"x": x, "target": x.roll(1, dims=1)}

    model = ResonanceNet(3, 5, 8, 1, dropout=0.2)
    trainer = Logged(
        model, 1e-2, 5e-3, schedule=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    )
    trainer.log, trainer.kill_after = folder / "losses.txt", kill_after

    def validate(candidate):
        return (candidate(data) - data.roll(1, dims=1)).square().mean().item() + 0.01 * random.random()

    history = trainer.fit(
        batches,
        EPOCHS,
        validate,
        patience=3,
        checkpoint=folder / "checkpoint",
        checkpoint_every=2,
        generators=(order, noise, coin),
        log_folder=folder / "scalars",
    )
    weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    result = {**asdict(history), "weights": hashlib.sha256(weights).hexdigest(), "skipped": trainer.skipped}
    (folder / "result.json").write_text(json.dumps(result))


def prepare_kill(kill_at: int) -> None:
    """Make the run kill itself at a point of writing: a file half written, or just before or after a rename."""
    points = 0

    def point(damage=None):
        nonlocal points
        points += 1
        if points == kill_at:
            if damage is not None:
                damage()
            die()

    def halved(write):
        def wrapped(value, path, *args, **options):
            write(value, path, *args, **options)
            point(lambda: os.truncate(path, Path(path).stat().st_size // 2))

        return wrapped

    def renamed(source, target, replace=os.replace):
        point()
        replace(source, target)
        point()

    checkpoint.save_file = halved(checkpoint.save_file)
    torch.save = halved(torch.save)
    os.replace = renamed
    unlink = Path.unlink
    Path.unlink = lambda path, missing_ok=False: (unlink(path, missing_ok), point())[0]


def serve() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                if order["kill_at"] is not None:
                    prepare_kill(order["kill_at"])
                train(Path(order["folder"]), order["kill_after"])
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


if __name__ == "__main__":
    serve()
