"""The command `resonance forecast`: files, the page on how good it is, clear refusals."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from resonance.__main__ import SHOWN, main


@pytest.fixture
def csv(tmp_path, monkeypatch):
    """600 hours of two daily cycles with noise, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    hours, noise = np.arange(600), np.random.default_rng(0).normal(size=(600, 2))
    values = np.sin(2 * np.pi * hours / 24)[:, None] * [1.0, 5.0] + 0.1 * noise
    index = pd.date_range("2024-01-01", periods=600, freq="h", name="date")
    pd.DataFrame(values, index, ["load", "heat"]).to_csv("mine.csv")
    return tmp_path / "mine.csv"


def test_a_forecast_leaves_a_table_a_plot_and_an_account(csv, capsys):
    assert main(["forecast", str(csv), "--horizon", "24"]) == 0
    table = pd.read_csv("mine-forecast/forecast.csv", parse_dates=["date"])
    assert list(table) == ["date", "load", "load lower", "load upper", "heat", "heat lower", "heat upper"]
    assert (table["date"] == pd.date_range("2024-01-26", periods=24, freq="h")).all()
    for name in ("load", "heat"):
        assert (table[f"{name} lower"] <= table[name]).all() and (table[name] <= table[f"{name} upper"]).all()
    truth = np.sin(2 * np.pi * np.arange(600, 624) / 24)
    assert abs(table["load"] - truth).max() < 0.5
    page = (csv.parent / "mine-forecast/account.md").read_text(encoding="utf-8")
    assert "the next 24 hours" in page and "seasonal repeat" in page and "+0.0%" in page and "forecast.png" in page
    said = capsys.readouterr()
    assert "held-back rows" in said.out
    assert "lookback of 24 steps" in said.err and "fitting" in said.err  # progress
    assert (csv.parent / "mine-forecast/forecast.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in (csv.parent / "mine-forecast").iterdir()) == [
        "account.md",
        "forecast.csv",
        "forecast.png",
    ]


def test_a_file_of_many_channels_and_options(csv, tmp_path):
    table = pd.read_csv(csv, index_col="date")
    wide = pd.concat({str(at): table["load"] for at in range(SHOWN + 2)}, axis=1)
    wide.iloc[5, 0] = np.nan
    wide.to_csv("wide.csv", sep=";")
    options = ["--horizon", "12", "--out", "there", "--sep", ";", "--fill", "linear", "--coverage", "0.5"]
    assert main(["forecast", "wide.csv", *options]) == 0
    page = (tmp_path / "there/account.md").read_text(encoding="utf-8")
    assert f"{SHOWN + 2} channels" in page and "1 values of the series were interpolated" in page


@pytest.mark.parametrize(
    ("content", "horizon", "says"),
    [
        (None, "24", "mine.csv"),
        ("date,a\n2024-01-01,1\n2024-01-02,x\n", "1", "is no number"),
        ("date,a\n2024-01-01,1\n2024-01-02,2\n", "24", "expected at least"),
        ("date,a\n2024-01-01,1\n2024-01-02,2\n", "0", "horizon >= 1"),
    ],
)
def test_what_cannot_be_forecast_is_refused_in_one_line(tmp_path, monkeypatch, capsys, content, horizon, says):
    monkeypatch.chdir(tmp_path)
    if content:
        (tmp_path / "mine.csv").write_text(content)
    assert main(["forecast", "mine.csv", "--horizon", horizon]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("resonance: ") and says in lines[-1]
    assert not (tmp_path / "mine-forecast").exists()


@pytest.mark.parametrize("name", ["matplotlib", "pandas"])
def test_a_missing_package_is_named_before_any_work(csv, monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["forecast", str(csv), "--horizon", "24"]) == 2
    assert "resonance-nn[forecast]" in capsys.readouterr().err and not (csv.parent / "mine-forecast").exists()
