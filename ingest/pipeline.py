"""One run: find files, parse and label what is new, embed it, commit it in batches, and report."""

from __future__ import annotations

import datetime
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ingest.batching import Batching
from ingest.collection_step import Chunker, CollectionStep
from ingest.file_step import FileStep
from ingest.label_sources import SIDECAR, LabelSources
from ingest.label_step import LabelStep
from ingest.labelling import FILE_NAME, LabelRules
from ingest.parsing.types import Outcome, ParseItem
from ingest.progress import Progress
from ingest.refusing import BAD_LABEL, REFUSED, Refusing
from ingest.removing import Removing
from ingest.report import Outcome as RunOutcome
from ingest.report import RunReport
from ingest.run_state import RECORD_TYPE, IngestRequest, Listener, Record, RunState
from ingest.runs import Going, RunStore
from ingest.sources.folder import FoundFile, resolved_root, walk
from policies.audit.events import EventTag
from policies.errors import InhouseError
from policies.labels import AccessClass, LabelNames
from vectorstore.embedders.interface import Embedder
from vectorstore.store import Store
from vectorstore.types import Act, Document

_ATTEMPTS = 2
"""How often a file is parsed that is written to while it is read."""


class Parsers(Protocol):
    """Parses files elsewhere."""

    def parse(self, items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
        """Each item with its outcome, in any order."""


class Pipeline:
    """Carries out runs on one store, on behalf of `actor`. One run at a time. `names` are the purposes and retention classes
    that labels may name, and `permitted` says whether the actor may put documents into an access class.

    A change is recorded in the audit log before its commit: a record without its change can be, when the process dies
    between the two, but never a change without its record. A file that was good and can no longer be parsed keeps its
    last good version and is in quarantine too. A file that lost its label leaves the index before anything is read, and
    one that has another label has it from then on. A dry run reads the folder and what changed its time, parses nothing
    and writes nothing: whether a new file can be parsed it does not tell.
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
        actor: str,
        classifications: Sequence[str],
        names: LabelNames,
        permitted: Callable[[AccessClass], bool],
        prune_share: float,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._chunker = chunker
        self._parsers = parsers
        self._runs = runs
        self._record = record
        self._actor = actor
        self._classifications = classifications
        self._names = names
        self._permitted = permitted
        self._prune_share = prune_share

    def run(self, request: IngestRequest, listener: Listener, stop: threading.Event) -> RunReport:
        """Runs to the end, or until `stop` is set; then what is committed stays and the report says interrupted,
        or stopped where `RunStore.stop` asked for it.

        Raises UsageError for a folder or labels that cannot be used, ConfirmationRequired before anything is removed, and
        whatever the store or the audit log raises; the report is kept in each case.
        """
        state = self._begin(request)
        started = time.monotonic()

        def told(progress: Mapping[str, Any]) -> None:
            self._runs.progress = progress
            listener(progress)

        going = self._runs.going = Going(state.report.id, stop)
        try:
            if not request.dry_run:
                self._record([(EventTag.INGEST_STARTED, {"run": state.report.id, "source": state.source})])
                self._runs.save(state.report)
            self._take_in(state, told, stop)
            cut_short: RunOutcome = "stopped" if going.asked else "interrupted"
            state.report.outcome = cut_short if stop.is_set() else "finished"
        except BaseException as error:
            state.report.outcome = "failed" if isinstance(error, Exception) else "interrupted"
            state.report.error = error.message if isinstance(error, InhouseError) else type(error).__name__
            raise
        finally:
            self._runs.progress = self._runs.going = None
            state.report.ended = _now()
            state.report.seconds = round(time.monotonic() - started, 3)
            if not request.dry_run:
                self._end(state.report)
        return state.report

    def classes_of(self, request: IngestRequest) -> list[AccessClass]:
        """The access classes that the request's labels can give; raises UsageError for labels that cannot be used."""
        released = [request.released.label.access] if request.released else []
        return [*self._rules(request, resolved_root(request.folder)).classes(), *released]

    def classes_there(self, request: IngestRequest) -> set[AccessClass]:
        """The access classes of the documents that the index has from the request's folder: a run may move or replace them."""
        return {document.access for document in self._store.known(str(resolved_root(request.folder))).values()}

    def _begin(self, request: IngestRequest) -> RunState:
        root = resolved_root(request.folder)
        rules = self._rules(request, root)
        source = request.given.source if request.given else str(root)
        report = RunReport(id="run-" + secrets.token_hex(6), source=source, started=_now(), dry_run=request.dry_run)
        act = Act(self._actor, request.released.reason if request.released else f"ingest {report.id}")
        quarantined = {one.path: one for one in self._runs.quarantine(source)}
        return RunState(request, source, rules, report, self._store.known(source), quarantined, act)

    def _rules(self, request: IngestRequest, root: Path) -> LabelRules:
        if request.given is not None:
            return LabelRules.of_one(request.given.access, self._classifications)
        return LabelRules.load(request.labels or root / FILE_NAME, self._classifications, self._names)

    def _end(self, report: RunReport) -> None:
        words = ("found", "added", "changed", "unchanged", "relabelled", "removed", "quarantined")
        counts = {name: getattr(report, name) for name in words}
        self._runs.save(report)
        self._record([(EventTag.INGEST_FINISHED, {"run": report.id, "outcome": report.outcome, **counts})])

    def _take_in(self, state: RunState, listener: Listener, stop: threading.Event) -> None:
        """Everything of the source, in the order in which it matters: refusals and labels, what needs no reading, the lines
        of collections, and at last what must be parsed."""
        refusing = Refusing(state, self._runs, self._record)
        removing = Removing(state, self._store, refusing, self._record)
        found = self._find(state, refusing)
        sources = LabelSources(state.rules, resolved_root(state.request.folder), self._permitted)
        label_step = LabelStep(state, sources, store=self._store, refusing=refusing, removing=removing, record=self._record)
        files = label_step.label(found, stop)
        progress = Progress(listener, state.report, sum(one.size for one in files))
        with Batching(
            state,
            progress,
            store=self._store,
            embedder=self._embedder,
            runs=self._runs,
            refusing=refusing,
            record=self._record,
            stop=stop,
        ) as batching:
            step = FileStep(state, batching, refusing=refusing, chunker=self._chunker)
            collections = CollectionStep(
                state, batching, progress, runs=self._runs, refusing=refusing, chunker=self._chunker, stop=stop
            )
            todo = self._settle(state, files, step, collections, progress, stop)
            if state.request.dry_run:
                step.would_parse(todo)
            else:
                self._parse(todo, step, progress, stop)
            if not stop.is_set():
                batching.flush()
                collections.finish()
        refusing.flush()
        if not stop.is_set():
            removing.remove(_superseded(state, files), "its file is read in another way now")
            if state.request.prune:
                removing.prune(self._prune_share)

    def _find(self, state: RunState, refusing: Refusing) -> list[FoundFile]:
        """The files of the source in the order of the walk; what is no plain file is
        refused, and a file that narrows the label of another is none of them."""
        if state.request.given is not None:
            files = list(state.request.given.files)
            state.report.found = len(files)
            state.files |= {one.relative for one in files}
            state.seen |= state.files
            return files
        files = []
        root = Path(state.source)
        for one in walk(root, skip=frozenset({FILE_NAME})):
            state.files.add(one.relative)
            if state.request.only is not None and one.relative not in state.request.only:
                continue
            if one.relative.endswith(SIDECAR) and (root / one.relative.removesuffix(SIDECAR)).is_file():
                refusing.release([one.relative])
                continue
            state.report.found += 1
            state.seen.add(one.relative)
            if isinstance(one, FoundFile) and one.relative.endswith(SIDECAR):
                refusing.refuse(one.relative, BAD_LABEL, "there is no file that it would label", one.size, one.modified_ns)
                continue
            if isinstance(one, FoundFile):
                files.append(one)
                continue
            refusing.refuse(one.relative, REFUSED, one.detail)
            place = root / one.relative
            if place.is_dir() and not place.is_symlink():
                state.incomplete.add("" if one.relative == "." else one.relative + "/")
        return files

    def _settle(
        self,
        state: RunState,
        files: Sequence[FoundFile],
        step: FileStep,
        collections: CollectionStep,
        progress: Progress,
        stop: threading.Event,
    ) -> list[FoundFile]:
        """Settles what needs no parsing; returns what does."""
        todo, to_read = [], []
        for file in files:
            mapping = state.rules.collection(file.relative)
            if stop.is_set():
                return []
            if mapping is not None:
                to_read.append((file, mapping))
            elif step.settled(file):
                progress.done(file.size)
            else:
                todo.append(file)
        for file, mapping in to_read:
            collections.read(file, mapping)
            progress.done(file.size)
        return todo

    def _parse(self, todo: Sequence[FoundFile], step: FileStep, progress: Progress, stop: threading.Event) -> None:
        """Parses files elsewhere and takes them in; one that is written to meanwhile is parsed once more."""
        for attempt in range(_ATTEMPTS):
            if not todo:
                return
            by_name = {file.relative: file for file in todo}
            again: list[FoundFile] = []
            for item, outcome in self._parsers.parse(step.items(todo)):
                if stop.is_set():
                    return
                file = by_name[item.name]
                if step.parsed(file, outcome):
                    progress.done(file.size)
                elif attempt + 1 < _ATTEMPTS:
                    again.append(file)
                else:
                    step.never_still(file)
            todo = again


def _superseded(state: RunState, files: Sequence[FoundFile]) -> list[Document]:
    """What the index has of files that are collections now and were none, or the other way about."""
    old: list[Document] = []
    for file in files:
        document = state.known.get(file.relative)
        if state.rules.collection(file.relative) is None:
            old += state.lines(file.relative)
        elif document is not None and document.media_type != RECORD_TYPE:
            old.append(document)
    return old


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
