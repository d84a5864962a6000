"""Signing in at the identity provider: the way there, and the way back."""

from __future__ import annotations

import datetime

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from policies.errors import AuthenticationRequired, IdentityUnavailable, InhouseError, NotFoundError
from policies.sessions import Session
from service.api.state import Shared, State
from service.auth.provider import Flow
from service.auth.provider_sign_in import BACK, ProviderSignIn, Returned
from service.auth.requests import cookies, is_secure, peer_of
from service.auth.tokens import TokenRefused
from service.web.rendering import page, problem_page
from service.web.sign_in import PROVIDER, begun, few

router = APIRouter(tags=["pages"], include_in_schema=False)
_PLAIN, _SECURE = "inhouse_signing_in", "__Host-inhouse_signing_in"
_FLOW_SECONDS = 600
_LONGEST_SECRET = 100
_AWAY = "Nobody can be signed in there now: the identity provider does not answer as it should."


@router.get("/sign-in/provider")
async def leave(request: Request, shared: Shared) -> Response:
    """Sends the browser to the provider, with a secret of this flow that it keeps until it is back."""
    provider, flow = _provider(shared), Flow.begin()
    public_url = shared.installation.public_url
    try:
        where = await anyio.to_thread.run_sync(provider.begin, flow, public_url, limiter=few(request))
    except IdentityUnavailable as away:
        shared.installation.carriers.refused(PROVIDER, away.message, peer_of(request))
        return problem_page(IdentityUnavailable(_AWAY), request, None)
    response = RedirectResponse(where, 303)
    # Lax: the way back begins on the provider's site.
    _keep(request, response, flow.secret, _FLOW_SECONDS)
    return response


@router.get(BACK)
async def come_back(
    request: Request, shared: Shared, state: str | None = None, code: str | None = None, iss: str | None = None
) -> Response:
    """Begins a session for whom the provider names, or says that it does not: in the same words whatever was wrong."""
    provider, installation = _provider(shared), shared.installation
    secrets = cookies(request, _name(request))
    # Of two cookies one may have been put there by somebody else, and nobody knows which.
    flow = Flow(secrets[0]) if len(secrets) == 1 and 0 < len(secrets[0]) <= _LONGEST_SECRET else None

    def begin(lifetime: datetime.timedelta) -> tuple[Session, str]:
        try:
            principal, token = provider.finish(flow, Returned(state, code, iss), installation.public_url)
        except TokenRefused as refusal:
            installation.carriers.refused(PROVIDER, refusal.reason, peer_of(request))
            raise AuthenticationRequired(
                "this sign-in is not accepted", hint="Try again, or ask an administrator: the audit log says why."
            ) from None
        except IdentityUnavailable as away:
            installation.carriers.refused(PROVIDER, away.message, peer_of(request))
            raise IdentityUnavailable(_AWAY) from None
        kept = token if installation.settings.oidc.sign_out else None
        return installation.sessions.begin_for(principal.id, lifetime, kept)

    try:
        # A redirect would still count as the provider's and leave the strict cookie out: the page goes on by itself.
        response = await begun(page("signed_in.html"), request, shared, PROVIDER, begin, few(request))
    except InhouseError as error:
        response = problem_page(error, request, None)
    _keep(request, response, "", 0)
    return response


def _provider(shared: State) -> ProviderSignIn:
    installation = shared.installation
    if installation.provider is None or installation.settings.oidc.client_id is None:
        raise NotFoundError("there is no identity provider", hint="See oidc in the settings.")
    return installation.provider


def _keep(request: Request, response: Response, secret: str, seconds: int) -> None:
    response.set_cookie(
        _name(request), secret, max_age=seconds, path="/", httponly=True, samesite="lax", secure=is_secure(request)
    )


def _name(request: Request) -> str:
    return _SECURE if is_secure(request) else _PLAIN
