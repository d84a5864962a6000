"""One run: find files, parse and label what is new, embed it, commit it in batches, and report."""

from __future__ import annotations

import datetime
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ingest.batching import Batching
from ingest.collection_step import Chunker, CollectionStep
from ingest.file_step import FileStep
from ingest.labelling import FILE_NAME, LabelRules
from ingest.parsing.pool import Outcome
from ingest.parsing.types import ParseItem
from ingest.progress import Progress
from ingest.refusing import REFUSED, Refusing
from ingest.removing import Removing
from ingest.report import RunReport
from ingest.run_state import IngestRequest, Listener, Record, RunState
from ingest.runs import RunStore
from ingest.sources.folder import FoundFile, Refused, resolved_root, walk
from policies.audit.events import EventTag
from policies.errors import InhouseError
from policies.labels import AccessClass
from vectorstore.embedders.interface import Embedder
from vectorstore.store import Store


class Parsers(Protocol):
    """Parses files elsewhere."""

    def parse(self, items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
        """Each item with its outcome, in any order."""


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
        self._refusing = Refusing(runs, record)
        self._removing = Removing(store, self._refusing, record, prune_share)

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
            self._take_in(state, listener, stop)
            state.report.outcome = "interrupted" if stop.is_set() else "finished"
            if request.prune and not stop.is_set():
                self._removing.prune(state)
        except BaseException as error:
            state.report.outcome = "failed" if isinstance(error, Exception) else "interrupted"
            state.report.error = error.message if isinstance(error, InhouseError) else type(error).__name__
            raise
        finally:
            state.report.ended = _now()
            state.report.seconds = round(time.monotonic() - started, 3)
            if not request.dry_run:
                self._end(state.report)
        return state.report

    def classes_of(self, request: IngestRequest) -> list[AccessClass]:
        """The access classes that the request's labels can give; raises UsageError for labels that cannot be used."""
        root = resolved_root(request.folder)
        return LabelRules.load(request.labels or root / FILE_NAME, self._classifications).classes()

    def classes_there(self, request: IngestRequest) -> set[AccessClass]:
        """The access classes of the documents that the index has from the request's folder: a run may move or replace them."""
        return {document.access for document in self._store.known(str(resolved_root(request.folder))).values()}

    def _begin(self, request: IngestRequest) -> RunState:
        root = resolved_root(request.folder)
        rules = LabelRules.load(request.labels or root / FILE_NAME, self._classifications)
        source = str(root)
        report = RunReport(id="run-" + secrets.token_hex(6), source=source, started=_now(), dry_run=request.dry_run)
        quarantined = {one.path: one for one in self._runs.quarantine(source)}
        return RunState(request, source, rules, report, self._store.known(source), quarantined)

    def _end(self, report: RunReport) -> None:
        counts = {name: getattr(report, name) for name in ("found", "added", "changed", "removed", "quarantined")}
        self._runs.save(report)
        self._record(EventTag.INGEST_FINISHED, {"run": report.id, "outcome": report.outcome, **counts})

    def _take_in(self, state: RunState, listener: Listener, stop: threading.Event) -> None:
        files = self._find(state)
        progress = Progress(listener, state.report, sum(one.size for one in files.values()))
        batching = Batching(
            state,
            progress,
            store=self._store,
            embedder=self._embedder,
            runs=self._runs,
            refusing=self._refusing,
            record=self._record,
        )
        step = FileStep(state, batching, refusing=self._refusing, removing=self._removing, chunker=self._chunker)
        collections = CollectionStep(
            state, batching, runs=self._runs, refusing=self._refusing, chunker=self._chunker, stop=stop
        )
        todo = []
        for file in files.values():
            if stop.is_set():
                return
            access, mapping = state.rules.label(file.relative), state.rules.collection(file.relative)
            if access is not None and mapping is not None:
                collections.read(file, access, mapping)
            elif not step.settled(file):
                todo.append(ParseItem(file.path, file.relative))
                continue
            progress.done(file.size)
        batching.commit()
        for item, outcome in self._parsers.parse(todo):
            if stop.is_set():
                return
            step.parsed(files[item.name], outcome)
            progress.done(files[item.name].size)
            batching.commit_when_full()
        batching.commit()
        collections.finish()

    def _find(self, state: RunState) -> dict[str, FoundFile]:
        """The files of the source by their relative paths, in the order of the walk; what is no plain file is refused."""
        files = {}
        for one in walk(Path(state.source), skip=frozenset({FILE_NAME})):
            if state.request.only is not None and one.relative not in state.request.only:
                continue
            state.report.found += 1
            state.seen.add(one.relative)
            if isinstance(one, FoundFile):
                files[one.relative] = one
            else:
                assert isinstance(one, Refused)
                self._refusing.refuse(state, one.relative, REFUSED, one.detail)
        return files


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
