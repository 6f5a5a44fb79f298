"""The service in a process of its own, and clients on loopback that measure it.

Clients run in one event loop of this process, beside the service: their own time is part of every latency.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import numpy as np
import pandas as pd
import torch
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from artifact.serving import __main__ as command
from artifact.serving.models import Classifier, Text, load_models

TOKEN = "only-for-this-measurement"  # of a service on loopback that lives for seconds
FRAME_S = 0.02
NO_FAULT = "no fault"
FIT, FORECAST, FIRST, NEXT, FRAME = "fit", "forecast", "text, first token", "text, a token", "sound, a frame"
KEYS = {FRAME: "frame", FORECAST: "forecast", FIT: "fit", FIRST: "first_token", NEXT: "token"}
START = (
    "import sys; from artifact.studies.common.processes import end_with_parent; end_with_parent();"
    "from artifact.serving.__main__ import main; main(sys.argv[1:])"
)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Service:
    """A running service: its port, process, the file of its log, and the models that it serves."""

    port: int
    process: subprocess.Popen
    log: Path
    models: dict[str, Any]

    token = TOKEN

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sound(self) -> str:
        return f"ws://127.0.0.1:{self.port}/listen"


HEADERS = {"Authorization": f"Bearer {TOKEN}"}
# The service is on this machine, whatever proxy the environment names.
open_stream = partial(connect, additional_headers=HEADERS, compression=None, open_timeout=60, proxy=None)


@contextmanager
def running(folder: Path, seconds: float = 60.0) -> Iterator[Service]:
    """`python -m artifact.serving --model FOLDER` on a free port, ended with this process at the latest."""
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        options = ["--model", str(folder), "--port", "0"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", START, *options],
                env=os.environ | {command.VARIABLE: TOKEN, "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Service(_port(process, log, seconds), process, log, load_models(folder))
        finally:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen, log: Path, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"expected a service within {seconds:g} s, got {log.read_text(errors='replace')[-2000:]}")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in a thread: a notebook's own event loop is at work."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


# --------------------------------------------------------------------------- latency


class Sample(NamedTuple):
    """One measurement of one client, and what went wrong."""

    endpoint: str
    clients: int
    seconds: float
    fault: str


@asynccontextmanager
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service, with its token, for any number of connections."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=service.base, headers=HEADERS, timeout=120, limits=limits, trust_env=False
    ) as client:
        yield client


async def post(client: httpx.AsyncClient, endpoint: str, clients: int, body: dict) -> list[Sample]:
    """One request for JSON, from its first byte to the last of its answer."""
    started = time.perf_counter()
    answer = await client.post(endpoint, json=body)
    seconds = time.perf_counter() - started
    fault = NO_FAULT if answer.status_code == 200 else f"status {answer.status_code}"
    return [Sample(endpoint, clients, seconds, fault)]


async def write(client: httpx.AsyncClient, clients: int, body: dict) -> list[Sample]:
    """One text: the time to its first token, and between any two."""
    last, samples, ended = time.perf_counter(), [], False
    async with client.stream("POST", "text", json=body) as answer:
        async for line in answer.aiter_lines():
            now = time.perf_counter()
            if line.startswith("data: ") and not ended and "text" in line:
                samples.append(Sample(NEXT if samples else FIRST, clients, now - last, NO_FAULT))
                last = now
            ended = ended or line == "event: end"
    whole = ended and len(samples) == body["max_new_tokens"]
    return samples if whole else [*samples, Sample(FIRST, clients, 0.0, f"status {answer.status_code}, no end")]


async def speak(service: Service, ready: asyncio.Barrier, offset: float, pcm: bytes, hop: int) -> list[Sample]:
    """One stream in real time: a frame every 20 ms, and the time from when it was due to its answer.

    All streams of `ready` are open before the first frame; offset: of this one's frames, in seconds.
    """
    samples = []
    async with open_stream(service.sound) as socket:
        async with asyncio.timeout(60):  # a stream that was refused will not come
            await ready.wait()
        begun = time.perf_counter() + offset
        for at in range(len(pcm) // (2 * hop)):
            due = begun + at * FRAME_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await socket.send(pcm[2 * hop * at : 2 * hop * (at + 1)])
            answer = json.loads(await socket.recv())
            fault = NO_FAULT if answer["frames"] == at + 1 else f"{answer['frames']} frames"
            samples.append(Sample(FRAME, ready.parties, time.perf_counter() - due, fault))
    return samples


async def together(endpoint: str, clients: int, one: Callable[[int], Awaitable[list[Sample]]]) -> list[Sample]:
    """What `clients` at once measure; a client that fails has one sample of the endpoint, with its fault."""
    found = await asyncio.gather(*(one(at) for at in range(clients)), return_exceptions=True)
    lost = [Sample(endpoint, clients, 0.0, repr(each)) for each in found if isinstance(each, BaseException)]
    return [sample for each in found if not isinstance(each, BaseException) for sample in each] + lost


def latencies(
    service: Service, counts: Sequence[int], values: np.ndarray, sounds: Sequence[bytes], *, requests: int, tokens: int
) -> pd.DataFrame:
    """Samples of every endpoint under so many clients at once: endpoint, clients, seconds, fault.

    values: a series (n, channels) that is forecast and fitted; sounds: PCM, one a stream.
    requests: for forecasts, of each client, one after the other; a fit and a text are one each.
    """
    model, series = service.models["classifier"], {"values": values.tolist()}

    async def measured() -> list[Sample]:
        samples = []
        async with http(service) as client:
            for count in counts:

                async def forecasts(at: int, count: int = count) -> list[Sample]:
                    return [s for _ in range(requests) for s in await post(client, FORECAST, count, series)]

                ready, offsets = asyncio.Barrier(count), np.random.default_rng(0).uniform(0, FRAME_S, count)

                async def sound(at: int, ready=ready, offsets=offsets) -> list[Sample]:
                    return await speak(service, ready, offsets[at], sounds[at % len(sounds)], model.hop)

                endpoints = {
                    FRAME: sound,
                    FORECAST: forecasts,
                    FIRST: lambda at, count=count: write(client, count, _prompt(service.models["text"], at, tokens)),
                    FIT: lambda at, count=count: post(client, FIT, count, series | {"period": 24, "horizon": 24}),
                }
                for endpoint, one in endpoints.items():
                    samples += await together(endpoint, count, one)
        return samples

    return pd.DataFrame(run(measured()), columns=Sample._fields)


def _prompt(model: Text, at: int, tokens: int, **options) -> dict:
    symbols = [symbol for symbol in model.symbols if symbol.isalpha()]
    return {"prompt": symbols[at % len(symbols)] + " " * (" " in model.symbols), "max_new_tokens": tokens, **options}


def summary(samples: pd.DataFrame) -> pd.DataFrame:
    """p50, p95, p99 in milliseconds of every endpoint and number of clients, the samples behind them, and faults."""
    groups = samples.groupby(["endpoint", "clients"], sort=False)
    table = 1000 * groups["seconds"].quantile([0.5, 0.95, 0.99]).unstack()
    faults = groups["fault"].agg(lambda own: (own != NO_FAULT).sum())
    table = table.set_axis(["p50", "p95", "p99"], axis=1).assign(samples=groups.size(), faults=faults)
    return table.reset_index()


def distribution(samples: pd.DataFrame, endpoint: str = FRAME) -> pd.DataFrame:
    """Quantiles of an endpoint's milliseconds by clients, evenly in the logarithm of the share that takes longer."""
    shares = np.geomspace(1.0, 1e-3, 61)
    own = samples[samples["endpoint"] == endpoint]
    rows = [
        (clients, share, 1000 * seconds)
        for clients, group in own.groupby("clients")["seconds"]
        for share, seconds in zip(shares, group.quantile(1 - shares), strict=True)
    ]
    return pd.DataFrame(rows, columns=["clients", "longer", "milliseconds"])


