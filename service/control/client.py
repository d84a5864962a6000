"""The command line as a client of the running service."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from policies import errors
from policies.errors import InhouseError, UsageError
from service.operations.registry import Emit, Result

_BASE = "http://inhouse"
_CONNECT_SECONDS = 3.0
_SILENCE_SECONDS = 60.0
"""The service writes a keep-alive line every few seconds, so silence this long means that it is gone."""


class ControlClient:
    """Speaks to the service over its socket; the file's mode is what keeps others out."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def answers(self) -> bool:
        """Whether a service listens there; a stale socket file of a killed one does not."""
        try:
            with self._client() as client:
                return client.get("/").status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def run(self, name: str, request: Mapping[str, Any], emit: Emit, stop: threading.Event) -> Result:
        """Has the service run the operation. Setting `stop` asks it to end after its current step; leaving the call by
        an exception closes the connection, which asks the same."""
        token = secrets.token_hex(8)
        headers = {"x-operation": token}
        try:
            with (
                self._client() as client,
                self._stop_watch(token, stop),
                client.stream("POST", f"/operations/{name}", json=dict(request), headers=headers) as response,
            ):
                for line in response.iter_lines():
                    message = json.loads(line)
                    if "event" in message:
                        emit(message["event"])
                    elif "result" in message:
                        result = message["result"]
                        assert isinstance(result, dict)
                        return result
                    elif "error" in message:
                        raise _revived(message["error"])
        except httpx2.HTTPError as error:
            raise InhouseError(
                f"the connection to the service broke: {type(error).__name__}",
                hint="What it had committed is kept. Look at `inhouse status`, then run the command again.",
            ) from None
        raise InhouseError("the service ended without an answer", hint="Look at its log, then run the command again.")

    def _client(self) -> httpx2.Client:
        return httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(self._socket)),
            base_url=_BASE,
            timeout=httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=False,
        )

    @contextmanager
    def _stop_watch(self, token: str, stop: threading.Event) -> Iterator[None]:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.1):
                if stop.is_set():
                    with self._client() as client:
                        client.post(f"/stop/{token}")
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _revived(said: Mapping[str, Any]) -> InhouseError:
    """The error as the service raised it, so that message, hint and exit code are the same as without a service."""
    kind = getattr(errors, str(said.get("class")), None)
    if not (isinstance(kind, type) and issubclass(kind, InhouseError)):
        kind = UsageError if said.get("exit_code") == UsageError.exit_code else InhouseError
    return kind(str(said.get("message")), hint=str(said.get("hint", "")))
