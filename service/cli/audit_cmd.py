"""`inhouse audit`: list, show, verify. Reading the log is itself recorded in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, perform
from service.cli.display import say, say_json, table
from service.cli.meter import meter

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="List, show and verify what happened.")


@app.command("list")
def list_records(
    tag: Annotated[str | None, typer.Option("--tag", help="Only this event, e.g. question:asked.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only this person's.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this time on, ISO 8601 in UTC.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time, ISO 8601 in UTC.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Records to show.")] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="From the beginning of the log.")] = False,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """List records, newest first; the reading is recorded, and not in the list."""
    request = {"tag": tag, "actor": actor, "since": since, "until": until, "limit": limit, "oldest_first": oldest_first}
    rows: list[dict[str, Any]] = []

    def take(event: Mapping[str, Any]) -> None:
        if json:
            say_json(event["record"])
        else:
            rows.append({**event["record"], "summary": _summary(event["record"]["payload"])})

    perform(data, config, "audit.list", {**request, "as_person": as_person}, emit=take)
    if not json:
        columns = [("id", "ID"), ("time", "TIME"), ("actor", "ACTOR"), ("tag", "EVENT"), ("summary", "WHAT")]
        table(rows, columns)


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="An audit id, or a record's number.")],
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show one record whole; recorded."""
    found = perform(data, config, "audit.show", {"id": id, "as_person": as_person})["record"]
    if json:
        say_json(found)
        return
    for name, value in found.items():
        if name == "payload":
            for key, inner in sorted(value.items()):
                say(f"  {key}: {inner}")
        else:
            say(f"{name}: {value}")


@app.command()
def verify(
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="ID", help="An audit id, or a head, kept elsewhere, that must be in the log."),
    ] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Check the whole chain; exit code 11 and the first bad record where it does not hold. Recorded."""
    request = {"expected": expect or [], "as_person": as_person}
    with meter(lambda progress: f"{progress['share']:.0%} of the log is read", shown=not json) as take:
        found = perform(data, config, "audit.verify", request, emit=take)["verification"]
    if json:
        say_json(found)
        return
    say(f"{found['records']} records in {found['files']} files verify, from {found['first'] or '-'} to {found['last'] or '-'}.")
    say(f"Head: {found['head']}")
    if found["unfinished_bytes"]:
        say(f"{found['unfinished_bytes']} bytes at the end are a record that a crash cut off before it was acknowledged.")


def _summary(payload: Mapping[str, Any]) -> str:
    for name in ("text", "path", "person", "key", "question", "run", "error", "reason", "what"):
        if isinstance(payload.get(name), str):
            return str(payload[name])[:80]
    return ""
