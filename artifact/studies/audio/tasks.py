"""Spoken digits and environmental sounds: splits, models, and training, the same for every model.

official         takes 0 to 4 of every speaker and digit for testing, the rest for training
validation       takes 5 to 9 of the official training part, for every choice
speaker          all recordings of one speaker for testing, those of the other five for training
ESC-50 folds     one of five for testing, four for training
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import nn

from artifact.datasets.esc50 import Sounds
from artifact.datasets.recordings import Recordings, recordings
from artifact.datasets.speech import Speech
from artifact.peers.audio import TransformerAudioNet, log_mel_features, logistic_regression, without_mean_spectrum
from artifact.studies.audio.augmentation import AudioAugmentation
from artifact.studies.common.classification import accuracy, train_classifier
from resonance.audio import LearnedFrames, ResonanceAudioNet
from resonance.polar import PolarWeight, count_parameters

LONGEST = 8192  # samples of a digit: about a second, 63 frames
OFFICIAL, VALIDATION = "official", "validation"
RESONANCE, TRANSFORMER = "resonance", "Transformer"
REGRESSIONS = REGRESSION, NORMALISED = "log-mel regression", "log-mel regression, mean removed"


class DigitTask:
    """The recordings of a corpus of spoken digits and its splits."""

    def __init__(self, speech: Speech):
        self.speech = speech
        self.recordings = recordings(speech.waves, speech.labels, LONGEST)
        self.splits = (OFFICIAL, *speech.speaker_names)

    def masks(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Boolean masks of the training and the test recordings of a split."""
        takes, names = self.speech.takes, self.speech.speaker_names
        if split == OFFICIAL:
            return takes >= 5, takes < 5
        if split == VALIDATION:
            return takes >= 10, (takes >= 5) & (takes < 10)
        if split not in names:
            raise ValueError(f"unknown split {split!r}: expected one of {', '.join((OFFICIAL, VALIDATION, *names))}")
        held = self.speech.speakers == names.index(split)
        return ~held, held

    def pair(self, split: str) -> tuple[Recordings, Recordings]:
        """Recordings to train on and to test on."""
        return tuple(self.recordings.chosen(mask) for mask in self.masks(split))

    def regression(self, method: str, split: str, strength: float) -> np.ndarray:
        """Predictions of a log-mel regression on the test recordings."""
        (train, test), features = self.masks(split), self.log_mel[method]
        return logistic_regression(features[train], self.speech.labels[train], strength).predict(features[test])

    @cached_property
    def log_mel(self) -> dict[str, np.ndarray]:
        """Features of every recording, for each of `REGRESSIONS`."""
        features = log_mel_features(self.recordings, self.speech.rate)
        return {REGRESSION: features, NORMALISED: without_mean_spectrum(features)}


def digit_model(**options) -> ResonanceAudioNet:
    """The resonance model of spoken digits, untrained: frames of 32 ms every 16 ms, under 100,000 parameters."""
    settings = {"frame": 256, "hop": 128, "dim": 64, "num_layers": 3, "num_frequencies": 24, "window": 128}
    return ResonanceAudioNet(10, **{**settings, "dropout": 0.0, **options})


@torch.no_grad()
def frozen_(model: nn.Module, part: str) -> nn.Module:
    """Set "phase" or "magnitude" of a model's polar weights to zero and freeze it; without magnitude, phase as well."""
    for weight in (module for module in model.modules() if isinstance(module, PolarWeight)):
        getattr(weight, part).zero_().requires_grad_(False)
        weight.phase.requires_grad_(False)
    return model


# Constructors of the untrained models compared, ten classes each.
MODELS: dict[str, Callable[[], nn.Module]] = {
    RESONANCE: digit_model,
    TRANSFORMER: lambda: TransformerAudioNet(10),
    "learned complex frames": lambda: digit_model(front_end=LearnedFrames(256, 128, 48)),
    "phases fixed at zero": lambda: frozen_(digit_model(), "phase"),
    "no interference": lambda: digit_model(interference=False),
    "no mixing": lambda: frozen_(digit_model(), "magnitude"),  # only the feed-forwards act
}
NO_AUGMENTATION = "no augmentation"  # the resonance model, trained on the recordings as they are
ABLATIONS = (*list(MODELS)[2:], NO_AUGMENTATION)
# Keys of methods and variants in the ledger.
KEYS = {
    RESONANCE: "resonance",
    TRANSFORMER: "transformer",
    REGRESSION: "regression",
    NORMALISED: "normalised",
    "learned complex frames": "learned",
    "phases fixed at zero": "zero_phases",
    "no interference": "no_interference",
    "no mixing": "no_mixing",
    NO_AUGMENTATION: "no_augmentation",
}


