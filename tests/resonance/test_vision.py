"""Patches and the vision model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance import PatchEmbedding, ResonanceTrainer, ResonanceVisionNet
from resonance.polar import count_parameters
from resonance.vision import whole_patches


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ResonanceVisionNet(0), ValueError, "at least 1 class"),
        (lambda: ResonanceVisionNet(2)(torch.randn(1, 1, 32, 32)), ValueError, "3, height, width"),
        (lambda: ResonanceVisionNet(2)(torch.randn(3)), ValueError, "3, height, width"),
        (
            lambda: ResonanceVisionNet(2)(torch.zeros(1, 32, 32, 3)),
            ValueError,
            r"\(1, 32, 32, 3\): .*movedim\(-1, 1\)",
        ),
        (lambda: ResonanceVisionNet(2)(torch.zeros(1, 3, 32, 32).byte()), TypeError, "uint8: .* images / 255"),
        (lambda: ResonanceVisionNet(2)(np.zeros((1, 3, 32, 32))), TypeError, "ndarray"),
    ],
)
def test_bad_input_is_a_clear_error(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_parameters_are_the_printed_formula():
    model = ResonanceVisionNet(10, in_channels=1, patch_size=4, hidden_dim=16, num_layers=2, num_frequencies=3)
    block = 2 * 13 * 16 + 2 * 13**2 + 4 * 16**2 + 3 * 16 + 4 * 16
    assert count_parameters(model) == 2 * block + 16 * (16 + 3) + 10 * (16 * 9 + 1)


def test_the_printed_constructor_classifies_and_trains_at_the_printed_size():
    torch.manual_seed(0)
    model = ResonanceVisionNet(num_classes=1000)
    images, labels = torch.randn(2, 3, 224, 224), torch.tensor([3, 999])
    assert model(images).shape == (2, 1000)
    assert model.tokens(images).shape == (2, 14, 14, model.hidden_dim)
    trainer = ResonanceTrainer(model, loss_fn=torch.nn.functional.cross_entropy)
    losses = [trainer.train_step((images, labels))[0] for _ in range(3)]
    assert losses[2] < losses[0] and math.isfinite(losses[2])


@pytest.mark.parametrize("size", [(16, 16), (20, 300), (96, 64), (225, 224)])
def test_any_size_is_classified(size):
    model = ResonanceVisionNet(5, hidden_dim=16, num_layers=2).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, *size)).isfinite().all()


def test_a_graph_of_any_batch_no_images_and_activations_in_place(in_one_graph):
    torch.manual_seed(0)
    model, images = ResonanceVisionNet(5, hidden_dim=16, num_layers=2, patch_size=8).eval(), torch.randn(5, 3, 36, 32)
    in_one_graph(model, (images[:3],), (images,))
    assert model(images[:0]).shape == (0, 5)
    for part in (model.embedding(images[..., :32, :]), model.tokens(images), model(images)):
        torch.relu_(part).sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_follows_float32(dtype):
    torch.manual_seed(0)
    model, images = ResonanceVisionNet(5, hidden_dim=16, num_layers=2, patch_size=8).eval(), torch.randn(2, 3, 40, 32)
    expected = model(images)
    torch.testing.assert_close(model.to(dtype)(images.to(dtype)).float(), expected, rtol=0.05, atol=0.05)


def test_the_read_out_is_the_mean_and_where_things_stand():
    model = ResonanceVisionNet(3, hidden_dim=8, num_layers=1)
    tokens = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(model.pooled(tokens)[:, :8], tokens.mean((1, 2)))
    moved = model.pooled(tokens.roll(2, 1))
    torch.testing.assert_close(moved[:, :8], model.pooled(tokens)[:, :8])
    assert (moved - model.pooled(tokens)).abs().max() > 0.01
    torch.testing.assert_close(
        model.pooled(torch.ones(1, 4, 4, 8)), model.pooled(torch.ones(1, 10, 7, 8)), atol=1e-6, rtol=0
    )
    assert moved.shape == (2, 9 * 8)


def test_whole_patches_keeps_the_image_in_the_middle():
    images = torch.randn(1, 1, 9, 8)
    padded = whole_patches(images, 4)
    assert padded.shape == (1, 1, 12, 8)
    torch.testing.assert_close(padded[:, :, 1:10], images)
    assert padded[:, :, 0].abs().max() == padded[:, :, 10:].abs().max() == 0
    assert whole_patches(images[:, :, :8], 4).shape == (1, 1, 8, 8)


# --------------------------------------------------------------------------- patches


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_patches_are_a_convolution_with_stride_of_their_size(channels, size, rows, columns):
    embed = PatchEmbedding(channels, size, 7)
    images = torch.randn(2, channels, rows * size, columns * size)
    kernel = embed.projection.weight.reshape(7, channels, size, size)
    expected = torch.nn.functional.conv2d(images, kernel, embed.projection.bias, stride=size).movedim(1, -1)
    torch.testing.assert_close(embed(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 28), (2, 3, 28, 28), (2, 1, 30, 28), (2, 1, 28, 0)])
def test_patches_of_a_wrong_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"(1, height, width\)|multiples of patch_size=4), got \(2"):
        PatchEmbedding(1, 4, 8)(torch.zeros(shape))
