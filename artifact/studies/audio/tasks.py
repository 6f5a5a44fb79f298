"""Spoken digits and environmental sounds: splits, models, and training, the same for every model.

official         takes 0 to 4 of every speaker and digit for testing, the rest for training
validation       takes 5 to 9 of the official training part, for every choice
speaker          all recordings of one speaker for testing, those of the other five for training
folds            one of the five of ESC-10, or ESC-50, for testing, four for training; nothing is chosen on them
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import nn

from artifact.datasets.esc50 import Sounds
from artifact.datasets.recordings import Recordings, recordings
from artifact.datasets.speech import Speech
from artifact.peers.audio import (
    ConvAudioNet,
    TransformerAudioNet,
    log_mel_features,
    logistic_regression,
    without_mean_spectrum,
)
from artifact.studies.audio.augmentation import AudioAugmentation
from artifact.studies.audio.learned_frames import LearnedFrames
from artifact.studies.common.classification import train_classifier
from artifact.studies.common.tuning import widened
from resonance.audio import ResonanceAudioNet
from resonance.polar import PolarWeight, count_parameters

LONGEST = 8192  # samples of a digit: about a second, 63 frames
OFFICIAL, VALIDATION = "official", "validation"
RESONANCE, TRANSFORMER, CONV = "resonance", "Transformer", "convolutions on log-mel"
REGRESSION, NORMALISED = "log-mel regression", "log-mel regression, mean removed"
AUGMENTED = {name: f"{name}, augmented" for name in (REGRESSION, NORMALISED)}  # trained on changed copies as well
REGRESSIONS = (*AUGMENTED, *AUGMENTED.values())
COPIES = 2  # of each training recording, for the augmented regressions
METHODS = (RESONANCE, TRANSFORMER, CONV, *REGRESSIONS)


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

    @cached_property
    def log_mel(self) -> dict[str, np.ndarray]:
        """Features of every recording, for each of `REGRESSIONS` (`regression_features`)."""
        return regression_features(self.recordings, self.speech.rate, AudioAugmentation(LONGEST))


def regression_features(everything: Recordings, rate: int, augmentation: AudioAugmentation) -> dict[str, np.ndarray]:
    """For each of `REGRESSIONS` the features of every recording, (versions, count, features).

    The first version is of the recordings as they are; the augmented regressions are trained on `COPIES` more, changed
    as for the networks, each of its own recording alone.
    """
    generator = torch.Generator().manual_seed(0)
    versions = [everything, *(augmentation.copy_of(everything, generator) for _ in range(COPIES))]
    log_mel = [log_mel_features(version, rate) for version in versions]
    features = {REGRESSION: np.stack(log_mel), NORMALISED: np.stack([without_mean_spectrum(x) for x in log_mel])}
    return {name: x[:1] for name, x in features.items()} | {AUGMENTED[name]: x for name, x in features.items()}


def regression_predictions(
    features: np.ndarray, labels: np.ndarray, inside: np.ndarray, held: np.ndarray, strength: float
) -> np.ndarray:
    """Predictions for the recordings `held`, as they are, of a regression on all versions of those `inside`."""
    train = features[:, inside]
    model = logistic_regression(train.reshape(-1, train.shape[2]), np.tile(labels[inside], len(train)), strength)
    return model.predict(features[0, held])


def digit_model(classes: int = 10, **options) -> ResonanceAudioNet:
    """The resonance model of spoken digits, untrained: frames of 32 ms every 16 ms, under 100,000 parameters."""
    settings = {"frame": 256, "hop": 128, "dim": 64, "num_layers": 3, "num_frequencies": 24, "window": 128}
    return ResonanceAudioNet(classes, **{**settings, "dropout": 0.0, **options})


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
    CONV: lambda: ConvAudioNet(10, rate=8000, bands=32),
    "learned complex frames": lambda: digit_model(front_end=LearnedFrames(256, 128, 48)),
    "phases fixed at zero": lambda: frozen_(digit_model(), "phase"),
    "no interference": lambda: digit_model(interference=False),
    "no mixing": lambda: frozen_(digit_model(), "magnitude"),  # only the feed-forwards act
}
NO_AUGMENTATION = "no augmentation"  # the resonance model, trained on the recordings as they are
# Keys of methods and variants in the ledger.
KEYS = {name: name.replace(" ", "_") for name in (RESONANCE, "no interference", "no mixing", NO_AUGMENTATION)}
KEYS |= {TRANSFORMER: "transformer", CONV: "convolutions", REGRESSION: "regression", NORMALISED: "normalised"}
KEYS |= {AUGMENTED[name]: f"{KEYS[name]}_augmented" for name in AUGMENTED}
KEYS |= {"learned complex frames": "learned", "phases fixed at zero": "zero_phases"}


def trained(
    make: Callable[[], nn.Module],
    train: Recordings,
    augmentation: AudioAugmentation | None,
    *,
    rate: float,
    steps: int,
    seed: int,
    batch: int = 32,
) -> nn.Module:
    """A model trained on recordings; all else is the same for every model."""
    torch.manual_seed(seed)
    model = make()
    train_classifier(model, train.batches(batch, torch.Generator().manual_seed(seed), augmentation), steps, rate=rate)
    return model


def train_digits(name: str, train: Recordings, **options) -> nn.Module:
    """Train one of `MODELS`, or `NO_AUGMENTATION`, on recordings."""
    if name == NO_AUGMENTATION:
        return trained(MODELS[RESONANCE], train, None, **options)
    return trained(MODELS[name], train, AudioAugmentation(LONGEST), **options)


def digit_predictions(task: DigitTask, name: str, split: str, *, setting: float, steps: int, seed: int) -> pd.DataFrame:
    """Train a model, or a regression, on a split and test it: method, split, seed, speaker, digit, prediction.

    setting: the learning rate of a network, C of a regression.  A row a recording.
    """
    (train, test), (inside, held) = task.pair(split), task.masks(split)
    if name in REGRESSIONS:
        prediction = regression_predictions(task.log_mel[name], task.speech.labels, inside, held, setting)
    else:
        model = train_digits(name, train, rate=setting, steps=steps, seed=seed)
        prediction = test.logits(model).argmax(dim=1).numpy()
    speakers = np.array(task.speech.speaker_names)[task.speech.speakers[held]]
    columns = {"speaker": speakers, "digit": test.labels.numpy(), "prediction": prediction}
    return pd.DataFrame({"method": name, "split": split, "seed": seed, **columns})


def accuracies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each method, split and seed, in the order of the predictions."""
    scored = predictions.assign(accuracy=predictions["prediction"] == predictions["digit"])
    return scored.groupby(["method", "split", "seed"], sort=False)["accuracy"].mean().reset_index()


