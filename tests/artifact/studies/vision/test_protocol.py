"""The protocol of image classification, its models, and what they have learned."""

from __future__ import annotations

import math

import numpy as np
import torch

from artifact.datasets.images import Images, load_digits
from artifact.peers.vision import VisionTransformer
from artifact.studies.common.classification import accuracy, predict
from artifact.studies.vision.augmentation import resized
from artifact.studies.vision.protocol import (
    BARE,
    CONTENDERS,
    RESONANCE,
    errors,
    image_task,
    learned_gains,
    learned_kernels,
    model_sizes,
    robustness,
    scorer,
    size_freedom,
    structure,
    trained,
    validation_accuracy,
)
from resonance import ResonanceVisionNet


def toy_images(count=120, side=8, seed=0):
    generator = np.random.default_rng(seed)
    images, labels = generator.random((count, side, side), dtype=np.float32), np.arange(count) % 10
    return Images("toy", (images, labels), (images[:40], labels[:40]))


# --------------------------------------------------------------------------- models


def test_no_convolution_no_attention_no_product_of_tokens():
    model = ResonanceVisionNet(4, hidden_dim=8, num_layers=2, dropout=0.0)
    x = torch.randn(1, 3, 64, 64)
    assert structure(model, x) == {"convolutions": 0, "token products": 0}
    assert structure(VisionTransformer(4, num_layers=1), torch.randn(1, 1, 8, 8))["token products"] > 0
    assert structure(torch.nn.Conv2d(3, 4, 3), x)["convolutions"] == 1


def test_contenders_have_under_a_hundred_thousand_parameters():
    sizes = model_sizes(image_task(toy_images(side=28)))
    assert len(sizes) == len(CONTENDERS) and all(10_000 < size < 100_000 for size in sizes.values())
    assert sizes[BARE.name] < sizes[RESONANCE.name]


# --------------------------------------------------------------------------- training and evaluation


def test_the_last_training_images_are_for_choices():
    task = image_task(toy_images(), validation=15)
    assert len(task.train[0]) == 105 and len(task.validation[0]) == 15 and task.side == 8
    assert torch.equal(torch.cat([task.train[0], task.validation[0]]), task.all_train[0])
    assert len(image_task(toy_images(), validation=5000).validation[0]) == 20


def test_choosing_touches_no_test_image():
    images = toy_images()
    broken = Images("toy", images.train, (np.full_like(images.test[0], np.nan), images.test[1]))
    options = {"steps": 6, "seed": 0, "batch": 16}
    a, b = (validation_accuracy(1e-3, RESONANCE, image_task(data), **options) for data in (images, broken))
    assert a == b and math.isfinite(a)


def test_training_is_repeatable_and_learns_the_digits():
    task = image_task(load_digits(), validation=200)
    options = {"rate": 4e-3, "steps": 70, "seed": 0, "batch": 64}
    model, seconds = trained(RESONANCE, task, task.train, **options)
    assert not model.training and seconds > 0
    assert accuracy(predict(model, task.test[0]), task.test[1]) > 0.85
    table = errors(scorer(model), *task.test, count=7)
    scores = predict(model, task.test[0])
    assert (scores.argmax(1)[table["index"].tolist()].numpy() == table["prediction"]).all()
    assert (table["prediction"] != table["label"]).all() and table["confidence"].is_monotonic_decreasing
    short = {**options, "steps": 3}
    states = [trained(RESONANCE, task, task.train, **short)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_every_contender_takes_every_size_and_trains():
    task = image_task(toy_images())
    for contender in CONTENDERS:
        model, _ = trained(contender, task, task.train, rate=1e-3, steps=2, seed=0, batch=16)
        for side in (6, 8, 11):
            assert predict(model, torch.rand(3, 1, side, side)).shape == (3, 10)


def test_all_models_are_tested_on_the_same_images():
    task = image_task(toy_images())
    seen = []

    def score(images):
        seen.append(images)
        return torch.eye(10)[torch.arange(len(images)) % 10]  # right by construction

    levels = {"rotation": [0.0, 20.0], "noise": [0.0, 0.2], "occlusion": [0.0, 0.5]}
    table = robustness([("a", 0, score), ("b", 0, score)], *task.test, seed=3, levels=levels)
    assert len(table) == 12 and (table["accuracy"] == 1).all()
    assert all(torch.equal(first, second) for first, second in zip(seen[::2], seen[1::2], strict=True))
    for first in (0, 4, 8):
        torch.testing.assert_close(seen[first], task.test[0])
    assert not torch.equal(seen[2], seen[0])
    seen.clear()
    sizes = size_freedom([("a", 0, score)], *task.test, [5, 8, 12])
    assert [x.shape[-1] for x in seen] == [5, 8, 8, 8, 12, 8]
    torch.testing.assert_close(seen[2], task.test[0])
    assert set(sizes["way"]) == {"as it is", "resampled"}
    torch.testing.assert_close(resized(torch.ones(1, 1, 9, 9), 5), torch.ones(1, 1, 5, 5))


def test_pictures_of_the_weights_are_the_weights():
    torch.manual_seed(0)
    model = ResonanceVisionNet(3, in_channels=1, patch_size=1, hidden_dim=6, num_layers=2, num_frequencies=3)
    gains = learned_gains(model)
    assert len(gains) == 2 * 25
    flipped = gains.assign(fy=-gains["fy"], fx=-gains["fx"]).sort_values(["block", "fy", "fx"])
    np.testing.assert_array_equal(flipped["gain"], gains.sort_values(["block", "fy", "fx"])["gain"])
    kernels = learned_kernels(model, 2, side=9)
    mixing = model.blocks[0].mixing
    strongest = mixing.weight.magnitude.square().sum(0).argmax()
    point = torch.zeros(1, 9, 9, 6)
    point[:, 4, 4] = 1.0
    mixing.interference = None
    expected = mixing(point)[0, ..., strongest].detach()
    first = kernels[kernels["channel"] == 0].pivot(index="y", columns="x", values="value").to_numpy()
    torch.testing.assert_close(torch.from_numpy(first) / 9, expected, atol=1e-5, rtol=0)
