"""What a result was made on: the processor, and the commit of the checkout."""

from __future__ import annotations

from artifact.pipeline import machine


def test_a_device_names_its_threads():
    assert machine.device_name(1).endswith(", 1 thread") and machine.device_name(2).endswith(", 2 threads")


def test_the_commit_is_read_without_git(tmp_path):
    assert machine._head_of(tmp_path) == ""
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "packed-refs").write_text("# pack-refs\n" + "a" * 40 + " refs/heads/main\n")
    assert machine._head_of(tmp_path) == "a" * 10
    (tmp_path / "refs" / "heads").mkdir(parents=True)
    (tmp_path / "refs" / "heads" / "main").write_text("b" * 40 + "\n")
    assert machine._head_of(tmp_path) == "b" * 10
    (tmp_path / "HEAD").write_text("c" * 40 + "\n")
    assert machine._head_of(tmp_path) == "c" * 10
