"""The benchmark's command line: every word on small cases, and its refusals."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from artifact.studies.efficiency import benchmark


@pytest.mark.parametrize("word", ["mixing", "layer"])
def test_a_comparison_has_a_row_for_each_peer(word):
    rows = benchmark.WORDS[word][0]([128], "cpu").to_dict("records")
    for row in rows:
        assert row["low"] <= row["ratio"] <= row["high"] and row["seconds"] > 0 and row["peer_seconds"] > 0
        assert row["bytes_floor"] > 0 and row["products_floor"] > 0
    if word == "layer":
        floor = {row["model"]: row["products_floor"] for row in rows}
        assert floor["ResonanceLayer + feed-forward"] > floor["ResonanceLayer"]
    assert {row["peer"] for row in rows} == {
        "mixing": {"torch.fft", "nn.Linear"},
        "layer": {"Transformer layer", "FNet layer"},
    }[word]


def test_the_command_prints_the_table_and_its_progress(capsys):
    assert benchmark.main(["mixing", "--lengths", "128"]) == 0
    printed = capsys.readouterr()
    assert "torch.fft" in printed.out and "nn.Linear" in printed.out and "n=128" in printed.err


def test_a_ratio_is_the_geometric_mean_over_rounds(monkeypatch):
    taken = {"ours": [1.0, 2.0, 4.0], "peer": [4.0, 4.0, 4.0]}
    monkeypatch.setattr(benchmark, "rounds_of", lambda steps, **_: taken)
    (row,) = benchmark.compare(["ours"], dict.fromkeys(taken, torch.nn.Identity()), 100, "cpu")
    assert row["ratio"] == pytest.approx(2.0) and (row["seconds"], row["peer_seconds"]) == (2.0, 4.0)
    assert row["low"] * row["high"] == pytest.approx(4.0) and row["low"] < 1


def test_the_two_settings_differ_in_the_environment_alone(monkeypatch):
    started = []

    def run(command, *, env, **options):
        started.append((command, env))
        return SimpleNamespace(returncode=0, stdout="n,ratio\n128,2.0\n")

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    table = benchmark.in_both_settings({"mixing": [128]})
    assert table["setting"].to_list() == ["fresh", "kept"] and table["ratio"].to_list() == [2.0, 2.0]
    (fresh, plain), (kept, keeping) = started
    assert (
        fresh == kept
        and "compared({'mixing': [128]})" in fresh[-1]
        and not any(name.startswith("MALLOC_") for name in plain)
    )
    assert keeping.items() - plain.items() == benchmark.KEEPING.items()
    assert all(f"{name}={value}" in benchmark.__doc__ for name, value in benchmark.KEEPING.items())
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="no memory"))
    with pytest.raises(RuntimeError, match="mixing, fresh, failed:\nno memory"):
        benchmark.in_both_settings({"mixing": [128]})


def test_compared_names_the_word_of_each_row(monkeypatch):
    monkeypatch.setitem(benchmark.WORDS, "mixing", (lambda n, device: pd.DataFrame({"n": n, "device": device}), []))
    table = benchmark.compared({"mixing": [128, 256]})
    assert table.to_dict("list") == {"n": [128, 256], "device": ["cpu"] * 2, "word": ["mixing"] * 2}


def test_a_target_is_shown_beside_its_ratio():
    models = {"BandMixing": torch.nn.Identity(), "nn.Linear": torch.nn.Linear(benchmark.DIM, benchmark.DIM)}
    (row,) = benchmark.compare(["BandMixing"], models, 4096, "cpu")
    assert row["target"] == 1.5 and row["reached"] == (row["ratio"] >= 1.5)
    (row,) = benchmark.compare(["BandMixing"], models, 100, "cpu")
    assert row["target"] is None and row["reached"] is None


def test_growth_gives_an_exponent_and_a_weight_for_each_law():
    table = benchmark.growth([128, 160, 192, 224, 256], "cpu")
    assert table["n"].is_monotonic_increasing and (table["seconds"] > 0).all()
    assert (table["low"] <= table["exponent"]).all() and (table["exponent"] <= table["high"]).all()
    assert table.filter(like="weight of").iloc[0].sum() == pytest.approx(1)


def test_memory_recall_measures_a_full_memory_beside_a_plain_table():
    table = benchmark.memory_recall([128], "cpu")
    assert set(table["operation"]) == {"reconstruct", "reconstruct all", "recall", "encode", "encode all"}
    assert (table["patterns"] == 63).all() and (table["error"] < 1e-5).all() and (table["error"] > 0).all()
    one = table["target"].notna()
    assert set(table["operation"][one]) == {"reconstruct", "encode"}
    assert (table["reached"] == (~one | (table["seconds"] <= table["target"]))).all()
    assert (table["bytes"] >= 4 * 128 * 128).all() and (table["table_bytes"] == 4 * 63 * 129).all()


def test_the_plain_table_is_a_memory():
    torch.manual_seed(0)
    table, patterns = benchmark.PlainTable(8, 5, "cpu"), torch.randn(7, 8)
    table.fill(patterns[:5])
    for pattern in patterns[5:]:
        table.encode(pattern)  # over the two oldest
    for pattern in patterns[2:]:
        torch.testing.assert_close(table.recall(pattern + 0.01), pattern)


def test_whole_models_are_measured_in_training_and_inference(monkeypatch):
    monkeypatch.setattr(benchmark.probe, "measure", lambda model, task, n, **_: {"model": model, "task": task, "n": n})
    table = benchmark.training([1024], "cpu")
    assert set(table["task"]) == {"train", "infer"} and set(table["model"]) == {"resonance", "transformer"}
    assert len(table) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "invalid choice"),
        (["mixing", "--lengths", "12"], "at least"),
        (["engines", "--lengths", "2"], "at least 16"),
        (["mixing", "--lengths", "many"], "invalid int"),
        (["growth", "--lengths", "4096", "8192"], "at least 5 lengths"),
    ],
)
def test_bad_input_is_refused_before_any_work(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_missing_device_is_named(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["mixing", "--device", "cuda"])
    assert "no CUDA device" in capsys.readouterr().err