def parameters(task: DigitTask, method: str) -> int:
    """Number of trained real parameters of a method."""
    if method in REGRESSIONS:
        return (task.log_mel[method].shape[2] + 1) * len(set(task.speech.labels.tolist()))
    return count_parameters(MODELS[method]())


def validation_error(setting: float, task: DigitTask, name: str, steps: int) -> float:
    """Share of wrong answers on the validation takes with a setting; inf where the training diverged."""
    try:
        predictions = digit_predictions(task, name, VALIDATION, setting=setting, steps=steps, seed=0)
    except FloatingPointError:
        return math.inf
    return 1 - float(accuracies(predictions)["accuracy"].iloc[0])


def tune(task: DigitTask, tries: dict[str, Sequence[float]], steps: int, *, wider: int) -> pd.DataFrame:
    """Validation error of every setting tried of every method (`widened`): method, value, score."""
    tables = [
        widened(partial(validation_error, task=task, name=name, steps=steps), grid, wider=wider).assign(method=name)
        for name, grid in tries.items()
    ]
    return pd.concat(tables, ignore_index=True)[["method", "value", "score"]]


# --------------------------------------------------------------------------- environmental sounds


def environment_models(sounds: Sounds) -> dict[str, Callable[[], nn.Module]]:
    """Constructors of the networks of the digits for sounds of five seconds, with frames of about 93 ms."""
    frame = 2 ** round(math.log2(0.093 * sounds.rate))
    classes, shape = len(sounds.label_names), {"frame": frame, "hop": frame // 2}
    return {
        RESONANCE: partial(digit_model, classes, **shape),
        TRANSFORMER: partial(TransformerAudioNet, classes, **shape),
        CONV: partial(ConvAudioNet, classes, rate=sounds.rate, **shape),
    }


def environment_predictions(
    sounds: Sounds, settings: Mapping[str, float], *, steps: int, batch: int = 16, seed: int = 0
) -> pd.DataFrame:
    """Train every method on all folds but one and test it on that: method, fold, label, prediction.

    settings: the learning rate of each network and C of each regression, none of them chosen on these sounds.  Of a
    longer sound the loudest five seconds count; each fold has a seed of its own.
    """
    longest = 5 * sounds.rate
    everything = recordings(sounds.waves, sounds.labels, longest)
    augmentation, models = AudioAugmentation(longest, shift=longest // 10), environment_models(sounds)
    features = regression_features(everything, sounds.rate, augmentation)
    tables = []
    for fold, (name, setting) in product(sorted(set(sounds.folds.tolist())), settings.items()):
        held = sounds.folds == fold
        if name in REGRESSIONS:
            prediction = regression_predictions(features[name], sounds.labels, ~held, held, setting)
        else:
            options = {"rate": setting, "steps": steps, "seed": seed + fold, "batch": batch}
            model = trained(models[name], everything.chosen(~held), augmentation, **options)
            prediction = everything.chosen(held).logits(model).argmax(dim=1).numpy()
        columns = {"label": sounds.labels[held], "prediction": prediction}
        tables.append(pd.DataFrame({"method": name, "fold": fold, **columns}))
    return pd.concat(tables, ignore_index=True)


def fold_accuracies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Share of right answers: a row a fold, a column a method, in the order of the predictions."""
    right = predictions["prediction"] == predictions["label"]
    return right.groupby([predictions["fold"], predictions["method"]], sort=False).mean().unstack()
