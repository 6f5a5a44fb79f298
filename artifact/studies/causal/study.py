"""What `15_causal` measures of the layer: agreement of its forms, causality, the band layer as a limit, a filter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from resonance.causal import CausalResonance
from resonance.causal_mixing import CausalMixing
from resonance.engines.chunked import by_chunks, make_powers
from resonance.forecasting import ForecastTask
from resonance.layers import BandMixing

ENGINES = ("fft", "chunked")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}  # relative, set before anything was measured


@torch.no_grad()
def stepped(layer: CausalResonance, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """y (batch, n, dim) of x by the recurrence, one token after another, and the last state."""
    state = layer.initial_state(len(x), dtype=x.dtype)
    out = []
    for token in x.unbind(1):
        y, state = layer.step(token, state)
        out.append(y)
    return torch.stack(out, dim=1), state


@torch.no_grad()
def equalities(n: int, dim: int = 16, k: int = 16, longest: float = 2048, pieces: int = 5) -> pd.DataFrame:
    """Distance of each parallel form from the recurrence over n tokens: relative error of y, and of the state.

    Each engine runs in one call, and in `pieces` calls of unequal length with a carried state.
    """
    rows = []
    cuts = [round(n * (i / pieces) ** 1.5) for i in range(pieces + 1)]
    for name, dtype in DTYPES.items():
        layer = CausalResonance(dim, k, longest=longest).to(dtype)
        x = torch.randn(1, n, dim, dtype=dtype)
        y, end = stepped(layer, x)
        for engine in ENGINES:
            layer.mixing.engine = engine
            for form, borders in (("one call", [0, n]), (f"{pieces} calls", cuts)):
                state, parts = layer.initial_state(1), []
                for a, b in pairwise(borders):
                    part, state = layer.extend(x[:, a:b], state)
                    parts.append(part)
                compared = ((torch.cat(parts, dim=1), y), (state["resonators"], end["resonators"]))
                errors = [((ours - theirs).norm() / theirs.norm()).item() for ours, theirs in compared]
                rows.append([name, engine, form, n, *errors, TOLERANCES[name]])
    table = pd.DataFrame(rows, columns=["dtype", "engine", "form", "n", "error", "state_error", "tolerance"])
    return table.assign(reached=table[["error", "state_error"]].max(axis=1) <= table["tolerance"])


def leaks(n: int, dim: int = 4, k: int = 8) -> pd.DataFrame:
    """The largest gradient of an output with respect to a later input, as a share of the largest entry.

    `past` counts the nonzero gradients of outputs with respect to inputs not later: all n (n + 1) / 2.
    """
    rows = []
    for name, dtype in DTYPES.items():
        for engine in ENGINES:
            layer = CausalResonance(dim, k, engine=engine).to(dtype)
            x = torch.randn(1, n, dim, dtype=dtype)
            jacobian = torch.autograd.functional.jacobian(lambda x, f=layer: f(x).sum((0, 2)), x)
            size = jacobian[:, 0].abs().amax(-1)  # (output, input)
            future = (size.triu(1).max() / size.max()).item()
            rows.append([name, engine, n, future, int(size.tril().count_nonzero())])
    return pd.DataFrame(rows, columns=["dtype", "engine", "n", "future", "past"])


# --------------------------------------------------------------------------- the band layer as a limit


def undamped(mixing: BandMixing, n: int, r: float) -> tuple[Tensor, Tensor]:
    """Resonators with a band layer's frequencies and weights, prop:causal-limit: poles (k, 2), readout (dim, k, 2).

    pole_f = r e^(2 pi i f / N), readout c_f w_f / N, with c_f the multiplicity of f in the full spectrum; n = N.
    """
    band = mixing.band_of(n)
    angle = 2 * math.pi * torch.tensor(list(band.frequencies), dtype=torch.float64) / n
    pole = r * torch.stack([angle.cos(), angle.sin()], dim=1)
    multiplicity = band.multiplicity(torch.zeros((), dtype=torch.float64))  # (k,)
    weight = torch.stack(mixing.weight.pair(), dim=-1).double().transpose(0, 1)  # (dim, k, 2)
    return pole, (weight * (multiplicity / n)[:, None]).contiguous()


@torch.no_grad()
def limit(time_scales: Iterable[float], n: int = 64, k: int = 12, dim: int = 4) -> pd.DataFrame:
    """Distance of damped resonators from the band layer on an N-periodic signal, with its proved bound, eq:limit.

    time_scales: in periods N.  error and bound: of the worst sample, as a share of the layer's largest output.
    The last row, of infinite time scale, is one window followed by a period of zeros, in which the output is exact.
    """
    mixing = BandMixing(dim, k, interference=False).double()
    x = torch.randn(1, n, dim, dtype=torch.float64)
    band, direct = mixing(x), torch.zeros(dim, dtype=torch.float64)
    rows = []
    for periods in (*time_scales, math.inf):
        r = math.exp(-1 / (n * periods))
        pole, readout = undamped(mixing, n, r)
        if math.isinf(periods):
            signal, gain = torch.cat([x, torch.zeros_like(x)], dim=1), 1.0
        else:
            signal, gain = x.repeat(1, math.ceil(36 * periods) + 1, 1), 1 - r**n  # e^-36 is left of the first period
        signal = signal.permute(2, 0, 1).contiguous()
        y, _ = by_chunks(signal, make_powers(pole, n + 1), readout * gain, direct, None)
        error = (y[..., -n:].permute(1, 2, 0) - band).abs().max() / band.abs().max()
        bound = ((1 - r**n) * readout.norm(dim=-1).sum(1) * x.abs().sum(1)).max() / band.abs().max()
        rows.append([periods, error.item(), bound.item()])
    return pd.DataFrame(rows, columns=["periods", "error", "bound"])


# --------------------------------------------------------------------------- a filter, learned


def fit_filter(
    task: ForecastTask, *, k: int = 16, longest: float = 512, ahead: int = 12, steps: int = 200, rate: float = 0.01
) -> tuple[CausalMixing, CausalMixing, pd.DataFrame]:
    """Train a CausalMixing to predict its input `ahead` steps later; return it untrained, trained, and errors.

    A linear filter for each channel on shared poles, trained with Adam on the training rows as one sequence, without
    loss on their first fifth.  errors: mean squared error on the validation rows, in standardised units, with the
    state carried over from the training rows; and those of three trivial forecasts.
    """
    values = task.standardised(task.series.values)
    train, later = values[: task.borders[0]], values[task.borders[0] : task.borders[1]]
    period = task.series.period
    start, model = (CausalMixing(values.shape[1], k, longest=longest) for _ in range(2))
    model.load_state_dict(start.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    past, future, settled = train[None, :-ahead], train[None, ahead:], len(train) // 5
    for _ in range(steps):
        optimizer.zero_grad()
        (model(past) - future)[:, settled:].square().mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        state = model.extend(train[None], model.initial_state(1))[1]
        forecast = model.extend(later[None], state)[0][0]
    truth, back = later[ahead:], -(-ahead // period) * period
    guesses = {
        "learned filter": forecast[:-ahead],
        "the last value": later[:-ahead],
        "one period ago": values[task.borders[0] + ahead - back : task.borders[1] - back],
        "the mean": torch.zeros_like(truth),
    }
    errors = {name: (guess - truth).square().mean().item() for name, guess in guesses.items()}
    return start, model, pd.DataFrame(errors.items(), columns=["forecast", "mse"])


@torch.no_grad()
def read_filter(mixings: dict[str, CausalMixing], points: int = 3000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Layers as filters, by name: poles with their weight, and the gain against frequency.

    Poles: re, im, frequency (cycles per step), time_scale (steps), weight (root mean square of the readout over the
    channels).  Gain: frequency and the root mean square over the channels of |H|.
    """
    poles, gains = [], []
    for name, mixing in mixings.items():
        weight = torch.hypot(*mixing.readout.chunk(2)).square().mean(1).sqrt()
        columns = [*mixing.poles().double().unbind(1), mixing.frequencies(), mixing.time_scales(), weight.double()]
        table = pd.DataFrame(torch.stack(columns, 1), columns=["re", "im", "frequency", "time_scale", "weight"])
        poles.append(table.assign(layer=name))
        frequency = torch.from_numpy(np.geomspace(1e-4, 0.5, points))
        gain = torch.hypot(*mixing.response(frequency)).square().mean(1).sqrt()
        gains.append(pd.DataFrame({"layer": name, "frequency": frequency.numpy(), "gain": gain.numpy()}))
    return pd.concat(poles, ignore_index=True), pd.concat(gains, ignore_index=True)


