"""The service's end of the control socket: operations in, their events and results out, a line of JSON each."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from policies.errors import InhouseError
from service.operations.run import run_in
from service.wiring import Installation

_KEEP_ALIVE_SECONDS = 5.0


def create_control_app(installation: Installation) -> FastAPI:
    """An ASGI application for the Unix socket alone: whoever can open the socket owns the data directory."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    running: dict[str, threading.Event] = {}

    @app.get("/")
    async def answers() -> dict[str, str]:
        return {"service": "inhouse"}

    @app.post("/stop/{token}")
    async def stop(token: str) -> Response:
        if token in running:
            running[token].set()
        return Response(status_code=204)

    @app.post("/operations/{name}")
    async def operate(name: str, request: Request) -> Response:
        token = request.headers.get("x-operation", "")
        if not token or token in running:
            return JSONResponse({"error": "an operation needs a token of its own"}, status_code=400)
        body = await request.json()
        return StreamingResponse(_lines(installation, name, body, token, running), media_type="application/x-ndjson")

    return app


async def _lines(
    installation: Installation, name: str, body: Mapping[str, Any], token: str, running: dict[str, threading.Event]
) -> AsyncIterator[str]:
    stop = running.setdefault(token, threading.Event())
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def put(message: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, message)

    def work() -> None:
        try:
            put({"result": run_in(installation, name, body, lambda event: put({"event": dict(event)}), stop)})
        except InhouseError as error:
            put({"error": _described(error)})
        except BaseException as error:
            put({"error": _described(InhouseError(f"unexpected {type(error).__name__} in the service"))})
            raise

    task = asyncio.ensure_future(anyio.to_thread.run_sync(partial(work), abandon_on_cancel=False))
    try:
        while True:
            try:
                message = await asyncio.wait_for(queue.get(), _KEEP_ALIVE_SECONDS)
            except TimeoutError:
                message = {"alive": True}
            yield json.dumps(message) + "\n"
            if "result" in message or "error" in message:
                return
    finally:
        # A client that left gets what Ctrl-C gives: the work ends after its current commit.
        stop.set()
        running.pop(token, None)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _described(error: InhouseError) -> dict[str, Any]:
    return {"class": type(error).__name__, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
