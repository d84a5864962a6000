"""`inhouse serve`: answers over HTTP until it is told to stop."""

from __future__ import annotations

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
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Answer over HTTP; other commands reach the data through this process while it runs. Ctrl-C ends it in order."""
    from service.operations.run import require_initialised
    from service.server import serve as run_server
    from service.settings import load_settings

    directory = directory_of(data)
    require_initialised(directory)
    settings = load_settings(directory, config)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run_server(directory, settings.model_copy(update={"server": settings.server.model_copy(update=given)}))
