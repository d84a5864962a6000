"""Gathers new documents and commits them in batches, while the next batch is embedded and the one after it is read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

import numpy as np

from ingest.progress import Progress
from ingest.refusing import Refusing
from ingest.run_state import RECORD_TYPE, Record, RunState
from ingest.runs import RunStore
from policies.audit.events import EventTag
from policies.labels import Label
from vectorstore.context import context_text
from vectorstore.embedders.interface import Embedder
from vectorstore.store import Store
from vectorstore.types import DocumentDraft, DocumentId, Vectors

BATCH_PASSAGES = 1024
"""Passages in one commit: enough that its cost is small beside embedding them, few enough that little is lost with it."""

BATCH_BYTES = 16 * 2**20
_SLICE = 4096
"""Texts that are cut into word pieces at a time: a single document may have many times as many."""

_STATS = 1000
_AHEAD = 2
"""Batches beside the one that gathers: one is embedded, and one is committed or waits."""


@dataclass(slots=True)
class Batch:
    """What has gathered since the last one. `notes` are what the parsers had to say of the documents."""

    drafts: list[DocumentDraft] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    touched: list[tuple[DocumentId, int, int]] = field(default_factory=list)
    passages: int = 0
    bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it should go."""
        return self.passages >= BATCH_PASSAGES or self.bytes >= BATCH_BYTES or len(self.touched) >= _STATS


class _Stopped(Exception):
    """Embedding was cut short because the run is to stop."""


class Batching:
    """The new documents of one run on their way into the store. Use as a context manager.

    One thread embeds and one commits, each batch after the one before it; the records of a batch are in the audit log
    before its commit. The report counts what is committed, on the thread that calls, and nothing else. Leaving the block
    waits for what is under way: after an exception, or once `stop` is set, embedding is cut short, and what was not yet
    embedded is dropped.
    """

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
        stop: threading.Event,
    ) -> None:
        self._state = state
        self._progress = progress
        self._store = store
        self._embedder = embedder
        self._runs = runs
        self._refusing = refusing
        self._record = record
        self._stop = stop
        self._failed = threading.Event()
        self._batch = Batch()
        self._under_way: deque[Future[Batch | None]] = deque()
        self._embedding = ThreadPoolExecutor(1, "embedding")
        self._committing = ThreadPoolExecutor(1, "committing")

    def touch(self, document: DocumentId, size: int, modified_ns: int) -> None:
        """A file has another stat and the same bytes."""
        if self._state.request.dry_run:
            return
        self._batch.touched.append((document, size, modified_ns))
        self._go_when_full()

    def add(self, draft: DocumentDraft, notes: Sequence[str] = ()) -> None:
        """A new document, or a new version of one. Waits while enough is under way; raises what went wrong with it."""
        self._batch.drafts.append(draft)
        self._batch.notes += notes
        self._batch.passages += len(draft.passages)
        self._batch.bytes += len(draft.text)
        self._progress.made(len(draft.passages))
        self._go_when_full()

    def would_add(self, path: str, media_type: str) -> None:
        """In a dry run: counts what `add` would."""
        self._count(path, media_type)

    def flush(self) -> None:
        """Sends what has gathered, and waits until all is committed."""
        self._go()
        while self._under_way:
            self._take(self._under_way.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._failed.set()
        self._embedding.shutdown(wait=True, cancel_futures=kind is not None)
        self._committing.shutdown(wait=True)
        for future in self._under_way:
            if kind is None:
                self._take(future)
            elif future.exception() is None:
                # What went wrong is on its way up; all that is left to say is what was committed before it.
                self._counted(future.result())

    def _go_when_full(self) -> None:
        if self._batch.full:
            self._go()

    def _go(self) -> None:
        batch, self._batch = self._batch, Batch()
        if not (batch.drafts or batch.touched):
            return
        embedded = self._embedding.submit(self._embed, batch.drafts)
        self._under_way.append(self._committing.submit(self._commit, batch, embedded))
        while len(self._under_way) > _AHEAD:
            self._take(self._under_way.popleft())

    def _embed(self, drafts: Sequence[DocumentDraft]) -> Vectors:
        texts = [context_text(draft.title, one.heading, one.text) for draft in drafts for one in draft.passages]
        parts = [
            self._embedder.embed(texts[start : start + _SLICE], progress=self._embedded)
            for start in range(0, max(1, len(texts)), _SLICE)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _embedded(self, count: int) -> None:
        if self._stop.is_set() or self._failed.is_set():
            raise _Stopped
        self._progress.embedded(count)

    def _commit(self, batch: Batch, embedded: Future[Vectors]) -> Batch | None:
        """The batch, once it is in the store; None where it was dropped."""
        try:
            vectors = embedded.result()
        except (_Stopped, CancelledError):
            return None
        except BaseException:
            self._failed.set()
            raise
        if self._failed.is_set():
            return None
        try:
            if batch.touched:
                self._store.touch(batch.touched)
            if batch.drafts:
                drafts = self._store.identified(batch.drafts)
                labels = self._store.labels_for(drafts)
                self._record([self._event(draft, label) for draft, label in zip(drafts, labels, strict=True)])
                self._store.commit(_paired(drafts, vectors), self._state.act)
        except BaseException:
            # What comes after a commit that failed is not tried: the disk is full, or the log cannot be written.
            self._failed.set()
            raise
        return batch

    def _event(self, draft: DocumentDraft, label: Label) -> tuple[EventTag, dict[str, str | None]]:
        tag = EventTag.DOCUMENT_CHANGED if draft.path in self._state.known else EventTag.DOCUMENT_ADDED
        content = {"document": draft.id, "path": draft.path, "sha256": draft.content_sha256}
        payload = {**content, "class": label.access.id, "label": label.as_text()}
        return tag, {"run": self._state.report.id, **payload}

    def _take(self, future: Future[Batch | None]) -> None:
        """Counts one batch that is committed; raises what went wrong with it."""
        batch = self._counted(future.result())
        self._refusing.flush()
        if batch is not None and batch.drafts:
            self._refusing.release([draft.path for draft in batch.drafts])
            self._runs.save(self._state.report)

    def _counted(self, batch: Batch | None) -> Batch | None:
        if batch is not None:
            for draft in batch.drafts:
                self._count(draft.path, draft.media_type)
            self._state.report.passages += batch.passages
            self._state.report.notes += batch.notes
        return batch

    def _count(self, path: str, media_type: str) -> None:
        outcome: Literal["added", "changed"] = "changed" if path in self._state.known else "added"
        if media_type == RECORD_TYPE:
            self._state.report.count_record(outcome)
        else:
            self._state.report.count(outcome)


def _paired(drafts: Sequence[DocumentDraft], vectors: Vectors) -> list[tuple[DocumentDraft, Vectors]]:
    pairs, place = [], 0
    for draft in drafts:
        pairs.append((draft, vectors[place : place + len(draft.passages)]))
        place += len(draft.passages)
    return pairs
