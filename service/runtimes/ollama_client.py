"""The wire to an Ollama server: which hosts it may be on, its errors, and its streams of JSON lines."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from policies.errors import ModelRefused, ModelUnavailable, SettingsError

_CONNECT_SECONDS = 3.0
_LONGEST_LINE = 8 * 2**20
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.25
_BUSY = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}


class OllamaClient:
    """HTTP without what would carry a prompt elsewhere: no proxy variables, no redirects, no key of the environment, no
    host but the one named, looked up once. (The client class of the `ollama` package has all of these as defaults, and
    cannot send `truncate` and `shift`; its types are what the answers are read into.)"""

    def __init__(self, url: str, allowed_hosts: Sequence[str], *, start_seconds: float, token_seconds: float) -> None:
        """Raises SettingsError for a URL that is neither loopback, a Unix socket, nor an allowed private host."""
        base, socket_path, host = checked_url(url, allowed_hosts)
        self._start_seconds = start_seconds
        self._token_seconds = token_seconds
        self._http = httpx.AsyncClient(
            base_url=base,
            headers={"host": host},
            transport=httpx.AsyncHTTPTransport(uds=socket_path, trust_env=False),
            timeout=httpx.Timeout(start_seconds, connect=_CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )
        self._url = url

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path. Raises ModelUnavailable."""
        return await self._whole("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that a request is answered with. Raises ModelUnavailable."""
        return await self._whole("POST", path, body)

    async def lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The objects of a stream. Before the first one a busy or starting server is asked again; after it nothing is ever
        asked again. Closing the generator closes the connection, which cancels the work at the server."""
        begun = False
        for attempt in range(_ATTEMPTS):
            try:
                async with self._http.stream("POST", path, json=dict(body)) as response:
                    if response.status_code in _BUSY and attempt + 1 < _ATTEMPTS:
                        await response.aread()
                    else:
                        await self._raise_for(response)
                        async for line in self._split(response):
                            begun = True
                            yield line
                        return
            except httpx.ConnectError:
                if attempt + 1 == _ATTEMPTS:
                    raise self._away() from None
            except httpx.HTTPError as error:
                if begun or attempt + 1 == _ATTEMPTS or isinstance(error, httpx.TimeoutException):
                    raise ModelUnavailable(
                        f"the model server broke off: {type(error).__name__}", hint="Ask again; see the model server's log."
                    ) from None
            await anyio.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _split(self, response: httpx.Response) -> AsyncGenerator[dict[str, Any]]:
        """Objects end with a newline and with nothing else; packets cut them anywhere."""
        pending = b""
        pieces = response.aiter_raw().__aiter__()
        limit = self._start_seconds
        while True:
            try:
                with anyio.fail_after(limit):
                    pending += await anext(pieces)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise ModelUnavailable(
                    f"the model said nothing for {limit:.0f} s", hint="Is the machine overloaded? See runtime.token_seconds."
                ) from None
            *whole, pending = pending.split(b"\n")
            if len(pending) > _LONGEST_LINE:
                raise ModelUnavailable("the model server sent a line without end")
            for line in whole:
                if line.strip():
                    yield _object(line)
                    limit = self._token_seconds
        if pending.strip():
            yield _object(pending)

    async def _whole(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, json=None if body is None else dict(body))
        except httpx.ConnectError:
            raise self._away() from None
        except httpx.HTTPError as error:
            raise ModelUnavailable(
                f"the model server does not answer: {type(error).__name__}", hint="See the model server's log."
            ) from None
        await self._raise_for(response)
        return _object(response.content)

    async def _raise_for(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == httpx.codes.OK:
            return
        if response.is_redirect:
            raise ModelRefused("the model server sends elsewhere, which is not followed", hint="Check runtime.url.")
        said = _said(await response.aread())
        if status == httpx.codes.NOT_FOUND:
            raise NotThere(said or "not found")
        if status == httpx.codes.FORBIDDEN:
            raise ModelRefused(
                f"the model server refuses: {said or 'forbidden'}", hint="It answers only to hosts that it knows: OLLAMA_HOST."
            )
        if status in _BUSY:
            raise ModelUnavailable("the model server is busy", hint="Ask again soon; OLLAMA_MAX_QUEUE sets how many may wait.")
        raise ModelUnavailable(f"the model server answers {status}: {said}", hint="See the model server's log.")

    def _away(self) -> ModelUnavailable:
        return ModelUnavailable(
            f"no model server answers at {self._url}",
            hint="Start it (`ollama serve`). In a container it must listen beyond its own loopback, on the private network.",
        )


class NotThere(ModelUnavailable):
    """The server answered 404: to a path that it does not know, or a model that it does not have."""


def checked_url(url: str, allowed_hosts: Sequence[str]) -> tuple[str, str | None, str]:
    """The address to connect to, a Unix socket's path, and the Host header. A name is looked up here, once, so that it
    cannot point elsewhere later. Raises SettingsError for anything that is not inside."""
    hint = "It must be on this machine (http://127.0.0.1:11434, unix:///path), or a private host in runtime.allowed_hosts."
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return "http://localhost", parts.path, "localhost"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise SettingsError(f"runtime.url = {url!r} is no address of a model server", hint=hint)
    name = parts.hostname
    try:
        found = socket.getaddrinfo(name, parts.port or 11434, type=socket.SOCK_STREAM)
    except OSError:
        raise SettingsError(f"the model server {name!r} has no address", hint=hint) from None
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    inside = all(one.is_loopback for one in addresses)
    permitted = name in allowed_hosts and all(one.is_private or one.is_loopback for one in addresses)
    if not inside and not permitted:
        raise SettingsError(f"the model server {name!r} is not inside", hint=hint)
    address = str(addresses[0]) if addresses[0].version == 4 else f"[{addresses[0]}]"
    port = parts.port or 11434
    return f"{parts.scheme}://{address}:{port}{parts.path.rstrip('/')}", None, f"{name}:{port}"


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ModelUnavailable("the model server sent what is not JSON", hint="Is runtime.url an Ollama server?")
    return found


def _said(body: bytes) -> str:
    try:
        return str(json.loads(body).get("error", ""))[:300]
    except (ValueError, AttributeError):
        return ""
