"""Reads off a request all that says who is asking; what it means is carriers.py's to say."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth.carriers import Carried
from service.auth.proxy import ProxySaid
from service.settings_groups import ProxySettings

_PLAIN, _SECURE = "inhouse_session", "__Host-inhouse_session"
_PEER = "inhouse.peer"


class Peer:
    """Keeps the address of whoever opened the connection, before a proxy's headers put another in its place."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        await self._app({**scope, _PEER: (scope.get("client") or (None,))[0]}, receive, send)


def carried_by(request: Request, proxy: ProxySettings) -> Carried:
    """All of it. The headers of a proxy are read only where the settings have one."""
    headers = request.headers
    # A proxy that knows nobody says so by leaving the header out or empty.
    persons = [one for one in headers.getlist(proxy.person_header) if one.strip()] if proxy.secret_file else []
    said = ProxySaid(persons, headers.getlist(proxy.secret_header), peer_of(request)) if persons else None
    return Carried(headers.get("authorization"), session_secrets(request), said, peer_of(request))


def peer_of(request: Request) -> str | None:
    """The address that opened the connection: that of the proxy, where there is one."""
    found = request.scope.get(_PEER, request.client.host if request.client else None)
    return found if isinstance(found, str) else None


def session_secrets(request: Request) -> Sequence[str]:
    """The value of each session cookie that came along."""
    return cookies(request, session_cookie(request))


def cookies(request: Request, name: str) -> Sequence[str]:
    """The value of each cookie of that name."""
    pairs = [part.partition("=") for header in request.headers.getlist("cookie") for part in header.split(";")]
    return [value.strip() for one, _, value in pairs if one.strip() == name]


def session_cookie(request: Request) -> str:
    """The name of the session's cookie; over TLS one that only this host itself can set."""
    return _SECURE if is_secure(request) else _PLAIN


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, to this service or to a proxy that is believed."""
    return request.url.scheme == "https"
