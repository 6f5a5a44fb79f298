"""SparseTSF and TimeBase: their papers' equations by explicit sums, published sizes, and training."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from artifact.peers.forecasting import Budget
from artifact.peers.periodic import SparseTSF, TimeBase, train_sparse, train_timebase
from resonance.forecasting import Series, evaluate, forecast_task
from resonance.polar import count_parameters


@pytest.fixture(scope="module")
def task():
    t = torch.arange(500)[:, None]
    values = torch.sin(2 * torch.pi * t / 12 + torch.arange(2)) + 0.1 * torch.randn(
        500, 2, generator=torch.Generator().manual_seed(0)
    )
    return forecast_task(Series("toy", values.numpy().astype(float), ("a", "b"), period=12, step="step"), 6)


def test_sizes_are_the_published_ones():
    assert count_parameters(TimeBase(720, 96, 24)) == 214 and count_parameters(TimeBase(720, 720, 24)) == 396
    assert count_parameters(SparseTSF(720, 96, 24)) == 30 * 4 + 25


@pytest.mark.parametrize("period", [4, 5])
def test_sparse_is_its_equation_with_a_plain_convolution(period):
    torch.manual_seed(period)
    periods, ahead = 6, 3
    model = SparseTSF(periods * period, ahead * period, period).double()
    past = torch.randn(2, periods * period, 3, dtype=torch.float64)
    mean = past.mean(dim=1, keepdim=True)
    z = past - mean
    series = z.transpose(1, 2).reshape(6, 1, -1)
    a = series + F.conv1d(series, model.filter[None, None], padding=period // 2)
    a = a.view(2, 3, -1).transpose(1, 2)
    future = model(past)
    for m in range(ahead):
        for p in range(period):
            expected = mean[:, 0] + sum(model.map.weight[m, n] * a[:, n * period + p] for n in range(periods))
            torch.testing.assert_close(future[:, m * period + p], expected)


def test_timebase_is_its_equation_and_its_penalty():
    torch.manual_seed(0)
    model = TimeBase(20, 12, 4, bases=2).double()
    past = torch.randn(1, 20, 1, dtype=torch.float64)
    days = past[0, :, 0].view(5, 4).T  # (period, N)
    mean = days.mean(dim=1, keepdim=True)
    basis = (days - mean) @ model.extract.weight.T + model.extract.bias
    expected = mean + basis @ model.forecast.weight.T + model.forecast.bias  # (period, future periods)
    torch.testing.assert_close(model(past)[0, :, 0], expected.T.flatten())
    off = (basis[:, 0] * basis[:, 1]).sum()
    torch.testing.assert_close(model.penalty, (2 * off**2).sqrt())


@pytest.mark.parametrize("cls", [SparseTSF, TimeBase])
def test_a_periodic_past_is_continued_by_the_right_map(cls):
    """Each future period a mean of the past ones; a lookback that is no whole number of periods is cut at its start."""
    model = cls(27, 10, 12)
    with torch.no_grad():
        for part in model.parameters():
            part.zero_()
        if cls is SparseTSF:
            model.map.weight.fill_(0.5)
    wave = torch.sin(2 * torch.pi * torch.arange(37.0) / 12)[None, :, None]
    torch.testing.assert_close(model(wave[:, :27])[:, :, 0], wave[:, 27:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cls", [SparseTSF, TimeBase])
def test_a_past_shorter_than_a_period_is_named(cls):
    with pytest.raises(ValueError, match="at least one period of 12 steps, got 11"):
        cls(24, 6, 12)(torch.zeros(1, 11, 1))


@pytest.mark.parametrize(("train", "rate"), [(train_sparse, 0.02), (train_timebase, 0.05)])
def test_they_learn_the_toy_and_repeat_bitwise(task, train, rate):
    windows, validation = task.windows("train", 24), task.windows("validation", 24)
    first, again = (train(windows, validation, Budget(4, 40, 16), period=12, rate=rate, seed=3) for _ in range(2))
    level = evaluate(lambda past: past.mean(dim=1, keepdim=True).expand(-1, 6, -1), validation)[0]
    assert first.validation_mse < 0.3 * level and first.validation_mse == again.validation_mse


def test_the_penalty_of_timebase_is_part_of_its_loss(task):
    windows, validation = task.windows("train", 24), task.windows("validation", 24)
    free, held = (
        train_timebase(windows, validation, Budget(2, 40, 16), period=12, rate=0.02, seed=0, weight=w).model
        for w in (0.0, 1.0)
    )
    past = windows.batch(torch.arange(200))[0]
    for model in (free, held):
        model.train()(past)
    assert held.penalty < 0.5 * free.penalty
