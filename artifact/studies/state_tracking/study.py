"""State tracking: networks trained on short words of a group, tested on long ones, with and without extraction.

Every model is the same stack of blocks around another causal mixer, trained by one curriculum: words of two tokens
first, longer by a sixth whenever nine of ten labels are right, up to forty.  Ours then gives an automaton
(`resonance.automaton`) read from its frames on new words of forty tokens; where that is refused, training starts again
from another seed, and the restarts are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.peers.causal import RotaryAttention
from artifact.peers.recurrent import LSTM, ReflectingDeltaNet
from artifact.peers.relatives import GatedMixer, relative
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import wilson_interval
from artifact.studies.common.training import train_one_cycle
from artifact.studies.common.tuning import best_values, tried
from artifact.studies.state_tracking.groups import GENERATORS, task, words
from resonance.automaton import Automaton, extract_automaton, phase_codes, point_codes
from resonance.causal_mixing import CausalMixing
from resonance.language import Block, CausalBlocks
from resonance.polar import count_parameters
from resonance.turning import TurningMixing

PLANE, SPACE, FIXED, DELTA = "turns in a plane", "turns in space", "fixed poles", "gated DeltaNet [-1, 1]"
OURS = (PLANE, SPACE)
PEERS = (FIXED, "Mamba-2", DELTA, "LSTM", "Transformer")
MODELS = (*OURS, *PEERS)
KEYS = dict(zip(MODELS, ("plane", "space", "fixed", "mamba2", "gdn", "lstm", "transformer"), strict=True))
TASK_KEYS = dict(zip(GENERATORS, ("parity", "mod5", "mod60", "s3", "a5", "s5"), strict=True))
DIM, FEATURES = 64, 32
HEADS = {PLANE: 16, SPACE: 8}
SHORTEST, LONGEST = 2, 40  # of the words of training
RIGHT, GROWTH, APART = 0.9, 7 / 6, 4  # labels right before words grow, by which factor, and steps between
RADII = (0.1, 0.2, 0.4)  # of `point_codes`, tried in turn
TUNING_SEED, RESTART = 1000, 10_000


def mixer(name: str) -> nn.Module:
    """A causal mixer of `DIM` channels by name; raises ValueError for an unknown one."""
    if name in OURS:
        layer = TurningMixing(DIM, 1, HEADS[name], turns="plane" if name == PLANE else "space", longest=2)
        nn.init.normal_(layer.turn, std=DIM**-0.5)  # turns all over the circle: heads start apart
        nn.init.normal_(layer.anchor)
        return layer
    if name == FIXED:
        return CausalMixing(DIM, FEATURES // 2)
    if name == DELTA:
        return GatedMixer(DIM, ReflectingDeltaNet(DIM, features=FEATURES))
    if name in ("LSTM", "Transformer"):
        return LSTM(DIM) if name == "LSTM" else RotaryAttention(DIM, 4)
    return relative(name, DIM, FEATURES)


@torch.no_grad()
def form_errors(seed: int) -> pd.DataFrame:
    """How far forward is from `CausalMixing` without a turn, and steps are from forward with one; in float64."""
    torch.manual_seed(seed)
    x, rows = torch.randn(2, 200, 16, dtype=torch.float64), []
    for turns, grid in (("plane", None), ("plane", 60), ("space", None)):
        layer = TurningMixing(16, 4, 2, turns=turns, grid=grid, dtype=torch.float64)
        still = (layer(x) - layer.mixing(x)).abs().max().item()
        nn.init.normal_(layer.turn)
        state, out = layer.initial_state(2, dtype=torch.float64), []
        for token in x.unbind(1):
            y, state = layer.step(token, state)
            out.append(y)
        steps = (torch.stack(out, dim=1) - layer(x)).abs().max().item()
        rows.append({"turns": turns, "angles": grid or "free", "no turn": still, "step": steps})
    return pd.DataFrame(rows)


class Tracker(nn.Module):
    """Logits (batch, n, classes) after every token of ids (batch, n): blocks of a mixer and a feed-forward."""

    def __init__(self, name: str, tokens: int, classes: int, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(tokens, DIM)
        self.blocks = CausalBlocks([Block(DIM, [mixer(name)]) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, classes)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embedding(ids))))


@dataclass(frozen=True)
class Case:
    """One training: a model, a task of `GENERATORS`, a rate, a seed and the budget; `words` of each test."""

    model: str
    task: str
    rate: float = 0.005
    seed: int = 0
    steps: int = 600
    batch: int = 64
    layers: int = 1
    words: int = 100
    tested: tuple[int, ...] = (40, 256)


class Curriculum:
    """Batches of words that grow with the share of labels that the last ones got right, which `loss` notes."""

    def __init__(self, case: Case):
        self.case, self.length, self.right, self.waited = case, float(SHORTEST), 0.0, 0
        self.generator = torch.Generator().manual_seed(case.seed)

    def __iter__(self) -> Curriculum:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        self.waited += 1
        if self.right > RIGHT and self.waited >= APART:
            self.length, self.waited = min(float(LONGEST), self.length * GROWTH + 0.2), 0
        return words(self.case.task, self.case.batch, int(self.length), self.generator)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy over all positions, noting the share of right labels."""
        with torch.no_grad():
            self.right += 0.2 * ((logits.argmax(-1) == labels).double().mean().item() - self.right)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def trained(case: Case) -> tuple[Tracker, float]:
    """A trained network and its seconds."""
    torch.manual_seed(case.seed)
    own = task(case.task)
    model = Tracker(case.model, own.transitions.shape[1], len(own.outputs), case.layers)
    batches = Curriculum(case)
    optimizer = partial(torch.optim.AdamW, weight_decay=0.0)
    training = train_one_cycle(model, batches, case.steps, rate=case.rate, loss_fn=batches.loss, optimizer=optimizer)
    return model.eval(), training.seconds


