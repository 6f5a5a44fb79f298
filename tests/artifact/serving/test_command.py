"""`python -m artifact.serving` as a process: what it says, what it keeps to itself, and how it stops."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest

from artifact.files import ROOT
from artifact.serving.__main__ import main

TOKEN = "the-token-that-no-log-holds"


def test_a_wrong_folder_or_token_is_one_clear_message(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(tmp_path)])
    assert ended.value.code == 2 and "classifier.json" in capsys.readouterr().err
    monkeypatch.setenv("RESONANCE_TOKEN", "short token")
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(folder)])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "RESONANCE_TOKEN" in error and "short token" not in error


def test_a_stop_ends_what_is_at_work_and_no_log_holds_the_token(folder, tmp_path):
    log = tmp_path / "log"
    environment = os.environ | {"RESONANCE_TOKEN": TOKEN, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with log.open("wb") as file:
        command = [sys.executable, "-m", "artifact.serving", "--model", str(folder), "--port", "0"]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        assert httpx.get(f"{found[1]}/models", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
        headers, tokens = {"Authorization": f"Bearer {TOKEN}"}, 0
        body = {"prompt": "ab", "max_new_tokens": 300}
        with httpx.stream("POST", f"{found[1]}/text", json=body, headers=headers, timeout=60) as answer:
            for line in answer.iter_lines():
                if line.startswith('data: {"text'):
                    if tokens == 0:
                        process.send_signal(signal.SIGTERM)
                    tokens += 1
        assert tokens == 300 and line == "" and process.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{found[1]}/health")
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert "POST /text" in text and TOKEN not in text and "Traceback" not in text
