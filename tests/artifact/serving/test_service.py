"""The running service: what it answers, what it refuses, and that it lives on."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from artifact.serving.app import create_app
from artifact.serving.guard import Limits
from artifact.serving.server import configured

ROWS = np.sin(np.arange(120)[:, None] / 4 + np.arange(2)).tolist()
TOKEN = "a-token-of-the-tests"
JSON = {"Content-Type": "application/json"}


def text_of(answer: str) -> str:
    return "".join(json.loads(part)["text"] for part in re.findall(r'data: (\{"text.*\})', answer))


def fault(answer: httpx.Response) -> int:
    """The status of an error, once its body is found to be of the one form."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["error"]["status"] == answer.status_code and body["error"]["message"]
    return answer.status_code


# --------------------------------------------------------------------------- what it answers


def test_forecasts_are_those_of_the_model(client, models):
    answer = client.post("/forecast", json={"values": ROWS}).json()
    expected = models["forecaster"].forecast(np.array(ROWS))
    for name, part in zip(("values", "lower", "upper"), expected, strict=True):
        np.testing.assert_allclose(answer[name], part, rtol=1e-6)
    assert answer["coverage"] == 0.9


def test_a_fit_is_that_of_the_library(client):
    from resonance import Forecaster

    body = {"values": ROWS, "period": 25, "horizon": 5, "coverage": 0.8}
    answer = client.post("/fit", json=body).json()
    expected = Forecaster(5, period=25, coverage=0.8).fit(np.array(ROWS)).predict()
    np.testing.assert_allclose(answer["values"], expected.values, rtol=1e-6)
    np.testing.assert_allclose(answer["upper"], expected.upper, rtol=1e-6)
    assert answer["method"] == expected.method and answer["notes"] == list(expected.notes)


def test_a_fit_with_too_few_rows_to_measure_says_null(client):
    answer = client.post("/fit", json={"values": [[1.0], [2.0], [1.0], [2.0]], "period": 2, "horizon": 2})
    assert answer.status_code == 200 and answer.json()["measured"] is None


