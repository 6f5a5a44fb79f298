"""The ablation: the same network in Cartesian and polar coordinates, with one rate, two, or the natural step.

    Cartesian                  parameters a, b of w = a + i b
    polar, one rate            r, phi of w = r e^{i phi}, both at the rate
    polar, printed ratio       phi at half the rate of r, as printed (5e-5 : 1e-4)
    polar, phase rate x5       phi at five times the rate of r: the opposite ratio
    polar, natural step        the optimiser acts on (dr, r dphi), the orthonormal frame: `polar.natural_polar_step`

All variants start from the same complex weights, get the same batches and use the same optimiser; parameters other than
polar weights train at the rate itself.  Each variant's rate is chosen on validation, on tuning seeds, from one grid
that widens while the best rate is an end of it; the test seeds run once, at that rate.  Replicas, one for each rate
and seed, train side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from artifact.peers.cartesian import to_cartesian
from artifact.studies.common.statistics import holm, mean_interval, paired_difference, share_interval
from artifact.studies.common.tuning import best_values, widened
from artifact.studies.stable_gradients.tasks import METRICS, Task
from resonance.polar import frame_radius, parameter_roles

OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
PRINTED_RATIO = 5e-5 / 1e-4


@dataclass(frozen=True)
class Variant:
    """A choice of coordinates for the complex weights, and of the rate of phases."""

    name: str
    cartesian: bool = False
    phase_ratio: float = 1.0  # rate of phases over the rate of everything else
    natural: bool = False

    @property
    def key(self) -> str:
        """The name in keys of the ledger."""
        return self.name.replace(",", "").replace(" ", "_").lower()


CARTESIAN = Variant("Cartesian", cartesian=True)
ONE_RATE = Variant("polar, one rate")
TWO_RATES = Variant("polar, printed ratio", phase_ratio=PRINTED_RATIO)
FAST_PHASE = Variant("polar, phase rate x5", phase_ratio=5.0)
NATURAL = Variant("polar, natural step", natural=True)
UNTRAINED = "untrained"
VARIANTS = (CARTESIAN, ONE_RATE, TWO_RATES, FAST_PHASE, NATURAL)


class Replicas:
    """Copies of a model, one for each (rate, seed): parameters of shape (rates, seeds, ...).

    Gradients come from one vectorised pass; a replica that diverges does not affect the others.
    """

    def __init__(self, task: Task, variant: Variant, rates: Sequence[float], seeds: Sequence[int]):
        self.task, self.variant, self.seeds = task, variant, list(seeds)
        self.rates = torch.tensor(rates, dtype=torch.float32)
        models = [to_cartesian(task.model(seed)) if variant.cartesian else task.model(seed) for seed in seeds]
        self.model = models[0]
        stacked = torch.func.stack_module_state(models)[0]
        self.parameters = {name: p.detach().expand(len(rates), *p.shape).clone() for name, p in stacked.items()}
        self.roles = {name: role for role, name, _ in parameter_roles(self.model)}

    def train(self, optimizer: type[torch.optim.Optimizer], steps: int) -> Replicas:
        """Take `steps` steps of a torch optimiser that acts elementwise and is linear in its rate; returns self.

        The optimiser runs at rate 1 on a displacement that is reset to zero after each step: its update direction.
        """

        def loss(parameters: dict[str, Tensor], inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
            return self.task.loss(functional_call(self.model, parameters, inputs), target)

        # Batches are shared by the rates: operations without parameters run once for each seed.
        gradients = vmap(vmap(grad(loss)), in_dims=(0, None, None))
        moves = {name: nn.Parameter(torch.zeros_like(value)) for name, value in self.parameters.items()}
        directions = optimizer(moves.values(), lr=1.0)
        for inputs, target in self.task.batches(self.seeds, steps):
            frames = self._frames()
            for name, gradient in gradients(self.parameters, inputs, target).items():
                moves[name].grad = gradient / frames[name] if name in frames else gradient
            directions.step()
            for name, move in moves.items():
                self._apply(name, move.data, frames.get(name))
        return self

    def _frames(self) -> dict[str, Tensor]:
        """For the phases of a natural step, the length r of dw/dphi."""
        if not self.variant.natural:
            return {}
        phases = [name for name, role in self.roles.items() if role == "phase"]
        return {name: frame_radius(self.parameters[name.removesuffix("phase") + "magnitude"]) for name in phases}

    def _apply(self, name: str, move: Tensor, frame: Tensor | None) -> None:
        rate = self.rates.view(-1, *[1] * (move.dim() - 1))
        if self.roles[name] == "phase":
            rate = rate * self.variant.phase_ratio
        self.parameters[name].addcmul_(move if frame is None else move / frame, rate)
        move.zero_()

    @torch.no_grad()
    def score(self, split: str) -> np.ndarray:
        """The task's score of every replica, (rates, seeds); infinite where it is NaN."""

        def forward(*inputs: Tensor) -> Tensor:
            return vmap(vmap(lambda parameters: functional_call(self.model, parameters, inputs)))(self.parameters)

        scores = self.task.score(forward, self.seeds, split)
        return torch.nan_to_num(scores, nan=torch.inf, posinf=torch.inf).numpy()


