"""Fixtures of the data sets' tests: a cache and a mirror of their own, and no network."""

from __future__ import annotations

import pytest

from artifact.datasets import files, registry


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty cache, an empty mirror (the returned folder), and no network."""
    monkeypatch.setattr(files, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(files, "TIMEOUT_S", 2.0)
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("RESONANCE_DATA", str(tmp_path / "mirror"))
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    registry.available.cache_clear()
    yield tmp_path / "mirror"
    registry.available.cache_clear()
