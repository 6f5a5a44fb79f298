"""Random shifts, rotations, scalings, noise and occlusion of batches of images, from a given generator.

Coordinates are those of `torch.nn.functional.grid_sample`: the image spans -1 .. 1, and outside it is black (zero).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from artifact.studies.common.classification import shuffled


def affine(
    images: Tensor, *, degrees: Tensor | float = 0.0, scale: Tensor | float = 1.0, shift: Tensor | float = 0.0
) -> Tensor:
    """Rotate images counter-clockwise, scale them about their middle and shift them, by bilinear interpolation.

    images: (batch, channels, height, width).  degrees, and scale, a factor of size: (batch,) or one number; shift:
    pixels to the right and down, (batch, 2) or one number.
    """
    if images.ndim != 4:
        raise ValueError(f"expected images of (batch, channels, height, width), got {tuple(images.shape)}")
    batch, _, height, width = images.shape
    angle = torch.as_tensor(degrees, dtype=images.dtype).expand(batch) * (math.pi / 180)
    size = torch.as_tensor(scale, dtype=images.dtype).expand(batch)
    if not bool((size > 0).all()):
        raise ValueError(f"expected a positive scale, got {float(size.min())}")
    moved = torch.as_tensor(shift, dtype=images.dtype).expand(batch, 2) * 2 / torch.tensor([width, height])
    # The inverse map: the source of each pixel of the result, in units of half a side.
    cos, sin, aspect = angle.cos() / size, angle.sin() / size, height / width
    turn = torch.stack([cos, -sin * aspect, sin / aspect, cos], dim=1).reshape(batch, 2, 2)
    theta = torch.cat([turn, -turn @ moved[..., None]], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def jitter(
    images: Tensor, generator: torch.Generator, *, shift: float = 2.0, degrees: float = 10.0, scale: float = 0.1
) -> Tensor:
    """Rotate each image by up to `degrees`, scale it by a factor of up to 1 +- `scale`, shift it by up to `shift`."""
    draw = 2 * torch.rand(len(images), 4, generator=generator, dtype=images.dtype) - 1
    return affine(images, degrees=degrees * draw[:, 0], scale=1 + scale * draw[:, 1], shift=shift * draw[:, 2:])


def noisy(images: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Add white Gaussian noise of standard deviation `level`, in units of the grey scale 0 .. 1."""
    return images + level * torch.randn(images.shape, generator=generator, dtype=images.dtype)


def occluded(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Cover each image by a black square of `side` pixels at a uniform random place inside it."""
    height, width = images.shape[-2:]
    if not 0 <= side <= min(height, width):
        raise ValueError(f"expected a square of 0..{min(height, width)} pixels a side, got {side}")
    free = torch.tensor([height - side + 1, width - side + 1])
    top, left = (torch.rand(2, len(images), generator=generator) * free[:, None]).long()[..., None]
    y, x = torch.arange(height), torch.arange(width)
    covered = ((y >= top) & (y < top + side))[:, :, None] & ((x >= left) & (x < left + side))[:, None, :]
    return images.masked_fill(covered[:, None], 0.0)


def resized(images: Tensor, side: int) -> Tensor:
    """Resample images to side x side pixels: bilinear, low-passed where the size shrinks."""
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def augmented_batches(
    images: Tensor, labels: Tensor, size: int, generator: torch.Generator, **bounds: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) without end: each epoch in a new order, each image changed anew by `jitter`."""
    for index in shuffled(len(images), size, generator):
        yield jitter(images[index], generator, **bounds), labels[index]
