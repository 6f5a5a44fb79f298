"""Images classified through the two-dimensional spectra of their patches, without convolution or attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import FeedForward
from .plane import PlaneMixing, plane_analysis
from .settings import WithSettings, placed
from .spectral import check_signal


def check_images(images: Tensor, channels: int) -> None:
    """Raise TypeError for images that are not floating, ValueError unless (batch, channels, height, width)."""
    expected = f"images of (batch, {channels}, height, width)"
    check_signal(images, expected, "scale bytes to 0..1, images / 255")
    if images.ndim != 4 or images.shape[1] != channels or 0 in images.shape[1:]:
        last = images.ndim == 4 and images.shape[-1] == channels
        hint = ": channels come before rows and columns, images.movedim(-1, 1)" if last else ""
        raise ValueError(f"expected {expected}, got {tuple(images.shape)}{hint}")


class PatchEmbedding(WithSettings):
    """Cut images into square patches and embed each linearly.

    (batch, channels, height, width) -> (batch, height / patch_size, width / patch_size, dim).
    Raises as `check_images`, and ValueError for sides that are not multiples of patch_size.
    Parameters: dim (channels patch_size^2 + 1).
    """

    defines = ("patch_size",)

    @placed
    def __init__(self, in_channels: int, patch_size: int, dim: int, *, device=None, dtype=None):
        super().__init__()
        if min(in_channels, patch_size, dim) < 1:
            raise ValueError(f"expected sizes of at least 1, got {in_channels=}, {patch_size=}, {dim=}")
        self.in_channels, self.patch_size = in_channels, patch_size
        self.projection = nn.Linear(in_channels * patch_size**2, dim)

    def forward(self, images: Tensor) -> Tensor:
        size, channels = self.patch_size, self.in_channels
        check_images(images, channels)
        if any(n < size or n % size for n in images.shape[2:]):
            raise ValueError(f"expected height and width multiples of patch_size={size}, got {tuple(images.shape)}")
        batch, _, height, width = images.shape
        cut = images.reshape(batch, channels, height // size, size, width // size, size)
        patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (batch, rows, columns, channels size^2)
        return self.projection(patches)


class PlaneBlock(nn.Module):
    """A residual block on a plane of tokens: mixing by its lowest frequencies, then a pointwise feed-forward.

    (batch, rows, columns, dim) -> the same shape.  `expansion` is the width of the feed-forward in units of dim; with
    0 there is none.
    Parameters: those of `PlaneMixing`, (2 expansion) dim^2 + (expansion + 1) dim, and 2 dim for each LayerNorm.
    """

    def __init__(
        self, dim: int, num_frequencies: int | tuple[int, int], *, expansion: int = 2, dropout=0.0, engine="auto"
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixing = PlaneMixing(dim, num_frequencies, engine=engine)
        self.feed_forward = FeedForward(dim, expansion * dim, dropout) if expansion else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.feed_forward(x + self.dropout(self.mixing(self.norm(x))))


class ResonanceVisionNet(nn.Module):
    """Classify images of any size by mixing their patches in the plane of frequencies.

    images (batch, in_channels, height, width) -> class scores (batch, num_classes).
    Frequencies count cycles per image: the same weights apply to a 224 x 224 image and to any other.  An image whose
    sides are not multiples of patch_size is zero-padded on all sides to one that is.  The read-out is the lowest
    frequencies of the last tokens, |f_y| and f_x below `pooled_frequencies`, divided by the root of the tokens' number:
    the coefficient at DC is the mean token, the others carry where in the image a feature is.

    Arguments: patch_size in pixels; num_frequencies, (k_y, k_x) or one number for both; expansion of the feed-forward
    part (0: none).  Raises as `check_images`.
    Parameters: the blocks', hidden_dim (in_channels patch_size^2 + 3), num_classes (hidden_dim (2 P - 1) + 1), with
    P = p^2 + (p - 1)^2 of p = pooled_frequencies.  Cost: linear in the pixels at a fixed band.

    >>> model = ResonanceVisionNet(10, in_channels=1, patch_size=4, hidden_dim=8, num_layers=1, num_frequencies=2)
    >>> [tuple(model(torch.rand(2, 1, n, n)).shape) for n in (28, 45)]
    [(2, 10), (2, 10)]
    """

    @placed
    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        patch_size: int = 16,
        hidden_dim: int = 256,
        num_layers: int = 6,
        num_frequencies: int | tuple[int, int] = 7,
        pooled_frequencies: int = 2,
        expansion: int = 2,
        dropout: float = 0.1,
        engine: str = "auto",
        device=None,
        dtype=None,
    ):
        super().__init__()
        if min(num_classes, num_layers, pooled_frequencies) < 1 or expansion < 0:
            got = f"got {num_classes=}, {num_layers=}, {pooled_frequencies=}, {expansion=}"
            raise ValueError(f"expected at least 1 class, layer and pooled frequency and expansion >= 0, {got}")
        self.patch_size, self.hidden_dim, self.pooled_frequencies = patch_size, hidden_dim, pooled_frequencies
        self.embedding = PatchEmbedding(in_channels, patch_size, hidden_dim)
        options = {"expansion": expansion, "dropout": dropout, "engine": engine}
        self.blocks = nn.ModuleList(PlaneBlock(hidden_dim, num_frequencies, **options) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_dim)
        pooled = 2 * (pooled_frequencies**2 + (pooled_frequencies - 1) ** 2) - 1
        self.classifier = nn.Linear(pooled * hidden_dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.pooled(self.tokens(images)))

    def tokens(self, images: Tensor) -> Tensor:
        """Features of each patch, (batch, rows, columns, hidden_dim), before pooling."""
        check_images(images, self.embedding.in_channels)
        h = self.embedding(whole_patches(images, self.patch_size))
        for block in self.blocks:
            h = block(h)
        return self.norm(h)

    def pooled(self, tokens: Tensor) -> Tensor:
        """The lowest frequencies of tokens as one vector an image, (batch, (2 P - 1) hidden_dim)."""
        band = plane_analysis(tokens, self.pooled_frequencies) / math.sqrt(tokens.shape[1] * tokens.shape[2])
        middle = band.shape[1] // 2  # the imaginary part at DC, always zero
        return torch.cat([band[:, :middle], band[:, middle + 1 :]], dim=1).flatten(1)


def whole_patches(images: Tensor, patch_size: int) -> Tensor:
    """Zero-pad images (..., height, width) on all sides up to whole patches."""
    rows, columns = (-n % patch_size for n in images.shape[-2:])
    return F.pad(images, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
