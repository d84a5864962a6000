"""`inhouse policy`: check, explain, simulate, test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, absolute, perform
from service.cli.display import say, say_json
from service.cli.meter import meter

app = typer.Typer(
    pretty_exceptions_enable=False, no_args_is_help=True, help="Check, explain, simulate and test who may do what."
)

Action = Annotated[str, typer.Option("--action", help="What is done, named as in the policies' schema.")]
SetOption = Annotated[
    Path | None, typer.Option("--policy", metavar="DIR", help="Another set than the one in force: a directory of policies.")
]
_CHANGES = {
    "classification": "the label's classification {way} to {value}",
    "clearance": "the clearance {way} to {value}",
    "disown": "another owner of the document than {value}",
    "join": "membership in the group {value}",
    "leave": "leaving the group {value}",
    "lose": "losing the role {value}",
    "own": "{value} as the owner of the document",
    "take": "the role {value}",
}


@app.command()
def check(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A directory of policies. [the set in force]", show_default=False)
    ] = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Check a set as the service does when it starts: exit code 12 and the fault where it would refuse to. Recorded."""
    request = {"directory": str(absolute(directory)) if directory else None, "as_person": as_person}
    found = perform(data, config, "policy.check", request)
    if json:
        say_json(found)
        return
    say(f"In {directory or found['directory']}:")
    for one in found["policies"]:
        say(f"  {one['id']} ({one['effect']}, {one['file']}): {one['description']}")
    say(f"{len(found['policies'])} policies, {found['hash']}{', in force' if found['in_force'] else ''}.")


@app.command()
def explain(
    person: Annotated[str, typer.Option("--principal", metavar="PERSON", help="Who it is about: a person's id.")],
    document: Annotated[
        str | None,
        typer.Option("--document", metavar="DOCUMENT", help="A document's id or path; without it, the installation."),
    ] = None,
    action: Action = "retrieve",
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Say why a person may or may not do something, and what would turn the decision. Recorded."""
    request = {"person": person, "document": document, "action": action, "as_person": as_person}
    found = perform(data, config, "policy.explain", request)
    if json:
        say_json(found)
        return
    if found["document"] is not None:
        shown = found["document"]
        title = f" ({shown['title']})" if shown["title"] else ""
        say(f"Document: {shown['path'] or shown['id']}{title}")
    if found["disabled"]:
        say(f"{person} is disabled: nobody is let in as {person}. What follows would hold if they were.")
    _say_explanation(found)


@app.command()
def simulate(
    directory: Annotated[Path, typer.Option("--policy", metavar="DIR", help="The set to try: a directory of policies.")],
    action: Action = "retrieve",
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show who would gain or lose which documents by another set. Nothing is changed. Recorded."""
    request = {"directory": str(absolute(directory)), "action": action, "as_person": as_person}
    with meter(lambda progress: f"{progress['people']} of {progress['of']} people", shown=not json) as take:
        found = perform(data, config, "policy.simulate", request, emit=take)
    if json:
        say_json(found)
        return
    for one in found["changed"]:
        for verb in ("gained", "lost"):
            if one[verb]["classes"]:
                _say_moved(one["person"], "gain" if verb == "gained" else "lose", found["action"], one[verb])
        if one["erred"]:
            say(f"{one['person']}: {one['erred']} access classes are denied because the new policies err on them")
    over = _counted(found["classes"], "access class")
    say(f"Of {found['people']} people {len(found['changed'])} would gain or lose something, over {over}.")
    say(f"The set that was tried: {found['hash']}")


@app.command("test")
def expectations(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table of expectations, in TOML.")],
    policy: SetOption = None,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare decisions with what an organisation expects; exit code 18 where one is not as it says. Recorded."""
    from policies.errors import ExpectationFailed, UsageError

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}", hint="A table of expectations is TOML in UTF-8.") from None
    request = {"file": file.name, "text": text, "as_person": as_person}
    request["directory"] = str(absolute(policy)) if policy else None
    found = perform(data, config, "policy.test", request)
    if json:
        say_json(found)
    else:
        for one in found["failed"]:
            expected = "allowed" if one["expected"]["allowed"] else "not allowed"
            by = f" by {one['expected']['by']}" if one["expected"]["by"] else ""
            say(f"Expectation {one['number']} fails; expected: {expected}{by}.")
            _say_explanation(one)
        say(f"{found['expectations'] - len(found['failed'])} of {found['expectations']} expectations hold.")
    if found["failed"]:
        raise ExpectationFailed(
            f"{len(found['failed'])} of {found['expectations']} expectations fail", hint="Mend the policies, or the table."
        )


def _say_explanation(found: Mapping[str, Any]) -> None:
    person, label = found["principal"], found["label"]
    allowed = found["decision"] == "allow"
    say(f"{person['id']} {'may' if allowed else 'may not'} {found['action']}: {found['reason']}.")
    for one in found["policies"]:
        say(f"  {one['id']}: {one['description']}")
    roles, groups = ", ".join(person["roles"]) or "none", ", ".join(person["groups"])
    say(f"  {person['id']} has clearance {person['clearance']}, roles {roles}, groups {groups}")
    if label is not None:
        say(
            f"  the label has classification {label['classification']}, groups {', '.join(label['groups'])}, "
            f"owner {label['owner']}, knowledge base {label['kb']}"
        )
    say(
        f"What would {'take it away' if allowed else 'permit it'}:"
        if found["alternatives"]
        else "No change that was tried turns it."
    )
    for alternative in found["alternatives"]:
        parts = [
            _CHANGES[one["kind"]].format(value=one["value"], way="raised" if one["up"] else "lowered")
            for one in alternative["changes"]
        ]
        by = ", ".join(one["id"] for one in alternative["policies"])
        say(f"  - {' and '.join(parts)}{f' ({by})' if by else ''}")
    if found["more"]:
        say("  There is more that would.")


def _say_moved(person: str, verb: str, action: str, moved: Mapping[str, Any]) -> None:
    documents, classes = _counted(moved["documents"], "document"), _counted(moved["classes"], "access class")
    say(f"{person} would {verb} {action} on {documents} ({classes}):")
    for one in moved["of"]:
        by = ", ".join(policy["id"] for policy in one["policies"])
        groups = ", ".join(one["groups"])
        say(
            f"  {one['documents']} in {one['kb']}, {one['classification']}, groups {groups}, owner {one['owner']}"
            f"{f' ({by})' if by else ''}"
        )
    if moved["classes"] > len(moved["of"]):
        say(f"  and {_counted(moved['classes'] - len(moved['of']), 'access class')} more")
    shown = ", ".join(one["path"] or one["id"] for one in moved["examples"])
    say(f"  for example {shown}")


def _counted(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"
