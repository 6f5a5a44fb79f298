"""The ledger: what is claimed, by which rule it is judged, what was measured, and the verdict.

`paper/claims.csv` holds every claim as printed, and the rule by which it is judged, fixed before any run: the kindest
reasonable reading, the threshold, and the kind of evidence.  A notebook opens an `Experiment`, states the rule of a
claim before any result, records measures and a verdict, and closes it; `merge` makes one `claims.csv` and one
`measures.csv` a profile of them.  The report, the README and the scoreboard read these two files.

A claim's `kind` says which verdicts it can have.  A `statement` or a `figure` could have failed without any bar of
ours: it can hold.  A `feature` has no printed figure to fail by: the best it can do is to work by our bar, and the
bar and the best peer's figure stand beside that verdict.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from artifact.files import ROOT, write_text
from artifact.pipeline.machine import commit, device_name

if TYPE_CHECKING:  # these and torch take seconds to import, which whoever only reads the ledger need not wait for
    from matplotlib.figure import Figure

VERDICTS = ("holds", "holds if", "works", "false as printed", "not comparable", "not measured")
KINDS = {  # of claims: the verdicts that one of each kind cannot have
    "statement": {"works"},
    "figure": {"works"},
    "feature": {"holds", "holds if"},
}
CLAIM_COLUMNS = [
    *("id", "group", "printed", "rule", "measured", "unit", "ci_low", "ci_high", "verdict", "condition", "corrected"),
    *("bar", "peer", "printed_reading", "notebook", "dataset", "seeds", "device", "profile", "commit", "seconds"),
]
MEASURE_COLUMNS = ["key", "value", "unit", "ci_low", "ci_high", "notebook"]
TEXTS = {"commit": str, "bar": str, "peer": str}  # columns of claims.csv that may look like numbers

Interval = tuple[float, float]
NO_INTERVAL = (math.nan, math.nan)


def printed_claims() -> pd.DataFrame:
    """The claims as printed, in order, indexed by id; the other columns are those of paper/claims.csv."""
    return pd.read_csv(ROOT / "paper" / "claims.csv", dtype=str, keep_default_na=False).set_index("id")


def rule_of(claim: pd.Series) -> str:
    """The rule of a claim in one text: its reading, its threshold, the kind of its evidence."""
    return f"Reading: {claim['reading']}. Threshold: {claim['threshold']}. Evidence: {claim['evidence']}."


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask torch for deterministic kernels."""
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries that still use the global generator)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


