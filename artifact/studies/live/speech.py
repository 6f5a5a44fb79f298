"""Spoken digits in `14_live`: networks with an output after every frame, and their accuracy over time.

Every network is trained by `train_classifier` on the recordings and the augmentation of `10_audio`.  A live network
has a loss at each frame of a recording, weighted by the share of the recording received by then; the offline one is
trained on whole recordings, and run again from the beginning at every frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.recordings import Recordings
from artifact.peers.causal import RotaryAttention
from artifact.studies.audio.augmentation import AudioAugmentation
from artifact.studies.audio.tasks import LONGEST, VALIDATION, DigitTask, digit_model
from artifact.studies.common.classification import train_classifier
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import holm, paired_difference
from artifact.studies.common.training import train_one_cycle
from artifact.studies.common.tuning import tried
from resonance.audio import ResonanceAudioNet
from resonance.live import LiveAudioNet

HOP, RATE = 160, 8000  # samples, Hz: a frame is 20 ms
FRAME_MS = 1000 * HOP / RATE
LIVE, TRANSFORMER, OFFLINE = "causal resonance", "causal Transformer", "offline, run again"
AT_THE_END, NO_MIXING = "trained at the end only", "no mixing"
KEYS = {
    LIVE: "resonance",
    TRANSFORMER: "transformer",
    OFFLINE: "offline",
    AT_THE_END: "at_the_end",
    NO_MIXING: "no_mixing",
}


class NoMixing(nn.Module):
    """A sublayer that adds nothing: what remains of a network is a bag of frames."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)

    def initial_state(self, batch: int, **options) -> dict[str, Tensor]:
        return {}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.zeros_like(x), state


MODELS: dict[str, Callable[[], nn.Module]] = {
    LIVE: LiveAudioNet,
    TRANSFORMER: lambda: LiveAudioNet(mixing=lambda: RotaryAttention(64)),
    OFFLINE: digit_model,
    AT_THE_END: LiveAudioNet,
    NO_MIXING: lambda: LiveAudioNet(mixing=NoMixing),
}


# --------------------------------------------------------------------------- training


def frame_targets(
    labels: Tensor, count: Tensor, frames: int, *, classes: int = 10, smoothing: float = 0.1, end_only: bool = False
) -> Tensor:
    """Targets of each frame of a batch, (batch, classes, frames): probabilities times a weight.

    Frame t of a recording of `count` frames has weight (t + 1) / count, or the last frame alone has one; padding has
    none.  Weights have mean 1, so that cross-entropy is their weighted mean.  `smoothing` is spread over all classes.
    """
    frame = torch.arange(frames)[None]
    used = frame == count[:, None] - 1 if end_only else frame < count[:, None]
    weight = torch.where(used, (frame + 1) / count[:, None], 0.0)
    word = (1 - smoothing) * F.one_hot(labels, classes) + smoothing / classes
    return word[:, :, None] * (weight * weight.numel() / weight.sum())[:, None]


