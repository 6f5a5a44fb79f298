"""Convergence of one polar weight on a quadratic loss: the flow with its bound, and the contraction of descent.

    glossary   code      report
               target    r*, the magnitude of the weight sought
               angle     psi, the weight's phase less that of the weight sought
               rate      lambda, the curvature of the loss in Cartesian coordinates

eq:flow           l(t) <= l(0) exp(-2 lambda min(1, rho^2) t)
thm:convergence   descent contracts by |1 - eta lambda| in Cartesian coordinates and with the natural step, by
                  max(|1 - eta lambda|, |1 - eta lambda r*^2|) in polar ones
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from resonance.polar import PolarWeight, natural_polar_step

COORDINATES = ("polar", "natural", "Cartesian")


def one_weight_loss(r: Tensor, angle: Tensor, target: Tensor | float) -> Tensor:
    """|r e^(i psi) - r*|^2 / 2, the loss at lambda = 1 in polar coordinates of signed r (thm:convergence)."""
    return ((r - target * angle.cos()).square() + (target * angle.sin()).square()) / 2


UNTIL, STEP = 8.0, 0.02  # of the flow


def flow(starts: Sequence[tuple[float, float]], targets: Sequence[float]) -> pd.DataFrame:
    """The gradient flow in (r, psi) at lambda = 1, by Runge-Kutta steps, and its bound (eq:flow).

    Starts are (r0 / r*, psi0) with r0 > 0, |psi0| < pi/2; each runs for every r*.  loss and bound are over l(0).
    """
    if any(r <= 0 or abs(angle) >= math.pi / 2 for r, angle in starts):
        raise ValueError(f"expected starts (r0 / r*, psi0) with r0 > 0 and |psi0| < pi/2, got {list(starts)}")
    cases = torch.tensor([(r * goal, angle, goal) for goal in targets for r, angle in starts], dtype=torch.float64)
    r, angle, goal = start = cases.unbind(1)
    rho = torch.minimum(r, goal * angle.cos())
    first = one_weight_loss(*start)

    def slope(state: Tensor) -> Tensor:
        r, angle = state
        return torch.stack([goal * angle.cos() - r, -r * goal * angle.sin()])

    state, rows = torch.stack([r, angle]), []
    steps = round(UNTIL / STEP)
    for index in range(steps + 1):
        if index % (steps // 40) == 0:
            loss, bound = one_weight_loss(*state, goal) / first, (-2 * rho.square().clamp_max(1) * index * STEP).exp()
            columns = {"case": range(len(goal)), "target": goal, "start": cases[:, 1], "loss": loss, "bound": bound}
            rows.append(pd.DataFrame({"time": index * STEP} | columns))
        a = slope(state)
        b = slope(state + STEP / 2 * a)
        c = slope(state + STEP / 2 * b)
        state = state + STEP / 6 * (a + 2 * b + 2 * c + slope(state + STEP * c))
    return pd.concat(rows, ignore_index=True)


def contraction(targets: Sequence[float], *, steps: int = 40, share: float = 0.5) -> pd.DataFrame:
    """The factor by which a step of descent contracts the error near the minimum, and its law (thm:convergence).

    eta lambda = share / max(1, r*^2) in all coordinates: within what the polar ones allow.  The start is off by a tenth
    in magnitude and in phase; measured over the last ten steps.
    """
    goal = torch.tensor(targets, dtype=torch.float64)[:, None]
    rate = share / goal.square().clamp_min(1)
    rows = []
    for name in COORDINATES:
        weight = PolarWeight(len(targets), 1).double()
        with torch.no_grad():
            weight.magnitude.copy_(1.1 * goal)
            weight.phase.fill_(0.1)
        cartesian = torch.stack(weight.pair()).detach().requires_grad_(True)
        polar = name != "Cartesian"
        optimizer = torch.optim.SGD(weight.parameters() if polar else [cartesian], lr=1.0)
        errors = []
        for _ in range(steps + 1):
            re, im = weight.pair() if polar else cartesian
            square = (re - goal).square() + im.square()
            errors.append(square.detach().sqrt())
            optimizer.zero_grad()
            (rate / 2 * square).sum().backward()
            with natural_polar_step(weight) if name == "natural" else contextlib.nullcontext():
                optimizer.step()
        measured = (errors[-1] / errors[-11]) ** 0.1
        law = (1 - rate).abs()
        if name == "polar":
            law = torch.maximum(law, (1 - rate * goal.square()).abs())
        columns = {"target": goal, "step": rate, "measured": measured, "law": law}
        rows.append(pd.DataFrame({"coordinates": name} | {key: value[:, 0] for key, value in columns.items()}))
    return pd.concat(rows, ignore_index=True)
