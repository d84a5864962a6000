"""Finds the end of the log, and what a crash may have left behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from policies.audit.records import GENESIS, Record, broken, complete, files, first_number, follows, parsed

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class End:
    """Where the log ends: the newest file (None: there is none), the length of its whole records, the last record.

    `torn` is what stands behind the last whole record because a crash broke off its writing. `unended` says that the
    record is whole and only the end of its line is missing: it counts as written.
    """

    path: Path | None
    size: int
    record: Record | None
    torn: bytes = b""
    unended: bool = False

    @property
    def sequence(self) -> int:
        """The number of the last record; 0 where there is none."""
        return self.record.sequence if self.record else 0

    @property
    def hash(self) -> str:
        """What the next record names as the one before it."""
        return self.record.hash if self.record else GENESIS


def find_end(directory: Path) -> End:
    """Reads the end of the newest file. Raises AuditBroken where the last line that ends is no record, or where the file
    does not follow the one before it; such a log is not written to any more."""
    found = files(directory)
    if not found:
        return End(None, 0, None)
    path = found[-1]
    line, start, torn = _last_line(path)
    if line:
        record: Record | None = parsed(line, f"the last record of {path.name}")
    else:
        # The crash came between a new file and the end of its first line.
        record = _last_of_previous(found)
    size = start + len(line)
    kept = complete(torn, f"the end of {path.name}") if torn else None
    if kept is None:
        return End(path, size, record, torn)
    last, length = kept
    before = End(path, size, record)
    follows(last, before.sequence + 1, before.hash, f"the end of {path.name}")
    return End(path, size + length, last, torn[length:], unended=True)


def _last_of_previous(found: list[Path]) -> Record | None:
    first = first_number(found[-1])
    if len(found) == 1:
        if first != 1:
            raise broken(found[-1].name, "is the oldest file and does not begin with the first record: files were removed")
        return None
    line, _, torn = _last_line(found[-2])
    if not line or torn:
        raise broken(found[-2].name, "does not end with a whole record, and is not the newest file")
    record = parsed(line, f"the last record of {found[-2].name}")
    if record.sequence + 1 != first:
        raise broken(found[-1].name, f"follows record {record.sequence}: files were removed or renamed")
    return record


def _last_line(path: Path) -> tuple[bytes, int, bytes]:
    """The last line that ends (empty where there is none), where it begins, and what follows it."""
    with path.open("rb") as file:
        position = file.seek(0, 2)
        tail = b""
        while position > 0:
            position, end = max(0, position - _BLOCK), position
            file.seek(position)
            tail = file.read(end - position) + tail
            if tail.count(b"\n") > 1:
                break
    end = tail.rfind(b"\n") + 1
    begin = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
    return tail[begin:end], position + begin, tail[end:]
