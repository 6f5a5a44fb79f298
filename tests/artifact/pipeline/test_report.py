"""Paper, supplement and README: built from whatever a run has measured, no typed numbers, a log that is read."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import warnings

import nbformat
import pandas as pd
import pytest

import artifact.studies.complexity.tables
from artifact.files import ROOT
from artifact.pipeline import ledger, report, tables
from artifact.pipeline.ledger import VERDICTS, merge, printed_claims, read_ledger
from artifact.pipeline.notebooks import RunError, notebooks, result_folder, settings
from artifact.pipeline.report import log_faults
from artifact.studies.common.latex import Cells, escape, number, to_latex, with_interval

REFERENCE = read_ledger("full")[1]
SECTIONS = sorted((ROOT / "paper").glob("*/*.tex"))  # the paper's article/, the supplement's, statements/ of both
TEX = "\n".join(path.read_text() for path in report.tex_sources())
NAMES = "printednum|cite[tp]?|val|valint|ci|ifmeasured|includegraphics|input|claimid"  # what stands behind is a key
QUOTED = re.compile(rf"\\(?:{NAMES})(?:\[[^\]]*\])?\{{[^}}]*\}}")
LENGTHS = re.compile(r"\d*\.\d+\s*\\(?:linewidth|textwidth)|\\renewcommand\{\\(?:\w+fraction|arraystretch)\}\{[\d.]+\}")


@pytest.mark.parametrize("path", SECTIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_decimal_is_typed(path):
    text = re.sub(r"(?<!\\)%.*", "", path.read_text())
    left = LENGTHS.sub("", QUOTED.sub("", text))
    left = re.sub(r"\b[A-Z]\d?\.\w+", "", left)  # ids of claims
    assert not re.findall(r"(?<![\w])\d+\.\d+", left)


def test_every_number_of_either_document_is_in_the_reference_ledger_or_measured_by_a_notebook():
    claims, measures = read_ledger("full")
    keys = set(measures["key"]) | report.known_keys()
    used = set(re.findall(r"\\(?:val|valint|ci|ifmeasured)(?:\[\d\])?\{([\w.-]+)\}", TEX))
    assert len(used) > 20 and used <= keys, used - keys
    ids = set(
        re.findall(
            r"\\(?:verdict|rulefor|conditionfor|datasetfor|wordforword|remarkfor|barfor|peerfor)\{([\w.]+)\}", TEX
        )
    )
    assert ids <= set(claims["id"])


def test_a_key_or_figure_of_a_notebook_is_known_before_its_reference_run(tmp_path, monkeypatch):
    cells = [
        nbformat.v4.new_code_cell(
            'measure("new.key", 1)\nmeasure(\n    "new.longer", 2\n)\nexperiment.figure("new", f);'
        )
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01_new.ipynb")
    monkeypatch.setattr(report, "notebooks", lambda: ["01_new"])
    monkeypatch.setattr(report, "read_notebook", lambda name: nbformat.read(tmp_path / f"{name}.ipynb", 4))
    assert {"new.key", "new.longer"} <= report.known_keys() and "new.kye" not in report.known_keys()
    assert "01_new" in report.known_figures()


@pytest.mark.parametrize("folder", ["article", "sections"])
def test_every_claim_is_in_the_paper_and_in_the_supplement(folder):
    texts = [path.read_text() for path in SECTIONS if path.parent.name == folder]
    shown = " ".join(re.findall(r"\\claimid\{([\w.]+)\}", "\n".join(texts)))
    for claim in printed_claims().index:
        if folder == "article" and claim in {"T3.table", "L.128k", "L.256k"}:
            continue  # not comparable whatever is measured: in the table of all verdicts alone
        assert claim in shown or claim in {"L.32k", "L.128k"}, claim  # those two: "L.8k to L.256k"


def test_every_figure_names_its_notebook():
    figures = re.findall(r"\\begin\{figure\}.*?\\end\{figure\}", TEX, re.S)
    figures = [figure for figure in figures if r"\includegraphics" in figure]  # not the diagram, drawn by LaTeX
    assert len(figures) >= 8
    for figure in figures:
        number = re.search(r"\\includegraphics\[[^\]]*\]\{(\d\d)_\w+\}", figure)[1]
        named = re.search(r"\\notebook\{(\w+)\}", figure)[1]
        assert named.startswith(number) and named in notebooks()


def test_what_the_paper_names_of_the_supplement_is_there():
    texts = {
        folder: "\n".join(path.read_text() for path in SECTIONS if path.parent.name == folder)
        for folder in ("article", "sections", "statements")
    }
    labels = set(re.findall(r"\\label\{(.*?)\}", texts["sections"] + texts["statements"]))
    shared = sorted(path.stem for path in SECTIONS if path.parent.name == "statements")
    for folder in ("article", "sections"):
        assert sorted(re.findall(r"\\statement\{([\w-]+)\}", texts[folder])) == shared
    named = re.findall(r"\\(?:ref|eqref)\{S:(.*?)\}|\\supp(?:proof)?\{(.*?)\}", texts["article"])
    named = {label for pair in named for label in pair if label}
    assert len(named) > 20 and named <= labels, named - labels


def test_every_citation_has_an_entry_and_every_entry_is_cited():
    bibliography = (ROOT / "paper" / "references.bib").read_text()
    entries = set(re.findall(r"@\w+\{([\w]+),", bibliography))
    cited = {key for group in re.findall(r"\\cite\{([^}]*)\}", TEX) for key in group.split(",")}
    cited |= {key for path in (ROOT / "paper").glob("published*.csv") for key in pd.read_csv(path)["key"]}
    assert cited == entries


def test_the_bibliography_keeps_one_style():
    order = "author title editor booktitle journal howpublished volume number edition pages publisher year doi note"
    lines = (ROOT / "paper" / "references.bib").read_text().splitlines()
    assert lines == sorted(lines, key=lambda line: line.split("{")[1]), "expected one line an entry, sorted by key"
    for line in lines:
        fields = re.findall(r", (\w+)=\{", line)
        assert fields == [field for field in order.split() if field in fields], line
        assert {"author", "title", "year"} <= set(fields) and "doi.org" not in line and line.endswith("}}"), line


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


@pytest.mark.parametrize(
    ("measure", "figures", "printed"),
    [
        ((0.004069, -0.01344, 0.02158), 4, "0.004 [-0.013, 0.022]"),
        ((0.357712, 0.356601, 0.358823), 4, "0.3577 [0.3566, 0.3588]"),  # the interval would allow a digit more
        ((0.357712, 0.356601, 0.358823), 3, "0.358 [0.357, 0.359]"),
        ((9.23333, 4.26753, 14.19913), 4, "9.2 [4.3, 14.2]"),
        ((2785.3, 2512.0, 3120.7), 4, "2790 [2510, 3120]"),
        ((3.04, 0.21, 121.3), 4, "3.0 [0.2, 121.3]"),  # the shorter side decides
        ((-0.0004, -0.0312, 0.0304), 4, "0.000 [-0.031, 0.030]"),
        ((1.0, 0.9, 1.0), 4, "1.00 [0.90, 1.00]"),
        ((8e-05, 6.1e-05, 1.0e-04), 4, "0.000080 [0.000061, 0.000100]"),
    ],
)
def test_a_value_has_the_digits_that_its_interval_supports(measure, figures, printed):
    text = with_interval(pd.Series(measure, ["value", "ci_low", "ci_high"]), figures)
    assert re.sub(r"\\num\{([^}]+)\}", r"\1", text) == printed


def test_numbers_are_rounded_and_escaped():
    assert number(2785.0) == r"\num{2785}"
    assert number(0.357712345, 4) == r"\num[round-mode=figures,round-precision=4]{0.357712345}"
    assert number(math.nan) == "--"
    row = pd.Series({"value": 1.5, "ci_low": 1.0, "ci_high": 2.0})
    assert with_interval(row).count(r"\num") == 3
    noisy = pd.Series({"value": 0.15, "ci_low": 5.8e-12, "ci_high": 4083543650.17})  # two repetitions of a ratio
    assert "{<}" in with_interval(noisy, 2) and "{>}" in with_interval(noisy, 2) and len(with_interval(noisy, 2)) < 200
    zero = pd.Series({"value": 0.0, "ci_low": 0.0, "ci_high": 0.0})
    assert with_interval(zero) == r"\num{0}"  # repetitions that agree throughout say nothing of the spread
    assert escape("50% of a_b & {c} ^ ~ \\ <") == (
        r"50\% of a\_b \& \{c\} \textasciicircum{} \textasciitilde{} \textbackslash{} \textless{}"
    )
    assert escape(math.nan) == ""


@pytest.mark.parametrize(
    ("row", "printed"),
    [
        ((0.004069, -0.01344, 0.02158), [(3, 0.004069), (3, -0.01344), (3, 0.02158)]),
        ((29.4449, 28.1, 31.0), [(1, 29.4449), (1, 28.1), (1, 31.0)]),
        ((0.357712, 0.357601, 0.357823), [(4, 0.357712), (4, 0.357601), (4, 0.357823)]),
        ((212.9, 100.0, 350.0), [(0, 212.9), (0, 100.0), (0, 350.0)]),
    ],
)
def test_an_interval_has_as_many_places_as_its_width_bears(row, printed):
    text = report.sensible(pd.Series(row, ["value", "ci_low", "ci_high"]))
    numbers = [rf"\num[round-mode=places,round-precision={places}]{{{value:.12g}}}" for places, value in printed]
    assert text == "{} [{}, {}]".format(*numbers)


@pytest.mark.parametrize("row", [(1.5, math.nan, math.nan), (0.0, 0.0, 0.0), (0.15, 5.8e-12, 4083543650.17)])
def test_a_value_without_a_width_is_printed_as_before(row):
    row = pd.Series(row, ["value", "ci_low", "ci_high"])
    assert report.sensible(row) == with_interval(row)


def test_reference_results_are_whole():
    claims, _ = read_ledger("full")
    assert set(claims["verdict"]) <= set(VERDICTS) and list(claims["id"]) == list(printed_claims().index)
    for name in notebooks():
        record = result_folder(name, "full") / "provenance.json"
        assert record.exists(), f"no reference result for {name}"
    for name in report.DOCUMENTS:
        assert (ROOT / "paper" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


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
    shutil.copytree(ROOT / "paper", folder, ignore=shutil.ignore_patterns("build", "generated", "*.pdf"))
    monkeypatch.setattr(report, "PAPER", folder)
    (tmp_path / "figures").symlink_to(ROOT / "figures")
    return folder


def test_tectonic_builds_where_it_is_the_tex(paper, tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    made = 'for last; do :; done; name="${last%.tex}"; test -f "$last" && echo "%PDF $name" > "$name.pdf"'
    fake_program(programs, "tectonic", f'{made} && echo clean > "$name.log"')
    monkeypatch.setattr(shutil, "which", lambda name: str(programs / name) if (programs / name).exists() else None)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert [path.read_text() for path in report.build_pdf("full")] == ["%PDF supplement\n", "%PDF paper\n"]
    assert report.summary("full").endswith("report: paper/paper.pdf, paper/supplement.pdf")


def test_a_missing_tex_is_said(paper, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RunError, match="latexmk"):
        report.build_pdf("full")


needs_tex = pytest.mark.skipif(not (shutil.which("latexmk") and shutil.which("pdflatex")), reason="no TeX here")


@needs_tex
def test_the_reference_documents_build_and_the_same_sources_give_the_same_bytes(paper):
    first = [path.read_bytes() for path in report.build_pdf("full")]
    assert [path.read_bytes() for path in report.build_pdf("full")] == first
    log = (paper / "build" / "full" / "work" / "paper.log").read_text(errors="replace")
    assert 20 <= int(re.search(r"Output written on paper\.pdf \((\d+) pages", log)[1]) <= 25


# --------------------------------------------------------------------------- a run that has measured less


@pytest.fixture
def run(paper, tmp_path, monkeypatch):
    """Make a quick run of some of the reference results, changed where asked; return the folder with its sources."""
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "digest", lambda name, profile: "changed")
    (tmp_path / "figures").unlink()
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "quick").symlink_to(ROOT / "figures" / "full")

    def make(names, keep=lambda key: True, stand_in=False):
        results = tmp_path / "data" / "results" / "quick"
        shutil.rmtree(results, ignore_errors=True)
        for name in names:
            (results / name).mkdir(parents=True)
            source = ROOT / "data" / "results" / "full" / name
            measures, claims = (pd.read_csv(source / f"{part}.csv") for part in ("measures", "claims"))
            measures[measures["key"].map(keep).astype(bool)].to_csv(results / name / "measures.csv", index=False)
            record = json.loads((source / "provenance.json").read_text()) | {"profile": "quick"}
            if stand_in:
                record["dataset"] = claims["dataset"] = "something else (stand-in)"
                record["data"] = dict.fromkeys(settings(name)["data"], "stand-in")
            claims.to_csv(results / name / "claims.csv", index=False)
            (results / name / "provenance.json").write_text(json.dumps(record))
        results.mkdir(parents=True, exist_ok=True)
        merge("quick")
        return paper

    return make


RUNS = {
    "nothing": {"names": []},
    "every second notebook": {"names": notebooks()[::2]},
    "the other half": {"names": notebooks()[1::2]},
    "stand-ins": {"names": notebooks(), "keep": lambda key: not re.search("8192|65536", key), "stand_in": True},
}


@needs_tex
@pytest.mark.parametrize("kind", RUNS)
def test_a_report_builds_from_what_its_run_has_measured(run, kind):
    run(**RUNS[kind])
    work = report.prepare("quick")
    environment = os.environ | {"max_print_line": "10000"}
    for name in report.DOCUMENTS:
        command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        faults = log_faults((work / f"{name}.log").read_text(errors="replace"))
        assert not [fault for fault in faults if "undefined" not in fault]  # one pass alone: no reference is resolved


@needs_tex
@pytest.mark.parametrize(
    ("where", "broken", "says"),
    [
        ("sections/limits", r"\val{no.such.key}", "no val"),
        ("sections/limits", r"\includegraphics{98_none}", "no figure"),
        ("article/discussion", r"\ref{S:nowhere}", "S:nowhere"),
    ],
)
def test_an_unknown_number_figure_or_reference_breaks_the_build_and_the_summary_says_why(run, where, broken, says):
    paper = run([])
    with open(paper / f"{where}.tex", "a") as file:
        file.write(broken)
    with pytest.raises(RunError, match=says):
        report.build_pdf("quick")
    assert not list((paper / "build" / "quick").glob("*.pdf"))
    last = report.summary("quick").splitlines()[-1]
    assert last.startswith("report: not built: ") and says in last


def filled_tables(measures):
    """The tables that have a row, some of them quoted figures, by these measures."""
    return {name for name, table in report.study_tables(measures).items() if "notmeasuredin" not in table}


@pytest.mark.parametrize("missing", notebooks())
def test_a_run_without_a_notebook_defines_all_that_the_sections_use(run, missing):
    run([name for name in notebooks() if name != missing])
    folder = report.generate("quick")
    defined = set(re.findall(r"\\csname ([^@]+@[^@]+?)\\endcsname", text := (folder / "macros.tex").read_text()))
    defined |= set(re.findall(r"\\csname known@(\S+?)\\endcsname", text))
    used = {f"val@{key}" for key in re.findall(r"\\(?:val|valint|ifmeasured)(?:\[\d\])?\{([\w.-]+)\}", TEX)}
    used |= {f"{kind}@{key}" for kind, key in re.findall(r"\\(ci|fact|verdict)\{([\w.-]+)\}", TEX)}
    used |= {
        f"{kind}@{key}" for kind, key in re.findall(r"\\(rule|condition|dataset|remark|bar|peer)for\{([\w.]+)\}", TEX)
    }
    used |= {f"wordforword@{claim}" for claim in re.findall(r"\\wordforword\{([\w.]+)\}", TEX)}
    used |= {f"figure@{name}" for name in re.findall(r"\\includegraphics\[[^\]]*\]\{(\d\d_\w+)\}", TEX)}
    assert len(used) > 200 and used <= defined, used - defined
    for name in re.findall(r"\\input\{\\generated/(\w+)\}", TEX):
        assert (folder / f"{name}.tex").exists(), name
    unfilled = {path.stem for path in folder.glob("*.tex") if r"\notmeasuredin{" in path.read_text()}
    of_missing, whole, quoted = (
        filled_tables(rows) for rows in (REFERENCE[REFERENCE["notebook"] == missing], REFERENCE, REFERENCE[:0])
    )
    assert unfilled & whole == of_missing - quoted  # a new table waits for the next reference run


def test_a_run_without_any_reference_defines_all_that_the_sections_use(run, tmp_path, monkeypatch):
    run([])
    monkeypatch.setattr(report, "ROOT", tmp_path)
    text = (report.generate("quick") / "macros.tex").read_text()
    for key in ("known@val@forecast.resonance.mse", "known@ci@forecast.resonance.mse", "known@figure@12_books"):
        assert rf"\csname {key}\endcsname" in text


def test_the_summary_says_what_there_is_and_why_there_is_no_pdf(run, monkeypatch):
    run([name for name in notebooks() if name != "12_documents"])
    assert report.summary("quick").endswith("report: not built: no result yet of 12_documents")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert report.summary("quick").endswith("report: not built: TeX is missing")
    assert report.main(["pdf"]) == 1
    text = report.summary("quick")
    assert "T1.phase" in text and "report: not built: TeX is missing: expected latexmk" in text.splitlines()[-1]


def test_the_state_of_a_run_is_said(run):
    run([])
    assert tables.state(ledger.read_provenance("quick")) == "No notebook has run."
    run(["01_stable_gradients", "08_forecasting"], stand_in=True)
    records = ledger.read_provenance("quick")
    said = tables.state(records)
    assert said.startswith(f"2 of {len(notebooks())} notebooks ran, ") and "of 2 of them has changed" in said
    assert ("at commit " + records[0]["commit"] in said) == (len({record["commit"] for record in records}) == 1)
    stand_ins = tables.stand_ins(records)
    assert "08_forecasting read something else (stand-in)" in stand_ins and "ETTh1, MNIST" in stand_ins
    assert tables.stand_ins([records[0] | {"data": {"ETTh1": "real"}}]) == ""


def record(name, **changes):
    """The provenance of a clean, current result."""
    clean = {"notebook": name, "profile": "full", "commit": "0123456789", "digest": "d", "versions": {"torch": "1"}}
    return clean | {"started": "2026-01-01T00:00:00+00:00"} | changes


def test_results_are_of_one_state_of_the_code_or_the_reasons_are_named(monkeypatch):
    monkeypatch.setattr(tables, "digest", lambda name, profile: "d")
    clean = [record(name, commit=f"012345678{i % 2}") for i, name in enumerate(notebooks())]
    assert tables.mixed(clean) == [] and not tables.uncommitted(clean)
    assert tables.state(clean).endswith(f"at 2 commits; {tables.ONE_STATE}.")
    first, second, third, fourth, last = notebooks()[:5]
    others = [
        record(first, commit="0123456789+"),
        record(second, digest="other"),
        record(third, versions={"torch": "2"}),
        record(fourth, commit="unknown"),
        *clean[5:],
    ]
    assert tables.mixed(others) == [
        f"{first}: made with uncommitted changes",
        f"{second}: the code has changed since",
        f"{third}: other packages than most",
        f"{fourth}: made at an unknown commit",
        f"{last}: no result",
    ]
    assert tables.ONE_STATE not in tables.state(others)


def test_a_run_from_a_tree_with_changes_says_so_on_every_page():
    claims, measures = read_ledger("full")
    dirty = [entry | {"commit": "0123456789+"} for entry in ledger.read_provenance("full")[:2]]
    for provenance in (dirty, [entry | {"commit": "0123456789"} for entry in dirty]):
        said = "Made with uncommitted changes to the code: notebooks 00, 01." in (
            text := report.macros(claims, measures, provenance, "full")
        )
        assert said == (provenance is dirty) == (r"\AddToHook{shipout/foreground}" in text)


def test_the_reference_results_are_not_said_to_be_of_one_state_of_the_code_when_they_are_not():
    """While a reference run is under way they are not, and no text says so: the reasons are then printed."""
    reasons = tables.mixed(ledger.read_provenance("full"))
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "ro-crate-metadata.json")]
    assert not (reasons and any(tables.ONE_STATE in text for text in texts)), reasons
    if reasons:
        warnings.warn("the reference results mix states of the code: " + "; ".join(reasons), stacklevel=1)


def test_a_table_has_one_study(monkeypatch):
    monkeypatch.setattr(artifact.studies.complexity.tables, "tables", lambda measures: {"forecasting": ""})
    with pytest.raises(ValueError, match="two studies make a table 'forecasting'"):
        report.study_tables(REFERENCE)


def test_cells_and_rows_without_a_measure():
    cells = Cells(pd.DataFrame({"value": [2.0, 3.0]}, index=["a.10.s", "a.9.s"]))
    assert cells.cell("a.9.s") == r"\num{3}" and cells.cell("b") == cells.cell("b [4]") == "--"
    assert cells.lengths("a.", ".s") == [9, 10] and cells.names("a.", ".s") == ["10", "9"]
    body = to_latex([{"of": "a", "n": "--"}, {"of": "b", "n": cells.cell("a.9.s")}], "lr")
    assert "b & " in body and "a & " not in body
    assert to_latex([{"of": "a", "n": "--"}], "lr") == to_latex([], "lr") == ""
    body = cells.table(
        {"of & by": {"a": "A & 1", "b": "B & 2"}, "n": (9, 10)}, {"s": "{}.{}.s (2)", "t": lambda of, n: "--"}
    )
    assert r"{llrrr}" in body.replace("@{}", "") and r"A & 1 & \num{9} & \num{3} & --" in body and "B" not in body


def test_a_key_with_a_name_of_two_words_has_its_cell():
    """Stand-in speakers are called "sixth 1": what a key's name holds does not count as the form of its column."""
    cells = Cells(pd.DataFrame({"value": [2.0], "ci_low": [1.0], "ci_high": [3.0]}, index=["a.sixth 1.s"]))
    assert cells.cell("a.{}.s", "sixth 1") == cells.cell("{}.sixth 1.s", "a") == number(2.0)
    assert cells.cell("a.{}.s [2]", "sixth 1") == with_interval(cells.row("a.sixth 1.s"), 2)
