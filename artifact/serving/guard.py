"""What stands before every route: the token, limits on body, time and concurrency, errors as JSON, and metrics."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = frozenset({"/", "/page.js", "/recorder.js", "/health"})  # without a token, and never refused
SUBPROTOCOL, BEARER = "resonance", "bearer."  # a browser cannot set a WebSocket's headers: the token is a subprotocol
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


@dataclass(frozen=True)
class Limits:
    """Bounds of what one client, and all together, may use; beyond them a request is refused, the service goes on."""

    body_bytes: int = 2**20
    body_seconds: float = 10.0  # for a request's body to arrive; its head has as long
    message_bytes: int = 2**16  # of a WebSocket message: four seconds of sound at 8 kHz
    idle_seconds: float = 30.0  # between two messages, or requests of a connection: longer than clients keep it
    stream_seconds: float = 600.0
    seconds: float = 60.0  # from a request's body to the last byte of its answer
    concurrency: int = 128  # requests and streams at once
    stop_seconds: int = 10  # for requests at work when the service is stopped


LIMITS = Limits()


class Metrics:
    """Prometheus metrics of one service, in a registry of its own."""

    def __init__(self):
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter("resonance_requests_total", "Requests by route and status", ["route", "status"], **own)
        self.seconds = Histogram(
            "resonance_request_seconds", "Seconds of a request by route", ["route"], buckets=SECONDS, **own
        )
        self.active = Gauge("resonance_active", "Requests and streams at work", **own)
        self.frames = Counter("resonance_frames_total", "Frames of sound classified", **own)
        self.frame_seconds = Histogram(
            "resonance_frame_seconds", "Seconds of a frame, its wait for the batch included", buckets=SECONDS, **own
        )
        self.tokens = Counter("resonance_tokens_total", "Tokens of text written", **own)


class Refused(Exception):
    """A request that is answered with a status and a message."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


def problem(status: int, message: str) -> dict[str, Any]:
    """The body of every error."""
    return {"error": {"status": status, "message": message}}


def encoded(content: Any) -> bytes:
    """JSON in ASCII: a lone surrogate of a client's text has no UTF-8."""
    return json.dumps(content).encode("ascii")


class Guard:
    """ASGI middleware; `routes` are the paths that metrics name, any other is "other".

    A request's body is read whole before its route, within the limits: 413 for too many bytes, 408 for too many
    seconds.  401 without the token, where there is one; 503 with Retry-After beyond the concurrency, and where an
    answer has not begun in time; one that has is cut.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str | None, routes: frozenset[str]):
        self.app, self.limits, self.metrics, self.token, self.routes = app, limits, metrics, token, routes
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 0  # the status of an answer that has begun

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self.active += 1
        self.metrics.active.inc()
        try:
            self._admit(scope)
            if scope["type"] == "http":
                receive = await self._with_body(scope, receive)
            async with asyncio.timeout(self.limits.seconds if scope["type"] == "http" else None):
                await self.app(scope, receive, noted)
        except Refused as refused:
            await _refuse(scope, noted, refused)
        except TimeoutError:
            if status:  # too late for another: the connection is closed
                raise
            await _refuse(scope, noted, Refused(503, f"no answer within {self.limits.seconds:g} s"))
        finally:
            self.active -= 1
            self.metrics.active.dec()
            route = scope["path"] if scope["path"] in self.routes else "other"
            status = status or (500 if scope["type"] == "http" else 101)
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    def _admit(self, scope: Scope) -> None:
        if scope["type"] == "http" and scope["path"] in OPEN:
            return
        headers = dict(scope["headers"])
        if self.token is not None and not hmac.compare_digest(_given(scope, headers), self.token.encode()):
            raise Refused(401, "expected the access token: Authorization: Bearer TOKEN")
        if scope["type"] == "websocket" and not _same_origin(headers):
            raise Refused(403, "expected a page of this service")
        if self.active > self.limits.concurrency:
            raise Refused(503, f"expected at most {self.limits.concurrency} requests and streams at once")

    async def _with_body(self, scope: Scope, receive: Receive) -> Receive:
        """A `receive` that gives the whole body at once, and then what the client still sends."""
        most, body, size = self.limits.body_bytes, bytearray(), 0
        declared = int(dict(scope["headers"]).get(b"content-length", 0))
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                # Somewhat more than allowed is read and dropped: a client that still writes would miss the answer.
                while size <= 16 * most and declared <= 16 * most:
                    message = await receive()
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size <= most:
                        body += chunk
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Refused(408, f"expected the body within {self.limits.body_seconds:g} s") from None
        if max(size, declared) > most:
            raise Refused(413, f"expected a body of at most {most} bytes")
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        return replay


def _given(scope: Scope, headers: dict[bytes, bytes]) -> bytes:
    """The token that a client sends; empty for none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    offered = [name for name in scope.get("subprotocols", ()) if name.startswith(BEARER)]
    return offered[0].removeprefix(BEARER).encode() if offered else b""


def _same_origin(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser's page is of this service; a client that is no browser sends no origin."""
    origin = headers.get(b"origin")
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host")


async def _refuse(scope: Scope, send: Send, refused: Refused) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = encoded(problem(refused.status, refused.message))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))  # the rest of a body may follow, for ever
    headers += {401: [(b"www-authenticate", b"Bearer")], 503: [(b"retry-after", b"1")]}.get(refused.status, [])
    await send({"type": f"{kind}.start", "status": refused.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
