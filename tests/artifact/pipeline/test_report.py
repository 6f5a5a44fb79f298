"""The report and the README: complete macros, no typed numbers, a log that is read, a summary that is true."""

from __future__ import annotations

import math
import os
import re
import shutil

import pandas as pd
import pytest

from artifact.files import ROOT
from artifact.pipeline import report, runner
from artifact.pipeline.ledger import VERDICTS, printed_claims, read_ledger
from artifact.pipeline.readme import readme_parts, renew_readme
from artifact.pipeline.report import log_faults
from artifact.pipeline.tables import escape, number, with_interval

SECTIONS = sorted((ROOT / "paper" / "sections").glob("*.tex"))
TEX = "\n".join(path.read_text() for path in [ROOT / "paper" / "report.tex", *SECTIONS])
NAMES = "printednum|cite[tp]?|val|valint|ci|ifmeasured|includegraphics|input|claimid"  # what stands behind is a key
QUOTED = re.compile(rf"\\(?:{NAMES})(?:\[[^\]]*\])?\{{[^}}]*\}}")
LENGTHS = re.compile(r"\d*\.\d+\s*\\(?:linewidth|textwidth)|\\renewcommand\{\\(?:\w+fraction|arraystretch)\}\{[\d.]+\}")


@pytest.mark.parametrize("path", SECTIONS, ids=lambda path: path.stem)
def test_no_decimal_is_typed(path):
    text = re.sub(r"(?<!\\)%.*", "", path.read_text())
    left = LENGTHS.sub("", QUOTED.sub("", text))
    left = re.sub(r"\b[A-Z]\d?\.\w+", "", left)  # ids of claims
    assert not re.findall(r"(?<![\w])\d+\.\d+", left)


def test_every_number_of_the_report_is_in_the_reference_ledger():
    claims, measures = read_ledger("full")
    keys = set(measures["key"])
    used = set(re.findall(r"\\(?:val|valint|ci|ifmeasured)(?:\[\d\])?\{([\w.]+)\}", TEX))
    assert len(used) > 20 and used <= keys, used - keys
    ids = set(re.findall(r"\\(?:verdict|rulefor|conditionfor|datasetfor)\{([\w.]+)\}", TEX))
    assert ids <= set(claims["id"])


def test_every_claim_group_and_claim_is_in_the_report():
    shown = " ".join(re.findall(r"\\claimid\{([\w.]+)\}", TEX))
    for claim in printed_claims().index:
        assert claim in shown or claim in {"L.32k", "L.128k"}, claim  # those two: "L.8k to L.256k"


def test_every_figure_names_its_notebook():
    figures = re.findall(r"\\begin\{figure\}.*?\\end\{figure\}", TEX, re.S)
    assert len(figures) >= 8
    for figure in figures:
        number = re.search(r"\\includegraphics\[[^\]]*\]\{(\d\d)_\w+\}", figure)[1]
        named = re.search(r"\\notebook\{(\w+)\}", figure)[1]
        assert named.startswith(number) and named in notebooks.notebooks()


def test_every_citation_has_an_entry_and_every_entry_is_cited():
    bibliography = (ROOT / "paper" / "references.bib").read_text()
    entries = set(re.findall(r"@\w+\{([\w]+),", bibliography))
    cited = {key for group in re.findall(r"\\cite\{([^}]*)\}", TEX) for key in group.split(",")}
    cited |= set(pd.read_csv(ROOT / "paper" / "published.csv")["key"])
    assert cited == entries


@pytest.mark.parametrize(
    ("log", "faults"),
    [
        ("LaTeX Warning: Reference `x' on page 1 undefined on input line 3.", 1),
        ("Package natbib Warning: Citation `y' on page 1 undefined on input line 4.", 1),
        ("Missing character: There is no X in font lmr10!", 1),
        ("Overfull \\hbox (27.7pt too wide) in paragraph at lines 1--2", 1),
        ("Overfull \\hbox (9.9pt too wide) in paragraph at lines 1--2", 0),
        ("LaTeX Font Warning: Font shape undefined", 0),
    ],
)
def test_the_log_is_read(log, faults):
    assert len(log_faults("start\n" + log + "\nend")) == faults


