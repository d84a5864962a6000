"""Signing in by a one-time link or a key, and signing out."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from policies.audit.events import EventTag
from policies.sessions import Session
from service.web.rendering import page
from service.web.visiting import Acting, Shared, check_site, forget, remember

router = APIRouter(tags=["pages"], include_in_schema=False)


class Credential(BaseModel):
    """The code of a one-time link, or a key."""

    model_config = ConfigDict(extra="forbid")
    credential: Annotated[str, Field(min_length=1, max_length=200)]


@router.get("/sign-in")
async def sign_in_page() -> Response:
    """The page on which a link ends. The code stands after the #, which no browser sends and no log keeps."""
    return page("sign_in.html")


@router.post("/web/sign-in")
async def sign_in(body: Credential, request: Request, shared: Shared) -> Response:
    """Begins a session. A request of another site's page is refused: it could sign a person in as somebody else."""
    check_site(request)
    installation = shared.installation
    lifetime = datetime.timedelta(hours=installation.settings.server.session_hours)

    def begin() -> tuple[Session, str]:
        session, secret = installation.sessions.begin(body.credential.strip(), lifetime)
        told: dict[str, Any] = {"session": session.id, "key": session.api_key, "expires": session.expires}
        try:
            installation.audit.append(EventTag.SESSION_STARTED, session.person, told)
        except BaseException:
            # A session that the log does not know must not work.
            installation.sessions.end(session.id)
            raise
        return session, secret

    _, secret = await anyio.to_thread.run_sync(begin)
    response = JSONResponse({"next": "/"})
    remember(request, response, secret, int(lifetime.total_seconds()))
    return response


@router.post("/web/sign-out")
async def sign_out(visitor: Acting, request: Request, shared: Shared) -> Response:
    """Ends the session, here and wherever else its secret may be."""
    installation = shared.installation

    def end() -> None:
        installation.sessions.end(visitor.session.id)
        installation.audit.append(EventTag.SESSION_ENDED, visitor.principal.id, {"session": visitor.session.id})

    await anyio.to_thread.run_sync(end)
    response = JSONResponse({"next": "/sign-in"})
    forget(request, response)
    return response


def to_sign_in() -> Response:
    """Where a page sends somebody who is not signed in."""
    return RedirectResponse("/sign-in", 303)
