"""`inhouse serve`: answers over HTTP until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli._common import ConfigOption, DataOption, directory_of

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [server.host]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="TCP port; 0 lets the system choose. [server.port]")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain in PEM. [server.tls_certificate]")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key in PEM. [server.tls_key]")] = None,
    forwarded_allow_ips: Annotated[
        list[str] | None,
        typer.Option(help="Address of a proxy to believe; give it once for each. [server.forwarded_allow_ips]"),
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Answer over HTTP; other commands reach the data through this process while it runs. Ctrl-C ends it in order."""
    from service.operations.run import require_initialised
    from service.server import serve as run_server
    from service.settings import load_settings, with_server

    directory = directory_of(data)
    require_initialised(directory)
    settings = load_settings(directory, config)
    options = {
        "host": host,
        "port": port,
        "tls_certificate": tls_cert,
        "tls_key": tls_key,
        "forwarded_allow_ips": forwarded_allow_ips,
    }
    run_server(directory, with_server(settings, {name: value for name, value in options.items() if value is not None}))
