"""Fusion on `paired_digits`: how every network is trained, and its accuracy in each condition.

A step runs each modality alone and one combination of several, at random levels of noise:

    loss = mean over passes of CE(logits, digit) + mean over pairs of modalities of InfoNCE

InfoNCE over a batch with several positives, the items of the same digit (Khosla et al. 2020): cross-entropy between
softmax(u_i . v_j / temperature) over j and the uniform distribution over the j of i's digit, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import combinations, permutations, product
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.images import Images
from artifact.datasets.speech import Speech
from artifact.peers.multimodal import LateFusion, MultimodalTransformer
from artifact.studies.common.classification import accuracy
from artifact.studies.common.graph import structure
from artifact.studies.common.growth import count_operations
from artifact.studies.common.timing import seconds_of
from artifact.studies.common.training import train_one_cycle
from artifact.studies.common.tuning import widened
from artifact.studies.multimodal.paired_digits import (
    NOISE,
    SAMPLES,
    VOCABULARY,
    WORDS,
    Pairs,
    corrupted,
    paired_digits,
    varied,
)
from artifact.studies.multimodal.retrieval import nearest
from resonance.multimodal import MODALITIES, MultimodalNet, MultimodalResonanceNet

SUBSETS = tuple(names for size in (1, 2, 3) for names in combinations(MODALITIES, size))
TEMPERATURE = 0.1
Passes = tuple[list[Tensor], dict[str, Tensor]]  # logits of each pass, embedding of each modality alone


class _Passes(nn.Module):
    """Each modality alone, then those of `together` at once: the fronts run once."""

    def __init__(self, net: MultimodalNet):
        super().__init__()
        self.net = net

    def forward(self, inputs: dict[str, Tensor], together: tuple[str, ...]) -> Passes:
        tokens = self.net.tokens(inputs)
        alone = {name: self.net.summaries({name: x}) for name, x in tokens.items()}
        logits = [self.net.logits(summary) for summary in alone.values()]
        if isinstance(self.net, LateFusion):  # a modality's summary is the same alone and in company
            several = {name: alone[name][name] for name in together}
        else:
            several = self.net.summaries({name: tokens[name] for name in together})
        logits.append(self.net.logits(several))
        return logits, {name: self.net.embedding(summary) for name, summary in alone.items()}


def contrastive(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    """InfoNCE between unit vectors a and b, (batch, d), row i of both of class labels[i]: mean of both directions."""
    same = (labels[:, None] == labels).to(a)
    target, similar = same / same.sum(1, keepdim=True), a @ b.T / TEMPERATURE
    return (F.cross_entropy(similar, target) + F.cross_entropy(similar.T, target)) / 2


def fusion_loss(passes: Passes, labels: Tensor) -> Tensor:
    """Loss of one step (see the head of this file)."""
    logits, embeddings = passes
    classified = [F.cross_entropy(part, labels, label_smoothing=0.05) for part in logits]
    contrasted = [contrastive(a, b, labels) for a, b in combinations(embeddings.values(), 2)]
    return sum(classified) / len(classified) + sum(contrasted) / len(contrasted)


def train_fusion(net: MultimodalNet, pairs: Pairs, steps: int, *, rate: float, seed: int, batch: int = 64) -> None:
    """Train by `train_one_cycle`.

    Half of the combinations hold all modalities, half two of them; with the data and their noise they depend on `seed`
    alone, so that every network is trained on the same.
    """
    generator = torch.Generator().manual_seed(seed)
    several = [names for names in SUBSETS if len(names) > 1]
    chances = torch.tensor([1.0 if len(names) == 2 else 3.0 for names in several])

    def batches() -> Iterator:
        while True:
            labels = torch.randint(10, (batch,), generator=generator)
            together = several[int(torch.multinomial(chances, 1, generator=generator))]
            yield varied(pairs.batch(labels, generator), generator), together, labels

    train_one_cycle(_Passes(net), batches(), steps, rate=rate, loss_fn=fusion_loss)


# --------------------------------------------------------------------------- the networks compared


class Settings(NamedTuple):
    """Settings of all networks: channels, layers, steps of training, pairs a step."""

    dim: int
    layers: int
    steps: int
    batch: int = 64


def network(name: str, side: int, settings: Settings, seed: int) -> MultimodalNet:
    """An untrained "resonance", "late" or "transformer" for images of side x side, about 7 x 7 patches."""
    torch.manual_seed(seed)
    shared = {"num_classes": 10, "in_channels": 1, "patch_size": max(2, side // 7), "hop": 192, "dropout": 0.0}
    words = len(VOCABULARY)
    if name == "transformer":
        return MultimodalTransformer(words, settings.dim, settings.layers, **shared)
    kind = {"resonance": MultimodalResonanceNet, "late": LateFusion}[name]
    # Half of the band of 32 frames, all of that of 8 words.
    bands = {"vision_frequencies": (4, 4) if side >= 28 else (2, 2), "audio_frequencies": 16, "text_frequencies": 5}
    return kind(words, (side, side), settings.dim, settings.layers, **shared, **bands)


class Trial(NamedTuple):
    """A trained network, its test pairs, and its accuracies."""

    net: MultimodalNet
    inputs: dict[str, Tensor]
    labels: Tensor
    scores: pd.DataFrame  # rows of `accuracies`, with model and seed


def trial(
    name: str,
    data: tuple[Images, Speech],
    fold: int,
    settings: Settings,
    rate: float,
    *,
    held_out: str = "test",
    limit: int | None = None,
) -> Trial:
    """Train a network on a fold and test it on the held-out pairs, `limit` of them at most; the fold is the seed."""
    train, rest = paired_digits(*data, fold, held_out=held_out)
    net = network(name, data[0].train[0].shape[-1], settings, seed=fold)
    train_fusion(net, train, settings.steps, rate=rate, seed=fold, batch=settings.batch)
    inputs, labels = rest.all_recordings(torch.Generator().manual_seed(fold), limit)
    scores = accuracies(net, inputs, labels, seed=fold).assign(model=name, seed=fold)
    return Trial(net, inputs, labels, scores)


def tuned(
    names: Iterable[str],
    data: tuple[Images, Speech],
    settings: Settings,
    rates: Sequence[float],
    *,
    limit: int,
    wider: int,
) -> pd.DataFrame:
    """Every rate tried for each network: columns value, score, model; the grid may widen `wider` times (`widened`).

    score: percent wrong on the validation part of fold 0, all modalities present, mean over conditions.
    """

    def error(name: str, rate: float) -> float:
        scores = trial(name, data, 0, settings, rate, held_out="validation", limit=limit).scores
        return 100 - float(margins(scores)["fused"].mean())

    return pd.concat([widened(partial(error, name), rates, wider=wider).assign(model=name) for name in names])


def made_of(net: MultimodalNet, side: int) -> dict[str, int]:
    """Convolutions and products of tokens with tokens (`structure`) in a call with all modalities."""
    images, waves = torch.randn(1, net.fronts["vision"].in_channels, side, side), torch.randn(1, SAMPLES)
    return structure(net, images, waves, torch.ones(1, WORDS, dtype=torch.long))


# --------------------------------------------------------------------------- conditions


def conditions() -> pd.DataFrame:
    """All conditions: columns condition, and the noise of each modality: 0 clean, levels 1 to 3, -1 missing."""
    noise = {"clean": {}}
    for name in MODALITIES:
        noise |= {f"{name}, level {level}": {name: level} for level in (1, 2, 3)} | {f"{name} missing": {name: -1}}
    noise |= {f"all, level {level}": dict.fromkeys(MODALITIES, level) for level in (1, 2, 3)}
    table = pd.DataFrame.from_dict(noise, orient="index", columns=MODALITIES)
    return table.fillna(0).astype(int).rename_axis("condition").reset_index()


@torch.inference_mode()
def accuracies(net: MultimodalNet, inputs: dict[str, Tensor], labels: Tensor, *, seed: int = 0) -> pd.DataFrame:
    """Accuracy of each combination of modalities in each condition, by one network without retraining.

    Columns: condition, modalities ("vision+audio"), count of modalities, accuracy in percent.  A combination with a
    missing modality has no row; equal inputs are evaluated once.
    """
    net.eval()
    generator = torch.Generator().manual_seed(seed)
    noisy: dict[tuple[str, int], Tensor] = {(name, 0): x for name, x in inputs.items()}
    for name, levels in NOISE.items():
        for level, strength in enumerate(levels, 1):
            noisy[name, level] = corrupted(inputs, {name: strength}, generator)[name]
    tokens = {key: net.tokens({key[0]: x})[key[0]] for key, x in noisy.items()}

    @cache
    def percent(*levels: tuple[str, int]) -> float:
        names = [name for name, _ in levels]
        parts = zip(*(tokens[key].split(100) for key in levels), strict=True)  # faster than all at once
        logits = [net.logits(net.summaries(dict(zip(names, part, strict=True)))) for part in parts]
        return 100 * accuracy(torch.cat(logits), labels)

    rows = [
        (row["condition"], "+".join(names), len(names), percent(*((name, row[name]) for name in names)))
        for row, names in product(conditions().to_dict("records"), SUBSETS)
        if min(row[name] for name in names) >= 0
    ]
    return pd.DataFrame(rows, columns=["condition", "modalities", "count", "accuracy"])


def margins(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of all modalities present minus that of the best alone, for each model, seed and condition.

    scores: rows of `accuracies` with columns model and seed.  Columns: model, seed, condition, fused, best, margin.
    """
    keys = ["model", "seed", "condition"]
    fused = scores.groupby(keys, sort=False)["accuracy"].last()  # the combination of all comes last
    best = scores[scores["count"] == 1].groupby(keys, sort=False)["accuracy"].max()
    return pd.DataFrame({"fused": fused, "best": best, "margin": fused - best}).reset_index()


