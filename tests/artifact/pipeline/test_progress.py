"""What a run says: durations, places, and how long it still takes."""

from __future__ import annotations

import pytest

from artifact.pipeline import progress


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99.0, "99 s"), (130, "2 min"), (5900, "98 min"), (7800, "2 h 10 min")]
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_what_is_left_follows_what_notebooks_took_before_and_this_machines_pace():
    work = {"a": 10.0, "b": 20.0, "c": 30.0}
    assert progress.remaining(work, {"start": {"a": 0.0}, "end": {}}, now=1.0) == pytest.approx(55.0)
    ended = {"start": {"a": 0.0}, "end": {"a": 20.0}}
    assert progress.remaining(work, ended, now=20.0) == pytest.approx(100.0), "half as fast as before"
    assert progress.remaining({"a": None}, ended, now=20.0) is None


def test_lines_with_and_without_a_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "ROOT", tmp_path)
    monkeypatch.setattr(progress, "recorded_seconds", lambda name, profile: {"01_first": 30.0}.get(name))
    monkeypatch.setattr(progress, "settings", lambda name: {"timed": name == "02_second"})
    monkeypatch.delenv("RESONANCE_PLAN", raising=False)
    assert progress.starts("01_first") == "01_first starts"
    assert progress.ends("01_first", 61.0) == "01_first done in 61 s"
    monkeypatch.setenv("RESONANCE_PLAN", "")  # write_plan sets it; this restores it after the test
    progress.write_plan(["01_first", "02_second"], "quick", cores=2)
    assert progress.starts("02_second") == "[1/2] 02_second starts"
    said = progress.ends("02_second", 61.0, "failed")
    assert said.startswith("[1/2] 02_second failed in 61 s; 1 left, about ")
    assert progress.starts("01_first") == "[2/2] 01_first starts"
    assert progress.ends("01_first", 3.0) == "[2/2] 01_first done in 3 s"
