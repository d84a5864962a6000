"""Gathers changes and commits them in batches: records first, then the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.progress import Progress
from ingest.refusing import Refusing
from ingest.run_state import Record, RunState
from ingest.runs import RunStore
from policies.audit.events import EventTag
from policies.labels import AccessClass
from vectorstore.context import context_text
from vectorstore.embedders.interface import Embedder
from vectorstore.store import Store
from vectorstore.types import DocumentDraft, DocumentId

BATCH_PASSAGES = 512
"""Passages in one commit: enough that its cost is small beside embedding them, few enough that little is lost with it."""

BATCH_BYTES = 64 * 2**20


@dataclass(slots=True)
class Batch:
    """What has gathered since the last commit."""

    drafts: list[DocumentDraft] = field(default_factory=list)
    relabels: list[tuple[DocumentId, AccessClass, str]] = field(default_factory=list)
    touched: list[tuple[DocumentId, int, int]] = field(default_factory=list)
    passages: int = 0
    bytes: int = 0


class Batching:
    """The changes of one run on their way into the store."""

    def __init__(
        self,
        state: RunState,
        progress: Progress,
        *,
        store: Store,
        embedder: Embedder,
        runs: RunStore,
        refusing: Refusing,
        record: Record,
    ) -> None:
        self._state = state
        self._progress = progress
        self._store = store
        self._embedder = embedder
        self._runs = runs
        self._refusing = refusing
        self._record = record
        self._batch = Batch()

    def touch(self, document: DocumentId, size: int, modified_ns: int) -> None:
        """A file has another stat and the same bytes."""
        self._batch.touched.append((document, size, modified_ns))

    def relabel(self, document: DocumentId, access: AccessClass, path: str) -> None:
        """A document goes to another access class."""
        self._batch.relabels.append((document, access, path))

    def add(self, draft: DocumentDraft) -> None:
        """A new document, or a new version of one."""
        self._batch.drafts.append(draft)
        self._batch.passages += len(draft.passages)
        self._batch.bytes += len(draft.text)

    def commit_when_full(self) -> None:
        """Commits where enough has gathered."""
        if self._batch.passages >= BATCH_PASSAGES or self._batch.bytes >= BATCH_BYTES:
            self.commit()

    def commit(self) -> None:
        """Embeds and commits what has gathered; a dry run forgets it."""
        batch, self._batch = self._batch, Batch()
        if self._state.request.dry_run:
            return
        if batch.touched:
            self._store.touch(batch.touched)
        if batch.relabels:
            for document, access, path in batch.relabels:
                payload = {"run": self._state.report.id, "document": document, "path": path, "class": access.id}
                self._record(EventTag.DOCUMENT_RELABELLED, payload)
            self._store.relabel([(document, access) for document, access, _ in batch.relabels])
        if batch.drafts:
            self._commit(batch.drafts)
            self._state.report.passages += batch.passages
            self._runs.save(self._state.report)

    def _commit(self, drafts: Sequence[DocumentDraft]) -> None:
        texts = [context_text(draft.title, one.heading, one.text) for draft in drafts for one in draft.passages]
        vectors = self._embedder.embed(texts, progress=self._progress.embedded)
        for draft in drafts:
            tag = EventTag.DOCUMENT_CHANGED if draft.path in self._state.known else EventTag.DOCUMENT_ADDED
            payload = {"path": draft.path, "sha256": draft.content_sha256, "class": draft.access.id}
            self._record(tag, {"run": self._state.report.id, **payload})
        place, pairs = 0, []
        for draft in drafts:
            pairs.append((draft, vectors[place : place + len(draft.passages)]))
            place += len(draft.passages)
        self._store.commit(pairs)
        self._refusing.release(self._state, [draft.path for draft in drafts])