# --------------------------------------------------------------------------- one stream and the others


def isolation(service: Service, sounds: Sequence[bytes], *, clients: int, tokens: int) -> pd.DataFrame:
    """Streams at once against the models run alone: kind, and the difference.

    For sound the largest difference of a confidence after any frame; for text, whose likeliest tokens are taken, the
    share of characters that differ.
    """
    classifier, text = service.models["classifier"], service.models["text"]
    prompts = [_prompt(text, at, tokens, top_k=1) for at in range(clients)]
    sounds_alone, texts_alone = [_confidences(classifier, pcm) for pcm in sounds], [_text(text, p) for p in prompts]

    async def listened(at: int) -> float:
        pcm, alone, hop = sounds[at % len(sounds)], sounds_alone[at % len(sounds)], classifier.hop
        async with open_stream(service.sound) as socket:
            heard = []
            for start in range(0, len(pcm) - 2 * hop + 1, 2 * hop):
                await socket.send(pcm[start : start + 2 * hop])
                heard.append(json.loads(await socket.recv())["confidence"])
        return float(np.abs(np.array(heard) - alone).max())

    async def written(client: httpx.AsyncClient, at: int) -> float:
        answer = (await client.post("text", json=prompts[at])).text
        found = "".join(json.loads(part)["text"] for part in re.findall(r'data: (\{"text.*\})', answer))
        return float(np.mean([a != b for a, b in zip(found, texts_alone[at], strict=True)]))

    async def compared() -> list[tuple[str, float]]:
        async with http(service) as client:
            sound = await asyncio.gather(*map(listened, range(clients)))
            texts = await asyncio.gather(*(written(client, at) for at in range(clients)))
        return [("sound", each) for each in sound] + [("text", each) for each in texts]

    return pd.DataFrame(run(compared()), columns=["kind", "difference"])


