"""The site: executed notebooks, verdicts with their evidence, reference of the code, how-to pages, demonstrations.

    python -m artifact.pipeline.site                # build/site/index.html, of the reference run

Its pages need neither a server nor a network: formulas are MathML, and the index of the search is a script beside them.
Names in code style are links where the site has what they name.  All links are checked before the folder is replaced.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import math
import re
import shutil
import struct
import sys
from pathlib import Path

import nbformat
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pygments.formatters import HtmlFormatter

from artifact.datasets.series import load_co2
from artifact.files import ROOT, write_text
from artifact.pipeline.evidence import evidence, exported, modules
from artifact.pipeline.ledger import printed_claims, read_ledger, read_provenance, rule_of
from artifact.pipeline.notebooks import notebooks, profiles, result_folder
from artifact.pipeline.page import Page, SiteError, broken, python
from artifact.pipeline.progress import duration
from artifact.pipeline.tables import changed_since, state
from artifact.pipeline.verdicts import remark_on, said

TEMPLATES = Path(__file__).with_name("templates")
DEMOS = ROOT / "docs" / "demos"
SEARCHED = 600  # characters of a section that the search reads
FIGURE = re.compile(r'experiment\.figure\(\s*"(\w+)",\s*\w+\.(\w+)')


class Site:
    """Pages in a folder, and what their links and the search need.

    docs: Markdown files of the repository, README.md the first page.  Raises SiteError for a profile without results.
    """

    def __init__(self, folder: Path, profile: str, docs: list[Path]):
        self.folder, self.profile = folder, profile
        self.sections: list[tuple[str, str, str]] = []  # title, URL, text: what the search reads
        self.records = {record["notebook"]: record for record in read_provenance(profile)}
        if not self.records:
            raise SiteError(f"expected results of the profile {profile!r}, found none: ./run_all.sh {profile}")
        self.state = state(list(self.records.values()))
        loader = FileSystemLoader(TEMPLATES)
        self.templates = Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=StrictUndefined)
        self.docs = {path: path.relative_to(ROOT).with_suffix(".html").as_posix() for path in docs}
        self.docs = {path: "index.html" if url == "README.html" else url for path, url in self.docs.items()}
        self.names = {path.relative_to(ROOT).as_posix(): url for path, url in self.docs.items()}
        self.names |= {"examples": "examples.html"} | {
            claim: f"verdicts.html#{claim}" for claim in printed_claims().index
        }
        self.names |= {name: f"notebooks/{name}.html" for name in self.records}
        for module in modules().values():
            self.names[module.name] = f"api/{module.name}.html"
            self.names |= {f"{module.name}.{i.name}": f"api/{module.name}.html#{i.name}" for i in module.items}
        known = {name: self.names.get(f"{module}.{name}") for name, module in exported().items()}
        self.names |= {name: url for name, url in known.items() if url}

    def page(self, url: str, source: Path = ROOT / "README.md") -> Page:
        """The renderer of a page."""
        return Page(url, self.names, ROOT, source, self.copied)

    def copied(self, file: Path) -> str:
        """The URL of a file of the repository, copied to the site, or of a list of those in a folder."""
        url = f"files/{file.relative_to(ROOT).as_posix()}"
        if file.is_dir():
            items = [(self.copied(inner), inner.name, "") for inner in sorted(file.iterdir()) if inner.is_file()]
            self.fill("list.html", f"{url}/index.html", file.name, items=items, lead="")
            return f"{url}/index.html"
        (self.folder / url).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, self.folder / url)
        return url

    def write(self, url: str, title: str, body: str) -> None:
        """Write a page, and keep for the search what stands below each of its headings."""
        values = {"title": title, "body": Markup(body), "root": "../" * url.count("/"), "url": url}
        write_text(self.folder / url, self.templates.get_template("page.html").render(values))
        for part in re.split(r"(?=<h[1-3]\b)", body):
            if head := re.match(r'<h[1-3](?: id="([^"]*)")?[^>]*>(.*?)</h[1-3]>', part, re.S):
                name, below = plain(head[2]), part[head.end() :]
                bare = re.sub(r"<(summary|pre|script|style|math|svg|form)\b.*?</\1>", " ", below, flags=re.S)
                full = title if name == title else f"{title}: {name}"
                self.sections.append((full, url + (f"#{head[1]}" if head[1] else ""), plain(bare)[:SEARCHED]))

    def fill(self, template: str, url: str, title: str, **values) -> None:
        """Write a page from a template of its own."""
        page = self.page(url)
        helpers = {
            "to": page.to,
            "doc": page.docstring,
            "python": python,
            "code": lambda text: Markup(page.codespan(text)),
        }
        self.write(url, title, self.templates.get_template(template).render(values | helpers | {"title": title}))

    # ----------------------------------------------------------------------- its parts

    def how_to(self) -> None:
        """README as the first page, the other pages of Markdown, and the examples."""
        items = []
        for path, url in self.docs.items():
            text = path.read_text(encoding="utf-8")
            title = re.search(r"^# (.*)", text, re.M)[1].replace("`", "")
            self.write(url, title, self.page(url, path).markdown(text))
            items.append((url, title, ""))
        examples = [(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").glob("*.py"))]
        self.fill("examples.html", "examples.html", "Examples", examples=examples)
        items.append(("examples.html", "Examples", ""))
        self.fill("list.html", "how-to.html", "How to", items=items[1:], lead="")

    def reference(self) -> None:
        """A page for each module, from its docstrings: the library's first."""
        for module in modules().values():
            self.fill("module.html", f"api/{module.name}.html", module.name, module=module)
        listed = sorted(modules().values(), key=lambda module: not module.name.startswith("resonance"))
        items = [(f"api/{m.name}.html", m.name, summary(m.doc)) for m in listed]
        lead = "From the docstrings: the library, then what makes the paper."
        self.fill("list.html", "api/index.html", "Reference of the code", items=items, lead=lead)

    def notebooks(self) -> dict[str, nbformat.NotebookNode]:
        """The executed notebooks, each with its measures of the ledger; returns them by name."""
        read, items, measures = {}, [], read_ledger(self.profile)[1]
        for name, record in self.records.items():
            read[name] = nbformat.read(result_folder(name, self.profile) / "notebook.ipynb", as_version=4)
            url, source = f"notebooks/{name}.html", ROOT / "notebooks" / f"{name}.ipynb"
            title = re.search(r"^# (.*)", "\n".join(cell.source for cell in read[name].cells) + f"\n# {name}", re.M)[1]
            rows = [row | measured(row) for row in measures[measures["notebook"] == name].to_dict("records")]
            facts = record["started"][:10], duration(record["seconds"]), record["device"], f"commit {record['commit']}"
            values = {"made": ", ".join(facts), "stale": changed_since(record), "measures": rows}
            self.fill("notebook.html", url, title, cells=self.cells(name, read[name], self.page(url, source)), **values)
            items.append((url, title, ""))
        missing = [name for name in notebooks() if name not in read]
        lead = f"As executed in the profile {self.profile!r}. {self.state}"
        lead += f" Not measured yet: {', '.join(missing)}." if missing else ""
        self.fill("list.html", "notebooks/index.html", "Notebooks", items=items, lead=lead)
        return read

    def cells(self, name: str, notebook: nbformat.NotebookNode, page: Page) -> list[dict]:
        """What the template prints of each cell; pictures are written beside the page."""
        cells, number = [], 0
        for cell in notebook.cells:
            if cell.cell_type != "code":
                cells.append({"html": Markup(page.markdown(cell.source))})
                continue
            number += 1
            calls = FIGURE.findall(cell.source)
            pictures = [output.get("data", {}).get("image/png") for output in cell.outputs]
            drawn = list(
                dict.fromkeys(filter(None, pictures))
            )  # a figure that a cell displays may be shown again at its end
            outputs = []
            for place, output in enumerate(cell.outputs):
                data = output.get("data", {})
                if picture := pictures[place]:
                    if picture in pictures[:place]:
                        continue
                    at = drawn.index(picture)
                    label, function = calls[at] if len(calls) == len(drawn) else (f"{number}_{at + 1}", "")
                    alt = drawing(notebook, function) or f"Picture {at + 1} of cell {number}"
                    outputs.append(self.picture(name, label, picture) | {"alt": alt})
                elif "text/html" in data:
                    outputs.append({"html": Markup(re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.S))})
                else:
                    outputs.append({"text": output.get("text") or data.get("text/plain", "")})
            cells.append({"source": cell.source, "number": number, "outputs": outputs})
        return cells

    def picture(self, name: str, label: str, png: str) -> dict:
        """Write a picture beside its notebook's page; its file, its size in pixels, and its label in the report."""
        file, data = self.folder / "notebooks" / f"{name}_{label}.png", base64.b64decode(png)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        width, height = struct.unpack(">II", data[16:24])
        return {"picture": file.name, "width": width, "height": height, "label": f"{name[:2]}_{label}"}

    def verdicts(self, notebooks: dict[str, nbformat.NotebookNode]) -> None:
        """Every claim and its verdict; rule, measure, cells and functions one click away."""
        rows = []
        for _, claim in read_ledger(self.profile)[0].iterrows():
            row = {key: "" if pd.isna(value) else value for key, value in claim.items()}
            found = evidence(notebooks[row["notebook"]], row["id"]) if row["notebook"] in notebooks else None
            now = printed_claims().loc[row["id"]]
            texts = {"short": now["short"], "standing": rule_of(now), "said": said(claim), "remark": remark_on(claim)}
            rows.append(row | texts | {"found": found} | measured({"value": claim["measured"]} | claim.to_dict()))
        self.fill("verdicts.html", "verdicts.html", "Verdicts", rows=rows, lead=self.state)

    def demonstrations(self) -> None:
        """The demonstrations, fragments of HTML and plain scripts, and the series that the forecaster starts with."""
        items = []
        for path in sorted(DEMOS.glob("*.html")):
            page = self.page(f"demos/{path.name}", path)
            text = re.sub(r"<code>([^<]+)</code>", lambda m: page.codespan(m[1]), path.read_text(encoding="utf-8"))  # noqa: B023
            text = re.sub(r'(?<=href=")[^":]+\.md(?=")', lambda m: page.followed(m[0]), text)  # noqa: B023
            title, lead = (plain(re.search(rf"<{tag}>(.*?)</", text, re.S)[1]) for tag in ("h1", 'p class="lead"'))
            self.write(page.url, title, text)
            items.append((page.url, title, lead))
        for path in DEMOS.glob("*.js"):
            shutil.copyfile(path, self.folder / "demos" / path.name)
        co2 = load_co2()
        series = {"channels": co2.channels, "period": co2.period, "values": co2.values.T.tolist()}
        series["name"] = "CO2 at Mauna Loa"
        write_text(self.folder / "demos" / "co2.js", f"const CO2 = {json.dumps(series)};\n")
        lead = "Each computes in your browser what the library computes."
        self.fill("list.html", "demos/index.html", "Demonstrations", items=items, lead=lead)

    def assets(self) -> None:
        """The style, the script of every page, and the index of the search."""
        style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
        write_text(self.folder / "style.css", style + HtmlFormatter().get_style_defs(".code"))
        shutil.copyfile(TEMPLATES / "site.js", self.folder / "site.js")
        write_text(self.folder / "sections.js", f"const SECTIONS = {json.dumps(self.sections, ensure_ascii=False)};\n")


