"""Writes docs/reference from the code that it describes; a test compares the two.

Run it after a change of settings, commands, errors, audit events or quarantine reasons: `python scripts/reference.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policies.egress.switches import SWITCHES, set_switches

set_switches()

_EVERYWHERE = {"help", "install_completion", "show_completion"}


def pages() -> dict[str, str]:
    """Every page of the reference by its file name."""
    return {
        "audit-events.md": "\n".join(_events()),
        "commands.md": "\n".join(_commands()),
        "exit-codes.md": "\n".join(_exit_codes()),
        "json.md": "\n".join(_json()),
        "quarantine-reasons.md": "\n".join(_reasons()),
        "settings.md": "\n".join(_settings()),
        "switches.md": "\n".join(_switches()),
    }


def _settings() -> Iterator[str]:
    from service.settings import Settings

    yield "# Settings"
    yield ""
    yield "In `inhouse.toml` of the data directory (or `--config FILE`) as `[group]` and `name = value`; or as a variable"
    yield "`INHOUSE_GROUP__NAME`, which goes before the file. An unknown name is refused."
    for group, field in Settings.model_fields.items():
        model: Any = field.annotation
        yield from (
            "",
            f"## {group}",
            "",
            (model.__doc__ or "").strip(),
            "",
            "| name | default | meaning |",
            "| --- | --- | --- |",
        )
        for name, one in model.model_fields.items():
            yield f"| `{name}` | {_shown(one.default)} | {one.description} |"
    yield ""


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    if isinstance(value, float):
        return f"`{value:.4g}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _commands() -> Iterator[str]:
    import typer.main

    from service.cli.application import COMMANDS

    yield "# Commands"
    yield ""
    yield "Each takes `--help`. `--json` prints JSON, one object, or one a line where there are many."
    for name, (module, summary) in sorted(COMMANDS.items()):
        command: Any = typer.main.get_command(importlib.import_module(module).app)
        yield from ("", f"## inhouse {name}", "", summary)
        subcommands = getattr(command, "commands", None)
        for part, one in sorted(subcommands.items()) if subcommands else [("", command)]:
            title = f"inhouse {name} {part}".strip()
            arguments = [p.name.upper() for p in one.params if p.param_type_name == "argument"]
            yield from ("", f"`{' '.join([title, *arguments])}`", "", " ".join((one.help or summary).split()), "")
            for parameter in one.params:
                if parameter.param_type_name == "option" and parameter.name not in _EVERYWHERE:
                    yield f"- `{', '.join(parameter.opts)}`: {' '.join((parameter.help or '').split())}"
    yield ""


def _json() -> Iterator[str]:
    from service.answer import types
    from service.operations import search

    yield "# JSON of answers and of searches"
    yield ""
    yield "`inhouse ask --json`, each line of `ask --batch`, and the field `inhouse` of `/v1/chat/completions` are an answer;"
    yield "`inhouse search --json`, each line of `search --batch`, and `/v1/search` have `hits`. Both have `version`, a number"
    yield "that changes when a reader of the form before would go wrong; a field that is new does not change it. The lines of a"
    yield "batch have the `id` that came in."
    forms = (
        (f"An answer, version {types.FORM}", types.Answer),
        ("Each of `citations`", types.Citation),
        ("Each of `nearest`", types.Nearest),
        (f"Each of `hits`, version {search.FORM}", search.FoundPassage),
    )
    for title, form in forms:
        yield from ("", f"## {title}", "", " ".join((form.__doc__ or "").split()), "", "| field | type |", "| --- | --- |")
        for name, kind in form.__annotations__.items():
            shown = str(getattr(kind, "__forward_arg__", kind)).replace("DocumentId", "str").replace(" | ", " or ")
            yield f"| `{name}` | {shown} |"
    yield ""


def _exit_codes() -> Iterator[str]:
    from policies.errors import InhouseError

    yield "# Exit codes, and the HTTP status of the same error"
    yield ""
    yield "0 means that all went well. Every other code comes with a line that says what happened and one that says what to do."
    yield from ("", "| exit code | error | HTTP | problem type | meaning |", "| --- | --- | --- | --- | --- |")
    for kind in sorted(_tree(InhouseError), key=lambda one: (one.exit_code, one.__name__)):
        meaning = " ".join((kind.__doc__ or "").split())
        yield f"| {kind.exit_code} | {kind.__name__} | {kind.http_status} | `urn:inhouse:problem:{kind.kind}` | {meaning} |"
    yield ""


def _tree(kind: Any) -> Iterator[Any]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == "policies.errors":
            yield from _tree(child)


def _events() -> Iterator[str]:
    from policies.audit.events import PAYLOADS, EventTag, fields

    yield "# Audit events"
    yield ""
    yield "Each record has `id`, `sequence`, `time` (UTC), `tag`, `actor`, `payload`, and the SHA-256 of the record before it."
    yield "Any payload may have `by`: who acted as the actor, where that was somebody else (`--as`)."
    for tag in EventTag:
        shape: Any = PAYLOADS[tag]
        meaning = " ".join((shape.__doc__ or "").split())
        yield from ("", f"## {tag.value}", "", meaning if not meaning.startswith("dict(") else "A document's new content.", "")
        for name, (_, required) in fields(tag).items():
            yield f"- `{name}`{'' if required else ' (where it applies)'}"
    yield ""


def _reasons() -> Iterator[str]:
    from ingest.parsing.types import EXPLANATIONS

    yield "# Why a file is in quarantine"
    yield ""
    yield "`inhouse quarantine list` names the reason; `inhouse quarantine retry` tries again after the cause is mended."
    yield from ("", "| reason | meaning and next step |", "| --- | --- |")
    for reason, text in EXPLANATIONS.items():
        yield f"| `{reason.value}` | {text} |"
    yield ""


def _switches() -> Iterator[str]:
    yield "# What dependencies would do unasked, and how it is switched off"
    yield ""
    yield "Set before the first import, in the command line, in every worker process and in the tests."
    yield from ("", "| dependency | variable | value | why |", "| --- | --- | --- | --- |")
    for one in SWITCHES:
        yield f"| {one.dependency} | `{one.variable}` | `{one.value}` | {one.why} |"
    yield ""


def main() -> None:
    """Writes the pages."""
    folder = Path(__file__).resolve().parent.parent / "docs" / "reference"
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
