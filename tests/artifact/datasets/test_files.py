"""Data: cache, mirror, network; digests; stand-ins; bad files."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest
import requests

from artifact.datasets import files, images
from artifact.datasets.files import CorruptDataError, Source, fetch
from artifact.datasets.images import load_digits, load_mnist
from artifact.datasets.series import load_co2
from resonance.forecasting import load_csv

REAL_MIRROR = files.mirror()
CONTENT = b"date,a,b\n2020,1.0,2.0\n2021,3.0,4.0\n"


class Server:
    """A local web server that counts requests and serves the bodies it is given, in turn (the last one for ever)."""

    def __init__(self, *bodies: bytes):
        self.requests = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = bodies[min(outer.requests, len(bodies) - 1)]
                outer.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

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
    def refuse(source):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(files, "_download", refuse)


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


def test_without_any_place_the_stand_in_says_so(monkeypatch):
    no_network(monkeypatch)
    with pytest.warns(UserWarning, match="stands in"):
        series = files.load_etth1()
    assert series.stand_in and "stand-in" in series.dataset and len(series.values) == 2284


def test_a_full_disk_is_an_error_not_a_stand_in(places, monkeypatch):
    (places / "file").write_text("")
    monkeypatch.setattr(files, "CACHE", places / "file" / "cache")
    with pytest.raises(OSError):
        fetch(Server(CONTENT).source())


def test_a_missing_mirror_folder_is_named(monkeypatch):
    monkeypatch.setenv("RESONANCE_DATA", "/nonexistent")
    with pytest.warns(UserWarning, match="/nonexistent"):
        assert files.mirror() is None


def test_co2_has_no_gaps():
    series = load_co2()
    assert series.values.shape == (2284, 1) and (series.values > 300).all()


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


# --------------------------------------------------------------------------- digests of contents, MNIST


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


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


def test_idx_files_are_read_as_written(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "x.gz").write_bytes(idx(array))
    np.testing.assert_array_equal(files._read_idx(tmp_path / "x.gz"), array)
    (tmp_path / "x.gz").write_bytes(gzip.compress(CONTENT))
    with pytest.raises(ValueError, match="idx"):
        files._read_idx(tmp_path / "x.gz")


def test_a_corrupt_mnist_is_an_error_not_a_stand_in(places, monkeypatch):
    no_network(monkeypatch)
    (places / "mirror" / "mnist").mkdir()
    for source in images.MNIST:
        (places / "mirror" / source.name).write_bytes(idx(np.zeros((1, 28, 28), np.uint8)))
    with pytest.raises(CorruptDataError, match="train-images"):
        load_mnist()


def test_without_mnist_the_stand_in_says_so(monkeypatch):
    no_network(monkeypatch)
    with pytest.warns(UserWarning, match="stand in"):
        images = load_mnist()
    assert images.stand_in and "stand-in" in images.dataset
    check_images(images, 8, 1297, 500)


def check_images(images, side, train, test):
    for (pictures, labels), count in ((images.train, train), (images.test, test)):
        assert pictures.shape == (count, side, side) and pictures.dtype == np.float32
        assert pictures.min() == 0 and pictures.max() == 1
        assert labels.dtype == np.int64 and set(labels) == set(range(10))


def test_digits_share_no_picture_between_splits():
    images = load_digits()
    train, test = ({picture.tobytes() for picture in part[0]} for part in (images.train, images.test))
    assert not train & test


@pytest.mark.skipif(REAL_MIRROR is None or not (REAL_MIRROR / "mnist").is_dir(), reason="MNIST needs the mirror folder")
def test_mnist_is_the_published_one(monkeypatch):
    monkeypatch.setenv("RESONANCE_DATA", str(REAL_MIRROR))
    no_network(monkeypatch)
    images = load_mnist()
    assert images.dataset == "MNIST" and not images.stand_in
    check_images(images, 28, 60_000, 10_000)
    assert images.train[1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(images.test[1]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