class Experiment:
    """One notebook's run: its seed, its files, its rules, measures and verdicts.

    Under the runner the files go to the folder that it names, and become results only when the notebook has ended.
    Opened by hand, in JupyterLab say, they go to `data/results/interactive/`, which no report reads.
    Raises ValueError for a claim that is unknown or another notebook's, for a verdict that is unknown, that a claim of
    its kind cannot have, or whose rule was not stated first, for a number that is not finite.
    """

    def __init__(self, notebook: str, *, seed: int = 0, dataset: str = "synthetic", seeds: int = 1):
        self.notebook, self.dataset, self.seeds = notebook, dataset, seeds
        self.profile = os.environ.get("RESONANCE_PROFILE", "interactive")
        default = ROOT / "data" / "results" / self.profile / notebook
        self.folder = Path(os.environ.get("RESONANCE_RESULTS", default))
        self.figures = Path(os.environ.get("RESONANCE_FIGURES", ROOT / "figures" / self.profile))
        self._rules: dict[str, str] = {}
        self._claims: list[dict[str, object]] = []
        self._measures: list[dict[str, object]] = []
        self._started = time.perf_counter()
        if threads := os.environ.get("RESONANCE_THREADS"):
            import torch

            torch.set_num_threads(int(threads))
        seed_everything(seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.figures.mkdir(parents=True, exist_ok=True)
        print(f"data: {dataset}")

    def save(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write a table of results to <name>.csv; return what a reader of that file gets."""
        write_text(self.folder / f"{name}.csv", table.to_csv(index=False))
        return self.load(name)

    def load(self, name: str) -> pd.DataFrame:
        """The table saved as <name>.csv."""
        return pd.read_csv(self.folder / f"{name}.csv")

    def figure(self, name: str, figure: Figure) -> Figure:
        """Write a figure as <NN>_<name>.pdf and .png, the same bytes for the same figure, and return it.

        A figure of stand-in data names them in its corner.
        """
        from resonance.training.checkpoint import written_aside

        stem = f"{self.notebook[:2]}_{name}"
        if "stand-in" in self.dataset:
            figure.text(0.005, 0.005, f"data: {self.dataset}", fontsize=5, color="0.4")
        for suffix, metadata in ((".pdf", {"CreationDate": None, "Producer": None}), (".png", {"Software": None})):
            with written_aside(self.figures / (stem + suffix)) as aside:
                figure.savefig(aside, metadata=metadata)
        return figure

    def measure(self, key: str, value: float, unit: str = "", interval: Interval = NO_INTERVAL) -> float:
        """Record a number that the report or the README quotes, under a dotted key; return it."""
        if not math.isfinite(value):
            raise ValueError(f"measure {key!r} is {value}: only finite numbers go to the ledger")
        if any(row["key"] == key for row in self._measures):
            raise ValueError(f"measure {key!r} is recorded already")
        self._measures.append(dict(zip(MEASURE_COLUMNS, (key, value, unit, *interval, self.notebook), strict=True)))
        return value

    def rule(self, claim: str) -> None:
        """State, before any result, how a claim will be judged: print what paper/claims.csv says, and keep it."""
        printed = printed_claims()
        if claim not in printed.index:
            raise ValueError(f"unknown claim {claim!r}: paper/claims.csv has {', '.join(printed.index)}")
        row = printed.loc[claim]
        if row["notebook"] != self.notebook[:2]:
            raise ValueError(f"{claim!r} is judged in notebook {row['notebook']}, not in {self.notebook}")
        if claim in self._rules or self._claims or self._measures:
            raise ValueError(f"the rule of {claim!r} comes too late: each rule is stated once, before any result")
        self._rules[claim] = rule_of(row)
        print(f"{claim}, a {row['kind']}: {row['claim']}")
        for part in ("reading", "threshold", "evidence"):
            print(f"  {part}: {row[part]}")

    def verdict(
        self,
        claim: str,
        verdict: str,
        *,
        measured: float = math.nan,
        unit: str = "",
        interval: Interval = NO_INTERVAL,
        condition: str = "",
        corrected: str = "",
        bar: str | float = "",
        peer: str | float = "",
        printed_reading: str = "",
    ) -> None:
        """Record the verdict on a claim whose rule has been stated; `measured` is the number that decided it.

        `verdict` is that of the kindest reasonable reading, `printed_reading` that of the claim taken word for word,
        where the two differ.  "works" comes with our `bar` and the best `peer`'s figure, "holds if" with its
        `condition`, "false as printed" with the `corrected` statement.
        """
        if claim not in self._rules:
            raise ValueError(f"the rule of {claim!r} must be stated before its verdict")
        if any(row["id"] == claim for row in self._claims):
            raise ValueError(f"{claim!r} has its verdict already")
        kind = printed_claims().loc[claim, "kind"]
        for name in (verdict, printed_reading or verdict):
            if name not in VERDICTS:
                raise ValueError(f"unknown verdict {name!r}: expected one of {', '.join(VERDICTS)}")
            if name in KINDS[kind]:
                raise ValueError(f"{claim} is a {kind}: its verdict cannot be {name!r}")
        if (verdict == "holds if") != bool(condition):
            raise ValueError(f"{claim}: a condition belongs to the verdict 'holds if', and to it alone")
        if verdict == "false as printed" and not corrected:
            raise ValueError(f"{claim}: 'false as printed' needs the corrected statement")
        if verdict == "works" and "" in (bar, peer):
            raise ValueError(f"{claim}: 'works' needs the bar and the best peer's figure")
        self._claims.append(
            {"id": claim, "rule": self._rules[claim], "measured": measured, "unit": unit, "verdict": verdict}
            | {"ci_low": interval[0], "ci_high": interval[1], "condition": condition, "corrected": corrected}
            | {"bar": bar, "peer": peer, "printed_reading": printed_reading}
        )

    def close(self) -> None:
        """Write claims.csv and measures.csv of this run and print the verdicts, nothing that varies between runs."""
        import torch

        missing = sorted(set(self._rules) - {row["id"] for row in self._claims})
        if missing:
            raise ValueError(f"rules without a verdict: {', '.join(missing)}")
        common = {
            "notebook": self.notebook,
            "dataset": self.dataset,
            "seeds": self.seeds,
            "device": device_name(torch.get_num_threads()),
            "profile": self.profile,
            "commit": commit(),
            "seconds": round(time.perf_counter() - self._started, 1),
        }
        printed = _printed()
        rows = [printed[row["id"]] | row | common for row in self._claims]
        self.save("claims", pd.DataFrame(rows, columns=CLAIM_COLUMNS))
        self.save("measures", pd.DataFrame(self._measures, columns=MEASURE_COLUMNS))
        for row in self._claims:
            as_printed = f" (as printed: {row['printed_reading']})" if row["printed_reading"] else ""
            print(f"{row['id']}: {row['verdict']}" + (f" {row['condition']}" if row["condition"] else "") + as_printed)
        if "stand-in" in self.dataset:
            print(f"all on stand-in data: {self.dataset}")


def _printed() -> dict[str, dict[str, str]]:
    """What a row of claims.csv takes from each printed claim: id, group, and the claim with its printed figure."""
    claims = printed_claims()
    texts = claims["claim"] + claims["printed_figure"].map(lambda figure: f" [{figure}]" if figure else "")
    rows = pd.DataFrame({"id": claims.index, "group": claims["group"], "printed": texts})
    return rows.to_dict("index")


def result_folders(profile: str) -> list[Path]:
    """The result folders of the finished notebooks of a profile, in order: those with a provenance.json."""
    return sorted(path.parent for path in (ROOT / "data" / "results" / profile).glob("[0-9]*/provenance.json"))


def merge(profile: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write claims.csv and measures.csv of a profile from its finished notebooks, as `merged`; return both."""
    claims, measures = merged(profile)
    for name, table in (("claims", claims), ("measures", measures)):
        write_text(ROOT / "data" / "results" / profile / f"{name}.csv", table.to_csv(index=False))
    return claims, measures


def merged(profile: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Claims and measures of a profile, put together from its finished notebooks.

    Every printed claim has a row; those that no finished notebook judged are `not measured`.
    """
    claims, measures = _stack("claims", CLAIM_COLUMNS, profile), _stack("measures", MEASURE_COLUMNS, profile)
    unjudged = {"verdict": "not measured", "profile": profile}
    judged = {row["id"]: row for row in claims.to_dict("records")}
    rows = [judged.get(claim, row | unjudged) for claim, row in _printed().items()]
    claims = pd.DataFrame(rows, columns=CLAIM_COLUMNS)
    counts = {verdict_key(name): (claims["verdict"] == name).sum() for name in VERDICTS}
    counts[verdict_key("all")] = len(claims)
    counted = pd.DataFrame({"key": counts.keys(), "value": counts.values(), "unit": "claims"})
    return claims, pd.concat([measures, counted], ignore_index=True)[MEASURE_COLUMNS]


def verdict_key(name: str) -> str:
    """The key of the number of claims with a verdict."""
    return f"verdicts.{name.replace(' ', '_')}"


def latest_profile() -> str:
    """The profile of this run; outside a run, quick where it has a ledger, else full, whose results are committed."""
    quick = ROOT / "data" / "results" / "quick" / "measures.csv"
    return os.environ.get("RESONANCE_PROFILE") or ("quick" if quick.exists() else "full")


def read_ledger(profile: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The merged claims and measures of a profile; raises FileNotFoundError before its first run.

    Columns that a ledger of an earlier version lacks are empty.
    """
    folder = ROOT / "data" / "results" / profile
    claims = pd.read_csv(folder / "claims.csv", dtype=TEXTS).reindex(columns=CLAIM_COLUMNS)
    return claims, pd.read_csv(folder / "measures.csv")


def read_provenance(profile: str) -> list[dict]:
    """The provenance of each finished notebook of a profile, in order."""
    return [json.loads((folder / "provenance.json").read_text()) for folder in result_folders(profile)]


def _stack(name: str, columns: list[str], profile: str) -> pd.DataFrame:
    """The tables of a name of all finished notebooks as one; ValueError where two have the same claim or measure."""
    paths = [folder / f"{name}.csv" for folder in result_folders(profile)]
    tables = [pd.read_csv(path, dtype=TEXTS) for path in paths if path.exists()]
    table = pd.concat([t for t in tables if len(t)] or [pd.DataFrame(columns=columns)], ignore_index=True)
    table = table.reindex(columns=columns)
    if twice := table[columns[0]][table[columns[0]].duplicated()].tolist():
        raise ValueError(f"two notebooks have the same {name}: {', '.join(twice)}")
    return table
