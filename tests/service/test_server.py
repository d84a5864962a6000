"""The socket that the service listens on for people."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from service.server import listening_socket
from service.settings import Settings


def test_what_the_service_writes_to_a_connection_leaves_at_once() -> None:
    """Else each small piece of an answer waits for the other side to acknowledge the one before it."""

    async def option_of_a_connection(at: socket.socket) -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(serve, sock=at):
            _, writer = await asyncio.open_connection(*at.getsockname()[:2])
            found = await asyncio.wait_for(accepted, 30)
            writer.close()
        return found

    settings = Settings.model_validate({"server": {"port": 0}})
    with listening_socket(settings) as listening:
        assert asyncio.run(option_of_a_connection(listening)) == 1


def test_an_idle_connection_is_kept_for_longer_than_five_seconds(service: Any) -> None:
    """HAProxy and OpenAI's client let go of an idle one after five seconds: a server that does so too may meet a question on
    its way."""
    connection = http.client.HTTPConnection(str(urlsplit(service.url).netloc), timeout=30)
    for wait in (0, 7):
        time.sleep(wait)
        before = connection.sock
        connection.request("GET", "/healthz")
        with connection.getresponse() as response:
            assert response.status == 200
            response.read()
    assert connection.sock is before is not None
    connection.close()
