"""The routes of the service: forecasts, text token by token, sound frame by frame, health and metrics."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException as AnyHTTPException
from torch import nn

from artifact.serving.batching import Batcher
from artifact.serving.guard import LIMITS, OPEN, SUBPROTOCOL, Guard, Limits, Metrics, encoded, problem
from resonance.forecaster import Forecaster
from resonance.language import sample

PAGE = Path(__file__).parent / "page"
MOST_VALUES = 20_000
Result = TypeVar("Result")

# --------------------------------------------------------------------------- requests and answers

Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Row = Annotated[list[Number], Field(min_length=1, max_length=64)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SeriesRequest(Strict):
    """Rows of a series, oldest first, evenly sampled, the same channels in each."""

    values: Annotated[list[Row], Field(min_length=2, max_length=MOST_VALUES)]

    @model_validator(mode="after")
    def rectangular(self):
        widths = {len(row) for row in self.values}
        if len(widths) > 1:
            raise ValueError(f"expected rows of the same channels, got {sorted(widths)[:5]} of them")
        if len(self.values) * max(widths) > MOST_VALUES:
            raise ValueError(f"expected at most {MOST_VALUES} values")
        return self


class FitRequest(SeriesRequest):
    """A series to fit: steps of its main cycle (1 for none), steps to forecast, share of values that intervals hold."""

    period: Annotated[int, Field(ge=1, le=1024)]
    horizon: Annotated[int, Field(ge=1, le=1024)] = 24
    coverage: Annotated[float, Field(ge=0.01, le=0.99, allow_inf_nan=False)] = 0.9


class TextRequest(Strict):
    """A prompt to continue, one character a token; the same seed gives the same text."""

    prompt: Annotated[str, Field(min_length=1, max_length=4096)]
    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] = 128
    temperature: Annotated[float, Field(ge=0.01, le=100.0, allow_inf_nan=False)] = 0.8
    top_k: Annotated[int, Field(ge=1, le=100_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Intervals(BaseModel):
    """The steps after a series, (horizon, channels) each, in its units; `coverage` is what intervals are set for."""

    values: list[list[float]]
    lower: list[list[float]]
    upper: list[list[float]]
    coverage: float


class Fitted(Intervals):
    """`measured`: the share of held-back values in intervals set on the rows before; null where these were too few."""

    measured: float | None
    method: str
    notes: list[str]


class Fault(BaseModel):
    status: int
    message: str


class Problem(BaseModel):
    """The body of every error."""

    error: Fault


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "not JSON",
        401: "no token, or a wrong one",
        404: "no such model in this service",
        408: "the body came too slowly",
        413: "the body is too large",
        422: "JSON, but not what is expected",
        503: "too many requests at once, or no answer in time",
    }.items()
}
REFUSALS = {status: ERRORS[status] for status in (401, 408, 413, 503)}
EVENTS = {200: {"content": {"text/event-stream": {}}, "description": "an event a token: data, then `event: end`"}}


# --------------------------------------------------------------------------- the service


def create_app(models: Mapping[str, nn.Module], limits: Limits = LIMITS, token: str | None = None) -> FastAPI:
    """The service of some models of `models.KINDS`; token: what clients must send, where it is not None.

    Steps of streams and texts run in batches on one thread, each kind on its own; forecasts and fits on others.
    """
    metrics, cores = Metrics(), os.cpu_count() or 1
    pools = {name: ThreadPoolExecutor(n) for name, n in {"steps": 1, "calls": 1, "fits": max(1, cores - 1)}.items()}
    steps = {name: Batcher(models[name].step, pools["steps"]) for name in ("classifier", "text") if name in models}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for pool in pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    app = FastAPI(
        title="Resonance",
        description="Forecasts, streaming sound and text by the models of this artifact. The WebSocket is /listen.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts of other sites
        redoc_url=None,
    )

    def served(name: str) -> nn.Module:
        if name not in models:
            raise HTTPException(404, f"no {name} in this service: it has {', '.join(models)}")
        return models[name]

    async def call(pool: str, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(pools[pool], function, *arguments)

    # ----------------------------------------------------------------------- forecasts

    @app.post("/forecast", responses=ERRORS)
    async def forecast(request: SeriesRequest) -> Intervals:
        """Forecast by the model that was trained before, from the last rows of a series."""
        model = served("forecaster")
        try:
            found = await call("calls", model.forecast, np.array(request.values))
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        values, lower, upper = (part.tolist() for part in found)
        return Intervals(values=values, lower=lower, upper=upper, coverage=model.coverage)

    @app.post("/fit", responses=ERRORS)
    async def fit(request: FitRequest) -> Fitted:
        """Choose a method on the posted series itself, fit it, and forecast with it."""
        forecaster = Forecaster(request.horizon, period=request.period, coverage=request.coverage)
        try:
            found = await call("fits", lambda: forecaster.fit(np.array(request.values)).predict())
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        parts = {name: getattr(found, name).tolist() for name in ("values", "lower", "upper")}
        measured = None if math.isnan(found.coverage) else found.coverage
        return Fitted(**parts, coverage=found.level, measured=measured, method=found.method, notes=list(found.notes))

    # ----------------------------------------------------------------------- text

    @app.post("/text", response_class=StreamingResponse, responses=ERRORS | EVENTS)
    async def text(request: TextRequest) -> StreamingResponse:
        """Continue a prompt: one server-sent event a character, as soon as it is drawn."""
        model = served("text")
        try:
            ids = model.encode(request.prompt)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        state = model.initial_state(1)
        logits, state = await call("calls", torch.inference_mode()(model.extend), ids, state)
        generator = torch.Generator().manual_seed(request.seed)

        async def events(logits=logits[:, -1], state=state) -> AsyncIterator[bytes]:
            for left in range(request.max_new_tokens, 0, -1):
                drawn = sample(logits, request.temperature, request.top_k, generator)
                metrics.tokens.inc()
                yield b"data: " + encoded({"text": model.symbols[int(drawn)]}) + b"\n\n"
                if left > 1:
                    logits, state = await steps["text"](drawn, state)
            yield b"event: end\ndata: {}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    # ----------------------------------------------------------------------- sound

    @app.websocket("/listen")
    async def listen(socket: WebSocket) -> None:
        """Classify 16-bit little-endian mono PCM as it arrives: one answer a message, after all its whole frames."""
        model = models.get("classifier")
        if model is None:
            await socket.close()
            return
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        state, pending, label, confidence, frames = model.initial_state(1), b"", None, None, 0
        now = asyncio.get_running_loop().time
        end = now() + limits.stream_seconds
        try:
            async with asyncio.timeout(None) as clock:
                while True:
                    clock.reschedule(min(now() + limits.idle_seconds, end))
                    message = await socket.receive()
                    if message["type"] == "websocket.disconnect":
                        return
                    if not message.get("bytes"):
                        return await socket.close(1003, "expected binary messages of 16-bit PCM")
                    started, before = now(), frames
                    pending += message["bytes"]
                    while len(pending) >= 2 * model.hop:
                        logits, state = await steps["classifier"](model.frame(pending[: 2 * model.hop]), state)
                        pending, frames = pending[2 * model.hop :], frames + 1
                    seconds, new = now() - started, frames - before
                    if new:
                        label, confidence = model.verdict(logits)
                        metrics.frames.inc(new)
                        metrics.frame_seconds.observe(seconds / new)
                    answer = {"frames": frames, "label": label, "confidence": confidence}
                    await socket.send_json(answer | {"milliseconds": 1000 * seconds})
        except TimeoutError:
            await socket.close(1008, "no message in time, or a stream too long")

    # ----------------------------------------------------------------------- about the service

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the service answers."""
        return {"status": "ok"}

    @app.get("/models", responses=REFUSALS)
    async def about() -> dict[str, dict[str, Any]]:
        """The models of this service, and what a client must know of each."""
        known = ("labels", "rate", "hop", "symbols", "lookback", "horizon", "coverage")
        return {name: {key: getattr(m, key) for key in known if hasattr(m, key)} for name, m in models.items()}

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}} | REFUSALS)
    async def prometheus() -> Response:
        """Counters and histograms for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    # ----------------------------------------------------------------------- errors

    def answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
        return Response(encoded(problem(status, message)), status, dict(headers or {}), "application/json")

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: AnyHTTPException) -> Response:
        return answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5]]
        return answer(422, "; ".join(faults))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return answer(500, "an error of the service; its log has more")

    def page(name: str) -> Callable[[], Awaitable[FileResponse]]:
        async def file() -> FileResponse:
            return FileResponse(PAGE / name)

        return file

    for path, name in {"/": "index.html", "/page.js": "page.js", "/recorder.js": "recorder.js"}.items():
        app.get(path, include_in_schema=False)(page(name))

    routes = frozenset({"/forecast", "/fit", "/text", "/listen", "/models", "/metrics"}) | OPEN
    app.add_middleware(Guard, limits=limits, metrics=metrics, token=token, routes=routes)
    return app
