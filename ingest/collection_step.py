"""The step for collection files: each line is a document of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from ingest.batching import Batching
from ingest.labelling import CollectionMapping
from ingest.parsing.types import ParseReason
from ingest.progress import Progress
from ingest.refusing import BAD_RECORD, HELD, LEGAL_HOLD, Refusing
from ingest.run_state import RECORD_TYPE, RunState
from ingest.runs import QuarantineEntry, RunStore
from ingest.sources.collections import BadRecord, CollectionRecord, read_collection
from ingest.sources.folder import FoundFile
from vectorstore.types import DocumentDraft, Page, PassageDraft


class Chunker(Protocol):
    """Cuts a parsed document into passages."""

    def drafts(self, text: str, pages: Sequence[Page]) -> tuple[PassageDraft, ...]:
        """The passages, in order."""


class CollectionStep:
    """Reads the collection files of one run. `finish` keeps which were read whole, so that the next run may pass over
    them while they and the rules stay as they are."""

    def __init__(
        self,
        state: RunState,
        batching: Batching,
        progress: Progress,
        *,
        runs: RunStore,
        refusing: Refusing,
        chunker: Chunker,
        stop: threading.Event,
    ) -> None:
        self._state = state
        self._batching = batching
        self._progress = progress
        self._runs = runs
        self._refusing = refusing
        self._chunker = chunker
        self._stop = stop
        self._whole: dict[str, tuple[FoundFile, int]] = {}
        self._held: set[str] = set()

    def read(self, file: FoundFile, mapping: CollectionMapping) -> None:
        """The lines of one file, until the run is stopped."""
        if self._passed_over(file):
            self._state.report.collections += 1
            return
        count, bad = 0, set()
        try:
            for record in read_collection(file.path, mapping):
                if self._stop.is_set():
                    return
                count += 1
                if isinstance(record, BadRecord):
                    path = f"{file.relative}#line-{record.line}"
                    bad.add(path)
                    self._state.seen.add(path)
                    self._refusing.refuse_line(path, record.detail, file)
                else:
                    # The line is a little longer than its text: what is left is then told a little too long.
                    self._progress.reading(len(record.text))
                    self._take(file, record)
            whole = _as_it_was(file)
        except OSError as error:
            reason, detail = ParseReason.UNREADABLE, error.strerror or str(error)
            self._refusing.refuse(file.relative, reason, detail, file.size, file.modified_ns)
            self._state.incomplete.add(file.relative + "#")
            return
        self._state.report.collections += 1
        # Once the hold is lifted the line must be read again.
        if whole and file.relative not in self._held:
            self._whole[file.relative] = (file, count)
        mended = [entry.path for entry in self._bad_lines(file) if entry.path not in bad]
        self._refusing.release([file.relative, *mended])

    def finish(self) -> None:
        """Keeps what was read whole; everything of it must be committed."""
        if self._state.request.dry_run:
            return
        for relative, (file, count) in self._whole.items():
            self._runs.keep_collection(self._state.source, relative, file.size, file.modified_ns, self._state.rules.hash, count)

    def _passed_over(self, file: FoundFile) -> bool:
        """Whether the file is as it was when it was last read whole, and every line of it in the index or in quarantine."""
        state = self._state
        seen = self._runs.seen_collection(state.source, file.relative, file.size, file.modified_ns, state.rules.hash)
        there, bad = state.lines(file.relative), self._bad_lines(file)
        if seen != len(there) + len(bad) or state.request.retry:
            return False
        for document in there:
            state.seen.add(document.path)
            state.report.count_record("relabelled" if document.path in state.relabelled else "unchanged")
        for entry in bad:
            state.seen.add(entry.path)
            self._refusing.refuse_line(entry.path, entry.detail, file)
        return True

    def _bad_lines(self, file: FoundFile) -> list[QuarantineEntry]:
        prefix = file.relative + "#line-"
        return [
            entry for path, entry in self._state.quarantined.items() if entry.reason == BAD_RECORD and path.startswith(prefix)
        ]

    def _take(self, file: FoundFile, record: CollectionRecord) -> None:
        state = self._state
        path = f"{file.relative}#{record.id}"
        state.seen.add(path)
        document = state.known.get(path)
        if document is not None and document.content_sha256 == record.content_sha256:
            state.report.count_record("relabelled" if path in state.relabelled else "unchanged")
            self._refusing.release([path])
        elif document is not None and document.held:
            self._held.add(file.relative)
            self._refusing.refuse_line(path, HELD, file, LEGAL_HOLD)
        elif state.request.dry_run:
            self._batching.would_add(path, RECORD_TYPE)
        else:
            self._batching.add(self._draft(file, record, path))

    def _draft(self, file: FoundFile, record: CollectionRecord, path: str) -> DocumentDraft:
        label = self._state.labels[file.relative]
        text = "\n".join([record.text, *(f"{name}: {value}" for name, value in record.kept.items())])
        return DocumentDraft(
            source=self._state.source,
            path=path,
            title=record.title,
            media_type=RECORD_TYPE,
            content_sha256=record.content_sha256,
            size=len(record.text),
            modified_ns=file.modified_ns,
            access=label.access,
            text=text,
            pages=(),
            passages=self._chunker.drafts(text, ()),
            metadata=record.kept,
            purpose=label.purpose,
            retention=label.retention,
            origin=label.origin,
        )


def _as_it_was(file: FoundFile) -> bool:
    """Whether the file was not written to while it was read."""
    stat = file.path.stat()
    return (stat.st_size, stat.st_mtime_ns) == (file.size, file.modified_ns)
