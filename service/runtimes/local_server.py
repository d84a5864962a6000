"""The wire to a model server inside the network: which host, what is asked again, its errors, and its lines."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2

from policies.errors import ModelRefused, ModelUnavailable, SettingsError
from service.runtimes.local_address import checked_address
from service.runtimes.patience import Patience

_CONNECT_SECONDS = 3.0
_LONGEST_LINE = 8 * 2**20
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.25
_SAID_CHARACTERS = 300
_BUSY = {httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE}
_ABSENT = {httpx2.codes.NOT_FOUND, httpx2.codes.METHOD_NOT_ALLOWED, httpx2.codes.NOT_IMPLEMENTED}
_LOCKED = {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}


@dataclass(frozen=True, slots=True)
class Hints:
    """Next steps for one kind of server: when nobody answers, when it refuses, when it is busy, when it speaks otherwise."""

    away: str
    locked: str
    busy: str
    foreign: str


class NotThere(ModelUnavailable):
    """The server does not know the path, or does not have the model."""


class NotUnderstood(ModelUnavailable):
    """The server answered something that is not a JSON object."""


class LocalServer:
    """HTTP without what would carry a prompt elsewhere: no proxy variables, no redirects, no key of the environment, no
    host but the one named, looked up once. (The client classes of the `ollama` and `openai` packages have these as
    defaults.) Each request has a connection of its own, which closing ends, and no event loop that has ended holds one."""

    def __init__(
        self,
        url: str,
        allowed_hosts: Sequence[str],
        hints: Hints,
        *,
        whole_seconds: float,
        port: int | None = None,
        key: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """`whole_seconds` is the longest wait for a response that is no stream, `port` that of a URL without one; `ca_file`
        has the certificates that may have signed the server's, in place of the system's. Raises SettingsError for a URL
        that is neither loopback, a Unix socket, nor an allowed private host, and for a file that holds no certificates."""
        address = checked_address(url, allowed_hosts, port=port)
        self._url = url
        self._hints = hints
        secure = address.base.startswith("https:")
        self._extensions = {"sni_hostname": address.name} if secure else {}
        self._http = httpx2.AsyncClient(
            base_url=address.base,
            headers={"host": address.host, **({"authorization": f"Bearer {key}"} if key else {})},
            transport=httpx2.AsyncHTTPTransport(
                uds=address.socket_path,
                trust_env=False,
                limits=httpx2.Limits(max_keepalive_connections=0),
                verify=_trusting(ca_file, secure=secure),
            ),
            timeout=httpx2.Timeout(whole_seconds, connect=_CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path. Raises ModelUnavailable, NotThere and NotUnderstood among it, or ModelRefused."""
        return await self._whole("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that a request is answered with. Raises the same."""
        return await self._whole("POST", path, body)

    async def lines(self, path: str, body: Mapping[str, Any], patience: Patience) -> AsyncGenerator[bytes]:
        """The lines of a stream, without empty ones and those that begin with a colon, by which a server only says that it
        is alive. Until the response begins a busy or starting server is asked again; after that nothing is ever asked
        again. Closing the generator closes the connection, which cancels the work at the server."""
        try:
            async with self._opened("POST", path, body, patience) as response:
                async for line in self._split(response, patience):
                    yield line
        except httpx2.HTTPError as error:
            raise ModelUnavailable(
                f"the model server broke off: {type(error).__name__}", hint="Ask again; see the model server's log."
            ) from None

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    def object_in(self, line: bytes) -> dict[str, Any]:
        """The JSON object that a line or a body is. Raises NotUnderstood."""
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise NotUnderstood("the model server sent what is not JSON", hint=self._hints.foreign)
        return found

    async def _split(self, response: httpx2.Response, patience: Patience) -> AsyncGenerator[bytes]:
        """Lines end with a newline and with nothing else; packets cut them anywhere."""
        pending = b""
        pieces = response.aiter_raw().__aiter__()
        while True:
            try:
                with anyio.fail_after(patience.left()):
                    pending += await anext(pieces)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise patience.over() from None
            *whole, pending = pending.split(b"\n")
            if len(pending) > _LONGEST_LINE:
                raise ModelUnavailable("the model server sent a line without end", hint=self._hints.foreign)
            for line in whole:
                if line.strip() and not line.startswith(b":"):
                    yield line
                    # What came while the listener was away is not held against the model.
                    patience.heard()
        if pending.strip():
            yield pending

    async def _whole(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        async with self._opened(method, path, body) as response:
            try:
                return self.object_in(await response.aread())
            except httpx2.HTTPError as error:
                raise self._silent(error) from None

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, body: Mapping[str, Any] | None, patience: Patience | None = None
    ) -> AsyncIterator[httpx2.Response]:
        response = await self._answered(method, path, body, patience)
        try:
            yield response
        finally:
            await response.aclose()

    async def _answered(
        self, method: str, path: str, body: Mapping[str, Any] | None, patience: Patience | None
    ) -> httpx2.Response:
        """A response whose status is OK; only who has patience asks more than once."""
        content = None if body is None else dict(body)
        attempts = 1 if patience is None else _ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                request = self._http.build_request(method, path, json=content, extensions=self._extensions)
                response = await self._sent(request, patience)
            except httpx2.ConnectError as error:
                if _is_about_trust(error):
                    raise ModelRefused(
                        "the model server's certificate is not one to trust",
                        hint="Name what signs it in runtime.ca_file; runtime.url must hold the name that it has.",
                    ) from None
                if attempt == attempts:
                    raise self._away() from None
            except httpx2.HTTPError as error:
                if attempt == attempts or isinstance(error, httpx2.TimeoutException):
                    raise self._silent(error) from None
            else:
                if response.status_code == httpx2.codes.OK:
                    return response
                refusal = await self._error_of(response)
                if attempt == attempts or response.status_code not in _BUSY:
                    raise refusal
            await anyio.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    async def _sent(self, request: httpx2.Request, patience: Patience | None) -> httpx2.Response:
        """The head of the response. A server that loads its model first is silent until then."""
        if patience is None:
            return await self._http.send(request, stream=True)
        request.extensions["timeout"] = httpx2.Timeout(None, connect=_CONNECT_SECONDS).as_dict()
        try:
            with anyio.fail_after(patience.left()):
                return await self._http.send(request, stream=True)
        except TimeoutError:
            raise patience.over() from None

    async def _error_of(self, response: httpx2.Response) -> ModelUnavailable:
        """What a response that is not OK means; closes it."""
        try:
            said = error_text(await response.aread())
        except httpx2.HTTPError:
            said = ""
        finally:
            await response.aclose()
        status = response.status_code
        if response.is_redirect:
            return ModelRefused("the model server sends elsewhere, which is not followed", hint="Check runtime.url.")
        if status in _ABSENT:
            return NotThere(said or "not found", hint=self._hints.foreign)
        if status in _LOCKED:
            return ModelRefused(f"the model server refuses: {said or 'forbidden'}", hint=self._hints.locked)
        if status in _BUSY:
            loading = "loading" in said.lower()
            return ModelUnavailable(
                "the model server is still loading its model" if loading else "the model server is busy",
                hint="Ask again soon." if loading else self._hints.busy,
            )
        return ModelUnavailable(f"the model server answers {status}: {said}", hint="See the model server's log.")

    def _away(self) -> ModelUnavailable:
        return ModelUnavailable(f"no model server answers at {self._url}", hint=self._hints.away)

    @staticmethod
    def _silent(error: httpx2.HTTPError) -> ModelUnavailable:
        return ModelUnavailable(f"the model server does not answer: {type(error).__name__}", hint="See the model server's log.")


def _trusting(ca_file: Path | None, *, secure: bool) -> ssl.SSLContext:
    """Whom TLS believes. Without TLS nobody: reading the system's roots takes a moment."""
    try:
        if secure:
            return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file.expanduser()))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "it holds no certificates"
        raise SettingsError(f"cannot use {ca_file}: {why}", hint="runtime.ca_file must be a file in PEM.") from None
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_about_trust(error: BaseException | None) -> bool:
    """Whether a connection failed over the other side's certificate."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def error_text(said: Any) -> str:
    """What an error says of itself, in the forms in use ({"error": {"message": ...}}, {"error": ...}, {"message": ...}), as
    bytes of JSON or as the object, shortened; nothing where it says nothing."""
    if isinstance(said, bytes):
        try:
            said = json.loads(said)
        except ValueError:
            return ""
    while isinstance(said, dict):
        said = said.get("error") or said.get("message")
    return said[:_SAID_CHARACTERS] if isinstance(said, str) else ""
