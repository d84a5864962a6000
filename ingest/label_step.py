"""The step that comes first: who may read what is there already changes before anything new is read."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ingest.label_sources import LabelRefused, LabelSources
from ingest.refusing import BAD_LABEL, UNLABELLED, Refusing
from ingest.removing import Removing
from ingest.run_state import Record, RunState
from ingest.sources.folder import FoundFile
from policies.audit.events import EventTag
from policies.labels import Label
from vectorstore.store import Store
from vectorstore.types import Document

_PASSAGES = 2048
"""Passages of the documents that change their label together: their text is in memory for as long."""

_Moved = tuple[Document, Label | None]


class LabelStep:
    """Labels the files of one run. What lost its label leaves the index, what has another one moves, whether or not its
    file changed too. A label that a person gave a document holds, whatever its source says."""

    def __init__(
        self, state: RunState, sources: LabelSources, *, store: Store, refusing: Refusing, removing: Removing, record: Record
    ) -> None:
        self._state = state
        self._sources = sources
        self._store = store
        self._refusing = refusing
        self._removing = removing
        self._record = record

    def label(self, files: Iterable[FoundFile], stop: threading.Event) -> list[FoundFile]:
        """The files that have a label, which is then in `labels` of the state; stops between two changes."""
        state = self._state
        labelled: list[FoundFile] = []
        lost: list[Document] = []
        moved: list[_Moved] = []
        for file in files:
            document = state.known.get(file.relative)
            there = [*([document] if document else []), *state.lines(file.relative)]
            label, reason, detail = self._said(file)
            released = state.request.released
            if label is None and reason == UNLABELLED and released is not None and file.relative in released.paths:
                label = released.label
            if label is not None:
                moved += [(one, label) for one in there if _moves(one, label)]
            elif document is not None and document.overridden:
                label = document.label
                moved += [(document, None)] if document.ruled is not None else []
            else:
                self._refusing.refuse(file.relative, reason, detail, file.size, file.modified_ns)
                lost += there
                continue
            state.labels[file.relative] = label
            labelled.append(file)
        self._refusing.flush()
        self._removing.remove(lost, "its label is gone")
        for part in _parts(moved):
            if stop.is_set():
                break
            self._move(part)
        return labelled

    def _said(self, file: FoundFile) -> tuple[Label | None, str, str]:
        """What the source says of a file; where that is nothing, why."""
        try:
            return self._sources.label(file), UNLABELLED, "no rule of the labels matches it"
        except LabelRefused as refused:
            return None, BAD_LABEL, str(refused)

    def _move(self, part: list[_Moved]) -> None:
        state = self._state
        effective = [(one, label) for one, label in part if label is not None and not one.overridden]
        if not state.request.dry_run:
            if effective:
                self._record([(EventTag.DOCUMENT_RELABELLED, self._payload(one, label)) for one, label in effective])
            self._store.relabel([(one.id, label) for one, label in part], state.act)
        state.relabelled.update(one.path for one, _ in effective)

    def _payload(self, document: Document, label: Label) -> dict[str, str]:
        return {
            "run": self._state.report.id,
            "document": document.id,
            "path": document.path,
            "class": label.access.id,
            "old": document.label.as_text(),
            "new": label.as_text(),
            "reason": self._state.act.reason,
        }


def _moves(document: Document, label: Label) -> bool:
    """Whether what is kept as the source's word changes."""
    kept = document.ruled if document.overridden else document.label
    return kept is None or (kept, kept.origin) != (label, label.origin)


def _parts(moved: list[_Moved]) -> Iterable[list[_Moved]]:
    part: list[_Moved] = []
    passages = 0
    for one in moved:
        part.append(one)
        passages += one[0].passages
        if passages >= _PASSAGES:
            yield part
            part, passages = [], 0
    if part:
        yield part
