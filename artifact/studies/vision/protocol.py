"""Image classification as it is measured here: the split, the models, the seeds, and what each is asked afterwards.

Protocol: the last images of the training set are for choices, the rate above all; the models that are tested are
trained anew on the whole training set, at the rate chosen, and the test images are asked once.  Ours and every peer see
the same number of images, moved alike (`augmentation.jitter`); all are asked about the same marred test images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from artifact.datasets.images import Images
from artifact.peers.vision import PatchFNet, VisionTransformer
from artifact.studies.common.classification import accuracy, predict, train_classifier
from artifact.studies.common.graph import token_products
from artifact.studies.common.precision import has_fast_products
from artifact.studies.vision.augmentation import affine, augmented_batches, noisy, occluded, resized
from resonance.plane import plane_frequencies, plane_synthesis
from resonance.polar import count_parameters
from resonance.vision import ResonanceVisionNet

Asked = Callable[[Tensor], Tensor]  # images -> class scores
SIDE = 28  # pixels a side of the images that the settings below are for


@dataclass(frozen=True)
class ImageTask:
    """Square grey images (count, 1, side, side) in 0 .. 1 and labels: to train, to choose by, to test."""

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
        """Training and validation images together: what the tested models learn from."""
        return tuple(torch.cat(pair) for pair in zip(self.train, self.validation, strict=True))


def image_task(images: Images, validation: int = 5000) -> ImageTask:
    """Return the task on a data set: the last `validation` training images (at most a sixth) are for choices."""
    (pixels, labels), (test, test_labels) = (
        (torch.from_numpy(x)[:, None], torch.from_numpy(y)) for x, y in (images.train, images.test)
    )
    cut = len(pixels) - min(validation, len(pixels) // 6)
    return ImageTask(images.dataset, (pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:]), (test, test_labels))


# --------------------------------------------------------------------------- the models


@dataclass(frozen=True)
class Contender:
    """A model that is trained: its name, the key of its measures, how it is made, its patches, its precision.

    make(num_classes, in_channels=..., patch_size=...) -> a classifier of images.
    """

    name: str
    key: str
    make: Callable[..., nn.Module]
    patches: int  # a side
    bfloat16: bool = True  # trains faster than in float32, where the hardware has such products

    @property
    def precision(self) -> torch.dtype:
        """The precision in which it is trained and tested on this machine."""
        return torch.bfloat16 if self.bfloat16 and has_fast_products(torch.bfloat16) else torch.float32

    def model(self, task: ImageTask, seed: int) -> nn.Module:
        """Return an untrained model for a task."""
        torch.manual_seed(seed)
        classes = int(task.train[1].max()) + 1
        return self.make(classes, in_channels=1, patch_size=max(1, task.side // self.patches))


OURS = partial(ResonanceVisionNet, hidden_dim=48, num_layers=4, num_frequencies=5, pooled_frequencies=3, dropout=0.0)
RESONANCE = Contender("resonance", "resonance", OURS, 14)
BARE = Contender("resonance, no feed-forward", "bare", partial(OURS, expansion=0), 14)
TRANSFORMER = Contender("vision Transformer", "transformer", VisionTransformer, 7, bfloat16=False)
FNET = Contender("FNet", "fnet", partial(PatchFNet, num_layers=5), 7)
CONTENDERS = (RESONANCE, BARE, TRANSFORMER, FNET)
LOGISTIC = "logistic regression"
KEYS = {contender.name: contender.key for contender in CONTENDERS} | {LOGISTIC: "logistic"}


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
    """Return a model trained on `data` for some steps of `batch` images, ready to be asked, and the seconds it took."""
    model = contender.model(task, seed)
    generator = torch.Generator().manual_seed(seed)
    stretch = task.side / SIDE
    batches = augmented_batches(*data, batch, generator, shift=2 * stretch, degrees=10.0, scale=0.1)
    half = contender.precision == torch.bfloat16
    seconds = train_classifier(model, batches, steps, rate=rate, smoothing=0.05, bfloat16=half)
    return model.eval(), seconds


def validation_accuracy(rate: float, contender: Contender, task: ImageTask, **options) -> float:
    """Return the accuracy on the validation images after training at a rate (`trained`); the test is not touched."""
    model, _ = trained(contender, task, task.train, rate=rate, **options)
    return accuracy(asked(model, contender.precision)(task.validation[0]), task.validation[1])


# --------------------------------------------------------------------------- what they are asked


def structure(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Return how many convolutions, and products of tokens with tokens, stand in a model's graph for these images."""
    with torch.no_grad():
        names = [str(node.target) for node in make_fx(model)(images).graph.nodes]
    return {"convolutions": sum("conv" in n for n in names), "token products": len(token_products(model, images))}


def score_rows(entries: Iterable[tuple[str, int, Asked]], images: Tensor, labels: Tensor, **columns) -> list[dict]:
    """Return one row a model, (name, seed, its scores), with its accuracy and `columns`."""
    return [{"method": n, "seed": s, **columns, "accuracy": accuracy(ask(images), labels)} for n, s, ask in entries]


