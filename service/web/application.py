"""The whole site: the API's application, and the pages over it."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response

from policies.errors import NotFoundError
from service.api.application import create_app
from service.web import audit, changes, chat, documents, explaining, notes, provider_sign_in, runs, sign_in, sources, uploads
from service.web.background import Background
from service.wiring import Installation

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def create_site(installation: Installation) -> FastAPI:
    """An application over an installation that this process owns."""
    app = create_app(installation)
    kept = {
        one.name: (one.read_bytes(), _TYPES[one.name.rpartition(".")[2]])
        for one in (files("service.web") / "static").iterdir()
        if one.name.rpartition(".")[2] in _TYPES
    }

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        """A script, a style or a picture of the pages: public, because it is the same for everyone."""
        if name not in kept:
            raise NotFoundError("there is no such file", hint="The pages name those that are there.")
        body, kind = kept[name]
        return Response(body, media_type=kind, headers={"cache-control": "no-cache"})

    app.state.background = Background()
    for room in (sign_in, provider_sign_in, chat, sources, uploads, runs, notes, changes, documents, explaining, audit):
        app.include_router(room.router)
    return app