def test_numbers_are_rounded_and_escaped():
    assert number(2785.0) == r"\num{2785}"
    assert number(0.357712345, 4) == r"\num[round-mode=figures,round-precision=4]{0.357712345}"
    assert number(math.nan) == "--"
    row = pd.Series({"value": 1.5, "ci_low": 1.0, "ci_high": 2.0})
    assert with_interval(row).count(r"\num") == 3
    assert escape("50% of a_b & {c} ^ ~ \\ <") == (
        r"50\% of a\_b \& \{c\} \textasciicircum{} \textasciitilde{} \textbackslash{} \textless{}"
    )
    assert escape(math.nan) == ""


def test_the_readme_is_generated_from_the_reference_run():
    text = (ROOT / "README.md").read_text()
    assert renew_readme(text, readme_parts()) == text
    for claim in read_ledger("full")[0].query("verdict != 'not measured'")["id"]:
        assert f"`{claim}`" in text


def test_reference_results_are_whole():
    claims, _ = read_ledger("full")
    assert set(claims["verdict"]) <= set(VERDICTS) and list(claims["id"]) == list(printed_claims().index)
    for name in notebooks.notebooks():
        record = notebooks.result_folder(name, "full") / "provenance.json"
        assert record.exists(), f"no reference result for {name}"
    assert (ROOT / "paper" / "report.pdf").read_bytes().startswith(b"%PDF")


def fake_program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_choice_of_tex(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert report.tex_command() is None
    fake_program(tmp_path, "tectonic", "exit 0")
    assert report.tex_command()[0] == "tectonic"
    fake_program(tmp_path, "latexmk", "exit 0")
    assert report.tex_command()[0] == "tectonic", "latexmk without pdflatex builds nothing"
    fake_program(tmp_path, "pdflatex", "exit 0")
    assert report.tex_command()[0] == "latexmk"


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """A PAPER folder of its own, with the reference ledger's data behind it."""
    folder = tmp_path / "paper"
    shutil.copytree(ROOT / "paper", folder, ignore=shutil.ignore_patterns("build", "generated", "report.pdf"))
    monkeypatch.setattr(report, "PAPER", folder)
    (tmp_path / "figures").symlink_to(ROOT / "figures")
    return folder


def test_tectonic_builds_where_it_is_the_tex(paper, tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    fake_program(programs, "tectonic", 'test -f report.tex && echo "%PDF" > report.pdf && echo clean > report.log')
    monkeypatch.setattr(shutil, "which", lambda name: str(programs / name) if (programs / name).exists() else None)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert report.build_pdf("full").read_text() == "%PDF\n"
    assert (paper / "report.pdf").exists()


def test_a_missing_tex_is_said(paper, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(notebooks.RunError, match="latexmk"):
        report.build_pdf("full")


needs_tex = pytest.mark.skipif(not (shutil.which("latexmk") and shutil.which("pdflatex")), reason="no TeX here")


@needs_tex
def test_the_reference_report_builds_and_the_same_sources_give_the_same_bytes(paper):
    first = report.build_pdf("full").read_bytes()
    assert report.build_pdf("full").read_bytes() == first
    log = (paper / "build" / "full" / "work" / "report.log").read_text(errors="replace")
    assert int(re.search(r"Output written on report\.pdf \((\d+) pages", log)[1]) >= 6


@needs_tex
@pytest.mark.parametrize(("broken", "says"), [(r"\val{no.such.key}", "no val"), (r"\ref{nowhere}", "nowhere")])
def test_an_unknown_number_or_reference_breaks_the_build(paper, broken, says):
    with open(paper / "sections" / "limits.tex", "a") as file:
        file.write(broken)
    with pytest.raises(notebooks.RunError, match=says):
        report.build_pdf("full")
    assert not (paper / "report.pdf").exists()
