"""Puts a pipeline together from what an installation has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.chunking import PassageParser
from ingest.parsing.pool import ParserPool
from ingest.parsing.types import ParserLimits
from ingest.pipeline import Pipeline
from ingest.run_state import Event, Record
from policies.access.actions import Action
from policies.access.verdict import Allow
from policies.audit.acting import acted_by, acting_by
from policies.audit.events import EventTag
from policies.errors import AccessDenied, UsageError
from policies.identity import Principal
from policies.labels import AccessClass

if TYPE_CHECKING:
    from service.wiring import Installation


@contextmanager
def open_pipeline(installation: Installation, principal: Principal, *, wait_seconds: float = 0) -> Iterator[Pipeline]:
    """A pipeline for one run on behalf of the principal, with its parser processes; raises UsageError while
    another run is on, after so many seconds.

    The run raises before its next commit once the principal has a role, a group or a clearance less than when it was opened
    (AccessDenied) or is disabled (AuthenticationRequired). It outlives what they came with: a session may be signed out."""
    if not installation.ingest_lock.acquire(timeout=wait_seconds):
        raise UsageError("an ingest run is on already", hint="Wait until it has ended; `inhouse runs` shows it.")
    try:
        settings = installation.settings.ingest
        limits = ParserLimits(
            memory_bytes=settings.memory_mb * 2**20,
            cpu_seconds=settings.cpu_seconds,
            silence_seconds=settings.silence_seconds,
            output_bytes=settings.output_mb * 2**20,
            file_bytes=settings.file_mb * 2**20,
        )
        temporary = installation.directory / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)

        def permitted(access: AccessClass) -> bool:
            return isinstance(installation.policies.decide(principal, Action.INGEST, access), Allow)

        with ParserPool(limits, settings.parser_workers, temporary) as parsers:
            yield Pipeline(
                store=installation.store,
                embedder=installation.ingest_embedder,
                chunker=PassageParser(count=installation.embedder.count, size=settings.passage_pieces),
                parsers=parsers,
                runs=installation.runs,
                record=_recorder(installation, principal),
                actor=principal.id,
                classifications=installation.settings.access.classifications,
                names=installation.settings.label_names(),
                permitted=permitted,
                prune_share=settings.prune_share,
            )
    finally:
        installation.ingest_lock.release()


def _recorder(installation: Installation, principal: Principal) -> Record:
    """Writes events in the principal's name, while they have the rights that they have now; raises as `open_pipeline` says."""
    # Commits have a thread of their own, which knows nothing of whose behalf the run is on.
    by = acted_by(principal.id)
    person = installation.current(replace(principal, credentials=()))

    def record(events: Sequence[Event]) -> None:
        # How a run ended is recorded whoever began it.
        if any(tag is not EventTag.INGEST_FINISHED for tag, _ in events) and installation.current(person) != person:
            raise AccessDenied(
                f"{principal.id} has fewer rights than when this run began",
                hint="What is committed stays. Somebody who may ingest the folder runs it again.",
            )
        with acting_by(by):
            installation.audit.append_all([(tag, principal.id, payload) for tag, payload in events])

    return record
