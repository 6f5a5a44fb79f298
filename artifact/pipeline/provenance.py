"""The reference run in the formats that machines read, all from its provenance.json files, its tables and CITATION.cff.

    ro-crate-metadata.json              RO-Crate 1.1, profile Process Run Crate 0.5: each notebook's run as an action,
                                        with its parameters, data, packages, times, commit and files (with digests)
    data/results/full/croissant.json    Croissant 1.0: every table of the run, its columns and their types
    .zenodo.json                        what Zenodo asks of a deposit

`report pdf --profile full` and `report readme` write them; a test fails when they are not those of the results.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import yaml

from artifact.files import PAPER, ROOT
from artifact.pipeline.ledger import read_provenance
from artifact.pipeline.tables import state

PROCESS_RUN = "https://w3id.org/ro/wfrun/process/0.5"
FORMATS = {".csv": "text/csv", ".ipynb": "application/x-ipynb+json", ".pdf": "application/pdf", ".png": "image/png"}
WORD = re.compile(r"[^\w.-]")  # not in an identifier
TYPES = {"b": "sc:Boolean", "i": "sc:Integer", "f": "sc:Float"}  # by pandas' kind; anything else is text
TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
CROISSANT = {  # the context that the format's specification asks for
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")},
    **{name: f"cr:{name}" for name in TERMS},
}


def texts() -> dict[Path, str]:
    """The text of each of the three files."""
    about, provenance = citation(), read_provenance("full")
    results = ROOT / "data" / "results" / "full"
    made = {
        ROOT / "ro-crate-metadata.json": crate(about, provenance),
        results / "croissant.json": croissant(about, provenance, results),
        ROOT / ".zenodo.json": zenodo(about),
    }
    return {path: written(data) for path, data in made.items()}


def written(data: dict) -> str:
    """JSON with one member a line, and of a list of objects one object a line."""
    lines = []
    for key, value in data.items():
        many = isinstance(value, list) and isinstance(value[0], dict)
        text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]" if many else json.dumps(value)
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def citation() -> dict:
    """CITATION.cff, with its date as text."""
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return about | {"date-released": str(about["date-released"])}


def zenodo(about: dict) -> dict:
    """A deposit on Zenodo."""
    same = {key: about[key] for key in ("title", "version", "license", "keywords")}
    return same | {
        "description": about["abstract"],
        "creators": [{"name": name_of(author)} for author in about["authors"]],
        "publication_date": about["date-released"],
        "upload_type": "software",
    }


def name_of(author: dict) -> str:
    """An author of CITATION.cff, a person ("Family, Given") or an entity."""
    return author.get("name") or f"{author['family-names']}, {author['given-names']}"


# --------------------------------------------------------------------------- RO-Crate


def crate(about: dict, provenance: list[dict]) -> dict:
    """The RO-Crate: the root, then one entity each for files, runs, notebooks, packages, parameters and data sets."""
    licence = {"@id": f"https://spdx.org/licenses/{about['license']}"}
    authors = [
        {"@id": f"#author-{i}", "@type": "Person" if "family-names" in author else "Organization"}
        | {"name": name_of(author)}
        for i, author in enumerate(about["authors"], 1)
    ]
    parts = ["requirements.lock", "Snakefile", *(f"data/results/full/{name}.csv" for name in ("claims", "measures"))]
    entities = {part["@id"]: part for part in map(file_of, parts)}
    for path in sorted(PAPER.glob("*.pdf")):  # without a digest: built from text as well, at other times
        part = file_of(path.relative_to(ROOT).as_posix())
        entities[part["@id"]] = {key: part[key] for key in ("@id", "@type", "name", "encodingFormat")}
    for record in provenance:
        entities |= {entity["@id"]: entity for entity in run_of(record, authors[0])}
    files = [{"@id": key} for key, entity in entities.items() if "File" in entity["@type"]]
    actions = [{"@id": key} for key, entity in entities.items() if entity["@type"] == "CreateAction"]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": PROCESS_RUN},
        "name": about["title"],
        "description": f"{about['abstract']} {state(provenance)}",
        "version": about["version"],
        "datePublished": max((record["started"] for record in provenance), default=about["date-released"])[:10],
        "license": licence,
        "author": [{"@id": author["@id"]} for author in authors],
        "hasPart": files,
        "mentions": actions,
    }
    head = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    named = [
        licence | {"@type": "CreativeWork", "name": about["license"]},
        {"@id": PROCESS_RUN, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
    ]
    return {
        "@context": ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"],
        "@graph": [head, root, *named, *authors, *entities.values()],
    }


def file_of(path: str) -> dict:
    """A file of the repository, with its digest."""
    content = (ROOT / path).read_bytes()
    return {
        "@id": quote(path),
        "@type": "File",
        "name": path,
        "encodingFormat": FORMATS.get(Path(path).suffix, "text/plain"),
        "contentSize": str(len(content)),
        "sha256": sha256(content).hexdigest(),
    }


def run_of(record: dict, agent: dict) -> list[dict]:
    """The run of a notebook: the action, its notebook, and what it used and made."""
    name, machine = record["notebook"], record["machine"]
    packages = [
        {"@id": f"#{package}-{version}", "@type": "SoftwareApplication", "name": package, "softwareVersion": version}
        for package, version in record["versions"].items()
    ]
    used = [
        {"@id": f"#{name}-{key}", "@type": "PropertyValue", "name": key, "value": json.dumps(value)}
        for key, value in record["parameters"].items()
    ]
    used += [
        {"@id": f"#{quote(data)}-{kind}", "@type": "CreativeWork", "name": data, "description": f"{kind} data"}
        for data, kind in record.get("data", {}).items()
        if kind != "absent"
    ]
    made = [file_of(f"data/results/full/{name}/{file}") for file in record["files"]]
    made += [file_of(f"figures/full/{file}") for file in record["figures"]]
    notebook = {
        "@id": f"notebooks/{name}.ipynb",
        "@type": ["File", "SoftwareSourceCode"],
        "name": name,
        "encodingFormat": FORMATS[".ipynb"],
        "version": record["commit"],
        "softwareRequirements": [{"@id": package["@id"]} for package in packages],
    }
    started = datetime.fromisoformat(record["started"])
    action = {
        "@id": f"#run-{name}",
        "@type": "CreateAction",
        "name": f"Run of {name}",
        "description": f"Commit {record['commit']}, digest of the code {record['digest']}; {record['device']} of "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; {record['seconds']} s",
        "agent": {"@id": agent["@id"]},
        "instrument": {"@id": notebook["@id"]},
        "object": [{"@id": entity["@id"]} for entity in used],
        "result": [{"@id": entity["@id"]} for entity in made],
        "startTime": record["started"],
        "endTime": (started + timedelta(seconds=record["seconds"])).isoformat(timespec="seconds"),
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
    }
    return [action, notebook, *packages, *used, *made]


# --------------------------------------------------------------------------- Croissant


def croissant(about: dict, provenance: list[dict], folder: Path) -> dict:
    """The Croissant description of the ledger's two tables and those of every notebook."""
    tables = ["claims.csv", "measures.csv"]
    tables += [f"{r['notebook']}/{file}" for r in provenance for file in r["files"] if file.endswith(".csv")]
    return {
        "@context": CROISSANT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about["title"],
        "description": about["abstract"],
        "version": about["version"],
        "license": f"https://spdx.org/licenses/{about['license']}",
        "creator": [{"@type": "sc:Organization", "name": name_of(author)} for author in about["authors"]],
        "datePublished": max((record["started"] for record in provenance), default=about["date-released"])[:10],
        "citeAs": f"{' and '.join(map(name_of, about['authors']))}. {about['title']}, version {about['version']}.",
        "distribution": [distributed(table, folder) for table in tables],
        "recordSet": [records_of(table, folder) for table in tables],
    }


def distributed(table: str, folder: Path) -> dict:
    """The file of a table."""
    content = (folder / table).read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": table,
        "name": table,
        "contentUrl": table,
        "contentSize": f"{len(content)} B",
        "encodingFormat": FORMATS[".csv"],
        "sha256": sha256(content).hexdigest(),
    }


def records_of(table: str, folder: Path) -> dict:
    """The columns of a table."""
    records = table.removesuffix(".csv")
    fields = []
    for column, kind in pd.read_csv(folder / table).dtypes.map(lambda dtype: dtype.kind).items():
        field = {"@type": "cr:Field", "@id": f"{records}/{WORD.sub('_', column)}", "name": column}
        field["dataType"] = TYPES.get(kind, "sc:Text")
        fields.append(field | {"source": {"fileObject": {"@id": table}, "extract": {"column": column}}})
    return {"@type": "cr:RecordSet", "@id": records, "name": records, "field": fields}
