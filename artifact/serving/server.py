"""uvicorn with a limit on the time of a request's head, its own errors as JSON, and a stop that ends with status 0."""

from __future__ import annotations

import asyncio
import signal
import sys
from http import HTTPStatus

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from artifact.serving.guard import LIMITS, Limits, encoded, problem


def protocol(seconds: float) -> type[H11Protocol]:
    """HTTP/1.1 by h11 that gives every connection so many seconds for the head of its next request."""

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._deadline = self.loop.call_later(seconds, self._late)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_clock()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._stop_clock()
            elif self._deadline is None and self.conn.trailing_data[0]:  # a next head has begun
                self._deadline = self.loop.call_later(seconds, self._late)

        def _stop_clock(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _late(self) -> None:
            if not self.transport.is_closing():
                self._answer(408, f"expected the head of a request within {seconds:g} s")

        def send_400_response(self, msg: str) -> None:
            self._answer(400, msg)

        def _answer(self, status: int, message: str) -> None:
            body, phrase = encoded(problem(status, message)), HTTPStatus(status).phrase
            about = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer has begun
                head = h11.Response(status_code=status, headers=list(about.items()), reason=phrase)
                for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event))
            self.transport.close()

    return Protocol


def configured(app: FastAPI, host: str, port: int, limits: Limits) -> uvicorn.Config:
    """uvicorn's settings.  Its log, on stderr and stdout, has addresses, paths and statuses, no header and no body."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol(limits.body_seconds),
        ws="websockets-sansio",
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,
        server_header=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=limits.stop_seconds,
    )


def serve(app: FastAPI, host: str, port: int, limits: Limits = LIMITS) -> None:
    """Serve until SIGINT or SIGTERM: then no new connection, `stop_seconds` for those at work, and status 0."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises its signal again once it has stopped
    try:
        uvicorn.Server(configured(app, host, port, limits)).run()
    except KeyboardInterrupt:
        sys.exit(0)
