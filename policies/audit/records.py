"""The form of a record: one line of RFC 8785 JSON, chained to the one before by SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from policies.errors import AuditBroken

FORM = 1
"""The version of the form; a reader refuses one that it does not know."""

GENESIS = "0" * 64
"""What the first record names as the hash of the record before it."""

_FIELDS = {"actor", "form", "hash", "payload", "previous", "sequence", "tag", "time"}


@dataclass(frozen=True, slots=True)
class Record:
    """One event. `hash` is SHA-256 over the canonical form of every other field, `previous` among them."""

    sequence: int
    time: str
    tag: str
    actor: str
    payload: Mapping[str, Any]
    previous: str
    hash: str

    @property
    def id(self) -> str:
        """How people name the record: its number and the start of its hash, so that a wrong log shows."""
        return f"{self.sequence}-{self.hash[:12]}"

    def line(self) -> bytes:
        """The stored form, newline included."""
        return rfc8785.dumps({**_content(self), "hash": self.hash}) + b"\n"


def chained(sequence: int, time: str, tag: str, actor: str, payload: Mapping[str, Any], previous: str) -> Record:
    """A record that follows the one whose hash is `previous`. Raises rfc8785.CanonicalizationError for a payload with
    NaN, integers past 2^53 or anything that is not JSON. Bytes of a file name that are no text are kept as escapes."""
    draft = Record(sequence, time, tag, _plain(actor), _plain(payload), previous, "")
    return Record(sequence, time, tag, draft.actor, draft.payload, previous, _digest(draft))


def parsed(line: bytes, where: str) -> Record:
    """The record in one line. Raises AuditBroken, naming `where`, if it is not one in exactly its canonical form."""
    try:
        said = json.loads(line)
        if not isinstance(said, dict) or set(said) != _FIELDS or said["form"] != FORM:
            raise ValueError("not a record of a known form")
        record = Record(
            int(said["sequence"]),
            str(said["time"]),
            str(said["tag"]),
            str(said["actor"]),
            dict(said["payload"]),
            str(said["previous"]),
            str(said["hash"]),
        )
        if record.line() != line:
            raise ValueError("not in canonical form")
    except (ValueError, TypeError, KeyError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise broken(where, f"cannot be read ({error})") from None
    if _digest(record) != record.hash:
        raise broken(where, "was changed: its hash does not match its content")
    return record


def complete(tail: bytes, where: str) -> tuple[Record, int] | None:
    """The record that `tail` begins with and its length, where only the end of its line is missing or wrong; else None."""
    try:
        text = tail.decode("utf-8", "surrogateescape")
        _, end = json.JSONDecoder().raw_decode(text)
        line = text[:end].encode("utf-8", "surrogateescape")
        return parsed(line + b"\n", where), len(line)
    except (ValueError, RecursionError, AuditBroken):
        return None


def follows(record: Record, sequence: int, previous: str, where: str) -> None:
    """Raises AuditBroken unless the record is number `sequence` and names `previous`."""
    if record.sequence != sequence:
        raise broken(where, f"has number {record.sequence} where {sequence} should be: a record was cut or inserted")
    if record.previous != previous:
        raise broken(where, "does not follow the record before it")


def files(directory: Path) -> list[Path]:
    """The log's files, oldest first; each is named after the number of its first record."""
    return sorted(directory.glob("audit-*.jsonl"))


def first_number(path: Path) -> int:
    """The number of the first record of a log file, by its name. Raises AuditBroken for a name that the log did not give."""
    number = path.name.removeprefix("audit-").removesuffix(".jsonl")
    if not number.isdecimal() or path.name != file_name(int(number)):
        raise broken(path.name, "is no name that the log gives: a file was renamed or put in")
    return int(number)


def file_name(sequence: int) -> str:
    """The name of the file whose first record has that number."""
    return f"audit-{sequence:012d}.jsonl"


def _content(record: Record) -> dict[str, Any]:
    return {
        "form": FORM,
        "sequence": record.sequence,
        "time": record.time,
        "tag": record.tag,
        "actor": record.actor,
        "payload": dict(record.payload),
        "previous": record.previous,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode() if not value.isascii() else str(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _digest(record: Record) -> str:
    return hashlib.sha256(rfc8785.dumps(_content(record))).hexdigest()


def broken(where: str, what: str) -> AuditBroken:
    """The error that names the first bad place and says what is wrong with it."""
    return AuditBroken(
        f"the audit log is broken: {where} {what}",
        hint="Keep the directory as it is, and compare it with a backup: everything before that record verifies.",
    )
