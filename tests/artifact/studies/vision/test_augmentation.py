"""Images moved, turned, scaled, covered and made noisy."""

from __future__ import annotations

import pytest
import torch

from artifact.studies.vision.augmentation import affine, augmented_batches, jitter, noisy, occluded


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: affine(torch.ones(3, 3)), ValueError, "channels, height, width"),
        (lambda: affine(torch.ones(1, 1, 3, 3), scale=0.0), ValueError, "positive scale"),
        (lambda: occluded(torch.ones(1, 1, 3, 4), 4, torch.Generator()), ValueError, r"0\.\.3"),
    ],
)
def test_bad_input_is_a_clear_error(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_affine_is_exact_where_it_can_be():
    x = torch.rand(2, 1, 7, 7)
    torch.testing.assert_close(affine(x), x)
    torch.testing.assert_close(affine(x, degrees=90.0), x.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(affine(x, degrees=torch.tensor([180.0, 0.0]))[0], x[0].flip(1, 2), atol=1e-5, rtol=0)
    oblong = torch.rand(1, 1, 5, 9)
    torch.testing.assert_close(affine(oblong, degrees=180.0), oblong.flip(2, 3), atol=1e-5, rtol=0)
    moved = affine(oblong, shift=torch.tensor([[2.0, -1.0]]))  # right, and up
    torch.testing.assert_close(moved[..., :4, 2:], oblong[..., 1:, :7], atol=1e-5, rtol=0)
    assert moved[..., :2].abs().max() < 1e-5 and moved[..., 4, :].abs().max() < 1e-5


def test_affine_turns_an_oblong_without_shearing_it():
    """A quarter turn of a square within an oblong image is that square turned."""
    square = torch.rand(1, 1, 5, 5)
    image = torch.nn.functional.pad(square, (4, 4))
    torch.testing.assert_close(affine(image, degrees=90.0)[..., 4:9], square.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_affine_scales_about_the_middle():
    x = torch.ones(1, 1, 20, 20)
    half = affine(x, scale=0.5)
    assert half.sum().item() == pytest.approx(100, rel=0.05) and half[0, 0, 10, 10] == 1 and half[0, 0, 2, 2] == 0


def test_draws_are_seeded_bounded_and_differ_between_images():
    x = torch.zeros(64, 1, 15, 15)
    x[:, :, 7, 7] = 1.0
    a, b = (jitter(x, torch.Generator().manual_seed(1), degrees=0.0, scale=0.0) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a[0], a[1])
    y, z = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    shift = torch.stack([(a[:, 0] * axis).sum((1, 2)) - 7 for axis in (y, z)])
    assert shift.abs().max() <= 2.001 and shift.min() < -1 and shift.max() > 1
    torch.testing.assert_close(jitter(x, torch.Generator(), shift=0.0, degrees=0.0, scale=0.0), x)


def test_noise_and_occlusion_are_what_they_say():
    generator = torch.Generator().manual_seed(0)
    assert noisy(torch.zeros(50, 1, 20, 20), 0.3, generator).std().item() == pytest.approx(0.3, rel=0.02)
    covered = occluded(torch.ones(200, 1, 9, 11), 4, generator)
    assert ((covered == 0).sum((1, 2, 3)) == 16).all()
    assert (covered == 0).any(0).all(), "every place is covered some time"
    assert torch.equal(occluded(torch.ones(2, 1, 5, 5), 0, generator), torch.ones(2, 1, 5, 5))


def test_batches_are_every_image_once_an_epoch():
    images, labels = torch.rand(10, 1, 4, 4), torch.arange(10)
    batches = augmented_batches(images, labels, 4, torch.Generator().manual_seed(0), shift=0.0, degrees=0.0, scale=0.0)
    epoch = [next(batches) for _ in range(3)]
    assert sorted(torch.cat([label for _, label in epoch]).tolist()) == list(range(10))
    for moved, label in epoch:
        torch.testing.assert_close(moved, images[label])
