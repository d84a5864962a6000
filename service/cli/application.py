"""The table of commands, and the one place where errors become text and exit codes."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from policies.errors import InhouseError
from service.cli.display import show_error

COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("service.cli.ask_cmd", "Ask a question; the answer cites its sources."),
    "audit": ("service.cli.audit_cmd", "List, show and verify what happened."),
    "doctor": ("service.cli.doctor_cmd", "Check this installation, and say how to mend what is wrong."),
    "documents": ("service.cli.documents_cmd", "List, show and remove documents."),
    "ingest": ("service.cli.ingest_cmd", "Index folders of documents."),
    "init": ("service.cli.init_cmd", "Make a data directory."),
    "keys": ("service.cli.keys_cmd", "Create, list and revoke API keys."),
    "models": ("service.cli.models_cmd", "Add, list, show and remove models."),
    "people": ("service.cli.people_cmd", "Add, list, show, link, release and disable people."),
    "policy": ("service.cli.policy_cmd", "Check, explain, simulate and test who may do what."),
    "quarantine": ("service.cli.quarantine_cmd", "List, show and retry what could not be indexed."),
    "runs": ("service.cli.runs_cmd", "Show the reports of ingest runs."),
    "search": ("service.cli.search_cmd", "Find passages without an answer."),
    "serve": ("service.cli.serve_cmd", "Answer over HTTP."),
    "status": ("service.cli.status_cmd", "Show what is indexed, and with which model."),
}


class LazyGroup(TyperGroup):
    """Lists the commands from the table and imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name."""
        return sorted(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that knows its name and summary, which is all that help needs."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, imported now."""
        if args and args[0] in COMMANDS and args[0] not in self.commands:
            module = importlib.import_module(COMMANDS[args[0]][0])
            command = typer.main.get_command(module.app)
            command.name = args[0]
            self.commands[args[0]] = command
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Show the version.", is_eager=True)) -> None:
    """Answers questions from your own documents, inside your own network, with citations that can be checked."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"inhouse {installed('inhouse')}")
        raise typer.Exit


def run(arguments: list[str] | None = None) -> int:
    """Runs one command line (the process's own when None) and returns its exit code."""
    try:
        outcome = app(args=arguments, standalone_mode=False)
    except InhouseError as error:
        show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        return 130
    except BrokenPipeError:
        # The reader of our output has left, as `| head` does: no error of ours.
        sys.stderr.close()
        return 0
    except Exception as error:
        return _usage_or_raise(error)
    return outcome if isinstance(outcome, int) else 0


def _usage_or_raise(error: Exception) -> int:
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        return code
    raise error
