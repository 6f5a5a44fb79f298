"""What `14_live` measures of spoken digits: answers against how much was heard, and the time that a frame takes.

Every network is trained alike (`classification.train_classifier`), on the recordings and the augmentation of
`10_audio`.  A live one learns at each frame of a recording, and an answer counts by the share of the recording that
it had heard; the offline one learns whole recordings, and is asked again from the beginning at every frame.
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
from resonance.audio import ResonanceAudioNet
from resonance.live import LiveAudioNet
from resonance.polar import count_parameters

HOP, RATE = 160, 8000  # samples, Hz: a frame is 20 ms
FRAME_MS = 1000 * HOP / RATE
LIVE, TRANSFORMER, OFFLINE = "causal resonance", "causal Transformer", "offline, asked again"
AT_THE_END, NO_MIXING = "trained at the end only", "no mixing"


class NoMixing(nn.Module):
    """A sublayer that adds nothing: what is left hears a bag of frames."""

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
KEYS = {
    LIVE: "resonance",
    TRANSFORMER: "transformer",
    OFFLINE: "offline",
    AT_THE_END: "at_the_end",
    NO_MIXING: "no_mixing",
}


# --------------------------------------------------------------------------- training


class EveryFrame(nn.Module):
    """A live model with its classes before its frames, (batch, classes, frames), as cross-entropy takes them."""

    def __init__(self, model: LiveAudioNet):
        super().__init__()
        self.model = model

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        return self.model(waves, lengths).transpose(1, 2)


def frame_targets(
    labels: Tensor, count: Tensor, frames: int, *, classes: int = 10, smoothing: float = 0.1, end_only: bool = False
) -> Tensor:
    """Return what each frame of a batch is to say, (batch, classes, frames): probabilities times a weight.

    Frame t of a recording of `count` weighs (t + 1) / count, or the last alone, padding nothing; weights have mean 1,
    so that cross-entropy is their weighted mean.  `smoothing` of a target is spread over all classes.
    """
    place = torch.arange(frames)[None]
    asked = place == count[:, None] - 1 if end_only else place < count[:, None]
    weight = torch.where(asked, (place + 1) / count[:, None], 0.0)
    word = (1 - smoothing) * F.one_hot(labels, classes) + smoothing / classes
    return word[:, :, None] * (weight * weight.numel() / weight.sum())[:, None]


def train_live(name: str, train: Recordings, *, rate: float, steps: int, seed: int, size: int = 32) -> nn.Module:
    """Return one of `MODELS`, trained on recordings: the same for all but the model and what its answers are to be."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    batches = train.batches(size, torch.Generator().manual_seed(seed), AudioAugmentation(LONGEST))
    if isinstance(model, ResonanceAudioNet):
        train_classifier(model, batches, steps, rate=rate)
        return model

    def asked() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for waves, lengths, labels in batches:
            frames = model.frame_count(waves.shape[1])
            yield waves, lengths, frame_targets(labels, model.frame_count(lengths), frames, end_only=name == AT_THE_END)

    train_classifier(EveryFrame(model), asked(), steps, rate=rate, smoothing=0.0)  # the targets are smooth already
    return model


# --------------------------------------------------------------------------- answers over time


