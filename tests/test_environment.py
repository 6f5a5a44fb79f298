"""pyproject.toml, requirements.lock and environment.yml agree, and what is installed is what the lock says."""

from __future__ import annotations

import tomllib
from importlib import metadata

import yaml
from packaging.requirements import Requirement
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
