"""Two ledgers side by side: one's own rerun against the committed reference, verdict by verdict, measure by measure.

    python -m artifact.pipeline.compare                        # this folder's full results against those of HEAD
    python -m artifact.pipeline.compare full ../other/data/results/full

A measure agrees by the first rule that fits it:
    equal      the values are the same
    interval   |a - b| <= sqrt(h_a^2 + h_b^2), h the half of a 95% interval on the other's side, 0 where there is none:
               the 95% interval of the difference of two independent runs contains zero
    near       neither has an interval: they differ by at most a tenth of the larger
Seconds, bytes and their ratios belong to a machine: they are compared by the same rules and counted apart.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd

from artifact.files import ROOT, write_text
from artifact.pipeline.ledger import TEXTS
from artifact.pipeline.notebooks import profiles

HEAD = "HEAD"
NEAR = 0.1
MACHINE = r"^(?:m?s|microseconds.*|[kKMG]B)$|times (?:faster|the)|seconds|over ours|fastest|time against length"
KEYS_OF_MACHINE = r"(?:^|\.)(?:seconds|ms|us|speed|floor|ratio\.\d+)(?:\.|$)"
SHOWN = 40  # measures that disagree, in the terminal; the CSV has all
PASSED = ("profile", "parameters", "seeds", "versions", "machine", "device", "threads", "commit", "data")


class CompareError(ValueError):
    """What was given is no ledger; the message names what was expected."""


def folder_of(name: str, scratch: Path) -> Path:
    """The folder of results of a profile, of a path, or of the last commit ("HEAD", unpacked into `scratch`)."""
    if name == HEAD:
        done = subprocess.run(["git", "archive", HEAD, "data/results/full"], cwd=ROOT, capture_output=True, check=False)
        if done.returncode:
            raise CompareError(f"expected a git checkout with committed results: {done.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(scratch, filter="data")
        return scratch / "data" / "results" / "full"
    folder = ROOT / "data" / "results" / name if name in profiles() else Path(name)
    if not (folder / "measures.csv").is_file() or not (folder / "claims.csv").is_file():
        raise CompareError(
            f"expected a profile that has run ({', '.join(profiles())}), a folder with claims.csv and measures.csv, "
            f"or {HEAD}; got {name}"
        )
    return folder


def verdicts(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """One row a claim of either ledger: both verdicts, and whether they are the same; None where one has none."""
    both = a[["id", "verdict"]].merge(b[["id", "verdict"]], on="id", how="outer", suffixes=("_a", "_b"))
    both = both.set_index("id").fillna("not measured")
    judged = (both != "not measured").all(axis=1)
    return both.assign(same=(both["verdict_a"] == both["verdict_b"]).where(judged, None))


def measures(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """One row a key of either ledger: values, intervals, the rule and whether they agree (None: only one has it)."""
    columns = ["value", "ci_low", "ci_high", "unit"]
    both = a[["key", *columns]].merge(b[["key", *columns]], on="key", how="outer", suffixes=("_a", "_b"))
    both = both.set_index("key")
    unit = both["unit_a"].fillna(both["unit_b"]).fillna("")
    both["machine"] = unit.str.contains(MACHINE) | both.index.str.contains(KEYS_OF_MACHINE)
    found = [agreement(*row) for row in both[[f"{c}_{s}" for s in "ab" for c in columns[:3]]].itertuples(index=False)]
    both["rule"], both["agree"], both["distance"] = zip(*found, strict=True) if found else ((), (), ())
    return both


def agreement(a: float, a_low: float, a_high: float, b: float, b_low: float, b_high: float) -> tuple:
    """Rule, agreement and distance of two values with their intervals (head of this file); distance 1: just agree."""
    if math.isnan(a) or math.isnan(b):
        return "one side", None, math.nan
    if a == b:
        return "equal", True, 0.0
    if math.isnan(a_low) and math.isnan(b_low):
        distance = abs(a - b) / max(abs(a), abs(b)) / NEAR
        return "near", distance <= 1, distance
    halves = (a_high - a, b - b_low) if a < b else (a - a_low, b_high - b)
    reach = math.hypot(*(0.0 if math.isnan(half) else half for half in halves))
    distance = abs(a - b) / reach if reach else math.inf
    return "interval", distance <= 1, distance


def reasons(a: Path, b: Path) -> list[str]:
    """In what the runs of the same notebooks differ: profile, parameters, versions, machine, commit, data."""
    found: dict[str, list[str]] = {}
    for path in sorted(a.glob("[0-9]*/provenance.json")):
        if (other := b / path.parent.name / path.name).exists():
            one, two = json.loads(path.read_text()), json.loads(other.read_text())
            for field in PASSED:
                if one.get(field) != two.get(field):
                    found.setdefault(field, []).append(path.parent.name[:2])
    return [f"{field} (notebooks {', '.join(names)})" for field, names in found.items()]


def report(a: Path, b: Path, out: Path) -> int:
    """Print the comparison, write all measures to `out`, and return 1 when a verdict differs, else 0."""
    claims, both = (
        compare(*(pd.read_csv(folder / f"{name}.csv", dtype=TEXTS | {"unit": str}) for folder in (a, b)))
        for name, compare in (("claims", verdicts), ("measures", measures))
    )
    differ, alone = claims[claims["same"].eq(False)], claims[claims["same"].isna()]
    alone = alone[alone["verdict_a"] != alone["verdict_b"]]
    for claim, row in differ.iterrows():
        print(f"{claim}: {row['verdict_a']} | {row['verdict_b']}")
    print(f"verdicts: {claims['same'].eq(True).sum()} the same, {len(differ)} differ", end="; ")
    print(f"judged by one side alone: {', '.join(alone.index) or 'none'}")
    show(both[~both["machine"]], "measures", SHOWN)
    show(both[both["machine"]], "of the machine", 0)
    print("the runs differ in: " + ("; ".join(reasons(a, b)) or "nothing that is recorded"))
    write_text(out, both.to_csv())
    print(f"all measures: {out}")
    return int(len(differ) > 0)


def show(part: pd.DataFrame, what: str, most: int) -> None:
    """Print how many measures agree and by which rule, and at most so many of those that do not, farthest first."""
    agree, apart = part[part["agree"].eq(True)], part[part["agree"].eq(False)]
    rules = ", ".join(f"{rule} {count}" for rule, count in agree["rule"].value_counts().items())
    one_sided = len(part) - len(agree) - len(apart)
    print(f"{what}: {len(agree)} agree ({rules or 'none'}), {len(apart)} do not, {one_sided} on one side alone")
    for key, row in apart.sort_values("distance", ascending=False).head(most).iterrows():
        print(f"  {key}: {interval(row, 'a')} | {interval(row, 'b')}")
    if most and len(apart) > most:
        print(f"  and {len(apart) - most} more")


def interval(row: pd.Series, side: str) -> str:
    """A value and its interval, if any, to four significant figures."""
    value, low, high = (row[f"{name}_{side}"] for name in ("value", "ci_low", "ci_high"))
    return f"{value:.4g}" + ("" if math.isnan(low) else f" [{low:.4g}, {high:.4g}]")


def main() -> int:
    """Command line: 0 when every verdict that both have agrees, 1 when one differs, 2 for what cannot be compared."""
    parser = argparse.ArgumentParser(prog="./run_all.sh compare", description=__doc__.splitlines()[0])
    parser.add_argument("a", nargs="?", default="full", help="a profile, a folder of results, or HEAD (default: full)")
    parser.add_argument("b", nargs="?", default=HEAD, help="the same; default: HEAD, the committed reference")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "compare.csv", help="where all measures go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        try:
            return report(folder_of(given.a, Path(one)), folder_of(given.b, Path(two)), given.out)
        except CompareError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
