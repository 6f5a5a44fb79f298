"""Peers on images: patches with positions, logistic regression."""

from __future__ import annotations

import torch

from artifact.peers.vision import PatchFNet, VisionTransformer, fit_logistic, logistic_scores, plane_positions
from artifact.studies.common.classification import accuracy


def test_positions_of_the_peers_are_relative_to_the_image():
    coarse, fine = (plane_positions(n, n, 12, like=torch.zeros(1)) for n in (5, 15))
    torch.testing.assert_close(fine[1::3, 1::3], coarse)
    assert not torch.equal(coarse[0, 1], coarse[1, 0])
    assert PatchFNet(hidden_dim=7, num_layers=1)(torch.rand(1, 1, 8, 8)).shape == (1, 10)


def test_one_pooled_frequency_is_the_mean_and_more_tell_where():
    torch.manual_seed(0)
    for make in (VisionTransformer, PatchFNet):
        model, images = make(num_layers=1).eval(), torch.rand(2, 1, 12, 8)
        seen = []
        model.norm.register_forward_hook(lambda module, inputs, tokens, seen=seen: seen.append(tokens))
        torch.testing.assert_close(model(images), model.classifier(seen[0].mean(dim=1)), rtol=1e-4, atol=1e-5)
    tokens = torch.zeros(2, 4, 4, 48)
    tokens[0, 0, 0], tokens[1, 3, 2] = 1.0, 1.0  # the same token at two places
    same, other = (PatchFNet(num_layers=1, pooled_frequencies=p).pooled(tokens) for p in (1, 3))
    torch.testing.assert_close(same[0], same[1])
    assert (other[0] - other[1]).abs().max() > 0.05


def test_logistic_regression_separates_what_a_line_separates():
    images = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    corners = images[:, 0, [0, 0, 3], [0, 3, 0]]
    labels = corners.argmax(1)
    model = fit_logistic(images, labels, 1e-4)
    assert accuracy(logistic_scores(model, images), labels) > 0.95
    assert accuracy(logistic_scores(fit_logistic(images, labels, 10.0), images), labels) < 0.95
