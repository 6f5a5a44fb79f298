"""Peers on images: patches with positions, logistic regression."""

from __future__ import annotations

import torch

from artifact.peers.vision import PatchFNet, fit_logistic, logistic_scores, plane_positions
from artifact.studies.common.classification import accuracy


def test_positions_of_the_peers_are_relative_to_the_image():
    coarse, fine = (plane_positions(n, n, 12, like=torch.zeros(1)) for n in (5, 15))
    torch.testing.assert_close(fine[1::3, 1::3], coarse)
    assert not torch.equal(coarse[0, 1], coarse[1, 0])
    assert PatchFNet(hidden_dim=7, num_layers=1)(torch.rand(1, 1, 8, 8)).shape == (1, 10)


def test_logistic_regression_separates_what_a_line_separates():
    images = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    corners = images[:, 0, [0, 0, 3], [0, 3, 0]]
    labels = corners.argmax(1)
    model = fit_logistic(images, labels, 1e-4)
    assert accuracy(logistic_scores(model, images), labels) > 0.95
    assert accuracy(logistic_scores(fit_logistic(images, labels, 10.0), images), labels) < 0.95
