"""`inhouse keys`: create, list, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, perform
from service.cli.display import note, say, say_json, table

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command()
def create(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Whose key it is.")],
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Days until it expires.")] = 90,
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Only this group of its owner's; give it once for each.")
    ] = None,
    clearance: Annotated[str | None, typer.Option("--clearance", help="No more than this classification.")] = None,
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="Only this role of its owner's; give it once for each.")
    ] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Create a key; it is shown once and stored only as a hash. It has its owner's rights, or fewer, never more."""
    limits = {"groups": groups or None, "clearance": clearance, "roles": roles or None}
    found = perform(data, config, "keys.create", {"person": person, "days": days, **limits, "as_person": as_person})
    if json:
        say_json(found)
        return
    say(found["secret"])
    note(f"Key {found['key']['id']} of {person}, until {found['key']['expires']}. It is not shown again.")


@app.command("list")
def list_keys(
    person: Annotated[str | None, typer.Option("--person", help="Only this person's.")] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """List keys, without their secrets."""
    found = perform(data, config, "keys.list", {"person": person, "as_person": as_person})
    if json:
        say_json(found)
        return
    columns = [("id", "ID"), ("person", "PERSON"), ("created", "CREATED"), ("expires", "EXPIRES"), ("revoked", "REVOKED")]
    rights = [("groups", "GROUPS"), ("clearance", "CLEARANCE"), ("roles", "ROLES")]
    table(found["keys"], [*columns, *rights])


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, not its secret.")],
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Revoke a key: it is refused from the next request on."""
    found = perform(data, config, "keys.revoke", {"id": id, "as_person": as_person})
    if json:
        say_json(found)
    else:
        say(f"Revoked {id}.")