def train_live(name: str, train: Recordings, *, rate: float, steps: int, seed: int, size: int = 32) -> nn.Module:
    """One of `MODELS`, trained on recordings: all alike but for the model and the frames that have a loss."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    batches = train.batches(size, torch.Generator().manual_seed(seed), AudioAugmentation(LONGEST))
    if isinstance(model, ResonanceAudioNet):
        train_classifier(model, batches, steps, rate=rate)
        return model

    def with_targets() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for waves, lengths, labels in batches:
            frames = model.frame_count(waves.shape[1])
            yield waves, lengths, frame_targets(labels, model.frame_count(lengths), frames, end_only=name == AT_THE_END)

    def loss_fn(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.transpose(1, 2), targets)

    train_one_cycle(model, with_targets(), steps, rate=rate, loss_fn=loss_fn)
    return model


# --------------------------------------------------------------------------- accuracy over time


@dataclass(frozen=True)
class Outputs:
    """A model's class probabilities after each frame of each recording."""

    probability: Tensor  # (recordings, frames, classes); after a recording's own frames its last output
    count: Tensor  # (recordings,), frames of each
    labels: Tensor

    def right(self) -> Tensor:
        """Whether each output is right, (recordings, frames)."""
        return self.probability.argmax(-1) == self.labels[:, None]

    def at_share(self, share: float) -> Tensor:
        """Whether the output is right after a share of each recording, rounded up to a frame."""
        frame = (share * self.count - 1e-6).ceil().long().clamp_min(1) - 1
        return self.right().gather(1, frame[:, None])[:, 0]

    def decided(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Whether each decision is right, and its number of frames.

        A recording is decided at the first output with a probability of at least the threshold, else at its end.
        """
        frame = torch.arange(self.probability.shape[1])[None]
        ready = (self.probability.amax(-1) >= threshold) | (frame >= self.count[:, None] - 1)
        first = ready.int().argmax(1)
        return self.right().gather(1, first[:, None])[:, 0], first + 1


@torch.inference_mode()
def outputs(model: nn.Module, test: Recordings, size: int = 128) -> Outputs:
    """A model's outputs after each frame; an offline model is run on the samples so far each time."""
    model.eval()
    count = (test.lengths // HOP).clamp_min(1)
    logits = torch.zeros(len(test), int(count.max()), model.output_projection.out_features)
    for index in count.argsort().split(size):
        part, most = test.chosen(index), int(count[index].max())
        at_end = model(part.waves[:, : int(part.lengths.max())], part.lengths)
        if isinstance(model, LiveAudioNet):
            logits[index, :most], logits[index, most:] = at_end, at_end[:, -1:]
            continue
        logits[index] = at_end[:, None]
        for t in range(1, most):
            longer = index[count[index] > t]
            logits[longer, t - 1] = model(test.waves[longer, : t * HOP], test.lengths[longer].clamp_max(t * HOP))
    return Outputs(logits.softmax(-1), count, test.labels)


def accuracy_over_time(found: Outputs, shares: Sequence[float]) -> pd.DataFrame:
    """Accuracies against the part received: kind ("share" or "seconds"), received, accuracy."""
    rows = [("share", share, found.at_share(share).double().mean().item()) for share in shares]
    means = found.right().double().mean(0).tolist()
    rows += [("seconds", (t + 1) * FRAME_MS / 1000, mean) for t, mean in enumerate(means)]
    return pd.DataFrame(rows, columns=["kind", "received", "accuracy"])


def decisions(found: Outputs, thresholds: Iterable[float]) -> pd.DataFrame:
    """Accuracy of decisions by threshold, and the part of a recording that they took: share, seconds."""
    rows = []
    for threshold in thresholds:
        right, frames = found.decided(threshold)
        share = (frames / found.count).double().mean().item()
        rows.append((threshold, right.double().mean().item(), share, frames.double().mean().item() * FRAME_MS / 1000))
    return pd.DataFrame(rows, columns=["threshold", "accuracy", "share", "seconds"])


def threshold_for(found: Outputs, thresholds: Iterable[float], loss: float = 0.01) -> float:
    """The lowest threshold whose decisions are at most `loss` less accurate than outputs at the end; 1 for none."""
    table = decisions(found, sorted(thresholds))
    enough = table["accuracy"] >= found.at_share(1.0).double().mean().item() - loss
    return float(table.loc[enough, "threshold"].min()) if enough.any() else 1.0


def share_for(shares: pd.Series, accuracy: float) -> float:
    """The least share from which on the accuracy, indexed by share, stays at a level at least; infinite for none."""
    shares = shares.sort_index()
    below = np.flatnonzero(shares.to_numpy() < accuracy)
    first = below[-1] + 1 if len(below) else 0
    return float(shares.index[first]) if first < len(shares) else math.inf


def comparisons(curves: pd.DataFrame, shares: Sequence[float] = (0.25, 0.5, 1.0)) -> pd.DataFrame:
    """Accuracy of the causal network less that of each other method, in points, after shares of a recording.

    curves: `accuracy_over_time` by method and seed.  Paired by seed: points, low, high, p, and p_holm, over all rows.
    """
    part = curves[(curves["kind"] == "share") & curves["received"].isin(shares)]
    percent = 100 * part.pivot(index="seed", columns=["method", "received"], values="accuracy")
    rows = [
        (method, share, *paired_difference(percent[LIVE, share], percent[method, share]))
        for method, share in percent.columns
        if method != LIVE
    ]
    table = pd.DataFrame(rows, columns=["method", "received", "points", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"]))


# --------------------------------------------------------------------------- the study, in processes


def tune_live(
    task: DigitTask, tries: dict[str, Sequence[float]], steps: int, *, wider: int = 0, processes: int = 1
) -> tuple[pd.DataFrame, dict[str, Outputs]]:
    """Validation error at the end of recordings of every rate tried (`tried`): method, value, score.

    And each method's outputs on validation at its best rate.
    """
    jobs = [(*task.pair(VALIDATION), name, tuple(rates), steps, wider) for name, rates in tries.items()]
    found = spread(_tuned, jobs, processes=processes)
    tables = [pd.DataFrame(rows).assign(method=name) for name, (rows, _) in zip(tries, found, strict=True)]
    return pd.concat(tables, ignore_index=True), dict(zip(tries, (best for _, best in found), strict=True))


def _tuned(
    train: Recordings, validation: Recordings, name: str, rates: Sequence[float], steps: int, wider: int
) -> tuple[list[dict], Outputs]:
    found: dict[float, Outputs] = {}

    def measure(rate: float) -> dict:
        try:
            found[rate] = outputs(train_live(name, train, rate=rate, steps=steps, seed=0), validation)
        except FloatingPointError:  # diverged
            return {"value": rate, "score": math.inf}
        return {"value": rate, "score": 1 - found[rate].at_share(1.0).double().mean().item()}

    rows = tried(measure, rates, wider=wider)
    return rows, found[min(rows, key=lambda row: row["score"])["value"]]


def all_tested(
    runs: Iterable[tuple[str, float, int, int]],
    pair: tuple[Recordings, Recordings],
    thresholds: Sequence[float],
    *,
    processes: int = 1,
) -> tuple[dict[str, nn.Module], pd.DataFrame, pd.DataFrame]:
    """Train on the first recordings and test on the second, for each run of (method, rate, steps, seed).

    Returns each method's model of its first run, `accuracy_over_time` at every twentieth of a recording, and
    `decisions`, both with columns method and seed.
    """
    runs = list(runs)
    found = spread(_tested, [(run, pair, tuple(thresholds)) for run in runs], processes=processes)
    models: dict[str, nn.Module] = {}
    for (name, *_), (model, _, _) in zip(runs, found, strict=True):
        models.setdefault(name, model)
    return models, *(pd.concat(one[at] for one in found) for at in (1, 2))


def _tested(
    run: tuple[str, float, int, int], pair: tuple[Recordings, Recordings], thresholds: Sequence[float]
) -> tuple[nn.Module, pd.DataFrame, pd.DataFrame]:
    (name, rate, steps, seed), (train, test) = run, pair
    model = train_live(name, train, rate=rate, steps=steps, seed=seed)
    found = outputs(model, test)
    tables = (accuracy_over_time(found, [i / 20 for i in range(1, 21)]), decisions(found, thresholds))
    return model, *(table.assign(method=name, seed=seed) for table in tables)
