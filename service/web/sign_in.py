"""Signing in by a one-time link, a key, or what a proxy says; making the first administrator; and signing out."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from policies.audit.events import EventTag
from policies.errors import AuthenticationRequired, IdentityUnavailable
from policies.sessions import LINK_PREFIX, Session
from service.api.state import Shared, State, recognised
from service.auth.carriers import PROXY, Carrier
from service.auth.provider_sign_in import SIGN_IN
from service.auth.requests import carried_by, peer_of
from service.web.rendering import page
from service.web.visiting import Acting, check_site, forget, remember

router = APIRouter(tags=["pages"], include_in_schema=False)
FIRST = "first administrator"
PROVIDER = "provider"
_AT_ONCE = 4


class Credential(BaseModel):
    """The code of a one-time link, or a key."""

    model_config = ConfigDict(extra="forbid")
    credential: Annotated[str, Field(min_length=1, max_length=200)]


class Claim(BaseModel):
    """The secret that `inhouse init` printed, and who is to be the first administrator."""

    model_config = ConfigDict(extra="forbid")
    secret: Annotated[str, Field(min_length=1, max_length=200)]
    id: Annotated[str, Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=200)]


@router.get(SIGN_IN)
async def sign_in_page(request: Request, shared: Shared) -> Response:
    """The page on which a link ends. The code stands after the #, which no browser sends and no log keeps."""
    settings = shared.installation.settings
    by_proxy = None
    if carried_by(request, settings.proxy).proxy is not None:
        by_proxy = (await recognised(request, PROXY)).principal.name
    return page("sign_in.html", provider=settings.oidc.client_id is not None, by_proxy=by_proxy)


@router.post("/web/sign-in")
async def sign_in(body: Credential, request: Request, shared: Shared) -> Response:
    """Begins a session. A request of another site's page is refused: it could sign a person in as somebody else."""
    check_site(request)
    credential = body.credential.strip()
    carrier = "link" if credential.startswith(LINK_PREFIX) else Carrier.KEY.value
    begin = shared.installation.sessions.begin
    return await begun(JSONResponse({"next": "/"}), request, shared, carrier, lambda lifetime: begin(credential, lifetime))


@router.post("/web/sign-in/proxy")
async def sign_in_by_proxy(request: Request, shared: Shared) -> Response:
    """Begins a session for whom the proxy before this service names."""
    check_site(request)
    person = (await recognised(request, PROXY)).principal.id
    begin = shared.installation.sessions.begin_for
    return await begun(JSONResponse({"next": "/"}), request, shared, Carrier.PROXY, lambda lifetime: begin(person, lifetime))


@router.get("/first-administrator")
async def first_administrator_page() -> Response:
    """The page on which the address that `inhouse init` prints ends: the same whether or not somebody administers."""
    return page("first_administrator.html")


@router.post("/web/first-administrator")
async def claim(body: Claim, request: Request, shared: Shared) -> Response:
    """Makes the first administrator and signs them in. Of several requests at once one succeeds."""
    check_site(request)
    installation = shared.installation

    def begin(lifetime: datetime.timedelta) -> tuple[Session, str]:
        lowest = installation.settings.access.classifications[0]
        try:
            offer = installation.first_administrator.claim(body.secret.strip(), body.id, body.name, lowest)
        except AuthenticationRequired:
            installation.carriers.refused(FIRST, "the secret is not accepted", peer_of(request))
            raise
        try:
            told = {"offer": offer.id, "person": body.id}
            installation.audit.append(EventTag.ADMINISTRATOR_CLAIMED, body.id, told)
        except BaseException:
            # Nobody administers whom the log does not know.
            installation.people.disable(body.id)
            raise
        return installation.sessions.begin_for(body.id, lifetime)

    return await begun(JSONResponse({"next": "/"}), request, shared, FIRST, begin)


@router.post("/web/sign-out")
async def sign_out(visitor: Acting, request: Request, shared: Shared) -> Response:
    """Ends the session, here and wherever else its secret may be; `next` leads on to the identity provider's own sign-out where
    it was begun there."""
    installation = shared.installation

    def end() -> str | None:
        token = installation.sessions.end(visitor.session.id)
        installation.audit.append(EventTag.SESSION_ENDED, visitor.principal.id, {"session": visitor.session.id})
        return token

    token = await anyio.to_thread.run_sync(end)
    where = None
    if token is not None and installation.provider is not None and installation.settings.oidc.sign_out:
        try:
            where = await anyio.to_thread.run_sync(
                installation.provider.leave, token, installation.public_url, limiter=few(request)
            )
        except IdentityUnavailable as away:
            # Nobody stays signed in here because the provider is away.
            installation.carriers.refused(PROVIDER, away.message, peer_of(request))
    response = JSONResponse({"next": where or SIGN_IN})
    forget(request, response)
    return response


async def begun(
    response: Response,
    request: Request,
    shared: State,
    carrier: str,
    begin: Callable[[datetime.timedelta], tuple[Session, str]],
    limiter: anyio.CapacityLimiter | None = None,
) -> Response:
    """The response, with the secret of a session that `begin` begins for the lifetime that it is given: a new one each time,
    whatever the browser had before. `limiter` is for a `begin` that waits for others (None: it is soon done)."""
    installation = shared.installation
    lifetime = datetime.timedelta(hours=installation.settings.server.session_hours)

    def recorded() -> str:
        session, secret = begin(lifetime)
        told: dict[str, Any] = {"session": session.id, "carrier": carrier, "key": session.api_key, "expires": session.expires}
        try:
            installation.audit.append(EventTag.SESSION_STARTED, session.person, told)
        except BaseException:
            # A session that the log does not know must not work.
            installation.sessions.end(session.id)
            raise
        return secret

    secret = await anyio.to_thread.run_sync(recorded, limiter=limiter)
    remember(request, response, secret, int(lifetime.total_seconds()))
    return response


def few(request: Request) -> anyio.CapacityLimiter:
    """Few threads for what waits for the provider: one that hangs must not take them all."""
    app = request.app
    if not hasattr(app.state, "provider_limiter"):
        app.state.provider_limiter = anyio.CapacityLimiter(_AT_ONCE)
    found = app.state.provider_limiter
    assert isinstance(found, anyio.CapacityLimiter)
    return found


def to_sign_in() -> Response:
    """Where a page sends somebody who is not signed in."""
    return RedirectResponse(SIGN_IN, 303)
