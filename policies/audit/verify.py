"""Checks the whole chain, record by record."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from policies.audit.records import GENESIS, Record, broken, complete, file_name, files, follows, parsed
from policies.errors import AuditBroken

_RECORDS_BETWEEN = 2_000


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked: how many records in how many files, the times of the first and the last, and the last one's hash.

    `unfinished_bytes` belong to a line that a crash cut off before it was acknowledged.
    """

    records: int
    files: int
    first: str | None
    last: str | None
    head: str
    unfinished_bytes: int


def verify(
    directory: Path, *, expected: Collection[str] = (), progress: Callable[[float], None] = lambda share: None
) -> Verification:
    """Reads every record, one at a time, and checks its form, its hash, its number and its link. `progress` is told the
    share of the bytes that is read, in [0, 1], every 2,000 records; what it raises is passed on.

    Raises AuditBroken naming the first record that is wrong. A log whose end was cut off at a record's end, or that was
    written anew from some record on, is whole in itself: give `expected` audit ids, or a head, that were kept elsewhere,
    and one that is not in the log is named.
    """
    missing = set(expected)
    sequence, previous, first, last, unfinished = 0, GENESIS, None, None, 0
    found = files(directory)
    read, size = 0, sum(path.stat().st_size for path in found)
    for index, path in enumerate(found):
        if path.name != file_name(sequence + 1):
            raise broken(path.name, f"stands where {file_name(sequence + 1)} should be: a file was removed, renamed or put in")
        newest = index + 1 == len(found)
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                read += len(line)
                if number % _RECORDS_BETWEEN == 0:
                    progress(min(1.0, read / size))
                where = f"{path.name}, line {number} (record {sequence + 1})"
                record = parsed(line, where) if line.endswith(b"\n") else _unended(line, where, newest=newest)
                if record is None:
                    unfinished = len(line)
                    break
                follows(record, sequence + 1, previous, where)
                sequence, previous, last = record.sequence, record.hash, record.time
                first = first or record.time
                missing -= {record.id, record.hash}
    if missing:
        name = min(missing)
        raise AuditBroken(
            f"the audit log is broken: {name} is not in it; its last record is number {sequence}",
            hint="The log was cut, put back or written anew since that was noted. Compare it with a backup.",
        )
    return Verification(sequence, len(found), first, last, previous, unfinished)


def _unended(line: bytes, where: str, *, newest: bool) -> Record | None:
    """The record of a last line that does not end, None for one that a crash cut off."""
    if not newest:
        raise broken(where, "is cut")
    whole = complete(line, where)
    if whole is None:
        return None
    record, length = whole
    if length < len(line):
        raise broken(where, "was changed: something follows it on its line")
    return record
