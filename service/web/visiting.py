"""Who looks at a page: the session cookie, and what must come with everything that changes something."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Request
from fastapi.responses import Response

from policies.access.actions import Action
from policies.access.verdict import Allow
from policies.errors import AccessDenied
from policies.identity import Principal
from policies.sessions import Session, csrf_token
from service.api.state import recognised, state_of
from service.auth.carriers import PAGES
from service.auth.requests import is_secure, session_cookie, session_secrets

CSRF_HEADER = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person; `csrf` is what the pages of this session send along, `may_audit` whether policy lets them read
    the log."""

    principal: Principal
    session: Session
    csrf: str
    may_audit: bool = False


async def visiting(request: Request) -> Visitor:
    """The visitor of this request; raises AuthenticationRequired."""
    known = await recognised(request, PAGES)
    assert known.session is not None
    policies = state_of(request).installation.policies
    verdict = await anyio.to_thread.run_sync(policies.decide, known.principal, Action.AUDIT_READ, None)
    csrf = csrf_token(session_secrets(request)[0])
    return Visitor(known.principal, known.session, csrf, isinstance(verdict, Allow))


async def acting(request: Request) -> Visitor:
    """The visitor of a request that changes something. Raises AccessDenied where it does not come from a page of the
    visitor's session."""
    visitor = await visiting(request)
    if not hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), visitor.csrf.encode()):
        raise AccessDenied("this did not come from a page of your session", hint="Load the page again.")
    check_site(request)
    return visitor


def check_site(request: Request) -> None:
    """Raises AccessDenied where the browser says that another site sent this."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise AccessDenied("a page of another site may not do this", hint="Open the page of this service itself.")


def remember(request: Request, response: Response, secret: str, seconds: int) -> None:
    """Gives the browser the session's secret, which no script can read and no other site can send."""
    response.set_cookie(
        session_cookie(request), secret, max_age=seconds, path="/", httponly=True, samesite="strict", secure=is_secure(request)
    )


def forget(request: Request, response: Response) -> None:
    """Takes the secret from the browser."""
    response.delete_cookie(session_cookie(request), path="/", httponly=True, samesite="strict", secure=is_secure(request))


Visiting = Annotated[Visitor, Depends(visiting)]
Acting = Annotated[Visitor, Depends(acting)]
