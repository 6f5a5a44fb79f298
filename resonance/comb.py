"""A forecaster of a few hundred numbers: two bands of one comb, fitted in closed form.

Fold the past into D periods of P steps, x_dp, the newest last, and take the DFT within each, X_dq.  Bin 0 is a period's
mean, bins 1 .. P-1 what is left within it.  Each of the two bands is mapped across periods by one real matrix, the same
for all its bins (eq:comb):

    Y_j0 = sum_d A_jd X_d0,    Y_jq = sum_d B_jd X_dq  for q >= 1,    j a coming period

On samples B acts at lags of whole periods: a comb filter, whose response repeats every 1/P; the two bands are its tooth
at 0 and the others.  A_jd is proportional to (D - d)^-a, one number a for all; B = u v^T.  The first `echo_steps` are
corrected by f t^T e, e the newest period minus the forecast of the coming one.

Over whole periods the squared error is the sum of the two bands' (Parseval): they are fitted apart, and validation
chooses both at once.  Related: SparseTSF and TimeBase fold the past by its period too, and map all bins alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .forecasting import ForecastTask, Windows
from .settings import WithSettings, placed
from .spectral import check_sequences


class CombForecaster(WithSettings):
    """Forecast `pred_horizon` steps of every channel by the comb of eq:comb, and the echo of the newest period.

    x: (batch, lookback, channels) -> (batch, pred_horizon, channels), in the units of x; each channel by itself.
    A horizon that ends within a period is that of whole periods, cut.
    Raises ValueError for a wrong shape, and for a lookback that is not two whole periods or more.
    Parameters: 1 + D + K + P + echo_steps, for D past and K coming periods of P steps, whatever the channels.
    Cost: lookback + pred_horizon multiply-adds a channel.
    """

    defines = ("pred_horizon", "lookback", "period")

    @placed
    def __init__(
        self, pred_horizon: int, lookback: int, period: int, *, echo_steps: int | None = None, device=None, dtype=None
    ):
        super().__init__()
        if period < 1 or lookback < 2 * period or pred_horizon < 1 or lookback % period:
            wanted = "a lookback of two whole periods or more and pred_horizon >= 1"
            raise ValueError(f"expected {wanted}, got {lookback} and {pred_horizon} for a period of {period}")
        self.pred_horizon, self.lookback, self.period = pred_horizon, lookback, period
        echo_steps = min(pred_horizon, 4 * period) if echo_steps is None else echo_steps
        if not 0 <= echo_steps <= pred_horizon:
            raise ValueError(f"expected echo_steps in 0..{pred_horizon}, got {echo_steps}")
        self.exponent = nn.Parameter(torch.ones(1))  # a
        self.past = nn.Parameter(torch.zeros(lookback // period))  # v
        self.future = nn.Parameter(torch.zeros(-(-pred_horizon // period)))  # u
        self.newest = nn.Parameter(torch.zeros(period))  # t
        self.lead = nn.Parameter(torch.zeros(echo_steps))  # f

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x)
        if x.shape[1] != self.lookback:
            raise ValueError(f"expected a past of lookback={self.lookback} steps, got {x.shape[1]}")
        forecast = self.bands(x)
        echo = self.lead[:, None] * (self.newest @ self.surprise(x, forecast))[:, None]  # (batch, echo_steps, channels)
        echo = nn.functional.pad(echo, (0, 0, 0, forecast.shape[1] - len(self.lead)))
        return (forecast + echo)[:, : self.pred_horizon]

    def bands(self, x: Tensor) -> Tensor:
        """The forecast of whole periods without the echo, (batch, K P, channels)."""
        periods = x.unflatten(1, (-1, self.period))  # (batch, D, P, channels)
        means = periods.mean(dim=2)  # (batch, D, channels)
        level = torch.einsum("d,bdc->bc", level_weights(self.exponent, len(self.past)), means)
        within = torch.einsum("d,bdpc->bpc", self.past, periods - means[:, :, None])  # (batch, P, channels)
        shaped = level[:, None, None] + self.future[:, None, None] * within[:, None]  # (batch, K, P, channels)
        return shaped.flatten(1, 2)

    def surprise(self, x: Tensor, forecast: Tensor) -> Tensor:
        """e of the echo, the newest period minus the forecast of the coming one, (batch, P, channels)."""
        return x[:, -self.period :] - forecast[:, : self.period]

    def response(self, frequency: Tensor) -> Tensor:
        """|gain| of the coming period's forecast, without the echo, at frequencies in cycles per step."""
        lag = self.period * torch.arange(len(self.past), 0, -1, dtype=frequency.dtype)  # steps, oldest first
        turns = torch.exp(-2j * torch.pi * frequency[:, None] * lag)  # (frequencies, D)
        step = torch.arange(self.period, dtype=frequency.dtype)
        mean = torch.exp(2j * torch.pi * frequency[:, None] * step).mean(dim=1)  # of a period, from its first step
        level = turns @ level_weights(self.exponent, len(self.past)).to(turns.dtype)
        within = turns @ (self.future[0] * self.past).to(turns.dtype)
        # Averaged over the places of a period: the mean passes |mean|^2 of the power, what is left within the rest.
        power = mean.abs().square()
        return (power * level.abs().square() + (1 - power) * within.abs().square()).sqrt()