def test_text_comes_as_events_and_is_that_of_the_model(client, models):
    body = {"prompt": "ab", "max_new_tokens": 12, "temperature": 0.7, "top_k": 4, "seed": 3}
    with client.stream("POST", "/text", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = answer.read().decode()
    assert events.endswith("event: end\ndata: {}\n\n") and events.count('data: {"text') == 12
    model = models["text"]
    ids = model.generate(model.encode("ab"), 12, 0.7, 4, torch.Generator().manual_seed(3))[0, 2:]
    assert text_of(events) == "".join(model.symbols[at] for at in ids.tolist())


def test_sound_in_pieces_of_any_size_gives_the_outputs_of_the_model(address, models):
    model = models["classifier"]
    pcm = (3000 * np.random.default_rng(0).normal(size=10 * model.hop)).astype("<i2")
    expected = model(torch.from_numpy(pcm.astype(np.float32) / 32768)[None])[0].softmax(-1).detach()
    with connect(f"ws://{address}/listen") as stream:
        data, seen = pcm.tobytes(), 0
        for start in range(0, len(data), 333):
            stream.send(data[start : start + 333])
            answer = json.loads(stream.recv())
            seen = min(start + 333, len(data)) // (2 * model.hop)
            assert answer["frames"] == seen
            if seen:
                assert answer["confidence"] == pytest.approx(float(expected[seen - 1].max()), abs=1e-5)
                assert answer["label"] == model.labels[int(expected[seen - 1].argmax())]
        assert seen == 10


def test_the_state_of_one_stream_never_reaches_another(address, models):
    model, hop = models["classifier"], models["classifier"].hop
    sounds = (3000 * np.random.default_rng(1).normal(size=(24, 8 * hop))).astype("<i2")
    expected = model(torch.from_numpy(sounds.astype(np.float32) / 32768)).softmax(-1).amax(-1).detach()

    async def stream(at: int) -> list[float]:
        async with connect_async(f"ws://{address}/listen") as socket:
            found = []
            for frame in sounds[at].reshape(8, hop)[: 4 + at % 5]:
                await socket.send(frame.tobytes())
                found.append(json.loads(await socket.recv())["confidence"])
            return found

    async def all_streams():
        return await asyncio.gather(*map(stream, range(24)))

    for at, found in enumerate(asyncio.run(all_streams())):
        np.testing.assert_allclose(found, expected[at, : 4 + at % 5], atol=1e-5)


def test_the_service_says_what_it_serves_and_counts(client):
    about = client.get("/models").json()
    assert about["classifier"] == {"labels": ["no", "yes", "other"], "rate": 8000, "hop": 160}
    assert about["forecaster"] == {"lookback": 48, "horizon": 6, "coverage": 0.9}
    assert client.get("/health").json() == {"status": "ok"}

    def count() -> float:
        found = re.search(r'resonance_requests_total\{route="other",status="404"\} (\S+)', client.get("/metrics").text)
        return float(found[1]) if found else 0.0

    before = count()
    assert fault(client.get("/no/such/page")) == 404
    assert count() == before + 1


def test_the_page_is_served_and_asks_no_other_site(client):
    page = client.get("/")
    assert page.status_code == 200 and 'src="page.js"' in page.text
    for name in ("page.js", "recorder.js"):
        script = client.get(f"/{name}")
        assert script.status_code == 200 and "javascript" in script.headers["content-type"]
        assert not re.search(r"https?://", script.text + page.text)


# --------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("forecast", b"{", 422),
        ("forecast", b'{"values": [["\xff"]]}', 400),
        ("forecast", b"[" * 100_000, 400),
        ("forecast", b'{"values": [[NaN], [1]]}', 422),
        ("forecast", b'{"values": [[1e999], [1]]}', 422),
        ("forecast", b'{"values": [[%s], [1]]}' % (b"9" * 400), 422),
        ("forecast", b'{"values": [[%s], [1]]}' % (b"9" * 6000), 400),
        ("forecast", b'{"values": [[1], [1, 2]]}', 422),
        ("forecast", b'{"values": [[1], [2]]}', 422),
        ("fit", b'{"values": [[1], [2]], "period": 1, "more": 1}', 422),
        ("fit", b'{"values": [[1], [2]], "period": 9}', 422),
        ("fit", b" " * (2**20 + 1), 413),
        ("text", '{"prompt": "\u2603"}'.encode(), 422),
        ("text", b'{"prompt": "\\ud800"}', 422),
        ("text", b'{"prompt": "a", "temperature": 0}', 422),
        ("nothing", b"{}", 404),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
def test_a_bad_request_is_refused_in_json(client, path, body, status):
    assert fault(client.post(f"/{path}", content=body, headers=JSON)) == status
    assert client.get("/health").status_code == 200


def test_a_model_that_is_not_served_is_not_found(service, models):
    with service({"text": models["text"]}) as address:
        assert fault(httpx.post(f"http://{address}/forecast", json={"values": ROWS})) == 404
        with pytest.raises(InvalidStatus):
            connect(f"ws://{address}/listen")


@pytest.mark.parametrize(("message", "code"), [("text", 1003), (b"", 1003), (bytes(2**16 + 1), 1009)])
def test_a_bad_message_closes_its_stream(address, message, code):
    with connect(f"ws://{address}/listen") as stream:
        stream.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv()
    assert closed.value.rcvd.code == code


def test_a_page_of_another_site_may_not_listen(address):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{address}/listen", origin="https://example.org")
    assert refused.value.response.status_code == 403
    with connect(f"ws://{address}/listen", origin=f"http://{address}"):
        pass


def answer_to(address: str, data: bytes) -> bytes:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(data)
        parts = []
        while part := connection.recv(4096):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 408),
        (b"POST /fit HTTP/1.1\r\nHost: a\r\n", 408),
        (b"POST /fit HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", 408),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"POST /fit HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /fit HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ],
)
def test_slow_and_wrong_connections_are_answered_and_closed(service, models, data, status):
    with service(models, Limits(body_seconds=0.3)) as address:
        head, _, body = answer_to(address, data).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status) and json.loads(body)["error"]["status"] == status
        assert httpx.get(f"http://{address}/health").status_code == 200


