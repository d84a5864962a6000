"""The step for collection files: each line is a document of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from ingest.batching import Batching
from ingest.labelling import CollectionMapping
from ingest.parsing.types import ParseReason
from ingest.refusing import Refusing
from ingest.run_state import RunState
from ingest.runs import RunStore
from ingest.sources.collections import BadRecord, CollectionRecord, read_collection
from ingest.sources.folder import FoundFile
from policies.labels import AccessClass
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
        *,
        runs: RunStore,
        refusing: Refusing,
        chunker: Chunker,
        stop: threading.Event,
    ) -> None:
        self._state = state
        self._batching = batching
        self._runs = runs
        self._refusing = refusing
        self._chunker = chunker
        self._stop = stop
        self._whole: dict[str, tuple[FoundFile, int]] = {}

    def read(self, file: FoundFile, access: AccessClass, mapping: CollectionMapping) -> None:
        """The lines of one file, until the run is stopped."""
        state = self._state
        state.report.collections += 1
        if self._passed_over(file):
            return
        count = 0
        try:
            for record in read_collection(file.path, mapping):
                if self._stop.is_set():
                    return
                count += 1
                if isinstance(record, BadRecord):
                    path = f"{file.relative}#line-{record.line}"
                    state.seen.add(path)
                    self._refusing.refuse_line(state, path, record.detail, file)
                else:
                    self._take(file, access, record)
        except OSError as error:
            state.report.collections -= 1
            reason, detail = ParseReason.UNREADABLE, str(error.strerror)
            self._refusing.refuse(state, file.relative, reason, detail, file.size, file.modified_ns)
            state.incomplete.add(file.relative + "#")
            return
        self._whole[file.relative] = (file, count)
        self._refusing.release(state, [file.relative])

    def finish(self) -> None:
        """Keeps what was read whole; everything of it must be committed."""
        if self._state.request.dry_run:
            return
        for relative, (file, count) in self._whole.items():
            self._runs.keep_collection(self._state.source, relative, file.size, file.modified_ns, self._state.rules.hash, count)

    def _passed_over(self, file: FoundFile) -> bool:
        state = self._state
        seen = self._runs.seen_collection(state.source, file.relative, file.size, file.modified_ns, state.rules.hash)
        if seen is None or state.request.retry:
            return False
        state.seen.update(path for path in state.known if path.startswith(file.relative + "#"))
        state.report.records["unchanged"] = state.report.records.get("unchanged", 0) + seen
        return True

    def _take(self, file: FoundFile, access: AccessClass, record: CollectionRecord) -> None:
        state = self._state
        path = f"{file.relative}#{record.id}"
        state.seen.add(path)
        document = state.known.get(path)
        if document is not None and document.content_sha256 == record.content_sha256:
            if document.access != access:
                self._batching.relabel(document.id, access, path)
            state.report.count_record("unchanged" if document.access == access else "relabelled")
            return
        state.report.count_record("added" if document is None else "changed")
        self._batching.add(self._draft(file, access, record, path))
        self._batching.commit_when_full()

    def _draft(self, file: FoundFile, access: AccessClass, record: CollectionRecord, path: str) -> DocumentDraft:
        text = "\n".join([record.text, *(f"{name}: {value}" for name, value in record.kept.items())])
        return DocumentDraft(
            source=self._state.source,
            path=path,
            title=record.title,
            media_type="application/x-record",
            content_sha256=record.content_sha256,
            size=len(record.text),
            modified_ns=file.modified_ns,
            access=access,
            text=text,
            pages=(),
            passages=self._chunker.drafts(text, ()),
            metadata=record.kept,
        )
