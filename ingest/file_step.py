"""The step for files that are one document each: settled where nothing is new, else parsed and cut into passages."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ingest.batching import Batching
from ingest.collection_step import Chunker
from ingest.parsing.pool import Outcome
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseReason
from ingest.refusing import UNLABELLED, Refusing, still_bad
from ingest.removing import Removing
from ingest.run_state import RunState
from ingest.sources.folder import FoundFile
from vectorstore.types import DocumentDraft


class FileStep:
    """Decides what becomes of each file of one run."""

    def __init__(
        self, state: RunState, batching: Batching, *, refusing: Refusing, removing: Removing, chunker: Chunker
    ) -> None:
        self._state = state
        self._batching = batching
        self._refusing = refusing
        self._removing = removing
        self._chunker = chunker

    def settled(self, file: FoundFile) -> bool:
        """Whether a file needs no parsing: it has no label, or is as it was, in the index or in quarantine."""
        state = self._state
        access = state.rules.label(file.relative)
        document = state.known.get(file.relative)
        if access is None:
            detail = "no rule of the labels matches it"
            self._refusing.refuse(state, file.relative, UNLABELLED, detail, file.size, file.modified_ns)
            self._removing.remove(state, [document] if document else [], "its label is gone")
            return True
        entry = state.quarantined.get(file.relative)
        if entry is not None and not state.request.retry and still_bad(entry, file):
            state.report.refuse(file.relative, entry.reason, entry.detail)
            if document is not None and document.access != access:
                self._batching.relabel(document.id, access, file.relative)
            return True
        if document is None:
            return False
        if (document.size, document.modified_ns) != (file.size, file.modified_ns):
            if document.size != file.size or _hash(file.path) != document.content_sha256:
                return False
            self._batching.touch(document.id, file.size, file.modified_ns)
        if document.access != access:
            self._batching.relabel(document.id, access, file.relative)
            state.report.relabelled += 1
        else:
            state.report.unchanged += 1
        self._refusing.release(state, [file.relative])
        return True

    def parsed(self, file: FoundFile, outcome: Outcome) -> None:
        """A file came back from its parser."""
        state = self._state
        if isinstance(outcome, ParseFailure):
            document = state.known.get(file.relative)
            access = state.rules.label(file.relative)
            if document is not None and access is not None and document.access != access:
                self._batching.relabel(document.id, access, file.relative)
            self._refusing.refuse(state, file.relative, outcome.reason, outcome.detail, file.size, file.modified_ns)
            return
        try:
            digest = _hash(file.path)
        except OSError as error:
            reason, detail = ParseReason.UNREADABLE, str(error.strerror)
            self._refusing.refuse(state, file.relative, reason, detail, file.size, file.modified_ns)
            return
        self._batching.add(self._draft(file, outcome, digest))
        if file.relative in state.known:
            state.report.changed += 1
        else:
            state.report.added += 1
        state.report.notes += [f"{file.relative}: {warning}" for warning in outcome.warnings]

    def _draft(self, file: FoundFile, parsed: ParsedDocument, digest: str) -> DocumentDraft:
        access = self._state.rules.label(file.relative)
        assert access is not None
        return DocumentDraft(
            source=self._state.source,
            path=file.relative,
            title=parsed.title,
            media_type=parsed.media_type,
            content_sha256=digest,
            size=file.size,
            modified_ns=file.modified_ns,
            access=access,
            text=parsed.text,
            pages=parsed.pages,
            passages=self._chunker.drafts(parsed.text, parsed.pages),
            metadata=parsed.metadata,
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
