"""The reduced-rank regression in time: against plain ridge regression, and against direct evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from artifact.peers.forecasting import ridge_path
from artifact.peers.reduced_rank import ReducedRankPath
from resonance.forecasting import Series, evaluate, forecast_task
from resonance.time_series import Moments, Setting


@pytest.fixture(scope="module")
def task():
    generator = np.random.default_rng(0)
    t = np.arange(500)[:, None]
    values = np.sin(2 * np.pi * t / 12 + np.arange(2)) + 0.3 * generator.standard_normal((500, 2))
    return forecast_task(Series("toy", values, ("a", "b"), period=12, step="step"), 6)


def path_of(task, weights, level_steps, power=0.0):
    train, validation = (
        Moments.of(task.windows(split, len(weights)), level_steps, variance_power=at)
        for split, at in (("train", power), ("validation", 0.0))
    )
    return ReducedRankPath.of(train, validation, weights, level_steps)


def test_without_taper_at_full_rank_it_is_the_ridge(task):
    path = path_of(task, torch.ones(24, dtype=torch.float64), 24)
    ((_, ridge),) = ridge_path(task.windows("train", 24), [30.0])
    torch.testing.assert_close(path.model(6, 30.0).matrix, ridge.matrix, rtol=1e-4, atol=1e-5)
    assert path.model(6, 30.0).parameters == 6 * 24


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_its_validation_error_is_that_of_its_model(task, rank):
    weights = torch.linspace(0.2, 1.5, 24, dtype=torch.float64)
    path = path_of(task, weights, 12, power=1.0)
    model = path.model(rank, 5.0)
    assert torch.linalg.matrix_rank(model.matrix, tol=1e-4) == rank
    error = evaluate(model, task.windows("validation", 24))[0]
    assert path.errors(5.0)[rank - 1].item() == pytest.approx(error, rel=1e-4)
    assert model.parameters == (6 * 24 if rank == 6 else rank * (6 + 24))


def test_its_rank_is_the_best_one_in_the_metric_of_the_ridge_loss(task):
    """Against other projections of the full fit: no random subspace has a lower penalised training loss."""
    weights = torch.linspace(0.2, 1.5, 24, dtype=torch.float64)
    train = Moments.of(task.windows("train", 24), 12)
    path = ReducedRankPath.of(train, train, weights, 12)
    ridge, gram = 5.0, weights[:, None] * train.past_past * weights + 5.0 * torch.eye(24, dtype=torch.float64)
    cross = train.future_past * weights
    full = torch.linalg.solve(gram, cross, left=False)

    def loss(b):
        return (b * (b @ gram - 2 * cross)).sum()

    best = path.model(2, ridge).matrix.double() / weights
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        basis = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64, generator=generator)).Q
        assert loss(best) < loss(basis @ basis.T @ full)


def test_it_has_the_taper_of_the_forecaster(task):
    setting = Setting(24, 0.5, 1.0, 2, 10.0).model(task)
    weights = setting.down_weighting(torch.empty(0, dtype=torch.float64))[:, 0]
    assert weights.shape == (24,) and weights[-1] > weights[0] > 0
