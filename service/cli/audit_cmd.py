"""`inhouse audit`: list, show, verify. Reads the log's files; works while the service runs and when nothing else does."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from policies.audit.records import Record
from policies.errors import UsageError
from service.cli._common import DataOption, JsonOption, directory_of
from service.cli.display import say, say_json, table

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="List, show and verify what happened.")


@app.command("list")
def list_records(
    tag: Annotated[str | None, typer.Option("--tag", help="Only this event, e.g. question:asked.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only this person's.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this time on, ISO 8601 in UTC.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time, ISO 8601 in UTC.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Records to show.")] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="From the beginning of the log.")] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List records, newest first."""
    from policies.audit.events import EventTag
    from policies.audit.query import records

    if tag is not None and tag not in set(EventTag):
        raise UsageError(f"there is no event {tag!r}", hint=f"One of: {', '.join(EventTag)}.")
    found = records(
        directory_of(data) / "audit",
        tag=tag,
        actor=actor,
        since=since,
        until=until,
        limit=limit,
        newest_first=not oldest_first,
    )
    if json:
        for one in found:
            say_json(_described(one))
        return
    columns = [("id", "ID"), ("time", "TIME"), ("actor", "ACTOR"), ("tag", "EVENT"), ("summary", "WHAT")]
    table([{**_described(one), "summary": _summary(one)} for one in found], columns)


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="An audit id, or a record's number.")],
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Show one record whole."""
    from policies.audit.query import record

    found = record(directory_of(data) / "audit", id)
    if json:
        say_json(_described(found))
        return
    for name, value in _described(found).items():
        if name == "payload":
            for key, inner in sorted(value.items()):
                say(f"  {key}: {inner}")
        else:
            say(f"{name}: {value}")


@app.command()
def verify(json: JsonOption = False, data: DataOption = None) -> None:
    """Check the whole chain; exit code 11 and the first bad record where it does not hold."""
    from dataclasses import asdict

    from policies.audit.verify import verify as check

    found = check(directory_of(data) / "audit")
    if json:
        say_json(asdict(found))
        return
    say(f"{found.records} records in {found.files} files verify, from {found.first or '-'} to {found.last or '-'}.")
    say(f"Head: {found.head}")
    if found.unfinished_bytes:
        say(f"{found.unfinished_bytes} bytes at the end are a record that a crash cut off before it was acknowledged.")


def _described(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "time": record.time,
        "tag": record.tag,
        "actor": record.actor,
        "payload": dict(record.payload),
        "previous": record.previous,
        "hash": record.hash,
    }


def _summary(record: Record) -> str:
    for name in ("text", "path", "person", "key", "question", "run", "error", "reason"):
        if name in record.payload:
            return str(record.payload[name])[:80]
    return ""