def plain(fragment: str) -> str:
    """The text of HTML, in one line."""
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", fragment)).split())


def summary(doc: str) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(doc.partition("\n\n")[0].replace("`", "").split())


def drawing(notebook: nbformat.NotebookNode, function: str) -> str:
    """What a figure of a notebook's study shows: the docstring of the function that draws it; "" where it has none."""
    sources = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    study = re.search(r"from (artifact\.studies\.\w+) import .*\bfigures\b", sources)
    items = modules()[f"{study[1]}.figures"].items if study and f"{study[1]}.figures" in modules() else []
    return next((summary(item.doc) for item in items if item.name == function), "")


def measured(row: dict) -> dict[str, str]:
    """The value of a row of the ledger with its interval, "" without one, and its unit."""
    number = "" if math.isnan(row["value"]) else f"{row['value']:.4g}"
    interval = "" if math.isnan(row["ci_low"]) else f" [{row['ci_low']:.4g}, {row['ci_high']:.4g}]"
    return {"number": number + interval, "unit": "" if pd.isna(row["unit"]) else row["unit"]}


def build(folder: Path, profile: str, docs: list[Path]) -> int:
    """Write the site of a profile in the place of a folder, which stays as it is if SiteError is raised: pages."""
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    site = Site(aside, profile, docs)
    site.how_to()
    site.reference()
    site.verdicts(site.notebooks())
    site.demonstrations()
    site.assets()
    if wrong := broken(aside):
        raise SiteError("\n".join(["links that lead nowhere:", *wrong]))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return len(list(folder.rglob("*.html")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", choices=profiles(), default="full")
    docs = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
    try:
        pages = build(ROOT / "build" / "site", parser.parse_args().profile, docs)
    except SiteError as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    print(f"build/site/index.html and {pages - 1} more pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
