"""One digit as an image, a recording and a sentence: handwritten and spoken digits and short texts, paired by digit.

An example is an image of MNIST, a recording of FSDD and a sentence, independent given the digit.  Train and held-out
examples share no image, no speaker and no template of a sentence.  A quarter of the sentences are words ("the digit
seven"), a quarter numerals, a quarter sums of two words, and a quarter hints that several digits satisfy ("an even
digit"), so that text alone does not always determine the digit.

    noise      images    Gaussian, standard deviation sigma where white is 1
               audio     white, sigma times the root mean square of the recording
               text      each word, with probability p, becomes any word
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from artifact.datasets.images import Images
from artifact.datasets.speech import Speech

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KINDS = ("word", "numeral", "sum", "hint")
# {w}: the digit's name, {n}: its numeral, {a} and {b}: names of its summands, or of its bounds.
TEMPLATES = {
    "train": {
        "word": ("this is a {w}", "the digit {w}", "{w} is written here", "here you see a {w}", "it says {w}"),
        "numeral": ("number {n}", "the number is {n}", "it is {n}", "press the key {n} here", "this is {n}"),
        "sum": ("{a} plus {b}", "the sum of {a} and {b}", "{a} and {b} together", "this is {a} plus {b}"),
        "parity": ("an {parity} digit", "this number is {parity}", "it is an {parity} number"),
        "between": ("between {a} and {b}", "it lies between {a} and {b}", "the number between {a} and {b}"),
        "below": ("less than {b}", "it is less than {b}"),
        "above": ("more than {a}", "it is more than {a}"),
    },
    "held out": {
        "word": ("the number here is {w}", "you see the digit {w}", "a {w} is here"),
        "numeral": ("here is number {n}", "the key {n}", "this says {n}"),
        "sum": ("it is the sum {a} plus {b}", "here {a} and {b} together"),
        "parity": ("the digit is {parity}", "here is an {parity} number"),
        "between": ("this is between {a} and {b}", "the digit lies between {a} and {b}"),
        "below": ("the number is less than {b}",),
        "above": ("the number is more than {a}",),
    },
}
HINTS = ("parity", "between", "below", "above")
SAMPLES = 5248  # 0.66 s at 8 kHz, 40 frames of 256 by steps of 128: shorter recordings are padded, longer ones cut
# Three levels a modality (see the head of this file).
NOISE = {"vision": (0.5, 1.0, 1.5), "audio": (0.3, 1.0, 3.0), "text": (0.2, 0.4, 0.6)}


def _fillings(kind: str, d: int) -> list[dict[str, str]]:
    """All ways to fill a template of a kind for digit d."""
    if kind == "sum":
        return [{"a": NAMES[a], "b": NAMES[d - a]} for a in range(d + 1)]
    if kind == "between":  # two or three digits lie between
        pairs = [(a, b) for a, b in product(range(10), repeat=2) if a < d < b and b - a in (3, 4)]
        return [{"a": NAMES[a], "b": NAMES[b]} for a, b in pairs]
    if kind == "below":
        return [{"b": NAMES[b]} for b in range(max(2, d + 1), 5)]
    if kind == "above":
        return [{"a": NAMES[a]} for a in range(5, min(8, d))]
    return [{"w": NAMES[d], "n": str(d), "parity": ("even", "odd")[d % 2]}]


def sentences(split: str) -> pd.DataFrame:
    """All sentences of "train" or "held out", digit by digit: text, digit that it was drawn for, kind of template."""
    rows = [
        (template.format(**filling), d, "hint" if kind in HINTS else kind)
        for d, (kind, templates) in product(range(10), TEMPLATES[split].items())
        for template, filling in product(templates, _fillings(kind, d))
    ]
    return pd.DataFrame(rows, columns=["text", "digit", "kind"])


_SPLIT_TEXTS = [text.split() for split in TEMPLATES for text in sentences(split)["text"]]
VOCABULARY = ("", *sorted({word for text in _SPLIT_TEXTS for word in text}))
WORDS = max(map(len, _SPLIT_TEXTS))


def word_numbers(texts: Iterable[str]) -> Tensor:
    """Ids of the words of texts, (texts, WORDS), padded by 0."""
    number = {word: i for i, word in enumerate(VOCABULARY)}
    rows = [text.split() for text in texts]
    if unknown := {word for row in rows for word in row} - set(number):
        raise ValueError(f"unknown words: {', '.join(sorted(unknown))}")
    return torch.tensor([[number[word] for word in row] + [0] * (WORDS - len(row)) for row in rows])


def words(ids: Tensor) -> str:
    """The text of a row of word ids."""
    return " ".join(VOCABULARY[i] for i in ids.tolist() if i)


def text_ceiling(split: str) -> float:
    """Accuracy of the best classifier of clean text alone: sum over texts of max_d P(text, d)."""
    pool = sentences(split)
    pool["p"] = 1 / (10 * len(KINDS) * pool.groupby(["digit", "kind"])["text"].transform("size"))
    return float(pool.groupby(["text", "digit"])["p"].sum().groupby("text").max().sum())


class Pool:
    """Items in groups; `draw(groups, generator)` returns a random item of each group."""

    def __init__(self, items: Tensor, groups: Tensor, count: int):
        self.items, self.order = items, groups.argsort(stable=True)
        self.sizes = groups.bincount(minlength=count)
        self.starts = self.sizes.cumsum(0) - self.sizes
        if (self.sizes == 0).any():
            raise ValueError(f"no item in groups {(self.sizes == 0).nonzero().flatten().tolist()}")

    def draw(self, groups: Tensor, generator: torch.Generator) -> Tensor:
        place = (torch.rand(len(groups), generator=generator) * self.sizes[groups]).long()
        return self.items[self.order[self.starts[groups] + place]]


@dataclass(frozen=True)
class Pairs:
    """One part of the split: a pool of each modality, and the recordings in order for `all_recordings`."""

    vision: Pool  # (1, side, side), by digit
    audio: Pool  # (SAMPLES,), by digit
    text: Pool  # (WORDS,), by digit and kind
    recordings: Tensor  # (count, SAMPLES)
    digits: Tensor  # of the recordings, (count,)

    def batch(self, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw an image, a recording and a sentence for each label."""
        kind = torch.randint(len(KINDS), labels.shape, generator=generator)
        return {
            "vision": self.vision.draw(labels, generator),
            "audio": self.audio.draw(labels, generator),
            "text": self.text.draw(labels * len(KINDS) + kind, generator),
        }

    def all_recordings(self, generator: torch.Generator, limit: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Every recording once (or `limit` of them at random), each with an image and a sentence; and the labels."""
        chosen = torch.randperm(len(self.digits), generator=generator)[:limit]
        labels = self.digits[chosen]
        return self.batch(labels, generator) | {"audio": self.recordings[chosen]}, labels


def _pairs(images: Sequence[np.ndarray], recordings: Tensor, digits: Tensor, split: str) -> Pairs:
    pixels, labels = map(torch.from_numpy, images)
    pool = sentences(split)
    groups = torch.tensor(list(pool["digit"] * len(KINDS) + pool["kind"].map(KINDS.index)))
    text = Pool(word_numbers(pool["text"]), groups, 10 * len(KINDS))
    return Pairs(Pool(pixels[:, None], labels, 10), Pool(recordings, digits, 10), text, recordings, digits)


def paired_digits(images: Images, speech: Speech, fold: int, *, held_out: str = "test") -> tuple[Pairs, Pairs]:
    """The training examples of a fold, and those held out.

    Fold s tests speaker s on the test images.  held_out="validation" excludes that one and holds out the next, with the
    last sixth of the training images: no test example of the fold is used.
    """
    if held_out not in ("test", "validation"):
        raise ValueError(f'expected held_out "test" or "validation", got {held_out!r}')
    speakers = len(speech.speaker_names)
    test = fold % speakers
    out = test if held_out == "test" else (fold + 1) % speakers
    waves = torch.zeros(len(speech.waves), SAMPLES)
    for row, wave in zip(waves, speech.waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave[:SAMPLES])
    digits, speaker = torch.from_numpy(speech.labels), torch.from_numpy(speech.speakers)
    inside, outside = (speaker != test) & (speaker != out), speaker == out
    train, rest, texts = images.train, images.test, "held out"
    if held_out == "validation":
        cut = len(train[1]) * 5 // 6
        train, rest, texts = [part[:cut] for part in train], [part[cut:] for part in train], "train"
    held = _pairs(rest, waves[outside], digits[outside], texts)
    return _pairs(train, waves[inside], digits[inside], "train"), held


# --------------------------------------------------------------------------- noise


def corrupted(
    batch: Mapping[str, Tensor], noise: Mapping[str, float | Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """Add noise of the given strength, one number or one a sample, to the modalities named."""
    result = dict(batch)
    for name, strength in noise.items():
        x = batch[name]
        level = torch.as_tensor(strength, dtype=torch.float32).expand(len(x)).view(-1, *[1] * (x.ndim - 1))
        if name == "text":
            other = torch.randint(1, len(VOCABULARY), x.shape, generator=generator)
            result[name] = torch.where((torch.rand(x.shape, generator=generator) < level) & (x > 0), other, x)
            continue
        if name == "audio":
            level = level * x.square().mean(dim=1, keepdim=True).sqrt()
        result[name] = x + level * torch.randn(x.shape, generator=generator)
    return result


def varied(batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Augment a training batch: each modality of each sample clean or noisy, speech also in speed, onset and spectrum.

    There are few speakers: the speed, one a batch, varies by 16% either way; a recording starts up to 75 ms late;
    x_t + c x_(t-1), c in -0.9 .. 0.9, tilts its spectrum.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    speed = 0.84 + 0.32 * uniform().item()
    waves = F.interpolate(batch["audio"][:, None], size=round(SAMPLES / speed), mode="linear")[:, 0]
    late = (600 * uniform(len(waves), 1)).long()
    place = torch.arange(SAMPLES) - late
    waves = F.pad(waves, (0, max(0, SAMPLES - waves.shape[1])))[:, :SAMPLES]
    waves = waves.gather(1, place.clamp_min(0)) * (place >= 0)
    tilt = 1.8 * uniform(len(waves), 1) - 0.9
    result = dict(batch) | {"audio": waves + tilt * F.pad(waves[:, :-1], (1, 0))}
    noise = {
        name: torch.tensor([0.0, *levels])[torch.randint(len(levels) + 1, (len(batch[name]),), generator=generator)]
        for name, levels in NOISE.items()
    }
    return corrupted(result, noise, generator)
