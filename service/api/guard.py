"""What is refused before any route sees it: foreign hosts and origins, and bodies that are too large."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from policies.errors import AccessDenied, InhouseError, UsageError
from service.api.problems import answer

_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_SINGLE = ("host", "origin", "content-length", "authorization")
"""Sent twice, these would be read as one here and as the other elsewhere."""


API_PREFIX = "/v1/"
"""Where the API's paths begin: what a page of a named origin may call, since no cookie opens it."""


class BodyTooLarge(UsageError):
    """The request's body is over the limit."""

    http_status = 413
    kind = "body-too-large"


class Misdirected(UsageError):
    """The Host header names a host that this service is not."""

    http_status = 421
    kind = "misdirected"


class Guard:
    """Checks Host against DNS rebinding, Origin against pages of other sites, and the body's size while it comes in. Pages of
    `origins` may call the API and nothing else; `larger` has the paths at which the body may be over `max_body_bytes`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Sequence[str],
        origins: Sequence[str],
        max_body_bytes: int,
        larger: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origins)
        self._limit = max_body_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._limit)
        origins = self._origins if scope["path"].startswith(API_PREFIX) else frozenset()
        sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        refusal = self._refusal(sent, origins, limit)
        started = False
        over: list[BodyTooLarge] = []

        async def sending(message: Message) -> None:
            nonlocal started
            if over and refusal is None and not started:
                return  # The framework turns the error below into one of its own; ours is sent at the end.
            if message["type"] == "http.response.start":
                started = True
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in present)]
            await send(message)

        if refusal is None:
            with suppress(BodyTooLarge):
                await self._app(scope, self._limited(receive, over, limit), sending)
            refusal = over[0] if over else None
        if refusal is not None and not started:
            await answer(scope["path"], refusal)(scope, receive, sending)

    def _refusal(self, sent: list[tuple[str, str]], origins: frozenset[str], limit: int) -> InhouseError | None:
        names = [name for name, _ in sent]
        twice = next((name for name in _SINGLE if names.count(name) > 1), None)
        if twice is not None:
            return UsageError(f"there are several {twice} headers", hint="Send one.")
        headers = dict(sent)
        if "content-length" in headers and "transfer-encoding" in headers:
            return UsageError("the body has two lengths", hint="Send content-length or transfer-encoding, not both.")
        host = headers.get("host", "")
        named = _HOST.fullmatch(host)
        if named is None or named.group(1).lower() not in self._hosts:
            return Misdirected(
                "this host name is not one of the service's", hint="Add it to server.allowed_hosts if it should be."
            )
        origin = headers.get("origin")
        if origin is not None and origin not in origins and not _same_site(origin, host):
            return AccessDenied("a page of another site may not call this", hint="See server.allowed_origins, for the API.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > limit:
            return _too_large(limit)
        return None

    @staticmethod
    def _limited(receive: Receive, over: list[BodyTooLarge], limit: int) -> Receive:
        seen = 0

        async def receiving() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                over.append(_too_large(limit))
                raise over[0]
            return message

        return receiving


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is over {limit} bytes", hint="See server.max_body_bytes, and ingest.file_mb for uploads.")


def _same_site(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
