"""The wire to the identity provider: which hosts, and nothing that would carry a secret elsewhere."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx2

from policies.errors import IdentityUnavailable, SettingsError
from service.runtimes.local_address import unmapped

_CONNECT_SECONDS = 3.0
_WHOLE_SECONDS = 10.0
_LARGEST_BYTES = 2**20
_ERRORS = ("invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client")


class ProviderWire:
    """HTTP without proxies of the environment, redirects, cookies or answers without end. Each request looks its host up and
    connects to the address that was checked; only the issuer's host and those of `allowed_hosts` are asked, and one outside
    of private networks only where `allowed_hosts` names it. Without TLS it must be this machine."""

    def __init__(self, issuer: str, allowed_hosts: Sequence[str], ca_file: Path | None) -> None:
        """Raises SettingsError for an issuer that is no such URL, and for a file that holds no certificates."""
        self._allowed = frozenset(allowed_hosts)
        self._known = self._allowed | {_split(issuer).hostname or ""}
        self._ca_file = ca_file
        self._trust: ssl.SSLContext | None = None

    def get(self, url: str) -> dict[str, Any]:
        """The JSON object at a URL. Raises IdentityUnavailable."""
        return self._asked("GET", url, None, {})

    def post(self, url: str, form: Mapping[str, str], authorization: str | None = None) -> dict[str, Any]:
        """The JSON object that a form is answered with. Raises IdentityUnavailable, `CodeRefused` where it refuses."""
        return self._asked("POST", url, form, {"authorization": authorization} if authorization else {})

    def _asked(self, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            parts = _split(url)
        except SettingsError:
            raise _away("it names an address that is none") from None
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        address = self._address(parts, port)
        host = parts.netloc
        try:
            with (
                httpx2.Client(
                    transport=httpx2.HTTPTransport(trust_env=False, verify=self._trusted(secure=secure)),
                    timeout=httpx2.Timeout(_WHOLE_SECONDS, connect=_CONNECT_SECONDS),
                    follow_redirects=False,
                    trust_env=False,
                ) as client,
                client.stream(
                    method,
                    parts._replace(netloc=f"{address}:{port}").geturl(),
                    data=None if form is None else dict(form),
                    headers={"host": host, "accept": "application/json", "accept-encoding": "identity", **headers},
                    extensions={"sni_hostname": parts.hostname} if secure else {},
                ) as response,
            ):
                body = _read(response)
        except httpx2.HTTPError as error:
            raise _away(type(error).__name__) from None
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if response.status_code in (httpx2.codes.BAD_REQUEST, httpx2.codes.UNAUTHORIZED) and form is not None:
            raise CodeRefused(found.get("error") if isinstance(found, dict) else None)
        if response.status_code != httpx2.codes.OK:
            raise _away(f"it answers {response.status_code}")
        if not isinstance(found, dict):
            raise _away("it answers what is no JSON object")
        return found

    def _address(self, parts: SplitResult, port: int) -> str:
        name = parts.hostname or ""
        if name not in self._known:
            raise _away(f"it names the host {name!r}, which oidc.allowed_hosts does not")
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise _away(f"{name!r} has no address") from None
        addresses = [unmapped(str(one[4][0])) for one in found]
        here = all(one.is_loopback for one in addresses)
        inside = all(one.is_loopback or (one.is_private and not one.is_link_local) for one in addresses)
        if parts.scheme != "https" and not here:
            raise _away(f"{name!r} is another machine, and its address is not https")
        if not inside and name not in self._allowed:
            raise _away(f"{name!r} is outside of private networks and not among oidc.allowed_hosts")
        chosen = min(addresses, key=lambda one: one.version)
        return str(chosen) if chosen.version == 4 else f"[{chosen}]"

    def _trusted(self, *, secure: bool) -> ssl.SSLContext:
        """Whom TLS believes; made once, since reading the system's roots takes a moment."""
        if not secure:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._trust is None:
            try:
                self._trust = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
            except (OSError, ssl.SSLError) as error:
                why = error.strerror or "it holds no certificates"
                raise SettingsError(f"cannot use {self._ca_file}: {why}", hint="oidc.ca_file must be PEM.") from None
        return self._trust


class CodeRefused(IdentityUnavailable):
    """The provider does not take the code, or does not know this client; `reason` has its own word for it, where that is one
    of RFC 6749."""

    def __init__(self, error: object) -> None:
        super().__init__("the identity provider refuses the code", hint="Sign in again.")
        self.reason = f"the provider refuses the code: {error}" if error in _ERRORS else "the provider refuses the code"


def _read(response: httpx2.Response) -> bytes:
    """The body, which must be small, plain and soon there: each part has a limit of its own, all of them one together."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _away("it compresses what was asked for plainly")
    until, body = time.monotonic() + _WHOLE_SECONDS, b""
    for part in response.iter_raw():
        body += part
        if len(body) > _LARGEST_BYTES or time.monotonic() > until:
            raise _away("its answer does not end")
    return body


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- raises for what is no port
    except ValueError:
        raise _wrong() from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise _wrong()
    return parts


def _wrong() -> SettingsError:
    return SettingsError(
        "the identity provider has an address that is none",
        hint="oidc.issuer must be like https://login.corp.example/realms/staff.",
    )


def _away(why: str) -> IdentityUnavailable:
    return IdentityUnavailable(f"the identity provider cannot be asked: {why}", hint="See oidc in the settings, and its log.")