def level_weights(exponent: Tensor, periods: int) -> Tensor:
    """Rows of A of eq:comb, (periods,): (D - d)^-a over their sum, the oldest period first."""
    lag = torch.arange(periods, 0, -1, dtype=exponent.dtype, device=exponent.device)
    return torch.softmax(-exponent * lag.log(), dim=0)


class Band(NamedTuple):
    """Second moments of one band over windows, a channel each, float64."""

    past_past: Tensor  # (channels, D, D)
    future_past: Tensor  # (channels, K, D)
    future: Tensor  # (channels,)

    def errors(self, matrix: Tensor) -> Tensor:
        """Summed squared error of future = matrix past, (channels,), for a matrix (K, D)."""
        return self.future + (matrix * (matrix @ self.past_past - 2 * self.future_past)).sum(dim=(1, 2))


def band_of(past: Tensor, future: Tensor, weight: Tensor) -> Band:
    """Moments of past (batch, channels, D, n) and future (batch, channels, K, n), weighted by (batch, channels)."""
    sums = past @ past.mT, future @ past.mT, future.square().sum(dim=(2, 3))
    return Band(*(torch.einsum("bc,bc...->c...", weight, each) for each in sums))


def added(one: Band | None, more: Band) -> Band:
    """The sum of two bands' moments, the first None for nothing yet."""
    return more if one is None else Band(*(a + b for a, b in zip(one, more, strict=True)))


def batches(windows: Windows):
    """Yield past and future, (batch, channels, steps) float64, and the past's deviation, (batch, channels)."""
    for both in windows.batches(128):
        past, future = (x.double().transpose(1, 2) for x in both)
        yield past, future, past.std(dim=2).clamp_min(1e-3)


def comb_moments(windows: Windows, period: int, powers: Sequence[float] = (0.0,)) -> list[tuple[Band, Band]]:
    """Moments of the means and of what is left within periods, windows weighted by sd^-power, for each power.

    Cost: windows x channels x lookback (lookback + horizon) / period multiply-adds, whatever the number of powers.
    """
    found: list[tuple] = [(None, None)] * len(powers)
    for past, future, deviation in batches(windows):
        periods = [x.unflatten(2, (-1, period)) for x in (past, future)]  # (batch, channels, D or K, P)
        means = [x.mean(dim=3, keepdim=True) for x in periods]
        parts = [m * period**0.5 for m in means], [x - m for x, m in zip(periods, means, strict=True)]
        products = [(x @ x.mT, y @ x.mT, y.square().sum(dim=(2, 3))) for x, y in parts]  # of each window
        for at, power in enumerate(powers):
            weight = deviation**-power
            new = [Band(*(torch.einsum("bc,bc...->c...", weight, each) for each in part)) for part in products]
            found[at] = tuple(added(one, more) for one, more in zip(found[at], new, strict=True))
    return found