@torch.no_grad()
def right_at(model: Tracker, case: Case, n: int, seed: int) -> float:
    """Share of right labels over all positions of new words of n tokens."""
    ids, labels = words(case.task, case.words, n, torch.Generator().manual_seed(seed))
    found = torch.cat([model(part).argmax(-1) for part in ids.split(20)])
    return (found == labels).double().mean().item()


# --------------------------------------------------------------------------- extraction


@torch.no_grad()
def extracted(model: Tracker, case: Case, count: int = 2000) -> Automaton | None:
    """The automaton of a network's frames on `count` new words of `LONGEST` tokens; None where it is refused."""
    ids, labels = words(case.task, count, LONGEST, torch.Generator().manual_seed(case.seed + 2 * RESTART))
    seen: list[tuple[TurningMixing, Tensor]] = []
    layers = [layer for layer in model.modules() if isinstance(layer, TurningMixing)]
    hooks = [layer.register_forward_pre_hook(lambda layer, args: seen.append((layer, args[0]))) for layer in layers]
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    tokens = task(case.task).transitions.shape[1]
    for radius in RADII if case.model == SPACE else RADII[:1]:
        codes = [
            phase_codes(layer.turns_of(x)) if layer.turns == "plane" else point_codes(layer.frames(x), radius)
            for layer, x in seen
        ]
        if (found := extract_automaton(torch.cat(codes, dim=-1), ids, labels, tokens)) is not None:
            return found
    return None


def exact_at(automaton: Automaton, case: Case, n: int) -> bool:
    """Whether an automaton gives every label of a random word of n tokens."""
    own = task(case.task)
    ids = torch.randint(own.transitions.shape[1], (1, n), generator=torch.Generator().manual_seed(case.seed + RESTART))
    return torch.equal(automaton.run(ids), own.run(ids))


# --------------------------------------------------------------------------- runs


def measured(case: Case, longest: int = 0, restarts: int = 0) -> dict:
    """Train and test a case: its fields, right.<n> for each length tested, seconds, parameters, and the extraction.

    longest: the length at which an extracted automaton is tested, 0 for no extraction.  `accepted` is whether one was
    found within `restarts` new starts, `trainings` how many were needed, `exact` whether it was right throughout.
    The tests without extraction are those of the first training.
    """
    row: dict = asdict(case) | {"accepted": False, "exact": False, "trainings": 1, "states": 0}
    for attempt in range(1 + restarts * (longest > 0)):
        model, seconds = trained(replace(case, seed=case.seed + attempt * RESTART))
        if attempt == 0:
            row |= {f"right.{n}": right_at(model, case, n, case.seed + RESTART) for n in case.tested}
            row |= {"seconds": seconds, "parameters": count_parameters(model)}
        row["trainings"] = attempt + 1
        if longest and (automaton := extracted(model, case)) is not None:
            exact = exact_at(automaton, case, longest)
            return row | {"accepted": True, "exact": exact, "states": len(automaton.outputs)}
    return row


