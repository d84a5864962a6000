"""`inhouse search`: passages without an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from policies.errors import UsageError
from service.cli._common import (
    AsOption,
    ConfigOption,
    DataOption,
    JsonOption,
    KnowledgeBaseOption,
    absolute,
    perform,
    read_batch,
)
from service.cli.display import say, say_json

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    kb: KnowledgeBaseOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="Passages to show.")] = 10,
    as_person: AsOption = None,
    json: JsonOption = False,
    batch: Annotated[
        Path | None, typer.Option("--batch", metavar="FILE", help='Many searches: JSON Lines of {"id", "text"}.')
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Find the passages nearest to a question, best first, as the answer would see them."""
    if (text is None) == (batch is None):
        raise UsageError("give one text, or --batch FILE", hint='inhouse search "warranty of the pump"')
    request: dict[str, Any] = {"kb": kb, "limit": limit, "as_person": as_person}
    if batch is not None:
        request["batch"] = read_batch(absolute(batch))
        perform(data, config, "search", request, emit=lambda event: say_json(event["line"]))
        return
    found = perform(data, config, "search", {**request, "text": text})
    if json:
        say_json(found)
        return
    for hit in found["hits"]:
        page = f", page {hit['page']}" if hit["page"] else ""
        say(f"{hit['score']:.3f}  {hit['path']}{page}  ({hit['title']})")
        say("       " + " ".join(hit["text"].split())[:300])
    if not found["hits"]:
        say("Nothing was found that this person may read.")