def leading(band: Band, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """u (K,) and v (D,) of the rank-one ridge regression u v^T of all channels, with a penalty (D,) for each lag.

    B = (sum y x^T) (sum x x^T + diag penalty)^-1, u the leading eigenvector of B (sum y x^T)^T, v = B^T u, as in
    eq:closed-form.
    """
    gram, cross = band.past_past.sum(0) + torch.diag(penalty), band.future_past.sum(0)
    full = torch.linalg.solve(gram, cross, left=False)  # (K, D)
    fitted = full @ cross.T
    u = torch.linalg.eigh((fitted + fitted.T) / 2).eigenvectors[:, -1]
    return u, full.T @ u


class Chosen(NamedTuple):
    """A fitted comb and what validation chose."""

    model: CombForecaster
    exponent: float  # a
    variance_power: float  # training windows are weighted by sd^-variance_power
    growth: float  # the penalty of a lag of l periods grows as l^growth
    ridge: float  # in units of the mean square of the past within periods
    echo_ridge: float  # in those of the newest period's surprise; inf: no echo
    score: float  # mean over channels of the logarithm of the validation MSE


NONE, INF = 1e-9, float("inf")  # a ridge as good as none; one that leaves nothing
DECADES = tuple(10.0**e for e in range(-6, 5))
GRIDS = {
    "exponent": tuple(0.25 * e for e in range(17)),
    "variance_power": (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    "growth": (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    "ridge": DECADES,
    "echo_ridge": (NONE, *DECADES, INF),
}


@torch.no_grad()
def fit_comb(task: ForecastTask, lookback: int) -> Chosen:
    """Fit eq:comb on the training windows of a task; validation chooses its five settings from `GRIDS`.

    Criterion: the mean over channels of the logarithm of the MSE on every validation window, so that no channel counts
    for its variance.  Level and within-period part are chosen together, then the echo.  The test rows are not touched.
    Raises ValueError as `CombForecaster`, and where there is no window.  Cost: two passes over both splits' windows.
    """
    period = task.series.period
    model = CombForecaster(task.horizon, lookback, period).double()
    past, coming = len(model.past), len(model.future)
    horizon = coming * period
    train, validation = (replace(task.windows(split, lookback), horizon=horizon) for split in ("train", "validation"))
    if not min(len(train), len(validation)):
        raise ValueError(f"{task.series.dataset}: no window of {lookback} and {horizon} steps in a split")
    ((means, within),) = comb_moments(validation, period)
    rows = {a: level_weights(torch.tensor([a], dtype=torch.float64), past) for a in GRIDS["exponent"]}
    levels = {a: means.errors(row.expand(coming, past)) for a, row in rows.items()}
    lag, shapes = torch.arange(past, 0, -1, dtype=torch.float64), {}
    powers = GRIDS["variance_power"]
    for power, (_, band) in zip(powers, comb_moments(train, period, powers), strict=True):
        unit = float(band.past_past.sum(0).diagonal().mean().clamp_min(1e-12))
        for growth, ridge in product(GRIDS["growth"], GRIDS["ridge"]):
            u, v = leading(band, ridge * unit * lag**growth)
            shapes[power, growth, ridge] = u, v, within.errors(torch.outer(u, v))
    count = len(validation) * horizon
    pairs = product(levels, shapes)
    a, shape = min(pairs, key=lambda pair: score(levels[pair[0]] + shapes[pair[1]][2], count))
    for parameter, value in ((model.exponent, a), (model.future, shapes[shape][0]), (model.past, shapes[shape][1])):
        parameter.copy_(torch.as_tensor(value))
    base = levels[a] + shapes[shape][2]
    echo, ahead = echo_moments(model, train, shape[0]), echo_moments(model, validation)
    unit = float(echo.past_past.sum(0).diagonal().mean().clamp_min(1e-12))
    echoes = {}
    for ridge in GRIDS["echo_ridge"]:
        f, t = (torch.zeros(n).double() for n in (len(model.lead), period))
        if ridge < INF and len(model.lead):
            f, t = leading(echo, ridge * unit * torch.ones(period).double())
        echoes[ridge] = f, t, score(base + ahead.errors(torch.outer(f, t)) - ahead.future, count)
    best = min(echoes, key=lambda ridge: echoes[ridge][2])
    model.lead.copy_(echoes[best][0])
    model.newest.copy_(echoes[best][1])
    return Chosen(model.float(), a, *shape, best, echoes[best][2])


def score(errors: Tensor, count: int) -> float:
    """Mean over channels of the logarithm of the MSE, of summed squared errors (channels,)."""
    return float((errors / count).clamp_min(1e-12).log().mean())


def echo_moments(model: CombForecaster, windows: Windows, power: float = 0.0) -> Band:
    """Moments of the surprise and of what the bands leave of the first steps, windows weighted as in the fit."""
    found = None
    for past, future, deviation in batches(windows):
        x = past.transpose(1, 2)
        forecast = model.bands(x)
        left = (future.transpose(1, 2) - forecast)[:, : len(model.lead)]  # (batch, echo_steps, channels)
        pair = (part.transpose(1, 2)[..., None] for part in (model.surprise(x, forecast), left))
        found = added(found, band_of(*pair, deviation**-power))
    return found
