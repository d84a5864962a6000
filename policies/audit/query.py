"""Reads the log without loading it whole: from the oldest record on, or from the newest back."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import rfc8785

from policies.audit.lines import backwards, ending, first_where, forwards
from policies.audit.records import Record, files, first_number, parsed
from policies.errors import NotFoundError, UsageError


def records(
    directory: Path,
    *,
    tag: str | None = None,
    actor: str | None = None,
    since: str | datetime.datetime | None = None,
    until: str | datetime.datetime | None = None,
    after: int | None = None,
    limit: int | None = None,
    newest_first: bool = True,
) -> Iterator[Record]:
    """The records that match all that is given, one at a time.

    `since` (inclusive) and `until` (exclusive) are dates or times in ISO 8601, UTC where they name no zone. `after` is the
    number of the last record of the page before: only what comes behind it in the asked order follows. Each record that
    is given out was checked against its own hash; AuditBroken names one that does not match. The chain, and what is left
    out, is `verify`'s to check. Raises UsageError for a time that is none.
    """
    match = _Match(tag, actor, moment(since), moment(until))
    return _matching(directory, match, after, limit, newest_first=newest_first)


def record(directory: Path, identifier: str) -> Record:
    """The record of an audit id (`number-hash`) or number; raises NotFoundError where there is none or the hash differs."""
    number, _, start = identifier.partition("-")
    if number.isdecimal() and number.isascii() and len(number) < 16:
        for found in _matching(directory, _Match(), int(number) - 1, 1, newest_first=False):
            if found.sequence == int(number) and found.hash.startswith(start):
                return found
    raise NotFoundError(f"there is no audit record {identifier!r}", hint="`inhouse audit list` shows the newest ones.")


class _Match:
    """What is asked of a record."""

    def __init__(
        self, tag: str | None = None, actor: str | None = None, since: str | None = None, until: str | None = None
    ) -> None:
        self._tag = tag.encode() if tag is not None else None
        self._start = b'{"actor":' + rfc8785.dumps(actor) + b"," if actor is not None else b"{"
        self._since = since.encode() if since else b""
        self._until = until.encode() if until else b"\xff"

    def __call__(self, line: bytes, tag: bytes, time: bytes) -> bool:
        return (self._tag is None or tag == self._tag) and line.startswith(self._start) and self._since <= time < self._until


def _matching(directory: Path, match: _Match, after: int | None, limit: int | None, *, newest_first: bool) -> Iterator[Record]:
    left = limit
    for path, lines in behind(directory, after, newest_first=newest_first):
        for line in lines:
            if left == 0:
                return
            end = ending(line, path)
            if match(line, end.tag, end.time):
                yield parsed(line, f"{path.name}, record {end.sequence}")
                left = left - 1 if left is not None else None


def behind(directory: Path, after: int | None, *, newest_first: bool) -> Iterator[tuple[Path, Iterator[bytes]]]:
    """The files in the asked order and the lines of each, from the record behind number `after` on; what stands before it
    is not read."""
    for path in _paths(directory, after, newest_first=newest_first):
        if after is None:
            yield path, backwards(path) if newest_first else forwards(path)
        elif newest_first:
            yield path, backwards(path, first_where(path, lambda end: end.sequence >= after))
        else:
            yield path, forwards(path, first_where(path, lambda end: end.sequence > after))


def _paths(directory: Path, after: int | None, *, newest_first: bool) -> list[Path]:
    """The files in the asked order, without those that hold nothing behind `after`."""
    found = files(directory)
    if after is not None:
        starts = [first_number(path) for path in found]
        if newest_first:
            found = [path for path, start in zip(found, starts, strict=True) if start < after]
        else:
            ends = [*starts[1:], None]
            found = [path for path, end in zip(found, ends, strict=True) if end is None or end > after + 1]
    return found[::-1] if newest_first else found


def moment(when: str | datetime.datetime | None) -> str | None:
    """The moment as records write it, so that the two compare as text. Raises UsageError for a time that is none."""
    if when is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(when) if isinstance(when, str) else when
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        moment = moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{when!r} is not a time", hint="Write it as 2026-11-24 or 2026-11-24T09:30:00+00:00.") from None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