def train_digits(name: str, train: Recordings, *, rate: float, steps: int, seed: int, size: int = 32) -> nn.Module:
    """Train one of `MODELS`, or `NO_AUGMENTATION`, on recordings; all else is the same for every model."""
    torch.manual_seed(seed)
    model = MODELS[RESONANCE if name == NO_AUGMENTATION else name]()
    augmentation = None if name == NO_AUGMENTATION else AudioAugmentation(LONGEST)
    batches = train.batches(size, torch.Generator().manual_seed(seed), augmentation)
    train_classifier(model, batches, steps, rate=rate)
    return model


def digit_predictions(task: DigitTask, name: str, split: str, *, setting: float, steps: int, seed: int) -> pd.DataFrame:
    """Train a model, or a regression, on a split and test it: method, split, seed, speaker, digit, prediction.

    setting: the learning rate of a network, C of a regression.  A row a recording.
    """
    train, test = task.pair(split)
    if name in REGRESSIONS:
        prediction = task.regression(name, split, setting)
    else:
        model = train_digits(name, train, rate=setting, steps=steps, seed=seed)
        prediction = test.logits(model).argmax(dim=1).numpy()
    speakers = np.array(task.speech.speaker_names)[task.speech.speakers[task.masks(split)[1]]]
    columns = {"speaker": speakers, "digit": test.labels.numpy(), "prediction": prediction}
    return pd.DataFrame({"method": name, "split": split, "seed": seed, **columns})


def accuracies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each method, split and seed, in the order of the predictions."""
    scored = predictions.assign(accuracy=predictions["prediction"] == predictions["digit"])
    return scored.groupby(["method", "split", "seed"], sort=False)["accuracy"].mean().reset_index()


def parameters(task: DigitTask, method: str) -> int:
    """Number of trained real parameters of a method."""
    if method in REGRESSIONS:
        return (task.log_mel[method].shape[1] + 1) * len(set(task.speech.labels.tolist()))
    return count_parameters(MODELS[method]())


def tune(task: DigitTask, tries: dict[str, Iterable[float]], steps: int) -> pd.DataFrame:
    """Validation accuracy of every setting of every method: method, setting, accuracy."""
    tables = [
        accuracies(digit_predictions(task, name, VALIDATION, setting=c, steps=steps, seed=0)).assign(setting=c)
        for name, settings in tries.items()
        for c in settings
    ]
    return pd.concat(tables, ignore_index=True)[["method", "setting", "accuracy"]]


def chosen_settings(tuning: pd.DataFrame) -> dict[str, float]:
    """The setting of each method with the highest validation accuracy, the first of equals."""
    best = tuning.loc[tuning.groupby("method")["accuracy"].idxmax()]
    return dict(zip(best["method"], best["setting"], strict=True))


# --------------------------------------------------------------------------- environmental sounds


def environment_model(classes: int, rate: int) -> ResonanceAudioNet:
    """The resonance model of sounds of five seconds, untrained: frames of about 46 ms, every 23 ms."""
    frame = 2 ** round(np.log2(0.046 * rate))
    return ResonanceAudioNet(classes, frame=frame, hop=frame // 2, dim=96, num_layers=3)


def environment_scores(sounds: Sounds, *, rate: float, strength: float, steps: int, seed: int = 0) -> pd.DataFrame:
    """Accuracy on each fold of models trained on the four others, the regression with C = `strength`: a column each."""
    longest = max(map(len, sounds.waves))
    everything = recordings(sounds.waves, sounds.labels, longest)
    features = log_mel_features(everything, sounds.rate)
    rows = []
    for fold in sorted(set(sounds.folds.tolist())):
        held = sounds.folds == fold
        train, test = everything.chosen(~held), everything.chosen(held)
        torch.manual_seed(seed)
        model = environment_model(len(sounds.label_names), sounds.rate)
        augmentation = AudioAugmentation(longest, shift=longest // 10)
        train_classifier(model, train.batches(32, torch.Generator().manual_seed(seed), augmentation), steps, rate=rate)
        regression = logistic_regression(features[~held], sounds.labels[~held], strength)
        rows.append(
            (fold, accuracy(test.logits(model), test.labels), regression.score(features[held], sounds.labels[held]))
        )
    return pd.DataFrame(rows, columns=["fold", RESONANCE, REGRESSION])
