"""Two ledgers side by side: each rule of agreement, claims that one side lacks, exit codes, bad input."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.files import ROOT
from artifact.pipeline import compare

NAN = math.nan


def ledger(folder, claims, measures, record=None):
    folder.mkdir(parents=True)
    pd.DataFrame(claims, columns=["id", "verdict"]).to_csv(folder / "claims.csv", index=False)
    rows = [(key, value, unit, low, high, "01_x") for key, value, unit, low, high in measures]
    columns = ["key", "value", "unit", "ci_low", "ci_high", "notebook"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "measures.csv", index=False)
    (folder / "01_x").mkdir()
    (folder / "01_x" / "provenance.json").write_text(json.dumps(record or {"commit": folder.name, "seeds": 5}))
    return folder


@pytest.mark.parametrize(
    ("a", "b", "rule", "agree"),
    [
        ((1, NAN, NAN), (1, NAN, NAN), "equal", True),
        ((1, 0, 2), (1, 0, 2), "equal", True),
        ((1.0, NAN, NAN), (1.09, NAN, NAN), "near", True),
        ((1.0, NAN, NAN), (1.2, NAN, NAN), "near", False),
        ((-1.0, NAN, NAN), (1.0, NAN, NAN), "near", False),
        ((0.0, -1, 1), (1.4, 0.4, 2.4), "interval", True),  # sqrt 2 = 1.414
        ((0.0, -1, 1), (1.42, 0.42, 2.42), "interval", False),
        ((0.0, -9, 1), (1.9, 0.9, 99), "interval", False),  # the sides that face each other count
        ((5.0, 4, 6), (5.5, NAN, NAN), "interval", True),
        ((5.0, NAN, NAN), (6.5, 6, 7), "interval", False),
        ((5.0, 5, 5), (5.5, 5.5, 5.5), "interval", False),  # no width
        ((NAN, NAN, NAN), (1, NAN, NAN), "one side", None),
    ],
)
def test_rules(a, b, rule, agree):
    assert compare.agreement(*a, *b)[:2] == (rule, agree)


values = st.floats(-1e6, 1e6)


@given(values, st.floats(0, 10), values, st.floats(0, 10))
def test_the_order_of_the_sides_does_not_matter(a, half_a, b, half_b):
    one, two = (a, a - half_a, a + half_a), (b, b - half_b, b + half_b)
    assert compare.agreement(*one, *two) == compare.agreement(*two, *one)


def test_a_verdict_that_differs_ends_with_one(tmp_path, capsys):
    a = ledger(tmp_path / "a", [("T", "holds"), ("E", "holds if"), ("L", "not measured")], [("x", 1.0, "", NAN, NAN)])
    b = ledger(tmp_path / "b", [("T", "holds"), ("E", "false as printed"), ("L", "works")], [("x", 1.0, "", NAN, NAN)])
    assert compare.report(a, b, tmp_path / "out.csv") == 1
    printed = capsys.readouterr().out
    assert printed.startswith("E: holds if | false as printed\n")
    assert "verdicts: 1 the same, 1 differ; judged by one side alone: L" in printed
    assert "the runs differ in: commit (notebooks 01)" in printed
    assert compare.report(a, a, tmp_path / "out.csv") == 0
    assert "nothing that is recorded" in capsys.readouterr().out


def test_measures_of_the_machine_are_counted_apart(tmp_path, capsys):
    rows = [("x.error", 1.0, "", 0.9, 1.1), ("x.seconds", 1.0, "s", NAN, NAN), ("speed.fft", 2.0, "times faster", 1, 3)]
    other = [("x.error", 2.0, "", 1.9, 2.1), ("x.seconds", 9.0, "s", NAN, NAN), ("only", 1.0, "", NAN, NAN)]
    claims = [("T", "holds")]
    out = tmp_path / "out.csv"
    assert compare.report(ledger(tmp_path / "a", claims, rows), ledger(tmp_path / "b", claims, other), out) == 0
    printed = capsys.readouterr().out
    assert "measures: 0 agree (none), 1 do not, 1 on one side alone\n  x.error: 1 [0.9, 1.1] | 2 [1.9, 2.1]" in printed
    assert "of the machine: 0 agree (none), 1 do not, 1 on one side alone" in printed and "x.seconds" not in printed
    assert set(pd.read_csv(out)["key"]) == {"x.error", "x.seconds", "speed.fft", "only"}


@pytest.mark.parametrize(
    ("key", "unit", "machine"),
    [
        ("cost.fft.operations", "floating-point operations", False),
        ("efficiency.length", "tokens", False),
        ("language.seconds.256.resonance.tokens", "million characters", True),
        ("causal.step.us.1024", "microseconds", True),
        ("context.resonance.train.8192.peak", "GB", True),
        ("audio.ahead", "points", False),
    ],
)
def test_what_belongs_to_a_machine(key, unit, machine):
    table = pd.DataFrame([{"key": key, "value": 1.0, "ci_low": NAN, "ci_high": NAN, "unit": unit}])
    assert compare.measures(table, table)["machine"].tolist() == [machine]


def test_many_differences_are_cut(tmp_path, capsys):
    rows = [[(f"k{at}", value, "", NAN, NAN) for at in range(50)] for value in (1.0, 2.0)]
    a, b = (ledger(tmp_path / name, [("T", "holds")], part) for name, part in zip("ab", rows, strict=True))
    compare.report(a, b, tmp_path / "out.csv")
    printed = capsys.readouterr().out
    assert printed.count(": 1 | 2") == compare.SHOWN and "and 10 more" in printed


def test_bad_input_ends_with_two():
    done = subprocess.run(
        [sys.executable, "-m", "artifact.pipeline.compare", "nowhere"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "expected a profile that has run (quick, full)" in done.stderr


def test_the_committed_reference_agrees_with_itself(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = compare.folder_of(compare.HEAD, tmp_path)
    assert compare.report(folder, folder, tmp_path / "out.csv") == 0
