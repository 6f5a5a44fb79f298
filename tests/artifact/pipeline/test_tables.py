"""Tables of a run as a whole, and the time that it takes."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from artifact.files import ROOT
from artifact.pipeline import ledger, tables
from artifact.pipeline.freshness import dependencies
from artifact.pipeline.notebooks import notebooks, settings
from artifact.studies.common.latex import escape


def test_no_injected_fault_changed_a_result():
    listed = pd.read_csv(ROOT / "paper" / "faults.csv", dtype=str, keep_default_na=False)
    assert len(listed) >= 12 and set(listed["equal"]) == {"yes"} and not listed["fault"].duplicated().any()
    table = tables.fault_table()
    assert table.count(r"\\") == len(listed) + 1 and escape(listed["message"][0]) in table


def test_mutants_are_counted_or_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PAPER", tmp_path)
    assert tables.mutation_table() == ""
    (tmp_path / "mutation.csv").write_text(
        "module,mutants,killed,equivalent,rate\ncausal_mixing,140,126,0,0.900\nall,140,126,0,0.900\n"
    )
    row = next(line for line in tables.mutation_table().splitlines() if line.startswith(r"\texttt{causal\_mixing}"))
    found = [float(value) for value in re.findall(r"(?<=\{)[\d.]+(?=\})", row)]
    assert found == pytest.approx([140, 0, 126, 90, 83.9141, 93.9493], abs=1e-3)  # Wilson's interval of 126 in 140


def test_the_recorded_rate_of_every_module_is_at_least_nine_in_ten():
    path = ROOT / "paper" / "mutation.csv"
    if not path.exists():
        pytest.skip("the mutants have not been tried")
    counts = pd.read_csv(path, index_col="module")
    assert set(counts.index) == {"band", "spectral", "engines.linear_time", "polar", "memory", "causal_mixing", "all"}
    rate = counts["killed"] / (counts["mutants"] - counts["equivalent"])
    assert (rate >= 0.9).all() and (rate - counts["rate"]).abs().max() < 1e-3
    assert (counts.loc["all"] == counts.drop("all").sum()).loc[["mutants", "killed", "equivalent"]].all()


def test_the_reference_run_takes_no_longer_than_said():
    records = ledger.read_provenance("full")
    if len({record["commit"] for record in records}) > 1:
        pytest.skip("the reference results are of several commits")
    assert tables.wall({record["notebook"]: record["seconds"] for record in records}) <= 60 * tables.MINUTES


def test_a_notebook_that_times_something_runs_alone():
    timed, other = (next(name for name in notebooks() if settings(name)["timed"] is kind) for kind in (True, False))
    assert tables.wall({timed: 100.0, other: 60.0}) == 130.0


def test_no_result_depends_on_a_table():
    for name in notebooks():
        assert not [module for module in dependencies(name) if re.fullmatch(r"artifact\.studies\.\w+\.tables", module)]
