"""One run: find files, parse and label what is new, embed it, commit it in batches, and report."""

from __future__ import annotations

import datetime
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ingest.labelling import FILE_NAME, LabelRules
from ingest.parsing.pool import Outcome
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseItem, ParseReason
from ingest.report import RunReport
from ingest.runs import QuarantineEntry, RunStore
from ingest.sources.collections import BadRecord, read_collection
from ingest.sources.folder import FoundFile, Refused, resolved_root, walk
from policies.audit.events import EventTag
from policies.errors import ConfirmationRequired, InhouseError
from policies.labels import AccessClass
from vectorstore.context import context_text
from vectorstore.embedders.interface import Embedder
from vectorstore.store import Store
from vectorstore.types import Document, DocumentDraft, DocumentId, Page, PassageDraft

BATCH_PASSAGES = 512
"""Passages in one commit: enough that its cost is small beside embedding them, few enough that little is lost with it."""

BATCH_BYTES = 64 * 2**20
UNLABELLED = "no-label"
BAD_RECORD = "bad-record"
REFUSED = "not-a-plain-file"

Record = Callable[[EventTag, Mapping[str, Any]], object]
Listener = Callable[[Mapping[str, Any]], None]


class Chunker(Protocol):
    """Cuts a parsed document into passages."""

    def drafts(self, text: str, pages: Sequence[Page]) -> tuple[PassageDraft, ...]:
        """The passages, in order."""


