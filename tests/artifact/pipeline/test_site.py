"""The site, built from two notebooks made here: evidence, links, search, formulas; what is missing is refused."""

from __future__ import annotations

import json
import re

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from artifact.files import ROOT
from artifact.pipeline import evidence as code
from artifact.pipeline import ledger, notebooks, page, site
from artifact.pipeline.evidence import evidence
from artifact.pipeline.ledger import CLAIM_COLUMNS, printed_claims
from artifact.pipeline.page import SiteError, broken

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
NAME, CLAIM = "04_information", "T4.information"
CELLS = [
    "from artifact.studies.information import figures\n"
    "from artifact.studies.information.information import retained_information, row_space\n"
    "from resonance import BandMixing",
    f'experiment.rule("{CLAIM}")',
    "shares = [0.5]\nunused = row_space(1)",
    "table = {}\ntable['a'] = retained_information(shares, BandMixing)",
    'experiment.figure("retained", figures.retained(table));',
    f'worst = min(table)\nexperiment.verdict("{CLAIM}", "holds if", measured=worst)',
]


def executed(cells):
    made = [new_code_cell(source) for source in cells]
    made[1].outputs = [new_output("stream", text=f"{CLAIM}, a statement: it is conserved\n")]
    made[4].outputs = [new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})] * 2  # and at its end
    text = "# 04 What of it?\n\nFor $|w|\\le\\tfrac12$ see `BandMixing`, `T4.information` and\n\n$$\\mathbb E\\,x^2.$$"
    return new_notebook(cells=[new_markdown_cell(text), *made])


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A root folder with the printed claims and the results of one notebook."""
    root = tmp_path_factory.mktemp("root")
    folder = root / "data" / "results" / "full"
    (folder / NAME).mkdir(parents=True)
    (root / "paper").mkdir()
    (root / "paper" / "claims.csv").write_bytes((ROOT / "paper" / "claims.csv").read_bytes())
    nbformat.write(executed(CELLS), folder / NAME / "notebook.ipynb")
    record = {"notebook": NAME, "profile": "full", "digest": "other", "started": "2026-01-02T03:04:05", "seconds": 60.0}
    record |= {"device": "a machine", "commit": "abc", "versions": {}}
    (folder / NAME / "provenance.json").write_text(json.dumps(record))
    row = {"id": CLAIM, "verdict": "holds if", "condition": "it is <injective>", "measured": 0.1234567, "ci_low": 0.1}
    row |= {"ci_high": 0.2, "unit": "share", "notebook": NAME, "rule": "the rule then", "seeds": 3, "commit": "abc"}
    rows = [row if claim == CLAIM else {"id": claim, "verdict": "not measured"} for claim in printed_claims().index]
    pd.DataFrame(rows, columns=CLAIM_COLUMNS).to_csv(folder / "claims.csv", index=False)
    measure = {"key": "information.worst", "value": 0.5, "unit": "share", "ci_low": None, "ci_high": None}
    pd.DataFrame([measure | {"notebook": NAME}]).to_csv(folder / "measures.csv", index=False)
    return root


@pytest.fixture(scope="module")
def built(results, tmp_path_factory):
    """A small site: one notebook, the README, one how-to page, few modules, the demonstrations."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (ledger, notebooks):
            patch.setattr(module, "ROOT", results)
        few = ("resonance", "resonance.layers", "resonance.band", "artifact.studies.information")
        chosen = {name: module for name, module in code.modules().items() if name.startswith(few)}
        chosen |= {"resonance.spectral": code.modules()["resonance.spectral"]}
        patch.setattr(site, "modules", lambda: chosen)
        patch.setattr(site, "notebooks", lambda: [NAME, "05_efficiency"])
        folder = tmp_path_factory.mktemp("built") / "site"
        docs = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
        count = site.build(folder, "full", docs)
    assert count == len(list(folder.rglob("*.html"))) > len(chosen) and not (folder.parent / ".site.part").exists()
    return folder


def test_no_link_is_broken_and_no_picture_missing(built):
    assert broken(built) == []


def test_what_is_broken_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="x"></h1><a href="#x"></a><a href="b.html#y"></a><img src="no.png">')
    (tmp_path / "b.html").write_text('<a href="a.html#x"></a><a href="https://example.org"></a><a href="#gone"></a>')
    wrong = ["a.html: no text in the place of no.png", "a.html: b.html#y", "a.html: no.png", "b.html: #gone"]
    assert broken(tmp_path) == wrong


def test_a_page_takes_nothing_from_a_network(built):
    for path in built.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'<(?:link|script|img|iframe)[^>]*(?:src|href)="(?:https?:)?//', text), path
    assert "@import" not in (built / "style.css").read_text()


def test_a_verdict_has_its_evidence(built):
    text = (built / "verdicts.html").read_text(encoding="utf-8")
    claim = text[text.index(f'id="{CLAIM}"') :].partition("</details>")[0]
    assert "0.1235 [0.1, 0.2] share" in claim and "the rule then" in claim and "it is &lt;injective&gt;" in claim
    assert printed_claims().loc[CLAIM, "evidence"].replace("'", "&#39;") in claim
    for anchor in ("cell-2", "cell-4", "cell-6"):
        assert f'href="notebooks/{NAME}.html#{anchor}"' in claim
    assert 'href="api/artifact.studies.information.information.html#retained_information"' in claim
    assert 'href="api/resonance.layers.html#BandMixing"' in claim and "row_space" not in claim


