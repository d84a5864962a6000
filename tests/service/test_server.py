"""The socket that the service listens on for people."""

from __future__ import annotations

import asyncio
import socket

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
