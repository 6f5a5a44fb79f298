"""Every data set: an error where it is not available, a stand-in that says so where one is allowed."""

from __future__ import annotations

import pytest

from artifact.datasets import registry
from artifact.datasets.characters import load_words
from artifact.datasets.files import DataUnavailableError


@pytest.mark.parametrize("name", registry.DATASETS)
def test_without_data_a_loader_raises_or_returns_a_named_stand_in(nowhere, name):
    assert not registry.available(name)
    with pytest.raises(DataUnavailableError, match=name) as error:
        registry.DATASETS[name].load()
    for place in (str(nowhere), str(nowhere.parent / "cache"), "network", "allow_stand_in=True"):
        assert place in str(error.value)
    loaded = registry.DATASETS[name].load(allow_stand_in=True)
    assert loaded.stand_in and "stand-in" in loaded.dataset


def test_words_are_of_the_books_or_of_their_stand_in(nowhere):
    with pytest.raises(DataUnavailableError, match="books"):
        load_words(100)
    assert "stand-in" in load_words(100, 1, allow_stand_in=True).dataset


@pytest.mark.parametrize("name", registry.DATASETS)
def test_available_data_are_no_stand_in(name):
    if not registry.available(name):
        pytest.skip(f"{name} is not available")
    assert not registry.DATASETS[name].load().stand_in


def test_availability_is_looked_up_once_a_process(nowhere, monkeypatch):
    calls = []
    monkeypatch.setitem(registry.DATASETS, "ETTh1", registry.Dataset(None, lambda: calls.append(1)))
    assert not registry.available("ETTh1") and not registry.available("ETTh1") and len(calls) == 1
