"""Groups of ranks on this machine and on hosts: equal models, bytes counted, errors reported, losses survived."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pandas as pd
import pytest

from artifact.files import ROOT
from artifact.studies.scaling_out import hosts, study
from artifact.studies.scaling_out.group import HOSTS, MACHINE, run_ranks

REFUSAL = hosts.refusal()
needs_hosts = pytest.mark.skipif(bool(REFUSAL), reason=f"no network namespaces: {REFUSAL}")


def test_ranks_of_one_machine_are_one_process():
    timed = {"sizes": [256, 65536], "rounds": 2, "seconds": 0.001}
    tasks = {"step": {"n": 4096, "repeats": 2}, "equality": {"n": 64}, "reduces": timed}
    found = study.found_by(MACHINE, 2, tasks)
    table = study.equality_table({(MACHINE, 2): found})
    assert list(table["model"]) == ["ResonanceNet", "LongContextResonanceNet", "CausalResonance"]
    assert (table[["output", "gradient"]] < 1e-5).all(axis=None) and (table["gradient"] > 0).all()
    steps = study.step_table([found])
    assert list(steps["rank"]) == [0, 1] and steps["own"].sum() == 4096 and (steps["peak"] > steps["start"]).all()
    reduces = study.reduces_table({2: found})
    assert len(reduces) == 4 and (reduces["seconds"] > 0).all()
    terms = study.terms_table(found, reduces)
    assert list(terms["round"]) == [0, 1] and (terms["compute"] > 0).all()
    assert study.misfit(terms, reduces) >= 1


def test_a_rank_that_fails_is_reported():
    with pytest.raises(RuntimeError, match=r"2 of 2 ranks failed:[\s\S]*expected a sample on each of 2 ranks"):
        run_ranks([("equality", {"n": 16})], 2)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_run_that_lost_a_rank_resumes_to_the_same_losses(how):
    row = study.lost_row(how, 3, 2, timeout=3.0)
    assert row["clear"] and 0 <= row["seconds"] < 60, row["error"]
    assert row["difference"] < 1e-5


def test_training_under_torchrun_has_the_losses_of_one_process():
    rows = study.sharded(2)
    assert {row["what"] for row in rows} == set(study.LOSSES) and all(row["error"] < 1e-5 for row in rows)


def test_where_hosts_cannot_be_made_the_rows_say_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = study.found_by(HOSTS, 2, {"equality": {"n": 64}})
    assert refused == "not measured on this machine: no command unshare, nsenter, ip"
    (tmp_path / "unshare").write_text("#!/bin/sh\necho unshare failed: Operation not permitted >&2\nexit 1\n")
    for name in ("nsenter", "ip"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
    for name in ("unshare", "nsenter", "ip"):
        (tmp_path / name).chmod(0o755)
    refused = study.found_by(HOSTS, 2, {"equality": {"n": 64}})
    assert refused == "not measured on this machine: unshare failed: Operation not permitted"
    table = study.equality_table({(HOSTS, 2): refused})
    assert list(table["outcome"]) == [refused] and table["output"].isna().all()
    assert study.wire_table(refused, 4).empty and not list(study.equality_measures(table))


@needs_hosts
def test_hosts_count_what_they_send_and_vanish():
    payload = 100_000
    with hosts.hosts(2) as spaces:
        holders = [space.split("/")[2] for space in spaces]
        receive = f"import socket; s = socket.create_server(('{hosts.address(1)}', 4000)); c, _ = s.accept(); n = 0\n"
        receive += "while part := c.recv(65536): n += len(part)\nprint(n)"
        send = "import socket, time\nfrom artifact.studies.scaling_out.hosts import bytes_sent\nbefore = bytes_sent()\n"
        send += f"for _ in range(100):\n    try: c = socket.create_connection(('{hosts.address(1)}', 4000)); break\n"
        send += f"    except OSError: time.sleep(0.1)\nc.sendall(bytes({payload})); c.close(); time.sleep(0.3)\n"
        send += "print(bytes_sent() - before)"
        run = ["nsenter", "-t", holders[1], "-n", sys.executable, "-c", receive]
        server = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
        sender = ["nsenter", "-t", holders[0], "-n", sys.executable, "-c", send]
        sent = int(subprocess.run(sender, cwd=ROOT, capture_output=True, text=True).stdout)
        assert int(server.communicate(timeout=20)[0]) == payload
    frames = math.ceil(payload / (hosts.MTU - 52))  # headers of IP and TCP with its timestamps
    assert payload + 66 * frames <= sent <= payload + 66 * frames + 1500  # opening, closing, addresses
    assert not any(os.path.exists(space) for space in spaces)


@needs_hosts
def test_bytes_at_the_interface_are_those_of_the_formula_whatever_the_length():
    found = study.found_by(HOSTS, 2, {"wire": {"lengths": [4096, 8192], "repeats": 2}})
    wire = study.wire_table(found, 2)
    over = wire["bytes"] / wire["formula"]
    assert len(wire) == 12 and (over > 1).all() and (over < 1.2).all(), wire
    bands = wire[wire["direction"] != "weights"].pivot(index=["model", "direction"], columns="n", values="bytes")
    assert ((bands[8192] / bands[4096]).between(0.9, 1.1)).all(), wire
    attention = study.attention_table([4096, 8192], 2)
    measures = {key: value for key, value, *_ in study.wire_measures(wire, attention)}
    assert measures["scaling.wire.long.growth"] < 1.1 < measures["scaling.attention.ring.8192"]
    assert isinstance(found, dict) and pd.DataFrame(found["wire"][0])["weights"].gt(0).all()
