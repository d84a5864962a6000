"""The wire to an Ollama server: its paths, its streams of JSON lines, and what to do about its errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from service.runtimes.local_server import Hints, LocalServer
from service.runtimes.patience import Patience

_PORT = 11434
_HINTS = Hints(
    away="Start it (`ollama serve`). In a container it must listen beyond its own loopback, on the private network.",
    locked="It answers only to hosts that it knows: OLLAMA_HOST.",
    busy="Ask again soon; OLLAMA_MAX_QUEUE sets how many may wait.",
    foreign="Is runtime.url an Ollama server?",
)


class OllamaClient:
    """Ollama's protocol over the guarded wire. (The client class of the `ollama` package cannot send `truncate` and
    `shift`, and takes a stream that ends early for a whole one.)"""

    def __init__(self, url: str, allowed_hosts: Sequence[str], *, whole_seconds: float, ca_file: Path | None = None) -> None:
        """Raises SettingsError for a URL that is neither loopback, a Unix socket, nor an allowed private host."""
        self._server = LocalServer(url, allowed_hosts, _HINTS, whole_seconds=whole_seconds, port=_PORT, ca_file=ca_file)

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path. Raises ModelUnavailable."""
        return await self._server.get(path)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that a request is answered with. Raises ModelUnavailable."""
        return await self._server.post(path, body)

    async def lines(self, path: str, body: Mapping[str, Any], patience: Patience) -> AsyncGenerator[dict[str, Any]]:
        """The objects of a stream; closing it cancels the work at the server."""
        async with aclosing(self._server.lines(path, body, patience)) as lines:
            async for line in lines:
                patience.begin()
                yield self._server.object_in(line)

    async def close(self) -> None:
        """Closes the connections."""
        await self._server.close()
