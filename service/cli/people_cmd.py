"""`inhouse people`: add, list, show, link, release, disable."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, perform
from service.cli.display import say, say_json, table

app = typer.Typer(
    pretty_exceptions_enable=False, no_args_is_help=True, help="Add, list, show, link, release and disable people."
)

Id = Annotated[str, typer.Argument(metavar="ID", help="A person's id.")]


@app.command()
def add(
    id: Id,
    name: Annotated[str, typer.Option("--name", help="The name that people see.")],
    clearance: Annotated[str, typer.Option("--clearance", help="The highest classification that they may read.")],
    groups: Annotated[list[str] | None, typer.Option("--group", help="A group; give it once for each.")] = None,
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="user, steward, auditor or admin; give it once for each. [user]")
    ] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a person. A key for them comes from `inhouse keys create`."""
    request = {
        "id": id,
        "name": name,
        "clearance": clearance,
        "groups": groups or [],
        "roles": roles or ["user"],
        "as_person": as_person,
    }
    found = perform(data, config, "people.add", request)
    if json:
        say_json(found)
    else:
        say(f"Added {id}. A key: inhouse keys create {id}")


@app.command("list")
def list_people(
    as_person: AsOption = None, json: JsonOption = False, data: DataOption = None, config: ConfigOption = None
) -> None:
    """List everyone."""
    found = perform(data, config, "people.list", {"as_person": as_person})
    if json:
        say_json(found)
        return
    columns = [("id", "ID"), ("name", "NAME"), ("clearance", "CLEARANCE"), ("groups", "GROUPS"), ("roles", "ROLES")]
    table(found["people"], [*columns, ("disabled", "DISABLED")])


@app.command()
def show(
    id: Id, as_person: AsOption = None, json: JsonOption = False, data: DataOption = None, config: ConfigOption = None
) -> None:
    """Show one person and their keys."""
    found = perform(data, config, "people.show", {"id": id, "as_person": as_person})
    if json:
        say_json(found)
        return
    for name, value in found["person"].items():
        say(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    for key in found["keys"]:
        say(f"key {key['id']}: expires {key['expires']}{', revoked' if key['revoked'] else ''}")


@app.command()
def link(
    id: Id,
    minutes: Annotated[int, typer.Option("--minutes", help="How long the link may wait to be opened.")] = 60,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a link that signs a person in, once."""
    found = perform(data, config, "people.link", {"id": id, "minutes": minutes, "as_person": as_person})
    if json:
        say_json(found)
    else:
        say(found["url"])


@app.command()
def disable(
    id: Id, as_person: AsOption = None, json: JsonOption = False, data: DataOption = None, config: ConfigOption = None
) -> None:
    """Disable a person: from the next request on every key of theirs is refused."""
    found = perform(data, config, "people.disable", {"id": id, "as_person": as_person})
    if json:
        say_json(found)
    else:
        say(f"Disabled {id}.")


@app.command()
def release(
    id: Id, as_person: AsOption = None, json: JsonOption = False, data: DataOption = None, config: ConfigOption = None
) -> None:
    """Untie a person from their account at the identity provider: the next one that signs in under this id is theirs."""
    found = perform(data, config, "people.release", {"id": id, "as_person": as_person})
    if json:
        say_json(found)
    else:
        say(f"Released {id}.")
