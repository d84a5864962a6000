"""Checks the whole chain, record by record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from policies.audit.records import GENESIS, file_name, files, follows, parsed
from policies.errors import AuditBroken


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked. `unfinished_bytes` belong to a line that a crash cut off before it was acknowledged."""

    records: int
    files: int
    first: str | None
    last: str | None
    head: str
    unfinished_bytes: int


def verify(directory: Path) -> Verification:
    """Reads every record and checks its form, its hash, its number and its link.

    Raises AuditBroken naming the first record that is wrong. A tail that was cut off at a record's end cannot be seen
    from inside the log: compare `head` with one kept elsewhere.
    """
    sequence, previous, first, last, unfinished = 0, GENESIS, None, None, 0
    found = files(directory)
    for index, path in enumerate(found):
        if path.name != file_name(sequence + 1):
            raise AuditBroken(
                f"the audit log is broken: {path.name} stands where {file_name(sequence + 1)} should be",
                hint="A file was removed or renamed; look for it in a backup.",
            )
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                where = f"{path.name}, line {number}"
                if not line.endswith(b"\n"):
                    if index + 1 < len(found):
                        raise AuditBroken(f"the audit log is broken: {where} is cut", hint="Compare with a backup.")
                    unfinished = len(line)
                    break
                record = parsed(line, where)
                follows(record, sequence + 1, previous, where)
                sequence, previous, last = record.sequence, record.hash, record.time
                first = first or record.time
    return Verification(sequence, len(found), first, last, previous, unfinished)
