"""RO-Crate, Croissant and .zenodo.json: those of the committed results, whole, and in agreement with CITATION.cff."""

from __future__ import annotations

import json
from hashlib import sha256
from urllib.parse import unquote

import pandas as pd
import pytest

from artifact.files import ROOT
from artifact.pipeline import provenance
from artifact.pipeline.ledger import read_ledger

RESULTS = ROOT / "data" / "results" / "full"
CRATE = json.loads((ROOT / "ro-crate-metadata.json").read_text(encoding="utf-8"))
TABLES = json.loads((RESULTS / "croissant.json").read_text(encoding="utf-8"))


def referred(value):
    """The identifiers that an entity refers to."""
    if isinstance(value, list):
        return [name for item in value for name in referred(item)]
    return [value["@id"]] if isinstance(value, dict) else []


def test_every_entity_of_the_crate_is_said_once_and_every_reference_meets_one():
    graph = CRATE["@graph"]
    names = [entity["@id"] for entity in graph]
    assert len(names) == len(set(names)) and graph[0]["about"] == {"@id": "./"} and names[1] == "./"
    used = {name for entity in graph for key, value in entity.items() if key != "@id" for name in referred(value)}
    outside = {"https://w3id.org/ro/crate/1.1", "http://schema.org/CompletedActionStatus"}
    assert used - set(names) == outside
    assert {entity["@id"] for entity in graph if "File" in entity["@type"]} == set(referred(graph[1]["hasPart"]))


def test_the_crate_has_each_run_with_what_it_made():
    runs = {entity["name"]: entity for entity in CRATE["@graph"] if entity["@type"] == "CreateAction"}
    paths = sorted(RESULTS.glob("*/provenance.json"))
    assert len(runs) == len(paths) > 10
    for path in paths:
        record, run = json.loads(path.read_text()), runs[f"Run of {path.parent.name}"]
        assert run["startTime"] == record["started"] < run["endTime"] and record["digest"] in run["description"]
        assert len(run["result"]) == len(record["files"]) + len(record["figures"])


def test_the_files_are_those_of_the_crate_and_of_the_tables():
    """Older than the results: ./run_all.sh report --profile full, or python -m artifact.pipeline.report readme."""
    described = {ROOT / unquote(e["@id"]): e["sha256"] for e in CRATE["@graph"] if "sha256" in e}
    described |= {RESULTS / file["@id"]: file["sha256"] for file in TABLES["distribution"]}
    wrong = [path for path, digest in described.items() if sha256(path.read_bytes()).hexdigest() != digest]
    assert len(described) > 300 and not wrong


def test_the_tables_have_their_columns():
    records = {table["@id"]: table["field"] for table in TABLES["recordSet"]}
    for name, table in zip(("claims", "measures"), read_ledger("full"), strict=True):
        assert [field["name"] for field in records[name]] == list(table.columns)
    types = {field["name"]: field["dataType"] for field in records["measures"]}
    assert types["value"] == "sc:Float" and types["key"] == "sc:Text"
    names = [field["@id"] for fields in records.values() for field in fields]
    assert len(names) == len(set(names)) and all(provenance.WORD.sub("", n.replace("/", "")) for n in names)
    assert {f"{path.parent.name}/{path.stem}" for path in RESULTS.glob("[0-9]*/*.csv")} == set(records) - {
        "claims",
        "measures",
    }


def test_a_table_of_each_type(tmp_path):
    pd.DataFrame({"a b": [1], "c": [0.5], "d": [True], "e": ["x"]}).to_csv(tmp_path / "t.csv", index=False)
    fields = provenance.records_of("t.csv", tmp_path)["field"]
    assert [field["dataType"] for field in fields] == ["sc:Integer", "sc:Float", "sc:Boolean", "sc:Text"]
    assert fields[0]["@id"] == "t/a_b" and fields[0]["source"]["extract"] == {"column": "a b"}


def test_zenodo_says_what_the_citation_says():
    committed = (ROOT / ".zenodo.json").read_text(encoding="utf-8")
    assert committed == provenance.written(provenance.zenodo(provenance.citation()))


@pytest.mark.parametrize(
    ("author", "name"),
    [({"name": "The authors"}, "The authors"), ({"family-names": "Gabor", "given-names": "Dennis"}, "Gabor, Dennis")],
)
def test_an_author_is_a_person_or_an_entity(author, name):
    assert provenance.name_of(author) == name