# --------------------------------------------------------------------------- tuning, then one test


def ablate(
    task: Task,
    rates: dict[str, Sequence[float]],
    *,
    steps: int,
    tuning_seeds: int,
    seeds: int,
    wider: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """Tune every variant under every optimiser on `tuning_seeds`, then test it on `seeds` others: a row a replica.

    `rates`: for each optimiser, by its name in `OPTIMIZERS`, the grid that every variant is tuned on; while a variant's
    best rate is an end of it, that variant gets one rate beyond, at most `wider` times.
    Rows of the variant "untrained" are the scores before training.  A replica whose score is not finite has diverged;
    in the test it gets its untrained score.
    Raises ValueError for an unknown optimiser, and for numbers of seeds outside 1 .. 50.
    """
    if unknown := set(rates) - set(OPTIMIZERS):
        raise ValueError(f"unknown optimizer {', '.join(sorted(unknown))}: expected some of {', '.join(OPTIMIZERS)}")
    if not (1 <= tuning_seeds <= 50 and 1 <= seeds <= 50):
        raise ValueError(f"expected 1 to 50 seeds each to tune and to test, got {tuning_seeds} and {seeds}")
    first = 1000 * (seed + 1)
    of_split = {
        "validation": range(first + 500, first + 500 + 10 * tuning_seeds, 10),
        "test": range(first, first + 10 * seeds, 10),
    }
    rows = []

    def record(replicas: Replicas, optimizer: str, variant: str, split: str, instead=np.inf) -> np.ndarray:
        scores = replicas.score(split)
        diverged = ~np.isfinite(scores)
        scores = np.where(diverged, instead, scores)
        for (i, index), score in np.ndenumerate(scores):
            rate = float(f"{replicas.rates[i]:.6g}")
            rows.append((task.name, optimizer, variant, split, rate, index, score, diverged[i, index]))
        return scores

    untrained = {split: Replicas(task, CARTESIAN, [0.0], of_seeds) for split, of_seeds in of_split.items()}
    start = {split: record(replicas, "none", UNTRAINED, split) for split, replicas in untrained.items()}

    def tune(optimizer: str, variant: Variant) -> float:
        seen: dict[float, float] = {}

        def score(rate: float) -> float:
            if rate not in seen:  # all rates of the grid at once, those beyond it one at a time
                batch = [rate] if seen else rates[optimizer]
                tuned = Replicas(task, variant, batch, of_split["validation"]).train(OPTIMIZERS[optimizer], steps)
                seen.update(zip(batch, record(tuned, optimizer, variant.name, "validation").mean(axis=1), strict=True))
            return seen[rate]

        tries = widened(score, rates[optimizer], wider=wider)
        return tries.loc[tries["score"].idxmin(), "value"]

    for optimizer, variant in product(rates, VARIANTS):
        best = tune(optimizer, variant)
        tested = Replicas(task, variant, [best], of_split["test"]).train(OPTIMIZERS[optimizer], steps)
        record(tested, optimizer, variant.name, "test", start["test"])
    columns = ["task", "optimizer", "variant", "split", "rate", "seed", "score", "diverged"]
    return pd.DataFrame(rows, columns=columns)


# --------------------------------------------------------------------------- summaries

CELL = ["task", "optimizer"]


def test_scores(results: pd.DataFrame) -> pd.DataFrame:
    """Mean test score of each variant with its interval: task, optimizer, variant, mean, low, high."""
    test = results[results["split"] == "test"].groupby([*CELL, "variant"], sort=False)
    shares = {task for task, metric in METRICS.items() if metric.startswith("share")}
    rows = [
        (task, *names, *(share_interval if task in shares else mean_interval)(scores))
        for (task, *names), scores in test["score"]
    ]
    return pd.DataFrame(rows, columns=[*CELL, "variant", "mean", "low", "high"])


def chosen_rates(results: pd.DataFrame) -> pd.DataFrame:
    """The chosen rate of each variant: task, optimizer, variant, rate, inside, trains.

    inside: whether the rate is neither end of the rates that the variant tried.  trains: whether at some rate every
    tuning seed ended below its untrained score.
    """
    names = [*CELL, "variant"]
    tries = _tuning(results).groupby([*names, "rate"], sort=False)
    tries = tries.agg(score=("score", "mean"), failed=("failed", "any")).reset_index()
    trains = (~tries.groupby(names)["failed"].min()).rename("trains").reset_index()
    return best_values(tries, names, value="rate")[[*names, "rate", "inside"]].merge(trains, on=names)


def rates_failed(results: pd.DataFrame) -> pd.DataFrame:
    """The number of rates at which a tuning seed did not train: task, optimizer, variant, seed, score.

    A seed trains at a rate where it ends below its untrained score.  Only the rates that all variants tried count.
    """
    tuning = _tuning(results)
    tried_by = tuning.groupby([*CELL, "rate"])["variant"].transform("nunique")
    tuning = tuning[tried_by == tuning["variant"].nunique()]
    return tuning.groupby([*CELL, "variant", "seed"], sort=False)["failed"].sum().rename("score").reset_index()


def compare_variants(results: pd.DataFrame, baseline: Variant) -> pd.DataFrame:
    """Score of every polar variant minus that of a baseline on the test, paired by seed: a row a task and optimiser.

    Negative is better; 95% Student interval; p, two-sided, and p_holm, adjusted over all rows (Holm 1979).
    """
    return _compare(_trained(results)[lambda t: t["split"] == "test"], baseline)


def compare_steadiness(results: pd.DataFrame, baseline: Variant) -> pd.DataFrame:
    """As `compare_variants`, of `rates_failed` on the tuning seeds: negative where a variant trains at more rates."""
    return _compare(rates_failed(results), baseline)


def _compare(table: pd.DataFrame, baseline: Variant) -> pd.DataFrame:
    rows = []
    for cell, group in table.groupby(CELL, sort=False):
        scores = group.pivot(index="seed", columns="variant", values="score")
        for variant in VARIANTS:
            if variant not in (CARTESIAN, baseline):
                rows.append((*cell, variant.name, *paired_difference(scores[variant.name], scores[baseline.name])))
    table = pd.DataFrame(rows, columns=[*CELL, "variant", "difference", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"]))


def cells_won(comparison: pd.DataFrame, variants: Iterable[Variant], *, better: bool = True) -> list[str]:
    """The cells, "task by optimizer", in which one of the variants is better (or worse), p_holm below 0.05."""
    table = comparison[comparison["variant"].isin([variant.name for variant in variants])]
    sign = -1 if better else 1
    won = table[(table["p_holm"] < 0.05) & (sign * table["difference"] > 0)]
    return [f"{task} by {optimizer}" for task, optimizer in won[CELL].drop_duplicates().itertuples(index=False)]


def readings(
    comparison: pd.DataFrame, steadiness: pd.DataFrame, variants: Iterable[Variant]
) -> dict[str, tuple[list[str], list[str]]]:
    """The cells won and lost against a baseline under each reading of "better", for each of some variants.

    A variant "ends better" by `compare_variants`, or "trains at more rates" by `compare_steadiness`.
    """
    compared = {"ends better": comparison, "trains at more rates": steadiness}
    return {
        f"{variant.name}: {name}": tuple(cells_won(table, (variant,), better=better) for better in (True, False))
        for variant in variants
        for name, table in compared.items()
    }


def kindest(table: dict[str, tuple[list[str], list[str]]], cells: int) -> tuple[str, str]:
    """The reading of `readings` most favourable to a claim, and its verdict: the first of the best, cells won last.

    Each reading is adjusted by itself, not for the choice among them: the choice favours the claim.
    """
    order = ("holds", "holds if", "false as printed")
    verdicts = {name: judge(*won_and_lost, cells) for name, won_and_lost in table.items()}
    name = min(table, key=lambda name: (order.index(verdicts[name]), -len(table[name][0])))
    return name, verdicts[name]


def judge(wins: Sequence[str], losses: Sequence[str], cells: int) -> str:
    """The verdict: "holds" if all cells are won, "holds if" if some are and none is lost, else "false as printed"."""
    if losses or not wins:
        return "false as printed"
    return "holds" if len(wins) == cells else "holds if"


def _tuning(results: pd.DataFrame) -> pd.DataFrame:
    """The tuning runs, with a column `failed`: whether one ended no better than its untrained score."""
    validation = results[results["split"] == "validation"]
    start = validation[validation["variant"] == UNTRAINED].set_index(["task", "seed"])["score"].rename("start")
    tuning = _trained(validation).join(start, on=["task", "seed"])
    return tuning.assign(failed=tuning["score"] >= tuning["start"])


def _trained(results: pd.DataFrame) -> pd.DataFrame:
    return results[results["variant"] != UNTRAINED]
