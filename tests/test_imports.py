"""Who may import whom, and the short list of what one study takes from another.

Written on the walker that the runner uses, for a notebook counts too, and import-linter sees none.
"""

from __future__ import annotations

import re
import tomllib

import pytest

from artifact.files import ROOT
from artifact.pipeline.freshness import CODE, imports
from artifact.pipeline.notebooks import code_cells, notebooks

SHARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["artifact"]["said-in-one-place"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in CODE
    for path in sorted((ROOT / package).rglob("*.py"))
}
# A module may import what starts with one of these; the first prefix that fits the module counts.
LIBRARY, DATA = "resonance", ("resonance", "artifact.files", "artifact.datasets")
STUDIES = (*DATA, "artifact.peers", "artifact.serving", "artifact.studies.common", "artifact.pipeline.ledger")
ALLOWED = {
    "resonance": (LIBRARY,),
    "artifact.files": (),
    "artifact.datasets": DATA,
    "artifact.serving": (LIBRARY, "artifact.serving"),
    "artifact.peers": (*DATA, "artifact.peers"),
    "artifact.studies.common": STUDIES,
    "artifact.studies": STUDIES,
    "artifact.pipeline": (*DATA, "artifact.pipeline", "artifact.studies.common"),
}


def within(module: str, prefixes) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def study(module: str) -> str:
    """The study that a module belongs to: artifact.studies.<subject>; "" for a module of none."""
    return ".".join(module.split(".")[:3]) if module.startswith("artifact.studies.") else ""


@pytest.mark.parametrize("module", [module for module in MODULES if module != "artifact"])
def test_a_module_imports_only_what_it_may(module):
    allowed = next(ALLOWED[prefix] for prefix in ALLOWED if within(module, [prefix]))
    if study(module) not in ("", "artifact.studies.common"):
        allowed = [*allowed, study(module), *SHARED]
    found = imports(MODULES[module].read_text(encoding="utf-8"), module) - {"artifact.studies"}  # found by name in it
    assert not [name for name in found if not within(name, allowed)]


READING = "band", "spectral", "polar", "layers", "memory", "models", "causal_mixing", "causal", "recall"


@pytest.mark.parametrize("module", READING)
def test_the_hour_of_reading_goes_in_one_order(module):
    before = [f"resonance.{name}" for name in (*READING[: READING.index(module)], "settings", "keys", "engines")]
    name = f"resonance.{module}"
    found = imports(MODULES[name].read_text(encoding="utf-8"), name)
    assert not [other for other in found if within(other, ["resonance"]) and not within(other, before)]
    listed = MODULES["resonance"].read_text(encoding="utf-8").partition("The rest:")[0]
    assert re.findall(r"\w+", " ".join(re.findall(r"^    (\w+(?:, \w+)*)  ", listed, re.M))) == list(READING)


@pytest.mark.parametrize("module", [*MODULES, *notebooks()])
def test_only_the_report_imports_tables(module):
    source = "\n".join(code_cells(module)) if module in notebooks() else MODULES[module].read_text(encoding="utf-8")
    found = {name for name in imports(source, module) if name.startswith("artifact.") and name.endswith(".tables")}
    assert not found or module.endswith(".tables") or within(module, ["artifact.pipeline"])


def test_what_is_shared_between_studies_is_used_so():
    users = {
        name: {study(user) for user, path in MODULES.items() if name in imports(path.read_text(encoding="utf-8"), user)}
        for name in SHARED
    }
    assert not [name for name, found in users.items() if not found - {study(name), ""}]
