"""The log in pages, for people who look for something in it: filtered, and each page at a bounded cost."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import rfc8785

from policies.audit.events import EventTag
from policies.audit.lines import Ending, backwards, ending, first_where
from policies.audit.query import behind
from policies.audit.records import Record, files, parsed

SHOWN = frozenset(
    {
        EventTag.CONVERSATION_EXPORTED,
        EventTag.CONVERSATION_OPENED,
        EventTag.DOCUMENT_DOWNLOADED,
        EventTag.DOCUMENT_VIEWED,
        EventTag.QUESTION_ANSWERED,
        EventTag.QUESTION_REFUSED,
        EventTag.SEARCH_RUN,
    }
)
"""The events in which something of a document was shown to who acted."""

OUTCOMES: Mapping[str, EventTag | None] = {
    "answered": EventTag.QUESTION_ANSWERED,
    "refused": EventTag.QUESTION_REFUSED,
    "cancelled": EventTag.QUESTION_CANCELLED,
    "failed": EventTag.QUESTION_FAILED,
    "finished": None,
    "interrupted": None,
    "verified": None,
    "broken": None,
}
"""How something can have ended. An event of its own says so of a question; of an ingest and of a check of the log,
`outcome` in the payload does."""

_CLOCK = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a record, all of it; None asks for nothing.

    `since` (inclusive) and `until` (exclusive) are moments as `query.moment` writes them. `document` is an id, or a path as
    it stood in the log. `what` is the value of that name in the payload.
    """

    tags: frozenset[str] | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None
    document: str | None = None
    outcome: str | None = None
    what: str | None = None

    def may_be(self, tag: str, time: str) -> bool:
        """Whether a record of this event and time can be one of those that are wanted."""
        return (
            (self.tags is None or tag in self.tags)
            and (self.since is None or self.since <= time)
            and (self.until is None or time < self.until)
        )

    def is_met_by(self, record: Record) -> bool:
        """Whether the record is one of those that are wanted."""
        return (
            self.may_be(record.tag, record.time)
            and self.actor in (None, record.actor)
            and self.outcome in (None, outcome(record))
            and self.what in (None, record.payload.get("what"))
            and (self.document is None or self.document in documents(record))
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first. `rest` is the number of the last record that was looked at, behind which others may
    follow, and None where the beginning was reached; `looked` is how many were looked at."""

    records: list[Record]
    rest: int | None
    looked: int


def outcome(record: Record) -> str | None:
    """How it ended, one of OUTCOMES; None for what only happened."""
    for name, tag in OUTCOMES.items():
        if tag == record.tag:
            return name
    tells = record.tag == EventTag.INGEST_FINISHED or record.payload.get("what") == "verify"
    said = record.payload.get("outcome") if tells else None
    return said if said in OUTCOMES else None


def documents(record: Record) -> list[str]:
    """The ids and paths of the documents that a record names as such."""
    payload: Mapping[str, Any] = record.payload
    named = [payload.get("document"), payload.get("path"), *payload.get("documents", ()), *payload.get("paths", ())]
    named += [one[0] for one in payload.get("citations", ())]
    return [one for one in named if isinstance(one, str)]


def page(directory: Path, wanted: Wanted, *, before: int | None = None, limit: int = 50, look: int = 200_000) -> Page:
    """At most `limit` wanted records older than number `before`, of at most `look` that are looked at.

    A time is found by halving the files, and a day on either side of it is looked through as well: a record whose clock
    was off by more than that may be missing, which `query.records` would find. Raises AuditBroken.
    """
    found: list[Record] = []
    looked = 0
    for path, line, one in _sifted(directory, wanted, before):
        looked += 1
        if one is not None:
            found.append(one)
        if len(found) == limit or looked == look:
            last = ending(line, path).sequence
            return Page(found, last if last > 1 else None, looked)
    return Page(found, None, looked)


def every(directory: Path, wanted: Wanted, *, before: int | None = None) -> Iterator[Record]:
    """All wanted records older than number `before`, newest first, one at a time; by time as in `page`."""
    return (one for _, _, one in _sifted(directory, wanted, before) if one is not None)


def _sifted(directory: Path, wanted: Wanted, before: int | None) -> Iterator[tuple[Path, bytes, Record | None]]:
    """The lines that are looked at, newest first, each with its record where that is wanted. Parses only what may be."""
    needles = _needles(wanted)
    earliest = _moved(wanted.since, -_CLOCK)
    for path, line in _lines(directory, wanted, before):
        if earliest is not None and ending(line, path).time.decode() < earliest:
            return
        record = None
        if all(needle in line for needle in needles):
            end = ending(line, path)
            if wanted.may_be(end.tag.decode(), end.time.decode()):
                whole = parsed(line, f"{path.name}, record {end.sequence}")
                record = whole if wanted.is_met_by(whole) else None
        yield path, line, record


def _needles(wanted: Wanted) -> list[bytes]:
    """What stands in the line of every record that is wanted."""
    tag = OUTCOMES.get(wanted.outcome) if wanted.outcome is not None else None
    said = (wanted.actor, wanted.document, wanted.what, tag or wanted.outcome)
    return [rfc8785.dumps(str(one)) for one in said if one is not None]


def _lines(directory: Path, wanted: Wanted, before: int | None) -> Iterator[tuple[Path, bytes]]:
    """The lines that can be wanted, newest first."""
    latest = _moved(wanted.until, _CLOCK)
    if latest is None:
        return chain.from_iterable(_with(path, lines) for path, lines in behind(directory, before, newest_first=True))
    return chain.from_iterable(
        _with(path, backwards(path, first_where(path, lambda end: _is_late(end, before, latest))))
        for path in reversed(files(directory))
    )


def _with(path: Path, lines: Iterator[bytes]) -> Iterator[tuple[Path, bytes]]:
    return ((path, line) for line in lines)


def _is_late(end: Ending, before: int | None, latest: str) -> bool:
    return (before is not None and end.sequence >= before) or end.time.decode() > latest


def _moved(when: str | None, by: datetime.timedelta) -> str | None:
    if when is None:
        return None
    try:
        moved = datetime.datetime.fromisoformat(when) + by
    except OverflowError:
        return None
    return moved.isoformat(timespec="microseconds").replace("+00:00", "Z")