def test_evidence_follows_assignments_back():
    found = evidence(executed(CELLS), CLAIM)
    functions = ["artifact.studies.information.information.retained_information", "resonance.layers.BandMixing"]
    assert found == (2, 6, [3, 4, 6], functions)
    loop = [*CELLS[:5], "for claim in ('x', 'y'):\n    experiment.verdict(claim, 'holds')"]
    assert evidence(executed(loop), "z").verdict == 6, "a verdict on a claim named by a variable"
    assert evidence(executed([*CELLS[:5], "1"]), CLAIM) == (2, None, [], [])
    again = [*CELLS[:4], "shares, table = 1, {1: 2}", CELLS[5]]
    assert evidence(executed(again), CLAIM).computed == [5, 6], "what a name held before it was assigned again"


def test_evidence_of_the_reference_run():
    """Every judged claim of a notebook leads to the cell that states its rule and the one that judges it."""
    claims, found = ledger.read_ledger("full")[0], {}
    for name, rows in claims.dropna(subset=["notebook"]).groupby("notebook"):
        notebook = nbformat.read(notebooks.result_folder(name, "full") / "notebook.ipynb", as_version=4)
        found |= {claim: evidence(notebook, claim) for claim in rows["id"]}
    assert len(found) > 20 and all(each.rule and each.verdict for each in found.values())
    assert sum(bool(each.functions) for each in found.values()) > len(found) / 2


def test_a_notebook_is_whole(built):
    text = (built / "notebooks" / f"{NAME}.html").read_text(encoding="utf-8")
    assert "The code behind it has changed since" in text and "commit abc" in text
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in text and "<mi>𝔼</mi>" in text and "tfrac" not in text
    for link in ("../api/resonance.layers.html#BandMixing", f"../verdicts.html#{CLAIM}"):
        assert f'href="{link}"' in text
    picture = re.search(r'<img src="([^"]+)" alt="([^"]+)"', text)
    assert (built / "notebooks" / picture[1]).stat().st_size and picture[2].startswith("Share of the information")
    assert text.count("<img") == 1 and "information.worst" in text and text.count('class="cell"') == len(CELLS)


def test_a_notebook_without_results_is_not_measured(built):
    assert "Not measured yet: 05_efficiency." in (built / "notebooks" / "index.html").read_text(encoding="utf-8")


def test_every_formula_of_the_notebooks_becomes_mathml():
    cells = [cell for name in notebooks.notebooks() for cell in notebooks.read_notebook(name).cells]
    sources = [cell.source for cell in cells if cell.cell_type == "markdown"]
    formulas = {
        f for text in sources for f in re.findall(r"(?<!\$)\$([^$\n]+)\$|\$\$([^$]+)\$\$", text) for f in f if f
    }
    assert len(formulas) > 100
    for formula in formulas:
        made = page.formula(formula)
        assert made.startswith("<math") and "\\" not in made and "merror" not in made, formula


def test_the_reference_has_docstrings_and_sources(built):
    text = (built / "api" / "resonance.layers.html").read_text(encoding="utf-8")
    assert 'id="BandMixing"' in text and "Source of BandMixing" in text and "def forward" in text
    assert "(batch, n, dim)" in text and 'id="_' not in text
    assert '<span class="gp">&gt;&gt;&gt; </span>' in text and "<p>&gt;&gt;&gt;" not in text


def test_the_search_knows_pages_and_their_sections(built):
    text = (built / "sections.js").read_text(encoding="utf-8")
    sections = json.loads(text.removeprefix("const SECTIONS = ").rstrip().removesuffix(";"))
    urls = {url for _, url, _ in sections}
    assert {f"verdicts.html#{CLAIM}", "api/resonance.layers.html#BandMixing", "demos/band.html"} <= urls
    for _, url, words in sections:
        path, _, anchor = url.partition("#")
        assert not anchor or f'id="{anchor}"' in (built / path).read_text(encoding="utf-8")
        assert len(words) <= site.SEARCHED and "</" not in words


def test_a_demonstration_is_light(built):
    """What a browser loads before the first touch: the page, its scripts, the style."""
    for path in (built / "demos").glob("[!i]*.html"):
        text = path.read_text(encoding="utf-8")
        scripts = [path.parent / name for name in re.findall(r'<script src="([^"]+)"', text)]
        assert sum(file.stat().st_size for file in [path, built / "style.css", *scripts]) < 300_000, path.name


def test_what_is_missing_is_refused(results, tmp_path, monkeypatch):
    with pytest.raises(SiteError, match=r"no\.md, which does not exist"):
        page.Page("a.html", {}, ROOT, ROOT / "README.md", lambda file: "").markdown("[x](docs/no.md)")
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    with pytest.raises(SiteError, match="expected results of the profile 'full', found none"):
        site.Site(tmp_path / "site", "full", [])
