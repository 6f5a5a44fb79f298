"""Files: from the cache, a mirror or the network, verified by their digests."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import requests

from artifact.datasets import files
from artifact.datasets.files import CorruptDataError, Source, fetch
from artifact.files import ROOT
from resonance.forecasting import load_csv

CONTENT = b"date,a,b\n2020,1.0,2.0\n2021,3.0,4.0\n"


class Server:
    """A local web server that counts requests and serves the bodies it is given, in turn (the last one for ever).

    cut: how many of the first answers end before their body does.
    """

    def __init__(self, *bodies: bytes, cut: int = 0):
        self.requests = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = bodies[min(outer.requests, len(bodies) - 1)]
                outer.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:9] if outer.requests <= cut else body)

            def log_message(self, *args):
                pass

        self.http = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def source(self, digest=None):
        url = f"http://127.0.0.1:{self.http.server_port}/x.csv"
        return Source("x.csv", url, digest or hashlib.sha256(CONTENT).hexdigest(), "none")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(files, "TIMEOUT_S", 2.0)
    monkeypatch.setenv("RESONANCE_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "mirror").mkdir()
    return tmp_path


def no_network(monkeypatch):
    def refuse(url, path):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(files, "_retrieve", refuse)


def test_a_download_is_verified_and_cached():
    server = Server(CONTENT)
    path = fetch(server.source())
    assert path.read_bytes() == CONTENT
    assert fetch(server.source()) == path and server.requests == 1


def test_a_corrupt_download_is_fetched_once_more_then_refused(places):
    server = Server(b"garbage")
    with pytest.raises(CorruptDataError, match=r"x\.csv"):
        fetch(server.source())
    assert server.requests == 2
    assert not (places / "cache" / "x.csv").exists()


def test_a_download_that_was_corrupt_once_succeeds():
    server = Server(b"garbage", CONTENT)
    assert fetch(server.source()).read_bytes() == CONTENT


def test_a_download_that_was_cut_is_fetched_once_more_then_refused(places):
    """A broken transfer is not a network that is missing: no stand-in takes its place."""
    assert fetch(Server(CONTENT, cut=1).source()).read_bytes() == CONTENT
    (places / "cache" / "x.csv").unlink()
    server = Server(CONTENT, cut=2)
    with pytest.raises(CorruptDataError, match=r"x\.csv broke off: nothing was kept"):
        fetch(server.source())
    assert server.requests == 2 and not list((places / "cache").glob("*"))[1:]


def test_a_corrupt_cache_is_dropped_and_fetched_again(places):
    (places / "cache").mkdir()
    (places / "cache" / "x.csv").write_bytes(b"truncated")
    server = Server(CONTENT)
    assert fetch(server.source()).read_bytes() == CONTENT and server.requests == 1


def test_the_mirror_serves_without_a_network(places, monkeypatch):
    no_network(monkeypatch)
    (places / "mirror" / "x.csv").write_bytes(CONTENT)
    assert fetch(Server(CONTENT).source()) == places / "mirror" / "x.csv"


def test_a_corrupt_mirror_is_an_error_not_a_stand_in(places, monkeypatch):
    no_network(monkeypatch)
    (places / "mirror" / "x.csv").write_bytes(b"garbage")
    with pytest.raises(CorruptDataError, match="expected"):
        fetch(Server(CONTENT).source())


def test_a_full_disk_is_an_error_not_a_stand_in(places, monkeypatch):
    (places / "file").write_text("")
    monkeypatch.setattr(files, "CACHE", places / "file" / "cache")
    with pytest.raises(OSError):
        fetch(Server(CONTENT).source())


def test_an_error_names_what_is_missing_and_what_to_do(places):
    message = str(files.DataUnavailableError("ETTh1"))
    for part in ("ETTh1", str(places / "cache"), str(places / "mirror"), "network", "RESONANCE_DATA", "allow_stand_in"):
        assert part in message


def test_processes_that_fetch_at_once_download_once():
    server = Server(CONTENT)
    with ProcessPoolExecutor(3, get_context("fork")) as pool:
        paths = list(pool.map(fetch, [server.source()] * 3))
    assert {path.read_bytes() for path in paths} == {CONTENT} and server.requests == 1


def test_an_installed_package_keeps_its_cache_in_the_users_folder(tmp_path):
    for package in ("artifact", "resonance"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "studies"))
    code = "from artifact.datasets import files; print(files.__file__, files.CACHE, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    module, cache = out.split()
    assert module.startswith(str(tmp_path)) and cache == str(tmp_path / "home" / "resonance")


def test_a_missing_mirror_folder_is_named(monkeypatch):
    monkeypatch.setenv("RESONANCE_DATA", "/nonexistent")
    assert files.mirror() is None and "/nonexistent" in str(files.DataUnavailableError("ETTh1"))


BAD = {
    "text": "date,a\n2020-01-01,x\n",
    "gap": "date,a\n2020-01-01,\n",
    "infinite": "date,a\n2020-01-01,inf\n",
    "no rows": "date,a\n",
    "nothing": "",
    "no header": "2020-01-01,1.0\n2020-01-02,2.0\n",
    "no date": "a,b\nx,1.0\ny,2.0\n",
    "long row": "date,a,b\n2020-01-01,1,2,9\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_csv_is_refused(tmp_path, text):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.csv"):
        load_csv(tmp_path / "bad.csv", dataset="bad", period=1, step="day")


# --------------------------------------------------------------------------- digests of contents


def gzipped(source):
    return dataclasses.replace(source, name="folder/x.gz", gzipped=True)


def test_a_digest_of_content_does_not_see_the_compression(places):
    server = Server(gzip.compress(CONTENT, 9, mtime=1))
    path = fetch(gzipped(server.source()))
    assert path == places / "cache" / "folder" / "x.gz" and gzip.decompress(path.read_bytes()) == CONTENT
    path.write_bytes(gzip.compress(CONTENT, 1, mtime=2))
    assert fetch(gzipped(server.source())) == path and server.requests == 1


@pytest.mark.parametrize(
    "body", [gzip.compress(b"other"), gzip.compress(CONTENT)[:-9], CONTENT, b""], ids=["other", "cut", "plain", "empty"]
)
def test_wrong_cut_or_uncompressed_content_is_refused(places, body):
    server = Server(body)
    with pytest.raises(CorruptDataError, match=r"x\.gz.*expected"):
        fetch(gzipped(server.source()))
    assert server.requests == 2 and not (places / "cache" / "folder" / "x.gz").exists()


def test_a_gzip_that_was_corrupt_once_succeeds():
    server = Server(b"garbage", gzip.compress(CONTENT))
    assert gzip.decompress(fetch(gzipped(server.source())).read_bytes()) == CONTENT