@dataclass(frozen=True)
class Heard:
    """What a model says after each frame of each recording: the probability of each word."""

    probability: Tensor  # (recordings, frames, classes); beyond a recording's own frames its last answer
    count: Tensor  # (recordings,), frames of each
    labels: Tensor

    def right(self) -> Tensor:
        """Return whether each answer is right, (recordings, frames)."""
        return self.probability.argmax(-1) == self.labels[:, None]

    def at_share(self, share: float) -> Tensor:
        """Return whether the answer is right after a share of each recording, rounded up to a frame."""
        frame = (share * self.count - 1e-6).ceil().long().clamp_min(1) - 1
        return self.right().gather(1, frame[:, None])[:, 0]

    def decided(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Return whether each decision is right, and after how many frames it falls.

        A recording is decided at its first answer of at least this probability, else at its end.
        """
        place = torch.arange(self.probability.shape[1])[None]
        ready = (self.probability.amax(-1) >= threshold) | (place >= self.count[:, None] - 1)
        frame = ready.int().argmax(1)
        return self.right().gather(1, frame[:, None])[:, 0], frame + 1


@torch.inference_mode()
def heard(model: nn.Module, test: Recordings, size: int = 128) -> Heard:
    """Return a model's answers after each frame; an offline model is asked about what was heard so far, each time."""
    model.eval()
    count = (test.lengths // HOP).clamp_min(1)
    answer = _live_answers if isinstance(model, LiveAudioNet) else _answers_asked_again
    logits = torch.zeros(len(test), int(count.max()), model.output_projection.out_features)
    for index in count.argsort().split(size):
        logits[index] = answer(model, test.chosen(index), count[index], logits.shape)
    return Heard(logits.softmax(-1), count, test.labels)


def _live_answers(model: LiveAudioNet, part: Recordings, count: Tensor, shape: Sequence[int]) -> Tensor:
    own = model(part.waves[:, : int(part.lengths.max())], part.lengths)
    return torch.cat([own, own[:, -1:].expand(-1, max(0, shape[1] - own.shape[1]), -1)], dim=1)


def _answers_asked_again(model: nn.Module, part: Recordings, count: Tensor, shape: Sequence[int]) -> Tensor:
    logits = model(part.waves[:, : int(part.lengths.max())], part.lengths)[:, None].repeat(1, shape[1], 1)
    for t in range(1, int(count.max())):
        still = (count > t).nonzero()[:, 0]
        logits[still, t - 1] = model(part.waves[still, : t * HOP], part.lengths[still].clamp_max(t * HOP))
    return logits


def accuracy_heard(answers: Heard, shares: Sequence[float]) -> pd.DataFrame:
    """Return accuracies against how much was heard: kind ("share" or "seconds"), heard, accuracy."""
    rows = [("share", share, answers.at_share(share).double().mean().item()) for share in shares]
    means = answers.right().double().mean(0).tolist()
    rows += [("seconds", (t + 1) * FRAME_MS / 1000, mean) for t, mean in enumerate(means)]
    return pd.DataFrame(rows, columns=["kind", "heard", "accuracy"])


def decisions(answers: Heard, thresholds: Iterable[float]) -> pd.DataFrame:
    """Return, by threshold, the accuracy of decisions and how much of a recording they took: share, seconds."""
    rows = []
    for threshold in thresholds:
        right, frames = answers.decided(threshold)
        share = (frames / answers.count).double().mean().item()
        rows.append((threshold, right.double().mean().item(), share, frames.double().mean().item() * FRAME_MS / 1000))
    return pd.DataFrame(rows, columns=["threshold", "accuracy", "share", "seconds"])


def threshold_for(answers: Heard, thresholds: Iterable[float], loss: float = 0.01) -> float:
    """Return the lowest threshold whose decisions are right as often as answers at the end, but for a loss; else 1."""
    table = decisions(answers, sorted(thresholds))
    enough = table["accuracy"] >= answers.at_share(1.0).double().mean().item() - loss
    return float(table.loc[enough, "threshold"].min()) if enough.any() else 1.0


def share_for(shares: pd.Series, accuracy: float) -> float:
    """Return the least share from which on the accuracy, by share, stays at a level at least; infinite for never."""
    shares = shares.sort_index()
    below = np.flatnonzero(shares.to_numpy() < accuracy)
    first = below[-1] + 1 if len(below) else 0
    return float(shares.index[first]) if first < len(shares) else math.inf


def live_scores(task: DigitTask, name: str, split: str, *, rate: float, steps: int, seed: int) -> Heard:
    """Train a model on a split and return its answers to the split's test."""
    train, test = task.pair(split)
    return heard(train_live(name, train, rate=rate, steps=steps, seed=seed), test)


def tune_live(task: DigitTask, tries: dict[str, Iterable[float]], steps: int) -> tuple[pd.DataFrame, dict[str, Heard]]:
    """Return the validation accuracy of every rate, at the end and over all frames, and the answers at the best rate.

    Columns: method, setting, accuracy (at the end), over_time (mean over shares 0.1 to 1).
    """
    rows, best = [], {}
    for name, rates in tries.items():
        for rate in rates:
            answers = live_scores(task, name, VALIDATION, rate=rate, steps=steps, seed=0)
            end = answers.at_share(1.0).double().mean().item()
            over = float(np.mean([answers.at_share(s / 10).double().mean().item() for s in range(1, 11)]))
            if all(end > row["accuracy"] for row in rows if row["method"] == name):
                best[name] = answers
            rows.append({"method": name, "setting": rate, "accuracy": end, "over_time": over})
    return pd.DataFrame(rows), best


def parameters(name: str) -> int:
    """Return the number of trained real parameters of one of `MODELS`."""
    return count_parameters(MODELS[name]())
