"""The ledger: every claim has a row, every verdict a rule stated first."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pytest

from artifact.files import ROOT
from artifact.pipeline import ledger
from artifact.pipeline.ledger import (
    CLAIM_COLUMNS,
    KINDS,
    MEASURE_COLUMNS,
    VERDICTS,
    Experiment,
    merge,
    printed_claims,
    read_ledger,
    rule_of,
)
from artifact.pipeline.verdicts import rule_changes
from artifact.studies.common.statistics import mean_interval
from resonance.training.checkpoint import written_aside

COLUMNS = (
    "id,group,printed,rule,measured,unit,ci_low,ci_high,verdict,condition,corrected,bar,peer,printed_reading,"
    "notebook,dataset,seeds,device,profile,commit,seconds"
)


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setenv("RESONANCE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("RESONANCE_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("RESONANCE_PROFILE", "quick")
    return Experiment("01_stable_gradients")


def test_columns_are_exactly_those_agreed():
    assert ",".join(CLAIM_COLUMNS) == COLUMNS
    assert ",".join(MEASURE_COLUMNS) == "key,value,unit,ci_low,ci_high,notebook"


def test_printed_claims_are_whole():
    claims = printed_claims()
    assert len(claims) == 27 and claims.index.is_unique
    assert set(claims["group"]) == {"theorem", "capacity", "benchmark", "feature"}
    assert set(claims["kind"]) == set(KINDS)
    for part in ("short", "claim", "reading", "threshold", "evidence"):
        assert claims[part].str.len().min() > 0, part
        assert not claims[part].str.endswith(".").any(), f"{part}: the full stop is set where it is printed"


def test_each_threshold_names_only_verdicts_that_its_claim_can_have():
    """And one that it can fail by, or says that nothing measured here decides it."""
    for claim, row in printed_claims().iterrows():
        named = {name for name in VERDICTS if name in row["threshold"].lower()}
        assert named and not named & KINDS[row["kind"]], claim
        assert "false as printed" in named or "whatever is measured" in row["threshold"], claim


def test_a_rule_is_the_one_in_the_list_of_claims(experiment, capsys):
    experiment.rule("T1.phase")
    row = printed_claims().loc["T1.phase"]
    shown = capsys.readouterr().out
    for part in ("claim", "kind", "reading", "threshold", "evidence"):
        assert row[part] in shown and (row[part] in rule_of(row) or part in ("claim", "kind"))
    with pytest.raises(ValueError, match="judged in notebook 03"):
        experiment.rule("T3.fit")


def test_a_feature_works_by_our_bar_and_a_statement_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("RESONANCE_RESULTS", str(tmp_path / "results"))
    experiment = Experiment("08_forecasting")
    experiment.rule("S.timeseries")
    for verdict in ("holds", "holds if"):
        with pytest.raises(ValueError, match="is a feature"):
            experiment.verdict("S.timeseries", verdict, condition="x")
    with pytest.raises(ValueError, match="bar and the best peer"):
        experiment.verdict("S.timeseries", "works", bar=0.37)
    experiment.verdict("S.timeseries", "works", bar=0.37, peer="ridge, 0.37")
    experiment.close()
    row = experiment.load("claims").iloc[0]
    assert (row["bar"], row["peer"], row["verdict"]) == (0.37, "ridge, 0.37", "works")
    other = Experiment("01_stable_gradients")
    other.rule("T1.phase")
    with pytest.raises(ValueError, match="is a statement"):
        other.verdict("T1.phase", "works", bar=1, peer=1)
    with pytest.raises(ValueError, match="expected one of"):
        other.verdict("T1.phase", "holds", printed_reading="no")
    other.verdict("T1.phase", "holds", printed_reading="false as printed")


def test_a_rule_that_differs_from_the_one_of_the_results_is_listed_as_changed():
    """The reference results hold the rule that they were judged by: where another stands now, both are listed."""
    judged, changes = read_ledger("full")[0].set_index("id"), rule_changes()
    for claim, row in printed_claims().iterrows():
        if judged.loc[claim, "verdict"] != "not measured" and judged.loc[claim, "rule"] != rule_of(row):
            own = changes[(changes["claim"] == claim) & (changes["old_rule"] == judged.loc[claim, "rule"])]
            assert list(own["old_verdict"]) == [judged.loc[claim, "verdict"]], claim
            assert list(own["commit"]) == [judged.loc[claim, "commit"]], claim


def test_every_change_of_a_rule_is_of_wording_or_says_why():
    changes = rule_changes()
    assert set(changes["claim"]) <= set(printed_claims().index) and set(changes["change"]) <= {"wording", "substance"}
    assert set(changes["old_verdict"]) <= set(VERDICTS) and changes["commit"].str.fullmatch(r"[0-9a-f]{10}\+?").all()
    assert ((changes["why"] != "") == (changes["change"] == "substance")).all()
    assert not changes.duplicated(["claim", "commit"]).any()


def test_a_verdict_needs_its_rule_first(experiment):
    with pytest.raises(ValueError, match="rule"):
        experiment.verdict("T1.phase", "holds")
    experiment.rule("T1.phase")
    with pytest.raises(ValueError, match="expected one of"):
        experiment.verdict("T1.phase", "maybe")
    with pytest.raises(ValueError, match="condition"):
        experiment.verdict("T1.phase", "holds if")
    with pytest.raises(ValueError, match="corrected"):
        experiment.verdict("T1.phase", "false as printed")
    with pytest.raises(ValueError, match="without a verdict"):
        experiment.close()


def test_unknown_claims_and_bad_numbers_are_refused(experiment):
    with pytest.raises(ValueError, match=r"unknown claim 'T9\.x'"):
        experiment.rule("T9.x")
    with pytest.raises(ValueError, match="finite"):
        experiment.measure("a.b", math.nan)
    experiment.measure("a.b", 1.0)
    with pytest.raises(ValueError, match="already"):
        experiment.measure("a.b", 2.0)


def test_rules_and_verdicts_stand_once(experiment):
    experiment.rule("T1.phase")
    with pytest.raises(ValueError, match="too late"):
        experiment.rule("T1.phase")
    experiment.verdict("T1.phase", "holds")
    with pytest.raises(ValueError, match="already"):
        experiment.verdict("T1.phase", "not comparable")
    with pytest.raises(ValueError, match="too late"):
        experiment.rule("T1.bounded")


def test_close_writes_what_merge_reads(experiment, tmp_path, monkeypatch):
    experiment.rule("T1.phase")
    experiment.verdict("T1.phase", "false as printed", measured=1.0, corrected="another")
    experiment.measure("a.b", 0.5, "s", (0.4, 0.6))
    experiment.close()
    root = tmp_path / "root"
    target = root / "data" / "results" / "quick" / "01_stable_gradients"
    target.parent.mkdir(parents=True)
    (tmp_path / "results").rename(target)
    (root / "paper").mkdir()
    (root / "paper" / "claims.csv").write_bytes((ROOT / "paper" / "claims.csv").read_bytes())
    monkeypatch.setattr(ledger, "ROOT", root)
    unfinished, _ = merge("quick")
    assert (unfinished["verdict"] == "not measured").all(), "no provenance, no result"
    (target / "provenance.json").write_text("{}")
    claims, measures = merge("quick")
    assert list(claims["id"]) == list(printed_claims().index)
    row = claims.set_index("id").loc["T1.phase"]
    assert row["verdict"] == "false as printed" and row["corrected"] == "another"
    assert (claims["verdict"] == "not measured").sum() == 26
    values = measures.set_index("key")["value"]
    assert values["a.b"] == 0.5 and values["verdicts.all"] == 27 and values["verdicts.not_measured"] == 26
    read, _ = read_ledger("quick")
    assert list(read.columns) == CLAIM_COLUMNS


def test_student_interval():
    mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5 and low == pytest.approx(2.5 - 3.1824 * 1.2910 / 2, abs=1e-3)
    assert high - mean == pytest.approx(mean - low)
    assert math.isnan(mean_interval([1.0])[1])


def test_a_file_written_aside_is_whole_or_absent(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_every_output_on_stand_in_data_says_so(tmp_path, monkeypatch, capsys):
    for name in ("RESULTS", "FIGURES"):
        monkeypatch.setenv(f"RESONANCE_{name}", str(tmp_path / name))
    experiment = Experiment("01_stable_gradients", dataset="CO2 at Mauna Loa (stand-in)")
    experiment.rule("T1.phase")
    experiment.verdict("T1.phase", "holds")
    experiment.close()
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "stand-in" in first and "stand-in" in last
    figure = experiment.figure("empty", plt.figure())
    assert any("stand-in" in text.get_text() for text in figure.texts)
