"""`inhouse quarantine`: list, show, release, retry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from policies.errors import Interrupted, PartialFailure
from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, absolute, perform
from service.cli.display import say, say_json, table
from service.cli.ingest_cmd import described, show_report
from service.cli.meter import meter

app = typer.Typer(
    pretty_exceptions_enable=False, no_args_is_help=True, help="List, show, release and retry what could not be indexed."
)


@app.command("list")
def list_entries(json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List what is in quarantine, and why."""
    found = perform(data, config, "quarantine.list", {})
    if json:
        say_json(found)
        return
    columns = [("id", "ID"), ("reason", "REASON"), ("attempts", "TRIES"), ("last_seen", "LAST SEEN"), ("path", "PATH")]
    table(found["quarantine"], columns)


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="An entry's id.")],
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show one entry, what its reason means, and how to mend it."""
    found = perform(data, config, "quarantine.show", {"id": id})
    if json:
        say_json(found)
        return
    for name, value in found["entry"].items():
        say(f"{name}: {value}")


@app.command()
def release(
    id: Annotated[str, typer.Argument(metavar="ID", help="An entry's id.")],
    kb: Annotated[str, typer.Option("--kb", metavar="NAME", help="Knowledge base.")],
    classification: Annotated[str, typer.Option("--classification", metavar="NAME", help="A classification of the settings.")],
    groups: Annotated[list[str], typer.Option("--groups", metavar="NAME", help="A group that may read it; repeat for more.")],
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Who answers for it.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the log.")],
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Label rules, as for ingest.")] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Give a file that no rule labels a label, and index it. The label holds over later runs. What is in quarantine for another
    reason cannot be released: `show` says what helps."""
    request: dict[str, Any] = {
        "id": id,
        "kb": kb,
        "classification": classification,
        "groups": groups,
        "owner": owner,
        "reason": reason,
    }
    request |= {"labels": str(absolute(labels)) if labels else None, "as_person": as_person}
    with meter(described, shown=not json) as take:
        report = perform(data, config, "quarantine.release", request, emit=take)["run"]
    if json:
        say_json(report)
    else:
        show_report(report)
    if report["outcome"] in ("interrupted", "stopped"):
        raise Interrupted("stopped; what was committed is kept", hint="Run the same command again to go on.")
    if report["quarantined"]:
        raise PartialFailure("it is in quarantine for another reason now", hint="inhouse quarantine list")


@app.command()
def retry(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="An entry's id; every entry without it.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Label rules, as for ingest.")] = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Parse the files again, after they, their labels or the limits were mended. Exit code 5 means that some are still in
    quarantine."""
    request = {"id": id, "labels": str(absolute(labels)) if labels else None}
    with meter(described, shown=not json) as take:
        found = perform(data, config, "quarantine.retry", request, emit=take)
    if json:
        say_json(found)
    else:
        for report in found["runs"]:
            show_report(report)
        for entry in found["gone"]:
            say(f"Gone, and out of quarantine: {entry['path']}")
    if any(report["outcome"] in ("interrupted", "stopped") for report in found["runs"]):
        raise Interrupted("stopped; what was committed is kept", hint="Run the same command again to go on.")
    if found["left"]:
        raise PartialFailure(f"{len(found['left'])} still in quarantine", hint="inhouse quarantine list")
    if not json:
        say("Nothing that was tried is in quarantine any more.")
