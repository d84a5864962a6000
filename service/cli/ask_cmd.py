"""`inhouse ask`: a question, or a batch of them."""

from __future__ import annotations

from collections.abc import Mapping
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
from service.cli.display import say, say_json, write

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def ask(
    question: Annotated[str | None, typer.Argument(help="The question, in quotes.")] = None,
    kb: KnowledgeBaseOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, max=50, help="Passages to answer from.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Another model than the settings' own, where they offer it.")
    ] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    batch: Annotated[
        Path | None, typer.Option("--batch", metavar="FILE", help='Many questions: JSON Lines of {"id", "text"}.')
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask a question; the answer cites document, page and passage, or says that the documents do not say."""
    if (question is None) == (batch is None):
        raise UsageError("give one question, or --batch FILE", hint='inhouse ask "How long is the warranty?"')
    request: dict[str, Any] = {"kb": kb, "model": model, "limit": limit, "as_person": as_person}
    if batch is not None:
        request["batch"] = read_batch(absolute(batch))
        perform(data, config, "ask", request, emit=_line)
        return
    answer = perform(data, config, "ask", {**request, "text": question}, emit=(lambda event: None) if json else _delta)
    if json:
        say_json(answer)
        return
    say()
    show_sources(answer)


def show_sources(answer: Mapping[str, Any]) -> None:
    """The numbered sources under an answer, or the nearest documents under a refusal."""
    if answer["refused"]:
        if answer["nearest"]:
            say()
            say("Nearest documents that you may read:")
            for one in answer["nearest"]:
                say(f"  - {one['title']} ({one['path']})")
    else:
        say()
        say("Sources:")
        for one in answer["citations"]:
            page = f", page {one['page']}" if one["page"] else ""
            say(f"  [{one['number']}] {one['path']}{page} (version {one['version']}, characters {one['start']}-{one['end']})")
    if answer["passages_left_out"]:
        say(f"{answer['passages_left_out']} passages did not fit the model's context and were left out.")
    if answer["cut_off"]:
        say("The model reached its limit: the answer is cut off.")
    if answer["instead_of"]:
        say(f"{answer['instead_of']} was chosen; it may not be sent all of what was found.")
    say(f"Model: {answer['model']}. Audit id: {answer['audit_id']}.")


def _delta(event: Mapping[str, Any]) -> None:
    if "delta" in event:
        write(event["delta"])


def _line(event: Mapping[str, Any]) -> None:
    if "line" in event:
        say_json(event["line"])
