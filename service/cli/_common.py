"""Options that many commands share, and the call that carries an operation out with Ctrl-C heeded."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from service.operations.registry import Emit, Result

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The data directory. [INHOUSE_DATA_DIR; else in your data home]"),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The settings. [INHOUSE_CONFIG; else inhouse.toml in the data directory]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AsOption = Annotated[
    str | None,
    typer.Option("--as", metavar="PERSON", help="Act as this person; recorded. Without it, as the local owner."),
]
KnowledgeBaseOption = Annotated[str | None, typer.Option("--kb", help="Only in this knowledge base.")]


def directory_of(data: Path | None) -> Path:
    """The data directory that the options and the environment name."""
    from service.settings import data_directory

    return data_directory(data)


def perform(
    data: Path | None, config: Path | None, name: str, request: Mapping[str, Any], emit: Emit = lambda event: None
) -> Result:
    """Runs an operation wherever the data is. The first Ctrl-C asks it to end after its current step, the second ends
    this process at once."""
    from service.operations.run import run

    stop = threading.Event()
    with _interrupt_sets(stop):
        return run(directory_of(data), name, request, config=config, emit=emit, stop=stop)


@contextmanager
def _interrupt_sets(stop: threading.Event) -> Iterator[None]:
    def handle(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def absolute(path: Path) -> Path:
    """The path as another process would have to name it; links stay, because what is under them may be meant."""
    return path.expanduser().absolute()


def read_batch(path: Path) -> list[dict[str, str]]:
    """The lines of a batch file, each {"id", "text"}. Raises UsageError naming the line that is not one."""
    import json

    from policies.errors import UsageError

    try:
        written = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8", hint='One JSON object a line: {"id": ..., "text": ...}') from None
    lines = []
    for number, line in enumerate(written, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            lines.append({"id": str(said["id"]), "text": str(said["text"])})
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f'{path}, line {number}: not {{"id": ..., "text": ...}}', hint="One JSON object a line, in UTF-8."
            ) from None
    return lines
