"""The generated parts of the README and of docs/results.md: costs, verdicts, comparisons, results."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from artifact.files import ROOT
from artifact.pipeline import ledger, readme, tables
from artifact.pipeline.ledger import printed_claims, read_ledger
from artifact.pipeline.notebooks import RunError

REFERENCE = read_ledger("full")[1]


def test_the_readme_is_generated_from_the_reference_run():
    for path, text in readme.renew().items():
        assert text == path.read_text(encoding="utf-8"), f"{path.name}: run python -m artifact.pipeline.report readme"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for claim in printed_claims().index:
        assert f"`{claim}`" in text


def test_the_cost_is_of_the_seconds_that_are_being_recorded():
    """`refresh` writes the notebooks' new seconds and the README at once."""
    assert "of the first 2 min;" in readme.cost(None, {"03_complexity": 60.0, "05_efficiency": 60.0})


def test_every_listed_result_is_in_the_reference_ledger():
    """One that it lacks is of a notebook whose code has changed since, which will measure it when it is next run."""
    listed, by_notebook = readme.listed_results(), REFERENCE.set_index("key")["notebook"]
    assert not listed["key"].duplicated().any() and not listed["label"].duplicated().any()
    records = {record["notebook"][:2]: record for record in ledger.read_provenance("full")}
    for _, row in listed.iterrows():
        known = row["key"] in by_notebook.index
        assert (
            by_notebook[row["key"]].startswith(row["notebook"])
            if known
            else tables.changed_since(records[row["notebook"]])
        )
    assert (printed_claims()["short"].str.split().str.len() <= 10).all()


def test_a_comparison_says_who_is_ahead_and_losses_are_listed_too():
    listed = readme.listed_results().dropna(subset=["par"])
    assert set(listed["ahead"]) == {"above", "below"} and len(listed) > 10
    text = readme.against(REFERENCE.set_index("key"))
    assert "| behind |" in text and "| ahead |" in text and len(text.splitlines()) == 2 + len(listed)
    table = readme.against_table(REFERENCE.set_index("key"))
    assert table.count(r"\\") == 1 + len(listed) and "& behind" in table and r"\texttt{BandMixing}" in table
    assert "`" not in table
    assert readme.against_table(REFERENCE.set_index("key")[:0]).count(r"\notmeasured") == len(listed)
    row = pd.Series({"value": 2.0, "ci_low": 1.5, "ci_high": 2.5})
    assert [readme.standing(row, par, "above") for par in (1, 2, 3)] == ["ahead", "no difference seen", "behind"]
    assert [readme.standing(row, par, "below") for par in (1, 2, 3)] == ["behind", "no difference seen", "ahead"]
    assert readme.standing(row.replace([1.5, 2.5], math.nan), 1, "above") == "no interval"


def test_a_marker_without_partner_or_part_is_refused():
    assert readme.renewed("a\n<!-- x -->\nold\n<!-- /x -->\nb", {"x": "new"}) == "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
    for text in ("<!-- x -->\n", "<!-- y -->\n<!-- /y -->\n"):
        with pytest.raises(RunError, match="pair of markers"):
            readme.renewed(text, {"x": "new"})


def test_the_costs_are_the_recorded_ones():
    assert "the second 8 min;" in readme.cost("seconds,cores\n500,2\n")
    assert "the second 4 min (on 4);" in readme.cost("seconds,cores\n250,4\n")


def test_a_factor_that_is_a_bound_says_so():
    columns = ["value", "ci_low", "ci_high"]
    factors = {"equal.vision.memory": (2.0, 1.5, 2.5), "equal.vision.memory.side": (1.0, math.nan, math.nan)}
    rows = readme.results(pd.DataFrame.from_dict(factors, "index", columns=columns)).splitlines()
    assert next(row for row in rows if "quality, vision: memory |" in row).endswith("| at least 2.0 [1.5, 2.5] |")