@torch.inference_mode()
def _confidences(model: Classifier, pcm: bytes) -> np.ndarray:
    """The largest probability after each frame of a recording, by the parallel form, (frames,)."""
    samples = torch.from_numpy(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768)
    return model(samples[None])[0].softmax(-1).amax(-1).double().numpy()


def _text(model: Text, body: dict) -> str:
    """What the model alone continues a prompt by, each token the likeliest."""
    ids = model.generate(model.encode(body["prompt"]), body["max_new_tokens"], top_k=1)[0]
    return "".join(model.symbols[at] for at in ids[len(body["prompt"]) :].tolist())


def pcm_of(waves: Sequence[np.ndarray], seconds: float, rate: int) -> list[bytes]:
    """16-bit PCM of so many seconds of each wave, repeated where it is shorter."""
    count = int(seconds * rate)
    return [(np.resize(wave, count).clip(-1, 1) * 32767).astype("<i2").tobytes() for wave in waves]


# --------------------------------------------------------------------------- inputs that are refused

REFUSED_INPUTS: dict[str, tuple[str, bytes]] = {
    "no JSON": ("forecast", b"{"),
    "not UTF-8": ("forecast", b'{"values": [["\xff"]]}'),
    "a list in a list, 100,000 deep": ("forecast", b"[" * 100_000),
    "NaN": ("forecast", b'{"values": [[NaN], [1]]}'),
    "infinity": ("fit", b'{"values": [[1e999], [1]], "period": 1}'),
    "a number of 6,000 digits": ("fit", b'{"values": [[%s], [1]], "period": 1}' % (b"9" * 6000)),
    "a missing value": ("fit", b'{"values": [[null], [1]], "period": 1}'),
    "rows of unequal length": ("forecast", b'{"values": [[1], [1, 2]]}'),
    "too few rows": ("forecast", b'{"values": [[1], [2]]}'),
    "a field that is unknown": ("fit", b'{"values": [[1], [2]], "period": 1, "code": "1"}'),
    "a horizon of a million": ("fit", b'{"values": [[1], [2]], "period": 1, "horizon": 1000000}'),
    "two megabytes": ("fit", b" " * 2**21),
    "a character that is unknown": ("text", '{"prompt": "\u2603"}'.encode()),
    "half a surrogate pair": ("text", b'{"prompt": "\\ud800"}'),
    "no prompt": ("text", b'{"prompt": ""}'),
    "no such route": ("nothing/here", b"{}"),
}
SLOW_HEAD, SLOW_BODY, NO_HTTP = "a head that does not end", "a body that does not end", "no HTTP"
NO_TOKEN, WRONG_TOKEN = "no token", "a wrong token"
WS_TEXT, WS_LARGE, WS_TOKEN = "text in place of sound", "a message of a megabyte", "a stream without a token"