def measures(
    equal: pd.DataFrame,
    leaks: pd.DataFrame,
    limit: pd.DataFrame,
    errors: pd.DataFrame,
    gains: pd.DataFrame,
    period: int,
) -> list[tuple[str, float, str]]:
    """What the tables of this module give to the ledger: key, value, unit.

    `causal.filter.peak` is the period, in steps, of the trained filter's largest gain among those up to twice the
    series' own period.
    """
    found = []
    for dtype, part in equal.groupby("dtype"):
        found.append((f"causal.equal.{dtype}", part[["error", "state_error"]].max().max(), "relative error"))
    for (dtype, engine), part in leaks.groupby(["dtype", "engine"]):
        found.append((f"causal.future.{engine}.{dtype}", part["future"].max(), "share of the largest gradient"))
    for row in limit.itertuples():
        name = "window" if math.isinf(row.periods) else f"{row.periods:g}"
        found.append((f"causal.limit.{name}", row.error, "share of the largest output"))
        found.append((f"causal.limit.bound.{name}", row.bound, "share of the largest output"))
    for name, mse in zip(("ours", "last", "period", "mean"), errors["mse"], strict=True):
        found.append((f"causal.filter.{name}", mse, "squared error, standardised"))
    slow = gains[(gains["layer"] == "trained") & (gains["frequency"] >= 0.5 / period)]
    found.append(("causal.filter.peak", 1 / slow.loc[slow["gain"].idxmax(), "frequency"], "steps"))
    found.append(("causal.tokens", equal["n"].max(), "tokens"))
    return found
