"""One process owns a data directory at a time: who, since when, and how others reach it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from policies.errors import DataDirectoryBusy, DataDirectoryError

SOCKET_NAME = "inhouse.sock"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that owns the directory, as it described itself."""

    process: int
    command: str
    since: str


@contextmanager
def owned(directory: Path, command: str, *, wait_seconds: float = 0) -> Iterator[None]:
    """Holds the directory for the block. Raises DataDirectoryBusy naming the holder, DataDirectoryError where the
    directory cannot be written. The lock goes with the process, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(directory / "lock", timeout=wait_seconds, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise _busy(directory) from None
    except OSError as error:
        raise DataDirectoryError(
            f"cannot lock {directory}: {error.strerror or error}",
            hint="The directory must be writable by this user, and not on a read-only or network file system.",
        ) from None
    try:
        _describe(directory, command)
        yield
    finally:
        (directory / "lock.json").unlink(missing_ok=True)
        lock.release()


def holder(directory: Path) -> Holder | None:
    """Who said last that it owns the directory; None where nobody did. Only a lock that is held proves it."""
    try:
        said = json.loads((directory / "lock.json").read_text(encoding="utf-8"))
        return Holder(int(said["process"]), str(said["command"]), str(said["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _describe(directory: Path, command: str) -> None:
    text = json.dumps(
        {
            "process": os.getpid(),
            "command": command,
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )
    try:
        target = directory / "lock.json"
        target.touch(mode=0o600)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataDirectoryError(
            f"cannot write in {directory}: {error.strerror or error}", hint="Free some space, or mend its permissions."
        ) from None


def _busy(directory: Path) -> DataDirectoryBusy:
    who = holder(directory)
    name = f"process {who.process} (inhouse {who.command}, since {who.since})" if who else "another process"
    return DataDirectoryBusy(
        f"{directory} is in use by {name}",
        hint="Wait until it has ended; while `inhouse serve` runs, commands go through it by themselves.",
    )