def searched(case: Case, grid: Sequence[float], wider: int) -> list[dict]:
    """Rows of the rates tried on a seed of its own; score: the share of wrong labels at the longest training length."""

    def at(rate: float) -> dict:
        row = measured(replace(case, rate=rate, seed=TUNING_SEED, tested=(LONGEST,)))
        return row | {"score": 1 - row[f"right.{LONGEST}"]}

    return tried(at, grid, wider=wider)


def compared(
    tasks: Iterable[str],
    models: Sequence[str],
    grid: Sequence[float],
    *,
    seeds: int,
    peer_seeds: int,
    tuning_steps: int,
    wider: int = 0,
    longest: int = 1_000_000,
    restarts: int = 4,
    processes: int = 2,
    layers: dict[str, int] | None = None,
    **budget,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(tries, runs): the rates tried for every task and model, and a row a seed at the best rate.

    Of our two turns the one of `choice` gets `seeds` seeds and may restart; all others get `peer_seeds` seeds and no
    restart.  layers: those of a task, by default one.
    """
    cases = [Case(model, name, layers=(layers or {}).get(name, 1), **budget) for name in tasks for model in models]
    choosing = [(replace(case, steps=tuning_steps), tuple(grid), wider) for case in cases]
    tries = spread(searched, choosing, processes=processes)
    tries = pd.DataFrame([row for rows in tries for row in rows])
    best = best_values(tries, ["model", "task"], value="rate")
    rates = {(row.model, row.task): row.rate for row in best.itertuples()}
    chosen = {(row.model, row.task) for row in choice(tries).itertuples()}
    jobs = []
    for case in cases:
        ours = (case.model, case.task) in chosen
        for seed in range(seeds if ours else peer_seeds):
            run = replace(case, rate=rates[case.model, case.task], seed=seed)
            jobs.append((run, longest * (case.model in OURS), restarts * ours))
    return tries, pd.DataFrame(spread(measured, jobs, processes=processes))


# --------------------------------------------------------------------------- the ledger


def measures(tries: pd.DataFrame, runs: pd.DataFrame) -> list[tuple]:
    """Key, value, unit and interval: labels right, seeds that are right throughout, extractions, trainings, rates."""
    none, found = (float("nan"), float("nan")), []
    best = best_values(tries, ["model", "task"], value="rate")
    for (name, model), own in runs.groupby(["task", "model"], sort=False):
        key = f"tracking.{TASK_KEYS[name]}.{KEYS[model]}"
        for column in (column for column in own if column.startswith("right.")):
            found.append((f"{key}.{column}", 100 * own[column].mean(), "% of labels", none))
            share, *interval = wilson_interval(int((own[column] == 1).sum()), len(own))
            found.append((f"{key}.all_{column}", 100 * share, "% of seeds", tuple(100 * x for x in interval)))
        if model in OURS:
            share, *interval = wilson_interval(int(own["exact"].sum()), len(own))
            found.append((f"{key}.exact", 100 * share, "% of seeds", tuple(100 * x for x in interval)))
            found.append((f"{key}.wrong", int((own["accepted"] & ~own["exact"]).sum()), "extractions", none))
            found.append((f"{key}.trainings", own["trainings"].mean(), "trainings a seed", none))
        found.append((f"{key}.seconds", own["seconds"].median(), "s", none))
        found.append((f"{key}.parameters", own["parameters"].iloc[0], "", none))
    found.append(("tracking.tuned.inside", int(best["inside"].sum()), "rates inside their grids", none))
    found.append(("tracking.tuned.all", len(best), "rates", none))
    return found


def choice(tries: pd.DataFrame) -> pd.DataFrame:
    """Which of our two turns a task takes: the one with fewer wrong labels in tuning; of equal ones, the plane."""
    own = tries[tries["model"].isin(OURS)].groupby(["task", "model"], sort=False)["score"].min().reset_index()
    own = own.sort_values(["score", "model"], kind="stable")  # "in a plane" comes before "in space"
    return own.groupby("task", sort=False).first().reset_index()
