"""`inhouse runs`: the reports of ingest runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policies.errors import UsageError
from service.cli._common import ConfigOption, DataOption, JsonOption, perform
from service.cli.display import say, say_json, table
from service.cli.ingest_cmd import show_report

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def runs(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="One run's id; the newest runs without it.")] = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="End this run after what it has at hand; what is committed stays.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Runs to show.")] = 20,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what ingest runs added, changed, left, removed and quarantined, and why."""
    if stop:
        _stop(id, data, config)
        return
    found = perform(data, config, "runs", {"id": id, "limit": limit})
    if json:
        say_json(found)
    elif id is not None:
        show_report(found["runs"][0])
    else:
        words = ("found", "added", "changed", "unchanged", "relabelled", "removed", "quarantined")
        columns = [("id", "ID"), ("started", "STARTED"), ("outcome", "OUTCOME"), *((word, word.upper()) for word in words)]
        table(found["runs"], [*columns, ("source", "SOURCE")])


def _stop(id: str | None, data: Path | None, config: Path | None) -> None:
    if id is None:
        raise UsageError("--stop needs the id of a run", hint="`inhouse runs` lists them.")
    perform(data, config, "runs.stop", {"id": id})
    say(f"{id} ends after what it has at hand.")
