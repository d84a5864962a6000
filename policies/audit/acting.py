"""On whose behalf a record is written: who owns the data directory may act as a person, and the log then names both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_BY: ContextVar[str | None] = ContextVar("acting_by", default=None)


@contextmanager
def acting_by(person: str | None) -> Iterator[None]:
    """While the block runs, every record whose actor is somebody else says in `by` that this person acted (None: nobody
    stands in). It holds in threads and tasks that are begun in the block with its context, as those of anyio and asyncio
    are."""
    token = _BY.set(person)
    try:
        yield
    finally:
        _BY.reset(token)


def acted_by(actor: str) -> str | None:
    """Who really acts where `actor` is named, when that is somebody else."""
    person = _BY.get()
    return None if person == actor else person