@torch.inference_mode()
def embeddings(net: MultimodalNet, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Unit vectors (n, dim) of each modality alone."""
    net.eval()
    return {name: net.embed(**{name: x}) for name, x in inputs.items()}


def best_matches(trial: Trial, count: int = 6) -> pd.DataFrame:
    """The best matches of one query in each direction: pair number i for direction number i, fixed beforehand.

    Columns: query, gallery (modalities), pair and label of the query, rank, item, item_label, similarity.
    An item that occurs in the gallery twice counts once.
    """
    vectors = embeddings(trial.net, trial.inputs)
    parts = []
    for pair, (query, gallery) in enumerate(permutations(vectors, 2)):
        kinds = trial.inputs[gallery].flatten(1).unique(dim=0, return_inverse=True)[1]
        first = torch.tensor(pd.Series(kinds).drop_duplicates().index)  # of equal items
        best = first[nearest(vectors[query][pair : pair + 1], vectors[gallery][first], count)[0]]
        of_query = {"query": query, "gallery": gallery, "pair": pair, "label": int(trial.labels[pair])}
        matches = {"rank": range(1, len(best) + 1), "item": best, "item_label": trial.labels[best]}
        similarity = vectors[gallery][best] @ vectors[query][pair]
        parts.append(pd.DataFrame({**of_query, **matches, "similarity": similarity.tolist()}))
    return pd.concat(parts, ignore_index=True)


# --------------------------------------------------------------------------- cost


def cost_growth(nets: dict[str, MultimodalNet], sides: Iterable[int], *, min_seconds: float = 0.05) -> pd.DataFrame:
    """Cost of one call with all modalities: columns model, tokens (of all), operations (counted), seconds.

    An example has side^2 tokens a modality: side x side patches, as many frames, as many words.
    """
    rows = []
    for side in sides:
        for name, net in nets.items():
            patches, frames = net.fronts["vision"], net.fronts["audio"].front_end
            inputs = {
                "vision": torch.randn(1, patches.in_channels, *[side * patches.patch_size] * 2),
                "audio": torch.randn(1, frames.frame + (side**2 - 1) * frames.hop),
                "text": torch.randint(10, (1, side**2)),
            }
            net.eval()
            with torch.inference_mode():  # before the count: the first call of a size builds its tables
                seconds = seconds_of(partial(net, **inputs), min_seconds=min_seconds)
            operations = count_operations(net, **inputs)
            rows.append({"model": name, "tokens": 3 * side**2, "operations": operations, "seconds": seconds})
    return pd.DataFrame(rows)
