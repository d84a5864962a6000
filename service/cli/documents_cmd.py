"""`inhouse documents`: list, show, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from policies.errors import UsageError
from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, KnowledgeBaseOption, perform
from service.cli.display import say, say_json, say_text, table

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="List, show and remove documents.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A document's id.")]


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