def test_a_silent_stream_ends(service, models):
    with service(models, Limits(idle_seconds=0.2)) as address, connect(f"ws://{address}/listen") as stream:
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(timeout=20)
        assert closed.value.rcvd.code == 1008


def test_an_idle_connection_outlives_what_its_client_keeps(models):
    """Closed at the same moment, a request that the client has just sent on it would be lost."""
    kept = httpx.Limits().keepalive_expiry
    assert configured(create_app(models), "127.0.0.1", 0, Limits()).timeout_keep_alive > 2 * kept


def test_an_answer_that_takes_too_long_is_given_up(service, models):
    class Slow(type(models["forecaster"])):
        def forecast(self, values):
            time.sleep(0.6)
            return super().forecast(values)

    slow = Slow(lookback=48, horizon=6, coverage=0.9, level_steps=24)
    with service({"forecaster": slow}, Limits(seconds=0.2)) as address:
        answer = httpx.post(f"http://{address}/forecast", json={"values": ROWS})
        assert fault(answer) == 503 and answer.headers["retry-after"] == "1"
        assert httpx.get(f"http://{address}/health").status_code == 200


def test_more_streams_than_allowed_are_refused_and_come_back(service, models):
    with service(models, Limits(concurrency=2)) as address:
        with connect(f"ws://{address}/listen"), connect(f"ws://{address}/listen") as second:
            answer = httpx.post(f"http://{address}/forecast", json={"values": ROWS})
            assert fault(answer) == 503 and answer.headers["retry-after"] == "1"
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://{address}/listen")
            assert refused.value.response.status_code == 503
            assert httpx.get(f"http://{address}/health").status_code == 200
            second.close()
        for _ in range(100):
            if httpx.post(f"http://{address}/forecast", json={"values": ROWS}).status_code == 200:
                break
            time.sleep(0.02)
        else:
            pytest.fail("the slots of closed streams were not given back")


def test_the_token_opens_what_it_guards(service, models):
    with service(models, token=TOKEN) as address:
        base = f"http://{address}"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            for path in ("/models", "/metrics", "/openapi.json"):
                answer = httpx.get(base + path, headers=headers)
                assert fault(answer) == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert fault(httpx.post(f"{base}/forecast", json={"values": ROWS}, headers=headers)) == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.post(f"{base}/forecast", json={"values": ROWS}, headers=right).status_code == 200
        assert [httpx.get(base + path).status_code for path in ("/", "/page.js", "/health")] == [200] * 3
        for wrong in ({}, {"subprotocols": ["resonance", "bearer.wrong"]}):
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://{address}/listen", **wrong)
            assert refused.value.response.status_code == 401
        with connect(f"ws://{address}/listen", subprotocols=["resonance", f"bearer.{TOKEN}"]) as stream:
            assert stream.subprotocol == "resonance"
        with connect(f"ws://{address}/listen", additional_headers=right):
            pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(["values", "period", "horizon", "coverage", "prompt", "max_new_tokens", "top_k", "seed"])
bodies = st.binary(max_size=60) | st.dictionaries(fields | st.text(), json_values, max_size=4).map(
    lambda body: json.dumps(body).encode()
)


@settings(max_examples=60)
@given(path=st.sampled_from(["/forecast", "/fit", "/text"]), body=bodies)
def test_no_body_at_all_is_an_error_of_the_service(client, path, body):
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code == 200 or fault(answer) in (400, 422)


numbers = st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 1e30, -1e30, 5e-324, 1e-30])


@settings(max_examples=20)
@given(data=st.data(), rows=st.integers(2, 70), channels=st.integers(1, 3))
def test_no_series_at_all_is_an_error_of_the_service(client, data, rows, channels):
    row = st.lists(numbers, min_size=channels, max_size=channels)
    values = data.draw(st.lists(row, min_size=rows, max_size=rows))
    for path, more in (("forecast", {}), ("fit", {"period": 3, "horizon": 2})):
        answer = client.post(path, json={"values": values} | more)
        if answer.status_code == 200:
            parts = np.array([answer.json()[name] for name in ("lower", "values", "upper")])
            assert np.isfinite(parts).all() and (np.diff(parts, axis=0) >= 0).all()
        else:
            assert fault(answer) == 422
