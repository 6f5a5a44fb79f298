"""Peers on images: a small vision Transformer, FNet over patches, logistic regression."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from artifact.peers.transformer import FNetLayer, transformer_layer
from resonance.vision import PatchEmbedding, whole_patches


class PatchClassifier(nn.Module):
    """Classify images: patches with positions, layers over their sequence, LayerNorm, mean, linear map.

    images (batch, in_channels, height, width) -> class scores (batch, num_classes).  A position is sinusoidal in each
    coordinate, half the channels for each, and relative to the image: images of any size have the same ones, which is
    what a model trained at one size and asked at another needs.
    """

    def __init__(self, layers: Iterable[nn.Module], dim: int, num_classes: int, *, in_channels: int, patch_size: int):
        super().__init__()
        self.patch_size = patch_size
        self.embedding = PatchEmbedding(in_channels, patch_size, dim)
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        h = self.embedding(whole_patches(images, self.patch_size))
        h = h + plane_positions(*h.shape[1:], like=h)
        return self.classifier(self.norm(self.layers(h.flatten(1, 2))).mean(dim=1))


class VisionTransformer(PatchClassifier):
    """A small vision Transformer (Dosovitskiy et al. 2021): pre-norm layers, fused attention, mean of the tokens."""

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        patch_size: int = 4,
        hidden_dim: int = 48,
        num_layers: int = 3,
        num_heads: int = 3,
    ):
        layers = (transformer_layer(hidden_dim, num_heads) for _ in range(num_layers))
        super().__init__(layers, hidden_dim, num_classes, in_channels=in_channels, patch_size=patch_size)


class PatchFNet(PatchClassifier):
    """FNet layers (Lee-Thorp et al. 2022) over patches: Fourier mixing without weights."""

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        patch_size: int = 4,
        hidden_dim: int = 48,
        num_layers: int = 5,
    ):
        layers = (FNetLayer(hidden_dim) for _ in range(num_layers))
        super().__init__(layers, hidden_dim, num_classes, in_channels=in_channels, patch_size=patch_size)


def plane_positions(rows: int, columns: int, dim: int, *, like: Tensor) -> Tensor:
    """Return (rows, columns, dim): sines and cosines of the place of each patch's middle, its row's, then its column's.

    A side counts as 32 places, whatever its patches; wavelengths run from 2 pi places up to a hundred times that.
    """

    def waves(n: int, channels: int) -> Tensor:
        rates = 100.0 ** -(torch.arange(0, channels, 2) / channels)
        angle = torch.outer((torch.arange(n) + 0.5) * (32 / n), rates)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :channels]

    y, x = waves(rows, dim // 2), waves(columns, dim - dim // 2)
    return torch.cat([y[:, None].expand(-1, columns, -1), x[None].expand(rows, -1, -1)], dim=-1).to(like)


def fit_logistic(images: Tensor, labels: Tensor, penalty: float, *, iterations: int = 100) -> Pipeline:
    """Return scikit-learn's multinomial logistic regression of standardised pixels; a sample adds penalty |w|^2 / 2."""
    pixels = images.flatten(1).numpy().astype(np.float64)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (penalty * len(pixels)), max_iter=iterations))
    return model.fit(pixels, labels.numpy())


def logistic_scores(model: Pipeline, images: Tensor) -> Tensor:
    """Return class scores (batch, num_classes) of a fitted logistic regression."""
    return torch.from_numpy(model.decision_function(images.flatten(1).numpy().astype(np.float64)))
