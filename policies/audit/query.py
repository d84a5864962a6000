"""Reads the log without loading it whole: forwards, or from the newest record back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from policies.audit.records import Record, files, parsed
from policies.errors import NotFoundError

_BLOCK = 1 << 16


def records(
    directory: Path,
    *,
    tag: str | None = None,
    actor: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int | None = None,
    newest_first: bool = True,
) -> Iterator[Record]:
    """The records that match all that is given; times are ISO 8601 in UTC and compare as text. Each line that is read is
    checked against its own hash; AuditBroken names one that does not match. The chain is `verify`'s to check."""
    left = limit
    for record in _all(directory, newest_first=newest_first):
        if left == 0 or (newest_first and since is not None and record.time < since):
            return
        if (
            (tag is None or record.tag == tag)
            and (actor is None or record.actor == actor)
            and (since is None or record.time >= since)
            and (until is None or record.time < until)
        ):
            yield record
            left = left - 1 if left is not None else None


def record(directory: Path, identifier: str) -> Record:
    """The record of an audit id (`number-hash`) or number; raises NotFoundError where there is none or the hash differs."""
    number, _, start = identifier.partition("-")
    if number.isdigit():
        for path in reversed(files(directory)):
            if int(path.stem.removeprefix("audit-")) > int(number):
                continue
            with path.open("rb") as file:
                for index, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        break
                    found = parsed(line, f"{path.name}, line {index}")
                    if found.sequence == int(number) and found.hash.startswith(start):
                        return found
            break
    raise NotFoundError(f"there is no audit record {identifier!r}", hint="`inhouse audit list` shows the newest ones.")


def _all(directory: Path, *, newest_first: bool) -> Iterator[Record]:
    found = files(directory)
    for path in reversed(found) if newest_first else found:
        lines = _lines_backwards(path) if newest_first else _lines_forwards(path)
        for line in lines:
            yield parsed(line, f"a record of {path.name}")


def _lines_forwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _lines_backwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        position = file.seek(0, 2)
        pending = b""
        while position > 0:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            pieces = (file.read(size) + pending).split(b"\n")
            pending = pieces[0]
            # The last piece of the file follows its last newline: empty, or a line that was never finished.
            start = len(pieces) - 1
            if position + size >= file.seek(0, 2):
                pieces[-1] = b""
            for piece in reversed(pieces[1 : start + 1]):
                if piece:
                    yield piece + b"\n"
        if pending:
            yield pending + b"\n"
