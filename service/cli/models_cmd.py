"""`inhouse models`: add, list, show, remove."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, absolute, perform
from service.cli.display import note, say, say_json, table
from service.cli.meter import meter

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="Add, list, show and remove models.")
_MIB = 2**20


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.gguf", help="A model file in the GGUF form.")],
    name: Annotated[str | None, typer.Option("--name", help="What to call it; the file's name when not given.")] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="DIGEST", help="The SHA-256 that it must have, as it was published.")
    ] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy a GGUF file into the data directory, after a look at its form, size and SHA-256; whole, or not at all."""
    request = {"path": str(absolute(file)), "name": name, "sha256": sha256, "as_person": as_person}
    with meter(_copied, shown=not json) as take:
        found = perform(data, config, "models.add", request, emit=take)
    model = found["model"]
    if json:
        say_json(found)
        return
    say(f"Added {model['name']}, {model['size'] / _MIB:.1f} MiB")
    say(f"SHA-256 {model['sha256']}")
    if sha256 is None:
        note("Compare that with what its publisher says, or give it with --sha256.")
    if not model["in_use"]:
        note(f'To answer with it: kind = "llamacpp" and model = "{model["name"]}" under [runtime] in inhouse.toml.')


@app.command("list")
def list_models(json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List the models of every runtime: the embedder, extractive, the GGUF files, and what the model server has."""
    found = perform(data, config, "models.list", {})
    if json:
        say_json(found)
        return
    rows = [
        {**one, "used": "yes" if one["in_use"] else "no", "digest": (one.get("sha256") or "-")[:12]} for one in found["models"]
    ]
    columns = [("name", "NAME"), ("runtime", "RUNTIME"), ("for", "FOR"), ("used", "IN USE"), ("digest", "SHA-256")]
    table(rows, [*columns, ("context_tokens", "WINDOW"), ("state", "STATE")])


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name.")],
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show one model: what it is, where it is, and its digest."""
    found = perform(data, config, "models.show", {"name": name})
    if json:
        say_json(found)
        return
    for key, value in found["model"].items():
        say(f"{key}: {'-' if value in (None, '') else value}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A GGUF file's name, as `list` shows it.")],
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a GGUF file from the data directory; not the one in use."""
    found = perform(data, config, "models.remove", {"name": name, "as_person": as_person})
    if json:
        say_json(found)
    else:
        say(f"Removed {name}.")


def _copied(progress: Mapping[str, Any]) -> str:
    return f"{progress['bytes'] / _MIB:.0f} of {progress['of'] / _MIB:.0f} MiB"
