"""The process that owns a data directory and answers: one TCP socket for people, one Unix socket for the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from policies.audit.events import EventTag
from policies.egress.switches import keep_temporary_files_in
from policies.errors import DataDirectoryError, SettingsError
from policies.identity import SYSTEM_ID
from service.auth.requests import Peer
from service.cli.display import note, say
from service.control.server import create_control_app
from service.ownership import SOCKET_NAME, owned
from service.settings import Settings
from service.settings_groups import ServerSettings
from service.web.application import create_site
from service.wiring import Installation

_LONGEST_SOCKET_PATH = 100
_GOODBYE_SECONDS = 5
_INGEST_STOP_SECONDS = 60.0
_BACKLOG = 256
_HEADER_BYTES = 64 * 1024
_IDLE_SECONDS = 75
"""Longer than most clients and proxies keep a connection that waits, so that it is they who close it: a question that is sent
at the moment at which the server closes is lost."""


class _Server(uvicorn.Server):
    """Leaves signals to the one place that tells both servers."""

    def capture_signals(self) -> Any:
        """Nothing is captured here."""
        return nullcontext()


def serve(directory: Path, settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM. Raises DataDirectoryBusy, SettingsError for an address that cannot be had, and what
    opening the store, the policies and the log raises: nothing listens before all of them are open."""
    keep_temporary_files_in(directory / "tmp")
    _check_certificate(settings.server)
    with owned(directory, "serve"), Installation(directory, settings, serving=True) as installation:
        installation.engine  # noqa: B018 -- opened now, so that what is wrong is said before anyone connects
        installation.policies.read_in(installation.store.access_classes())
        installation.carriers  # noqa: B018
        installation.conversations  # noqa: B018
        with listening_socket(settings) as public, _control(directory) as control:
            scheme = "http" if settings.server.tls_certificate is None else "https"
            address = installation.address = "{}://{}:{}".format(scheme, *_shown(public))
            installation.audit.append(
                EventTag.SERVICE_STARTED,
                SYSTEM_ID,
                {"version": version("inhouse"), "policy": installation.policies.hash, "address": address},
            )
            try:
                asyncio.run(_serve(installation, public, control, address))
            finally:
                # A run of ingest ends after the commit that is under way.
                if installation.ingest_lock.acquire(timeout=_INGEST_STOP_SECONDS):
                    installation.ingest_lock.release()
                installation.audit.append(EventTag.SERVICE_STOPPED, SYSTEM_ID, {"reason": "asked to"})


async def _serve(installation: Installation, public: socket.socket, control: socket.socket, address: str) -> None:
    loop = asyncio.get_running_loop()

    def run_coroutine(start: Any) -> Any:
        coroutine: Coroutine[Any, Any, Any] = start()
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    installation.run_coroutine = run_coroutine
    settings = installation.settings.server
    servers = [
        _Server(_config(_behind_proxies(create_site(installation), settings), **_outward(settings))),
        _Server(_config(create_control_app(installation), proxy_headers=False)),
    ]

    def end() -> None:
        for server in servers:
            # Twice means at once.
            server.force_exit = server.should_exit
            server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    say(f"Serving {installation.directory} on {address} (Ctrl-C ends it)")
    _flush()
    tasks = [asyncio.create_task(server.serve(sockets=[at])) for server, at in zip(servers, (public, control), strict=True)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    end_all = [server for server in servers if not server.should_exit]
    for server in end_all:
        server.should_exit = True
    await asyncio.gather(*tasks)


def _outward(settings: ServerSettings) -> dict[str, Any]:
    """What the socket for people needs beside the other: TLS."""
    told: dict[str, Any] = {"proxy_headers": False}
    if settings.tls_certificate is not None and settings.tls_key is not None:
        told |= {"ssl_certfile": str(settings.tls_certificate), "ssl_keyfile": str(settings.tls_key)}
    return told


def _behind_proxies(site: ASGIApp, settings: ServerSettings) -> ASGIApp:
    """The site, told by the proxies that are believed what they were asked, and never by whom they were not."""
    proxies = list(settings.forwarded_allow_ips)
    return Peer(ProxyHeadersMiddleware(site, proxies) if proxies else site)  # type: ignore[arg-type]  # uvicorn has its own ASGI types


def _check_certificate(settings: ServerSettings) -> None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        raise SettingsError(
            f"cannot use the certificate {settings.tls_certificate} with the key {settings.tls_key}: {error}",
            hint="Both must be PEM files that belong together, the key without a password.",
        ) from None


def _config(app: Any, **outward: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # NOTE: The faster parser that uvicorn would choose takes headers without end.
        http="h11",
        ws="none",
        h11_max_incomplete_event_size=_HEADER_BYTES,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
        timeout_keep_alive=_IDLE_SECONDS,
        **outward,
    )


@contextmanager
def listening_socket(settings: Settings) -> Iterator[socket.socket]:
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, because asyncio lets small writes go out at once on such sockets alone; else each answer waits some 40 ms
    # for the acknowledgement of its head.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(_BACKLOG)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host} port {port}: {error.strerror}",
                hint="Name another: inhouse serve --port PORT (0 lets the system choose).",
            ) from None
        if host not in ("127.0.0.1", "::1", "localhost") and settings.server.tls_certificate is None:
            note(f"Listening beyond this machine ({host}) without TLS: keys can be read on the way. Put a TLS proxy before it.")
        yield listening


@contextmanager
def _control(directory: Path) -> Iterator[socket.socket]:
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise DataDirectoryError(
            f"{directory} is too long a path for a Unix socket",
            hint="Move the data directory to a shorter path.",
        )
    # The lock is ours, so whoever made this file is gone.
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(_BACKLOG)
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)


def _shown(listening: socket.socket) -> tuple[str, int]:
    host, port = listening.getsockname()[:2]
    return (f"[{host}]" if ":" in host else host), port


def _flush() -> None:
    import sys

    sys.stdout.flush()
