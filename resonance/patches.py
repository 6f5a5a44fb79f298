"""Images as grids of tokens: patches that do not overlap, each through one linear map."""

from __future__ import annotations

from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Cut images into square patches and embed each linearly.

    (batch, channels, height, width) -> (batch, height / patch_size, width / patch_size, dim), for any height and width
    that are multiples of patch_size.  A reshape and one product: nothing overlaps, so there is no convolution.
    Raises ValueError for another number of channels or another size.
    Parameters: dim (channels patch_size^2 + 1).
    """

    def __init__(self, in_channels: int, patch_size: int, dim: int):
        super().__init__()
        if min(in_channels, patch_size, dim) < 1:
            raise ValueError(f"expected sizes of at least 1, got {in_channels=}, {patch_size=}, {dim=}")
        self.in_channels, self.patch_size = in_channels, patch_size
        self.projection = nn.Linear(in_channels * patch_size**2, dim)

    def forward(self, images: Tensor) -> Tensor:
        size, channels = self.patch_size, self.in_channels
        if images.ndim != 4 or images.shape[1] != channels or any(n < size or n % size for n in images.shape[2:]):
            raise ValueError(
                f"expected images of (batch, {channels}, height, width), height and width multiples of "
                f"patch_size={size}, got {tuple(images.shape)}"
            )
        batch, _, height, width = images.shape
        cut = images.reshape(batch, channels, height // size, size, width // size, size)
        return self.projection(cut.permute(0, 2, 4, 1, 3, 5).flatten(3))
