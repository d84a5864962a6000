"""The HTTP application: routes, errors, and what stands before them."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service.api import chat, operating, problems, retrieval
from service.api.gate import Gate
from service.api.guard import Guard
from service.api.metrics import Measured, Metrics
from service.api.state import State
from service.wiring import Installation

UPLOADS = "/web/documents/uploads"
"""The one route that takes files."""


def create_app(installation: Installation) -> FastAPI:
    """An application over an installation that this process owns."""
    server = installation.settings.server
    app = FastAPI(
        title="inhouse",
        version=version("inhouse"),
        description="Answers from an organisation's own documents, with citations.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    metrics = Metrics()
    app.state.inhouse = State(installation, Gate(server.max_concurrent_answers, server.max_waiting_answers), metrics)
    problems.install(app)
    for room in (chat, retrieval, operating):
        app.include_router(room.router)
    app.add_middleware(Measured, metrics=metrics)
    if server.allowed_origins:
        # Inside of the guard, which lets these origins come to the API's paths alone. Without credentials: the API takes none
        # that a browser sends by itself.
        origins, methods = server.allowed_origins, ("GET", "POST")
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=methods, allow_headers=("*",))
    app.add_middleware(
        Guard,
        hosts=server.allowed_hosts,
        origins=server.allowed_origins,
        max_body_bytes=server.max_body_bytes,
        larger={UPLOADS: installation.settings.ingest.file_mb * 2**20},
    )
    return app
