"""Reads a file of the log by lines, in either order, from a place that is found without reading what stands before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from policies.audit.records import parsed

_BLOCK = 1 << 16
_END_BYTES = 256
# The canonical form sorts its keys, so a line always ends so and what is not asked for needs no parsing.
_END_OF_LINE = re.compile(rb'"sequence":(\d+),"tag":"([^"\\]+)","time":"([^"\\]+)"\}\n\Z')


@dataclass(frozen=True, slots=True)
class Ending:
    """What the end of a line tells of its record."""

    sequence: int
    tag: bytes
    time: bytes


def ending(line: bytes, path: Path) -> Ending:
    """The end of a line, of which nothing else is parsed. Raises AuditBroken where it is no record's."""
    found = _END_OF_LINE.search(line[-_END_BYTES:])
    if found is None:
        record = parsed(line, f"a record of {path.name}")
        return Ending(record.sequence, record.tag.encode(), record.time.encode())
    number, tag, time = found.groups()
    return Ending(int(number), tag, time)


def forwards(path: Path, start: int = 0) -> Iterator[bytes]:
    """The lines that end, first first, from the line that begins at byte `start` on."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if line.endswith(b"\n"):
                yield line


def backwards(path: Path, end: int | None = None) -> Iterator[bytes]:
    """The lines that end, last first, from the line that ends before byte `end`; what follows the last newline is no line
    yet."""
    with path.open("rb") as file:
        position = file.seek(0, 2) if end is None else end
        held = b""
        ended = False
        while position > 0:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            held, *rest = (file.read(size) + held).split(b"\n")
            if not ended and rest:
                rest.pop()
                ended = True
            for line in reversed(rest):
                yield line + b"\n"
        if held and ended:
            yield held + b"\n"


def first_where(path: Path, late: Callable[[Ending], bool]) -> int:
    """Where the first line begins that is `late`, the length of the whole lines where none is.

    Halves the file again and again, which is right where every line after a late one is late too.
    """
    with path.open("rb") as file:
        low, high = 0, file.seek(0, 2)
        while low < high:
            middle = (low + high) // 2
            file.seek(max(low, middle - 1))
            if middle > low:
                # To the beginning of the first line at or behind the middle.
                file.readline()
            start = file.tell()
            line = file.readline()
            if start >= high or not line.endswith(b"\n") or late(ending(line, path)):
                high = middle
            else:
                low = start + len(line)
    return low
