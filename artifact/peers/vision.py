"""Peers on images: a small vision Transformer, FNet over patches, logistic regression."""

from __future__ import annotations

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from artifact.peers.transformer import FNetLayer, transformer_layer
from resonance.vision import PatchEmbedding, ResonanceVisionNet, whole_patches


class PatchClassifier(nn.Module):
    """Classify images: patches with positions, layers over their sequence, LayerNorm, read-out, linear map.

    images (batch, in_channels, height, width) -> class scores (batch, num_classes).  Positions are sinusoidal in each
    coordinate, half the channels for each, and relative to the image: images of any size have the same ones, as a
    model needs that is trained at one size and evaluated at another.  The read-out is that of `ResonanceVisionNet`,
    the lowest frequencies of the tokens; with `pooled_frequencies` = 1 it is their mean.  A subclass defines `layer`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        patch_size: int = 4,
        hidden_dim: int = 48,
        num_layers: int = 3,
        num_heads: int = 3,
        pooled_frequencies: int = 1,
    ):
        super().__init__()
        self.patch_size, self.num_heads, self.pooled_frequencies = patch_size, num_heads, pooled_frequencies
        self.embedding = PatchEmbedding(in_channels, patch_size, hidden_dim)
        self.layers = nn.Sequential(*(self.layer(hidden_dim) for _ in range(num_layers)))
        self.norm = nn.LayerNorm(hidden_dim)
        pooled = 2 * (pooled_frequencies**2 + (pooled_frequencies - 1) ** 2) - 1
        self.classifier = nn.Linear(pooled * hidden_dim, num_classes)

    pooled = ResonanceVisionNet.pooled

    def forward(self, images: Tensor) -> Tensor:
        h = self.embedding(whole_patches(images, self.patch_size))  # (batch, rows, columns, dim)
        h = h + plane_positions(*h.shape[1:], like=h)
        tokens = self.norm(self.layers(h.flatten(1, 2))).unflatten(1, h.shape[1:3])
        return self.classifier(self.pooled(tokens))


class VisionTransformer(PatchClassifier):
    """A small vision Transformer (Dosovitskiy et al. 2021): pre-norm layers, fused attention."""

    def layer(self, dim: int) -> nn.Module:
        return transformer_layer(dim, self.num_heads)


class PatchFNet(PatchClassifier):
    """FNet layers (Lee-Thorp et al. 2022) over patches: Fourier mixing without weights; it has no heads."""

    def layer(self, dim: int) -> nn.Module:
        return FNetLayer(dim)


def plane_positions(rows: int, columns: int, dim: int, *, like: Tensor) -> Tensor:
    """Sines and cosines of the row, then of the column, of each patch's centre: (rows, columns, dim).

    A side has length 32 whatever the number of its patches; wavelengths run from 2 pi to a hundred times that.
    """

    def waves(n: int, channels: int) -> Tensor:
        rates = 100.0 ** -(torch.arange(0, channels, 2) / channels)
        angle = torch.outer((torch.arange(n) + 0.5) * (32 / n), rates)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :channels]

    y, x = waves(rows, dim // 2), waves(columns, dim - dim // 2)
    return torch.cat([y[:, None].expand(-1, columns, -1), x[None].expand(rows, -1, -1)], dim=-1).to(like)


def fit_logistic(images: Tensor, labels: Tensor, penalty: float) -> Pipeline:
    """Fit scikit-learn's multinomial logistic regression on standardised pixels, with penalty |w|^2 / 2 a sample.

    In single precision, at most 100 steps of L-BFGS: accuracy is settled long before the last weight is.
    """
    pixels = images.flatten(1).numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (penalty * len(pixels)), max_iter=100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the limit of steps is meant
        return model.fit(pixels, labels.numpy())


def logistic_scores(model: Pipeline, images: Tensor) -> Tensor:
    """Class scores (batch, num_classes) of a fitted logistic regression."""
    return torch.from_numpy(model.decision_function(images.flatten(1).numpy()))