class Parsers(Protocol):
    """Parses files elsewhere."""

    def parse(self, items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
        """Each item with its outcome, in any order."""


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """A folder and what to do with it. `labels` is a file elsewhere than in the folder; `confirmed` lets a prune remove
    more than its share; `retry` parses what is in quarantine again; `only` limits the run to these relative paths."""

    folder: Path
    labels: Path | None = None
    prune: bool = False
    confirmed: bool = False
    dry_run: bool = False
    retry: bool = False
    only: frozenset[str] | None = None


@dataclass(slots=True)
class _State:
    """What one run carries along."""

    request: IngestRequest
    source: str
    rules: LabelRules
    report: RunReport
    known: dict[str, Document]
    quarantined: dict[str, QuarantineEntry]
    seen: set[str] = field(default_factory=set)
    whole: dict[str, tuple[FoundFile, int]] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    batch: list[DocumentDraft] = field(default_factory=list)
    relabels: list[tuple[DocumentId, AccessClass, str]] = field(default_factory=list)
    touched: list[tuple[DocumentId, int, int]] = field(default_factory=list)
    passages: int = 0
    bytes: int = 0


class Pipeline:
    """Carries out runs on one store. One run at a time.

    A change is recorded in the audit log before its commit: a record without its change can be, when the process dies
    between the two, but never a change without its record. A file that was good and can no longer be parsed keeps its
    last good version and is in quarantine too; a file that lost its label leaves the index at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        embedder: Embedder,
        chunker: Chunker,
        parsers: Parsers,
        runs: RunStore,
        record: Record,
        classifications: Sequence[str],
        prune_share: float,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._chunker = chunker
        self._parsers = parsers
        self._runs = runs
        self._record = record
        self._classifications = classifications
        self._prune_share = prune_share

    def run(self, request: IngestRequest, listener: Listener, stop: threading.Event) -> RunReport:
        """Runs to the end, or until `stop` is set; then what is committed stays and the report says interrupted.

        Raises UsageError for a folder or labels that cannot be used, ConfirmationRequired before anything is removed, and
        whatever the store or the audit log raises; the report is kept in each case.
        """
        state = self._begin(request)
        started = time.monotonic()
        try:
            if not request.dry_run:
                self._record(EventTag.INGEST_STARTED, {"run": state.report.id, "source": state.source})
                self._runs.save(state.report)
            self._walk(state, listener, stop)
            state.report.outcome = "interrupted" if stop.is_set() else "finished"
            if request.prune and not stop.is_set():
                self._prune(state)
        except BaseException as error:
            state.report.outcome = "failed" if isinstance(error, Exception) else "interrupted"
            state.report.error = error.message if isinstance(error, InhouseError) else type(error).__name__
            raise
        finally:
            state.report.ended = _now()
            state.report.seconds = round(time.monotonic() - started, 3)
            if not request.dry_run:
                self._end(state)
        return state.report

    def classes_of(self, request: IngestRequest) -> list[AccessClass]:
        """The access classes that the request's labels can give; raises UsageError for labels that cannot be used."""
        root = resolved_root(request.folder)
        return LabelRules.load(request.labels or root / FILE_NAME, self._classifications).classes()

    def classes_there(self, request: IngestRequest) -> set[AccessClass]:
        """The access classes of the documents that the index has from the request's folder: a run may move or replace them."""
        return {document.access for document in self._store.known(str(resolved_root(request.folder))).values()}

    def _begin(self, request: IngestRequest) -> _State:
        root = resolved_root(request.folder)
        rules = LabelRules.load(request.labels or root / FILE_NAME, self._classifications)
        source = str(root)
        report = RunReport(id="run-" + secrets.token_hex(6), source=source, started=_now(), dry_run=request.dry_run)
        quarantined = {one.path: one for one in self._runs.quarantine(source)}
        return _State(request, source, rules, report, self._store.known(source), quarantined)

    def _end(self, state: _State) -> None:
        report = state.report
        counts = {name: getattr(report, name) for name in ("found", "added", "changed", "removed", "quarantined")}
        self._runs.save(report)
        self._record(EventTag.INGEST_FINISHED, {"run": report.id, "outcome": report.outcome, **counts})

    def _walk(self, state: _State, listener: Listener, stop: threading.Event) -> None:
        root = Path(state.source)
        found = [
            one
            for one in walk(root, skip=frozenset({FILE_NAME}))
            if state.request.only is None or one.relative in state.request.only
        ]
        state.report.found = len(found)
        progress = _Progress(listener, state, sum(one.size for one in found if isinstance(one, FoundFile)))
        by_path = {str(one.path) + "\n" + one.relative: one for one in found if isinstance(one, FoundFile)}
        for one in found:
            state.seen.add(one.relative)
            if isinstance(one, Refused):
                self._quarantine(state, one.relative, REFUSED, one.detail, 0, 0)
        for item, outcome in self._parsers.parse(self._to_parse(state, found, progress, stop)):
            if stop.is_set():
                break
            file = by_path[str(item.path) + "\n" + item.name]
            self._parsed(state, file, outcome)
            progress.done(file.size)
            self._commit_when_full(state, progress)
        if not stop.is_set():
            self._flush(state, progress)
            self._finish_collections(state)

    def _to_parse(
        self, state: _State, found: Sequence[FoundFile | Refused], progress: _Progress, stop: threading.Event
    ) -> Iterator[ParseItem]:
        """The files that must be parsed; the others are settled on the way. Runs on the pool's feeding thread, so what
        touches the batch is done first, before the pool starts."""
        todo: list[FoundFile] = []
        for one in found:
            if stop.is_set():
                return iter(())
            if isinstance(one, FoundFile):
                if state.rules.collection(one.relative) is not None and state.rules.label(one.relative) is not None:
                    self._collection(state, one, progress, stop)
                    progress.done(one.size)
                elif self._settled(state, one):
                    progress.done(one.size)
                else:
                    todo.append(one)
        self._flush(state, progress)
        return (ParseItem(one.path, one.relative) for one in todo)

    def _settled(self, state: _State, file: FoundFile) -> bool:
        """Whether a file needs no parsing: it has no label, or is as it was, in the index or in quarantine."""
        access = state.rules.label(file.relative)
        document = state.known.get(file.relative)
        if access is None:
            self._quarantine(state, file.relative, UNLABELLED, "no rule of the labels matches it", file.size, file.modified_ns)
            self._remove(state, [document] if document else [], "its label is gone")
            return True
        entry = state.quarantined.get(file.relative)
        if entry is not None and not state.request.retry and _still_bad(entry, file):
            state.report.refuse(file.relative, entry.reason, entry.detail)
            if document is not None and document.access != access:
                state.relabels.append((document.id, access, file.relative))
            return True
        if document is None:
            return False
        if (document.size, document.modified_ns) != (file.size, file.modified_ns):
            if document.size != file.size or _hash(file.path) != document.content_sha256:
                return False
            state.touched.append((document.id, file.size, file.modified_ns))
        if document.access != access:
            state.relabels.append((document.id, access, file.relative))
            state.report.relabelled += 1
        else:
            state.report.unchanged += 1
        self._leave_quarantine(state, [file.relative])
        return True

    def _parsed(self, state: _State, file: FoundFile, outcome: Outcome) -> None:
        if isinstance(outcome, ParseFailure):
            document = state.known.get(file.relative)
            access = state.rules.label(file.relative)
            if document is not None and access is not None and document.access != access:
                state.relabels.append((document.id, access, file.relative))
            self._quarantine(state, file.relative, outcome.reason, outcome.detail, file.size, file.modified_ns)
            return
        try:
            digest = _hash(file.path)
        except OSError as error:
            self._quarantine(state, file.relative, ParseReason.UNREADABLE, str(error.strerror), file.size, file.modified_ns)
            return
        self._add(state, file, outcome, digest)

    def _add(self, state: _State, file: FoundFile, parsed: ParsedDocument, digest: str) -> None:
        access = state.rules.label(file.relative)
        assert access is not None
        draft = DocumentDraft(
            source=state.source,
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
        self._queue(state, draft)
        if file.relative in state.known:
            state.report.changed += 1
        else:
            state.report.added += 1
        state.report.notes += [f"{file.relative}: {warning}" for warning in parsed.warnings]

    def _collection(self, state: _State, file: FoundFile, progress: _Progress, stop: threading.Event) -> None:
        """The lines of one collection file, each a document of its own."""
        access, mapping = state.rules.label(file.relative), state.rules.collection(file.relative)
        assert access is not None
        assert mapping is not None
        state.report.collections += 1
        prefix = file.relative + "#"
        seen = self._runs.seen_collection(state.source, file.relative, file.size, file.modified_ns, state.rules.hash)
        if seen is not None and not state.request.retry:
            state.seen.update(path for path in state.known if path.startswith(prefix))
            state.report.records["unchanged"] = state.report.records.get("unchanged", 0) + seen
            return
        count = 0
        try:
            for record in read_collection(file.path, mapping):
                if stop.is_set():
                    return
                count += 1
                if isinstance(record, BadRecord):
                    path = f"{file.relative}#line-{record.line}"
                    state.report.count_record("quarantined")
                    state.report.refusals.append({"path": path, "reason": BAD_RECORD, "detail": record.detail})
                    if not state.request.dry_run:
                        self._runs.put(state.source, path, BAD_RECORD, record.detail, file.size, file.modified_ns)
                    state.seen.add(path)
                    continue
                path = prefix + record.id
                state.seen.add(path)
                document = state.known.get(path)
                if document is not None and document.content_sha256 == record.content_sha256:
                    if document.access != access:
                        state.relabels.append((document.id, access, path))
                    state.report.count_record("unchanged" if document.access == access else "relabelled")
                    continue
                state.report.count_record("added" if document is None else "changed")
                text = "\n".join([record.text, *(f"{name}: {value}" for name, value in record.kept.items())])
                draft = DocumentDraft(
                    source=state.source,
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
                self._queue(state, draft)
                self._commit_when_full(state, progress)
        except OSError as error:
            state.report.collections -= 1
            self._quarantine(state, file.relative, ParseReason.UNREADABLE, str(error.strerror), file.size, file.modified_ns)
            state.incomplete.add(prefix)
            return
        state.whole[file.relative] = (file, count)
        self._leave_quarantine(state, [file.relative])

    def _finish_collections(self, state: _State) -> None:
        if state.request.dry_run:
            return
        for relative, (file, count) in state.whole.items():
            rules = state.rules.hash
            self._runs.keep_collection(state.source, relative, file.size, file.modified_ns, rules, count)

    def _queue(self, state: _State, draft: DocumentDraft) -> None:
        state.batch.append(draft)
        state.passages += len(draft.passages)
        state.bytes += len(draft.text)

    def _commit_when_full(self, state: _State, progress: _Progress) -> None:
        if state.passages >= BATCH_PASSAGES or state.bytes >= BATCH_BYTES:
            self._flush(state, progress)

    def _flush(self, state: _State, progress: _Progress) -> None:
        """Embeds and commits what has gathered."""
        batch, state.batch = state.batch, []
        relabels, state.relabels = state.relabels, []
        touched, state.touched = state.touched, []
        passages, state.passages, state.bytes = state.passages, 0, 0
        if state.request.dry_run:
            return
        if touched:
            self._store.touch(touched)
        if relabels:
            for document, access, path in relabels:
                payload = {"run": state.report.id, "document": document, "path": path, "class": access.id}
                self._record(EventTag.DOCUMENT_RELABELLED, payload)
            self._store.relabel([(document, access) for document, access, _ in relabels])
        if batch:
            self._commit(state, batch, progress)
            state.report.passages += passages
            self._runs.save(state.report)

    def _commit(self, state: _State, batch: Sequence[DocumentDraft], progress: _Progress) -> None:
        texts = [context_text(draft.title, one.heading, one.text) for draft in batch for one in draft.passages]
        vectors = self._embedder.embed(texts, progress=progress.embedded)
        for draft in batch:
            tag = EventTag.DOCUMENT_CHANGED if draft.path in state.known else EventTag.DOCUMENT_ADDED
            payload = {"path": draft.path, "sha256": draft.content_sha256, "class": draft.access.id}
            self._record(tag, {"run": state.report.id, **payload})
        place, pairs = 0, []
        for draft in batch:
            pairs.append((draft, vectors[place : place + len(draft.passages)]))
            place += len(draft.passages)
        self._store.commit(pairs)
        self._leave_quarantine(state, [draft.path for draft in batch])

    def _quarantine(self, state: _State, path: str, reason: str, detail: str, size: int, modified_ns: int) -> None:
        state.report.refuse(path, str(reason), detail)
        if state.request.dry_run:
            return
        payload = {"run": state.report.id, "path": path, "reason": str(reason)}
        self._record(EventTag.DOCUMENT_QUARANTINED, payload)
        self._runs.put(state.source, path, str(reason), detail, size, modified_ns)

    def _leave_quarantine(self, state: _State, paths: Sequence[str]) -> None:
        held = [path for path in paths if path in state.quarantined]
        if held and not state.request.dry_run:
            self._runs.release(state.source, held)

    def _prune(self, state: _State) -> None:
        """Removes documents whose file, or line of a collection, is gone."""
        unread = tuple(state.incomplete)
        gone = [one for path, one in state.known.items() if path not in state.seen and not (unread and path.startswith(unread))]
        if len(gone) > self._prune_share * len(state.known) and not state.request.confirmed:
            raise ConfirmationRequired(
                f"{len(gone)} of {len(state.known)} documents of {state.source} are gone from it; none was removed",
                hint="If that is meant, run again with --prune --yes. If not, look whether the folder is mounted.",
            )
        self._remove(state, gone, "its file is gone")
        stale = [path for path in state.quarantined if path not in state.seen]
        if stale and not state.request.dry_run:
            self._runs.release(state.source, stale)

    def _remove(self, state: _State, documents: Sequence[Document], reason: str) -> None:
        state.report.removed += len(documents)
        if state.request.dry_run or not documents:
            return
        for one in documents:
            payload = {"document": one.id, "version": one.version, "path": one.path, "reason": reason}
            self._record(EventTag.DOCUMENT_REMOVED, {"run": state.report.id, **payload})
        for start in range(0, len(documents), 1000):
            self._store.remove([one.id for one in documents[start : start + 1000]])


class _Progress:
    """Tells the listener where the run is, at most some times a second."""

    def __init__(self, listener: Listener, state: _State, total_bytes: int) -> None:
        self._listener = listener
        self._state = state
        self._total_bytes = total_bytes
        self._files = self._bytes = self._passages = 0
        self._started = time.monotonic()
        self._told = 0.0

    def done(self, size: int) -> None:
        self._files += 1
        self._bytes += size
        self._tell()

    def embedded(self, count: int) -> None:
        self._passages += count
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < 0.2:
            return
        self._told = now
        self._listener(
            {
                "files": self._files,
                "of": self._state.report.found,
                "bytes": self._bytes,
                "of_bytes": self._total_bytes,
                "passages": self._passages,
                "seconds": round(now - self._started, 2),
            }
        )


def _still_bad(entry: QuarantineEntry, file: FoundFile) -> bool:
    """Whether a file is as it was when it could not be parsed; what was refused for other reasons is looked at anew."""
    unchanged = (entry.size, entry.modified_ns) == (file.size, file.modified_ns)
    return unchanged and entry.reason not in (UNLABELLED, REFUSED)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
