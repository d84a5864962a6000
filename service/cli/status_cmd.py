"""`inhouse status`: what is indexed."""

from __future__ import annotations

import typer

from service.cli._common import ConfigOption, DataOption, JsonOption, perform
from service.cli.display import say, say_json

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def status(json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Show what is indexed, with which model, under which policy."""
    found = perform(data, config, "status", {})
    if json:
        say_json(found)
        return
    say(f"Data directory: {found['data']} ({found['bytes'] / 2**20:.1f} MiB){', serving' if found['serving'] else ''}")
    for kb, counts in found["knowledge_bases"].items():
        say(f"  {kb}: {counts['documents']} documents, {counts['passages']} passages")
    if not found["knowledge_bases"]:
        say("  nothing is indexed yet: inhouse ingest FOLDER")
    say(f"Access classes: {found['access_classes']}. In quarantine: {found['quarantined']}.")
    say(f"Embedder: {found['embedder']}")
    say(f"Runtime: {found['runtime']}")
    say(f"Policy: {found['policy']}")
    last = found["last_run"]
    if last:
        say(f"Last run: {last['id']} at {last['started']}, {last['outcome']}")
