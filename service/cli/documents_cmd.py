"""`inhouse documents`: list, show, relabel, hold, release, remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from policies.errors import UsageError
from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, KnowledgeBaseOption, perform
from service.cli.display import say, say_json, say_text, table

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="List, show, label, hold and remove documents.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A document's id.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Documents' ids.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the history of the label.")]


@app.command("list")
def list_documents(
    kb: KnowledgeBaseOption = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="Only paths that begin with this.")] = None,
    after: Annotated[str | None, typer.Option("--after", metavar="ID", help="Go on behind this id.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Documents to show.")] = 1000,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """List documents by id, those that the person may read."""
    request = {"kb": kb, "prefix": prefix, "after": after, "limit": limit, "as_person": as_person}
    found = perform(data, config, "documents.list", request)
    if json:
        say_json(found)
        return
    columns = [("id", "ID"), ("version", "VERSION"), ("kb", "KB"), ("classification", "CLASSIFICATION"), ("groups", "GROUPS")]
    table(found["documents"], [*columns, ("pages", "PAGES"), ("passages", "PASSAGES"), ("path", "PATH")])


@app.command()
def show(
    id: Id,
    text: Annotated[bool, typer.Option("--text", help="Show the parsed text too.")] = False,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show one document; recorded."""
    found = perform(data, config, "documents.show", {"id": id, "text": text, "as_person": as_person})
    if json:
        say_json(found)
        return
    for name, value in found["document"].items():
        say(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    if text:
        say()
        say_text(found["text"])


@app.command()
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Documents to remove.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove documents from the index. Their files stay where they are, and the next ingest brings them back."""
    if not yes and not typer.confirm(f"Remove {len(ids)} document(s) from the index?", err=True):
        raise UsageError("nothing was removed")
    found = perform(data, config, "documents.remove", {"ids": ids, "as_person": as_person})
    if json:
        say_json(found)
    else:
        say(f"Removed {found['removed']}.")


@app.command()
def labels(
    id: Id, as_person: AsOption = None, json: JsonOption = False, data: DataOption = None, config: ConfigOption = None
) -> None:
    """Show the label of a document and every change of it: when, by whom, from what to what, and why."""
    found = perform(data, config, "documents.labels", {"id": id, "as_person": as_person})
    if json:
        say_json(found)
        return
    document = found["document"]
    say(f"{document['path']}{': under legal hold' if document['held'] else ''}")
    say(f"now: {_label(document)}")
    for one in found["changes"]:
        if one["withheld"]:
            say(f"{one['number']}. {one['at']} not shown: it concerns a label that you may not see")
            continue
        say(f"{one['number']}. {one['at']} {one['kind']} by {one['actor']}{': ' if one['reason'] else ''}{one['reason']}")
        if one["old"] is not None and one["old"] != one["new"]:
            say(f"   from {_label(one['old'])}")
        say(f"   {'to ' if one['old'] != one['new'] else ''}{_label(one['new'])}")


@app.command()
def relabel(
    ids: Ids,
    kb: Annotated[str | None, typer.Option("--kb", help="Knowledge base.")] = None,
    classification: Annotated[str | None, typer.Option("--classification", help="Classification.")] = None,
    groups: Annotated[str | None, typer.Option("--groups", help="Groups that may read, parted by commas.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Who answers for it.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="What it is kept for.")] = None,
    retention: Annotated[str | None, typer.Option("--retention", help="Retention class.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Give back the label of the source.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say who would gain or lose.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed for a change, and kept in the history.")] = "",
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Give documents a label of their own, whatever their source says, over every later ingest until --clear. What is left
    out stays as it is."""
    said = {"kb": kb, "classification": classification, "owner": owner, "purpose": purpose, "retention": retention}
    parted = None if groups is None else groups.split(",")
    change = {**said, "groups": parted, "clear": clear, "preview": dry_run, "reason": reason}
    found = perform(data, config, "documents.relabel", {"ids": ids, **change, "as_person": as_person})
    if json:
        say_json(found)
    elif dry_run:
        say(f"{len(found['documents'])} document(s) would change.")
        table(found["effects"], [("person", "PERSON"), ("gains", "GAINS"), ("loses", "LOSES")])
    else:
        say(f"Relabelled {found['relabelled']}.")


def _holding(verb: str, done: str, told: str) -> None:
    """Adds a command that only sets or lifts the hold; `done` is its answer's count."""

    @app.command(verb, help=told)
    def change(
        ids: Ids,
        reason: ReasonOption,
        as_person: AsOption = None,
        json: JsonOption = False,
        data: DataOption = None,
        config: ConfigOption = None,
    ) -> None:
        found = perform(data, config, f"documents.{verb}", {"ids": ids, "reason": reason, "as_person": as_person})
        if json:
            say_json(found)
        else:
            say(f"{done.capitalize()} {found[done]}.")


_holding("hold", "held", "Put documents under legal hold: nothing removes or replaces their text until `release`.")
_holding("release", "released", "Lift the legal hold on documents.")


def _label(said: Mapping[str, Any]) -> str:
    """A label in one line."""
    words = [said["kb"], said["classification"], f"groups {', '.join(said['groups'])}", f"owner {said['owner']}"]
    words += [f"{name} {said[name]}" for name in ("purpose", "retention") if said[name]]
    return f"{'; '.join(words)} (from {said['label_from']})"