def asked(model: nn.Module, precision: torch.dtype = torch.float32) -> Asked:
    """Return a trained classifier as a function of images, in the precision in which it was trained."""

    def ask(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            return predict(model, images).float()

    return ask


def corrupted(images: Tensor, seed: int, levels: dict[str, list[float]]) -> Iterable[tuple[str, float, Tensor]]:
    """Yield (kind, level, images): turned by degrees, every second one clockwise; noise; a covered share of the side.

    Each level is drawn from the same seed, so that models, seeds of training and levels meet the same draws.
    """
    side = images.shape[-1]
    sign = 1.0 - 2.0 * (torch.arange(len(images)) % 2)
    ways = {
        "rotation": lambda level, _: affine(images, degrees=level * sign),
        "noise": lambda level, generator: noisy(images, level, generator),
        "occlusion": lambda level, generator: occluded(images, round(level * side), generator),
    }
    for kind, values in levels.items():
        for level in values:
            yield kind, level, ways[kind](level, torch.Generator().manual_seed(seed))


def robustness(
    entries: list[tuple[str, int, Asked]], images: Tensor, labels: Tensor, *, seed: int, levels: dict[str, list[float]]
) -> pd.DataFrame:
    """Return the accuracy of every model on every kind and level of corruption (`corrupted`)."""
    rows = []
    for kind, level, marred in corrupted(images, seed, levels):
        rows += score_rows(entries, marred, labels, kind=kind, level=level)
    return pd.DataFrame(rows)


def size_freedom(
    entries: list[tuple[str, int, Asked]], images: Tensor, labels: Tensor, sides: Iterable[int]
) -> pd.DataFrame:
    """Return the accuracy of every model on images resampled to other sizes, as they are and brought back first.

    "as it comes": the model meets the image at that size, with more or fewer patches than it was trained on.
    "brought back": the image is resampled to the size of training, which shows what resampling itself has lost.
    """
    rows = []
    for side in sides:
        other = resized(images, side)
        rows += score_rows(entries, other, labels, side=side, way="as it comes")
        rows += score_rows(entries, resized(other, images.shape[-1]), labels, side=side, way="brought back")
    return pd.DataFrame(rows)


def errors(ask: Asked, images: Tensor, labels: Tensor, count: int) -> pd.DataFrame:
    """Return what a model gets wrong, surest first, at most `count`: index, label, prediction, confidence."""
    probability = ask(images).softmax(dim=-1)
    confidence, prediction = probability.max(dim=-1)
    wrong = (prediction != labels).nonzero()[:, 0]
    wrong = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    columns = {"index": wrong, "label": labels[wrong], "prediction": prediction[wrong], "confidence": confidence[wrong]}
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


# --------------------------------------------------------------------------- what they have learned


@torch.no_grad()
def learned_gains(model: ResonanceVisionNet) -> pd.DataFrame:
    """Return the root mean square magnitude over channels of each block's weights: block, fy, fx, gain.

    Frequencies in cycles per image; both halves of the plane, for a weight at -f is the conjugate of that at f.
    """
    rows = []
    for number, block in enumerate(model.blocks, start=1):
        gain = block.mixing.weight.magnitude.square().mean(dim=1).sqrt().tolist()
        for (fy, fx), value in zip(plane_frequencies(*block.mixing.num_frequencies).tolist(), gain, strict=True):
            places = {(fy, fx), (-fy, -fx)}
            rows += [{"block": number, "fy": y, "fx": x, "gain": value} for y, x in sorted(places)]
    return pd.DataFrame(rows)


@torch.no_grad()
def learned_kernels(model: ResonanceVisionNet, channels: int, side: int = 29) -> pd.DataFrame:
    """Return, for the channels of the first block that weigh most, the filter of their weights in the image.

    What a channel without interference would make of a point in the middle: channel (0, 1, ..), y, x, value, the places
    from -1/2 to 1/2 of the image.
    """
    mixing = model.blocks[0].mixing
    strongest = mixing.weight.magnitude.square().sum(0).topk(channels).indices
    re, im = (part[:, strongest] for part in mixing.weight.pair())
    fy, fx = plane_frequencies(*mixing.num_frequencies).T[..., None]
    middle = torch.exp(-2j * torch.pi * (fy + fx) * (side // 2) / side)
    moved = torch.complex(re, im) * middle
    kernel = plane_synthesis(torch.cat([moved.real, moved.imag])[None], side, side, mixing.num_frequencies)[0]
    y, x, channel = torch.meshgrid(*(torch.arange(n) for n in kernel.shape), indexing="ij")
    place = {"channel": channel, "y": (y - side // 2) / side, "x": (x - side // 2) / side, "value": kernel}
    return pd.DataFrame({name: values.flatten().numpy() for name, values in place.items()})


def model_sizes(task: ImageTask, contenders: Iterable[Contender] = CONTENDERS) -> dict[str, int]:
    """Return the number of trained real parameters of each contender, by name."""
    return {contender.name: count_parameters(contender.model(task, 0)) for contender in contenders}