async def refusals(service: Service) -> list[tuple[str, int]]:
    """The status, or the WebSocket's code, that answers each input; 0 for none.  All at once; the slow ones wait."""

    async def raw(data: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return int(answer[9:12] or 0)

    async def stream(message: str | bytes, headers: dict[str, str]) -> int:
        try:
            async with open_stream(service.sound, additional_headers=headers) as socket:
                await socket.send(message)
                await socket.recv()
        except InvalidStatus as refused:
            return refused.response.status_code
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 0
        return 0

    async with http(service) as client:

        async def posted(path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
            return (
                await client.post(path, content=body, headers={"Content-Type": "application/json"} | (headers or {}))
            ).status_code

        head = f"POST /fit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99\r\n".encode()
        tries = {name: posted(path, body) for name, (path, body) in REFUSED_INPUTS.items()}
        tries |= {NO_TOKEN: posted("fit", b"{}", {"Authorization": ""})}
        tries |= {WRONG_TOKEN: posted("fit", b"{}", {"Authorization": "Bearer " + "x" * len(TOKEN)})}
        tries |= {SLOW_HEAD: raw(head), SLOW_BODY: raw(head + b"\r\n{"), NO_HTTP: raw(b"\x16\x03\x01\r\n\r\n")}
        tries |= {WS_TEXT: stream("hello", HEADERS), WS_LARGE: stream(bytes(2**20), HEADERS)}
        tries |= {WS_TOKEN: stream(b"", {})}
        return list(zip(tries, await asyncio.gather(*tries.values()), strict=True))


def refused(service: Service) -> pd.DataFrame:
    """Every input of `refusals`: its status, whether that refuses it, and whether the service then answered another."""

    async def tried() -> list[tuple[str, int, bool, bool]]:
        found = await refusals(service)
        async with http(service) as client:
            alive = (await client.get("health")).status_code == 200
        return [(name, status, status // 100 == 4 or status in (1003, 1009), alive) for name, status in found]

    return pd.DataFrame(run(tried()), columns=["input", "status", "refused", "alive"])


# --------------------------------------------------------------------------- the stop


def stopped(service: Service, tokens: int) -> dict[str, float]:
    """Stop the service by SIGTERM after the first token of a text: tokens received, exit status, seconds."""
    received = 0
    with httpx.Client(base_url=service.base, headers=HEADERS, timeout=60, trust_env=False) as client:
        with client.stream("POST", "text", json=_prompt(service.models["text"], 0, tokens)) as answer:
            for line in answer.iter_lines():
                if line.startswith('data: {"text'):
                    if not received:
                        service.process.send_signal(signal.SIGTERM)
                        begun = time.perf_counter()
                    received += 1
        status = service.process.wait(60)
    return {"tokens": received, "status": status, "seconds": time.perf_counter() - begun}


# --------------------------------------------------------------------------- the targets


def against_targets(
    latency: pd.DataFrame, inputs: pd.DataFrame, together: pd.DataFrame, stop: dict[str, float], tokens: int
) -> pd.DataFrame:
    """The targets of the notebook: target, measured, unit, reached.  tokens: those asked for before the stop."""
    frames = latency[(latency["endpoint"] == FRAME) & (latency["clients"] == latency["clients"].max())]
    survived = inputs["refused"] & inputs["alive"]
    rows = [
        ("faults", faults := int(latency["faults"].sum()), "", faults == 0),
        ("real_time", p99 := frames["p99"].iloc[0], "ms", p99 < 1000 * FRAME_S),
        ("refused", left := int((~survived).sum()), "", left == 0),
        ("isolated", most := together["difference"].max(), "", most <= 1e-4),
        ("stopped", lost := tokens - stop["tokens"], "", lost == 0 and stop["status"] == 0),
    ]
    return pd.DataFrame(rows, columns=["target", "measured", "unit", "reached"])
