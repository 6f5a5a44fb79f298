"""pyproject.toml, requirements.lock and environment.yml agree, and what is installed is what the lock says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from importlib import metadata

import jsonschema
import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from artifact.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line.strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
LOCK = [Requirement(line) for line in LINES if line and not line.startswith("#")]


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]]


def locked(name: str) -> list[Version]:
    found = [r for r in LOCK if canonicalize_name(r.name) == canonicalize_name(name)]
    return [Version(next(iter(r.specifier)).version) for r in found]


def test_every_declared_package_is_locked_within_its_range():
    for requirement in declared():
        versions = locked(requirement.name)
        assert versions, f"{requirement.name} is not in requirements.lock"
        assert all(version in requirement.specifier for version in versions), requirement


def test_every_locked_package_has_one_version_for_each_python():
    for requirement in LOCK:
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
    for python in ("3.11.9", "3.12.9", "3.13.9"):
        environment = {"python_full_version": python, "python_version": python[:4], "sys_platform": "linux"}
        names = [r.name for r in LOCK if r.marker is None or r.marker.evaluate(environment)]
        assert len(names) == len(set(names)), python


def test_the_lock_brings_no_gpu_packages():
    assert not [r.name for r in LOCK if r.name.startswith(("nvidia", "cuda", "triton"))]


def test_pylock_has_the_same_packages_but_torch_and_a_digest_of_every_file():
    """torch comes first, from the index that is chosen for it; renewed by the command at the head of pylock.toml."""
    packages = tomllib.loads((ROOT / "pylock.toml").read_text())["packages"]
    marked = {(p["name"], p["version"], str(Marker(p["marker"])) if "marker" in p else "") for p in packages}
    versions = {(r.name, next(iter(r.specifier)).version, str(r.marker or "")) for r in LOCK if r.name != "torch"}
    assert marked == versions
    for package in packages:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files and all(len(file["hashes"]["sha256"]) == 64 for file in files), package["name"]
        assert all(file["url"].startswith("https://files.pythonhosted.org/") for file in files), package["name"]


def test_what_is_installed_is_what_is_locked():
    wrong = []
    for requirement in LOCK:
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        installed = Version(metadata.version(requirement.name)).public
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed}, locked {requirement.specifier}")
    assert not wrong


def test_conda_environment_follows():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert f"python{PROJECT['requires-python']}" in plain
    assert {"tectonic", "texlive-core"} & set(plain)
    (torch,) = locked("torch")
    assert pip[:2] == [f"torch=={torch}", "-r requirements.lock"], "torch first and alone, then the lock"


def test_versions_agree():
    import resonance

    assert resonance.__version__ == PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_is_valid_by_the_schema_of_its_format():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    citation["date-released"] = str(citation["date-released"])  # YAML reads a date, the schema asks for text
    schema = json.loads((ROOT / "tests" / "citation_schema.json").read_text())
    jsonschema.validate(citation, schema, format_checker=jsonschema.FormatChecker())
    for wrong in ({"authors": []}, {"license": "none of SPDX"}, {"unknown": 1}, {"date-released": "today"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(citation | wrong, schema, format_checker=jsonschema.FormatChecker())


def test_the_image_installs_the_tex_of_the_script():
    packages = re.search(r'^TEX_PACKAGES="(.+)"$', (ROOT / "run_all.sh").read_text(), re.M)[1].split()
    image = (ROOT / "Dockerfile").read_text()
    assert all(re.search(rf"\b{package}\b", image) for package in packages) and "./run_all.sh setup" in image


def test_binder_has_the_tex_of_the_script_and_the_packages_of_the_lock():
    packages = re.search(r'^TEX_PACKAGES="(.+)"$', (ROOT / "run_all.sh").read_text(), re.M)[1].split()
    assert (ROOT / ".binder" / "apt.txt").read_text().split() == packages
    python = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert f"{python}.0" in SpecifierSet(PROJECT["requires-python"])
    build = ROOT / ".binder" / "postBuild"
    assert os.access(build, os.X_OK) and build.read_text().index("torch==") < build.read_text().index("-r requirements")


# --------------------------------------------------------------------------- the library by itself


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of the library, built from a copy of what it is made from."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    kept = ["resonance", "artifact", "pyproject.toml", "README.md", "LICENSE"]
    source.mkdir()
    for name in kept:
        subprocess.run(["cp", "-R", str(ROOT / name), str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*build, "-w", str(folder), str(source)], check=True, capture_output=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    names = set(wheel.namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "resonance").rglob("*.py")}
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - about == modules | {"resonance/py.typed"}


def test_the_wheel_asks_for_three_packages(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    headers = HeaderParser().parsestr(wheel.read(name).decode())
    assert headers["Name"] == "resonance-nn" and headers["Version"] == PROJECT["version"]
    asked = [Requirement(text) for text in headers.get_all("Requires-Dist")]
    assert {r.name for r in asked if r.marker is None} == {"torch", "numpy", "safetensors"}
    assert {r.name for r in asked if r.marker and r.marker.evaluate({"extra": "csv"})} >= {"pandas"}
    assert {r.name for r in asked if r.marker and r.marker.evaluate({"extra": "forecast"})} >= {"pandas", "matplotlib"}


ALONE = """
import importlib.machinery, pkgutil, sys
sys.path.insert(0, sys.argv[1])
sys.path = [path for path in sys.path if path != sys.argv[2]]
blocked = set(sys.argv[3].split())

class Rest(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in blocked else super().find_spec(name, path, target)

sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, Rest]
from resonance import ResonanceLayer
import resonance, torch
for module in pkgutil.walk_packages(resonance.__path__, "resonance."):
    importlib.import_module(module.name)
assert ResonanceLayer(8, num_frequencies=3)(torch.zeros(2, 16, 8)).shape == (2, 16, 8)
print(resonance.__file__)
"""


def test_the_library_works_with_its_three_packages_alone(wheel, tmp_path):
    """The wheel's modules all import, and a layer runs, where of the artifact's packages none is there."""
    wheel.extractall(tmp_path)
    needed = {"torch", "numpy", "safetensors"}
    for name in ("torch", "numpy", "safetensors"):  # and what these need in their turn
        needed |= {Requirement(r).name for r in metadata.requires(name) or [] if "extra ==" not in r}
    others = {"pandas", "scipy", "matplotlib", "sklearn", "statsmodels", "seaborn", "pooch", "requests", "tqdm"}
    others |= {"artifact", "cachetools", "yaml", "psutil", "tensorboard", "papermill", "nbformat", "IPython"}
    command = [sys.executable, "-c", ALONE, str(tmp_path), str(ROOT), " ".join(others - needed)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "resonance" / "__init__.py")


def test_a_type_checker_sees_a_wrong_name(tmp_path):
    (tmp_path / "use.py").write_text(
        "from resonance import ResonanceLayer\n\n"
        "right = ResonanceLayer(64, num_frequencies=64)\n"
        "wrong = ResonanceLayer(64, num_freq=64)\n"
    )
    # Of torch it needs to know nothing, and is five times faster so.
    skipped = "[mypy-torch.*,numpy.*,safetensors.*,pandas.*]\nfollow_imports = skip\n"
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nfollow_imports = silent\ncache_dir = {os.devnull}\n{skipped}")
    command = [sys.executable, "-m", "mypy", "use.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1 and errors[0].startswith("use.py:4:"), done.stdout + done.stderr
    assert 'Unexpected keyword argument "num_freq" for "ResonanceLayer"' in errors[0]
