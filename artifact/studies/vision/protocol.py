"""Protocol of image classification: split, models, training, and evaluation under corruption and at other sizes.

The last training images choose rates and read-outs; the tested models are trained anew on all training
images, and the test images are used once.  Every model sees the same number of images, under one augmentation
(`augmentation.jitter`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product

import pandas as pd
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from artifact.datasets.images import Images
from artifact.peers.vision import PatchFNet, VisionTransformer, fit_logistic, logistic_scores
from artifact.studies.common.classification import accuracy, predict, train_classifier
from artifact.studies.common.tuning import widened
from artifact.studies.vision.augmentation import affine, augmented_batches, noisy, occluded, resized
from resonance.plane import plane_frequencies
from resonance.vision import ResonanceVisionNet

Scorer = Callable[[Tensor], Tensor]  # images -> class scores
Entry = tuple[str, int, Scorer]  # name of a method, seed
PATCHES = 7  # a side of an image: of 4 x 4 pixels where it has 28
SIDE = 28  # pixels a side of the images for which the settings below were chosen


@dataclass(frozen=True)
class ImageTask:
    """Square grey images (count, 1, side, side) in 0 .. 1, with labels, in three parts."""

    dataset: str
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def side(self) -> int:
        """Pixels a side."""
        return self.train[0].shape[-1]

    @property
    def all_train(self) -> tuple[Tensor, Tensor]:
        """Training and validation images together, on which the tested models are trained."""
        return tuple(torch.cat(pair) for pair in zip(self.train, self.validation, strict=True))


def image_task(images: Images, validation: int = 5000) -> ImageTask:
    """Split a data set: the last `validation` training images, at most a sixth of them, are for validation."""
    (pixels, labels), test = (
        (torch.from_numpy(x)[:, None], torch.from_numpy(y)) for x, y in (images.train, images.test)
    )
    cut = len(pixels) - min(validation, len(pixels) // 6)
    return ImageTask(images.dataset, (pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:]), test)


# --------------------------------------------------------------------------- the models


@dataclass(frozen=True)
class Contender:
    """A model that is trained: name, key of its measures, constructor, read-out.

    make(num_classes, in_channels=..., patch_size=..., pooled_frequencies=...) -> a classifier of images.
    """

    name: str
    key: str
    make: Callable[..., nn.Module]
    pooled: int = 3  # frequencies a side of the read-out; 1: the mean token

    def variant(self, name: str) -> Contender:
        """The same model with one of the read-outs of `VARIANTS`."""
        return replace(self, pooled=VARIANTS[name])

    def model(self, task: ImageTask, seed: int) -> nn.Module:
        """An untrained model for a task."""
        torch.manual_seed(seed)
        classes, patch = int(task.train[1].max()) + 1, max(1, task.side // PATCHES)
        return self.make(classes, in_channels=1, patch_size=patch, pooled_frequencies=self.pooled)


VARIANTS = {"lowest frequencies": 3, "mean": 1}  # read-outs tried of every contender, chosen on validation
OURS = partial(ResonanceVisionNet, hidden_dim=48, num_layers=4, num_frequencies=5, dropout=0.0)
RESONANCE = Contender("resonance", "resonance", OURS)
BARE = Contender("resonance, no feed-forward", "bare", partial(OURS, expansion=0))
TRANSFORMER = Contender("vision Transformer", "transformer", VisionTransformer)
FNET = Contender("FNet", "fnet", partial(PatchFNet, num_layers=4))
CONTENDERS = (RESONANCE, BARE, TRANSFORMER, FNET)
LOGISTIC, AUGMENTED = REGRESSIONS = "logistic regression", "logistic regression, augmented"
KEYS = {contender.name: contender.key for contender in CONTENDERS}
KEYS |= {LOGISTIC: "logistic", AUGMENTED: "logistic_augmented"}


def largest_shift(task: ImageTask) -> float:
    """Pixels by which the augmentation shifts an image at most."""
    return 2 * task.side / SIDE


def regression(name: str, task: ImageTask, data: tuple[Tensor, Tensor], penalty: float, *, seed: int) -> Pipeline:
    """One of `REGRESSIONS` fitted to images as they are; `AUGMENTED` to one augmented copy of each as well."""
    if name == AUGMENTED:
        generator = torch.Generator().manual_seed(seed)
        batches = augmented_batches(*data, 1000, generator, shift=largest_shift(task))
        copies = islice(batches, -(-len(data[0]) // 1000))
        data = tuple(torch.cat(parts) for parts in zip(data, *copies, strict=True))
    return fit_logistic(*data, penalty)


def trained(
    contender: Contender,
    task: ImageTask,
    data: tuple[Tensor, Tensor],
    *,
    rate: float,
    steps: int,
    seed: int,
    batch: int,
) -> tuple[nn.Module, float]:
    """Train a model on `data` for some steps of `batch` images; return it in evaluation mode, and the seconds."""
    model = contender.model(task, seed)
    batches = augmented_batches(*data, batch, torch.Generator().manual_seed(seed), shift=largest_shift(task))
    seconds = train_classifier(model, batches, steps, rate=rate, smoothing=0.05)
    return model.eval(), seconds


def validation_error(rate: float, contender: Contender, task: ImageTask, **options) -> float:
    """Share of wrong answers on the validation images after training at a rate (`trained`); inf where it diverged."""
    try:
        model, _ = trained(contender, task, task.train, rate=rate, **options)
    except FloatingPointError:
        return math.inf
    return 1 - accuracy(scorer(model)(task.validation[0]), task.validation[1])


def tuned(task: ImageTask, variants: Iterable[str], rates: Sequence[float], *, wider: int, **options) -> pd.DataFrame:
    """Validation error of every contender in every variant at every rate tried (`widened`).

    Columns: method, variant, value, score.  options: of `trained`, the same for all.
    """
    tables = []
    for contender, variant in product(CONTENDERS, variants):
        score = partial(validation_error, contender=contender.variant(variant), task=task, **options)
        tables.append(widened(score, rates, wider=wider).assign(method=contender.name, variant=variant))
    return pd.concat(tables, ignore_index=True)[["method", "variant", "value", "score"]]


def tuned_regressions(
    task: ImageTask, penalties: Sequence[float], images: int, *, wider: int, seed: int
) -> pd.DataFrame:
    """Validation error of `REGRESSIONS` on the first `images` at every penalty tried, with the columns of `tuned`."""
    data, (pixels, labels) = tuple(part[:images] for part in task.train), task.validation

    def error(penalty: float, name: str) -> float:
        return 1 - accuracy(logistic_scores(regression(name, task, data, penalty, seed=seed), pixels), labels)

    tables = [
        widened(partial(error, name=name), penalties, wider=wider).assign(method=name, variant="pixels")
        for name in REGRESSIONS
    ]
    return pd.concat(tables, ignore_index=True)


def choice(best: pd.DataFrame) -> pd.DataFrame:
    """For each method its variant of lowest validation error, the first of equals; best: of `best_values`."""
    return best.loc[best.groupby("method", sort=False)["score"].idxmin()].set_index("method")


# --------------------------------------------------------------------------- evaluation


def score_rows(entries: Iterable[Entry], images: Tensor, labels: Tensor, **columns) -> pd.DataFrame:
    """Accuracy of each model on some images: method, seed, `columns`, accuracy."""
    return pd.DataFrame(
        {"method": n, "seed": s, **columns, "accuracy": accuracy(score(images), labels)} for n, s, score in entries
    )


def scorer(model: nn.Module) -> Scorer:
    """A trained classifier as a function from images to scores."""
    return partial(predict, model, size=100)  # larger batches are slower on one core


def corrupted(images: Tensor, seed: int, levels: dict[str, list[float]]) -> Iterable[tuple[str, float, Tensor]]:
    """Yield (kind, level, images): rotation in degrees, every second one clockwise; noise; occluded share of the side.

    Each level is drawn from the same seed, so that all models and levels have the same draws.
    """
    sign = 1.0 - 2.0 * (torch.arange(len(images)) % 2)
    ways = {
        "rotation": lambda level, _: affine(images, degrees=level * sign),
        "noise": lambda level, generator: noisy(images, level, generator),
        "occlusion": lambda level, generator: occluded(images, round(level * images.shape[-1]), generator),
    }
    for kind, values in levels.items():
        for level in values:
            yield kind, level, ways[kind](level, torch.Generator().manual_seed(seed))


def robustness(
    entries: list[Entry], images: Tensor, labels: Tensor, *, seed: int, levels: dict[str, list[float]]
) -> pd.DataFrame:
    """Accuracy of every model on every kind and level of corruption (`corrupted`)."""
    parts = (
        score_rows(entries, changed, labels, kind=kind, level=level)
        for kind, level, changed in corrupted(images, seed, levels)
    )
    return pd.concat(parts, ignore_index=True)


def size_freedom(entries: list[Entry], images: Tensor, labels: Tensor, sides: Iterable[int]) -> pd.DataFrame:
    """Accuracy of every model on images of other sizes, fed in two ways.

    "as it is": at that size.  "resampled": at the training size again, which shows what resampling itself loses.
    """
    parts = []
    for side in sides:
        other = resized(images, side)
        for way, fed in (("as it is", other), ("resampled", resized(other, images.shape[-1]))):
            parts.append(score_rows(entries, fed, labels, side=side, way=way))
    return pd.concat(parts, ignore_index=True)


def errors(score: Scorer, images: Tensor, labels: Tensor, count: int) -> pd.DataFrame:
    """Misclassified images in order of confidence, at most `count`: index, label, prediction, confidence."""
    confidence, prediction = score(images).softmax(dim=-1).max(dim=-1)
    wrong = (prediction != labels).nonzero()[:, 0]
    wrong = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    columns = {"index": wrong, "label": labels[wrong], "prediction": prediction[wrong], "confidence": confidence[wrong]}
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


# --------------------------------------------------------------------------- learned weights


@torch.no_grad()
def learned_gains(model: ResonanceVisionNet) -> pd.DataFrame:
    """Root mean square magnitude over channels of each block's weights: block, fy, fx, gain.

    Frequencies in cycles per image, on both halves of the plane: a weight at -f is the conjugate of that at f.
    """
    rows = []
    for number, block in enumerate(model.blocks, start=1):
        gain = block.mixing.weight.magnitude.square().mean(dim=1).sqrt().tolist()
        for (fy, fx), value in zip(plane_frequencies(*block.mixing.num_frequencies).tolist(), gain, strict=True):
            rows += [(number, y, x, value) for y, x in sorted({(fy, fx), (-fy, -fx)})]
    return pd.DataFrame(rows, columns=["block", "fy", "fx", "gain"])


@torch.no_grad()
def learned_kernels(model: ResonanceVisionNet, channels: int, side: int = 29) -> pd.DataFrame:
    """Filters of the first block's channels of largest weights, strongest first: channel, y, x, value.

    The response of a channel, without interference, to a point in the middle; y and x from -1/2 to 1/2 of the image.
    """
    mixing = copy.deepcopy(model.blocks[0].mixing)
    mixing.interference = None
    strongest = mixing.weight.magnitude.square().sum(0).topk(channels).indices
    point = torch.zeros(1, side, side, model.hidden_dim)
    point[:, side // 2, side // 2] = side
    kernel = mixing(point)[0, ..., strongest]  # (side, side, channels)
    y, x, channel = torch.meshgrid(*(torch.arange(n) for n in kernel.shape), indexing="ij")
    place = {"channel": channel, "y": (y - side // 2) / side, "x": (x - side // 2) / side, "value": kernel}
    return pd.DataFrame({name: values.flatten().numpy() for name, values in place.items()})
