"""The protocol of image classification, its models, and what they have learned."""

from __future__ import annotations

import math

import numpy as np
import torch

from artifact.datasets.images import Images, load_digits
from artifact.peers.vision import VisionTransformer, fit_logistic
from artifact.studies.common.classification import accuracy, predict
from artifact.studies.common.graph import structure
from artifact.studies.common.tuning import best_values
from artifact.studies.vision import protocol
from artifact.studies.vision.augmentation import resized
from artifact.studies.vision.protocol import (
    BARE,
    CONTENDERS,
    RESONANCE,
    VARIANTS,
    choice,
    errors,
    image_task,
    learned_gains,
    learned_kernels,
    robustness,
    scorer,
    size_freedom,
    trained,
    tuned,
    validation_error,
)
from resonance import ResonanceVisionNet
from resonance.polar import count_parameters


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


def test_contenders_have_under_a_hundred_thousand_parameters_in_every_variant():
    task = image_task(toy_images(side=28))
    for variant in VARIANTS:
        models = {contender.name: contender.variant(variant).model(task, 0) for contender in CONTENDERS}
        sizes = {name: count_parameters(model) for name, model in models.items()}
        assert all(10_000 < size < 100_000 for size in sizes.values()), (variant, sizes)
        assert sizes[BARE.name] < sizes[RESONANCE.name]
        # The same patches and the same read-out for ours and for every peer.
        assert len({(model.patch_size, model.classifier.in_features) for model in models.values()}) == 1, variant


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
    a, b = (validation_error(1e-3, RESONANCE, image_task(data), **options) for data in (images, broken))
    assert a == b and 0 <= a <= 1


def test_a_training_that_diverges_is_worse_than_every_other():
    images = toy_images()
    broken = Images("toy", (np.full_like(images.train[0], np.nan), images.train[1]), images.test)
    options = {"contender": RESONANCE, "steps": 12, "seed": 0, "batch": 16}
    assert validation_error(1e-3, task=image_task(broken), **options) == math.inf


def test_every_contender_is_tuned_over_the_same_variants_and_rates(monkeypatch):
    asked = []

    def error(rate, contender, task, steps):
        asked.append((contender.name, contender.pooled, rate))
        return abs(rate - 0.004) + 0.1 * (contender.pooled == 3)

    monkeypatch.setattr(protocol, "validation_error", error)
    tries = tuned(None, VARIANTS, [0.001, 0.002], wider=2, steps=1)
    assert {name: len(rows) for name, rows in tries.groupby("method")} == dict.fromkeys(tries["method"], 8)
    assert len(asked) == len(tries) == 8 * len(CONTENDERS) and set(tries["value"]) == {0.001, 0.002, 0.004, 0.008}
    best = best_values(tries, ["method", "variant"])
    assert best["inside"].all() and len(best) == 2 * len(CONTENDERS)
    assert set(choice(best)["variant"]) == {"mean"} and set(choice(best)["value"]) == {0.004}


def test_regressions_are_tuned_with_and_without_a_copy_of_each_image(monkeypatch):
    fitted = []

    def fit(images, labels, penalty):
        fitted.append((len(images), len(labels), penalty))
        return fit_logistic(images, labels, penalty)

    monkeypatch.setattr(protocol, "fit_logistic", fit)
    task = image_task(load_digits(), validation=200)
    tries = protocol.tuned_regressions(task, [0.01, 0.1], 300, wider=0, seed=0)
    assert fitted == [(count, count, penalty) for count in (300, 600) for penalty in (0.01, 0.1)]
    assert tries["method"].tolist() == [name for name in protocol.REGRESSIONS for _ in range(2)]
    assert (tries["score"] < 0.2).all()


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
