"""The step that comes first: who may read what is there already changes before anything new is read."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ingest.refusing import UNLABELLED, Refusing
from ingest.removing import Removing
from ingest.run_state import Record, RunState
from ingest.sources.folder import FoundFile
from policies.audit.events import EventTag
from policies.labels import AccessClass
from vectorstore.store import Store
from vectorstore.types import Document

_PASSAGES = 2048
"""Passages of the documents that change their label together: their text is in memory for as long."""


class LabelStep:
    """Labels the files of one run. What lost its label leaves the index, what has another one moves, whether or not its
    file changed too."""

    def __init__(self, state: RunState, *, store: Store, refusing: Refusing, removing: Removing, record: Record) -> None:
        self._state = state
        self._store = store
        self._refusing = refusing
        self._removing = removing
        self._record = record

    def label(self, files: Iterable[FoundFile], stop: threading.Event) -> list[FoundFile]:
        """The files that have a label, which is then in `access` of the state; stops between two changes."""
        state = self._state
        labelled: list[FoundFile] = []
        lost: list[Document] = []
        moved: list[tuple[Document, AccessClass]] = []
        for file in files:
            access = state.rules.label(file.relative)
            document = state.known.get(file.relative)
            there = [*([document] if document else []), *state.lines(file.relative)]
            if access is None:
                detail = "no rule of the labels matches it"
                self._refusing.refuse(file.relative, UNLABELLED, detail, file.size, file.modified_ns)
                lost += there
            else:
                state.access[file.relative] = access
                labelled.append(file)
                moved += [(one, access) for one in there if one.access != access]
        self._refusing.flush()
        self._removing.remove(lost, "its label is gone")
        for part in _parts(moved):
            if stop.is_set():
                break
            self._move(part)
        return labelled

    def _move(self, part: list[tuple[Document, AccessClass]]) -> None:
        if not self._state.request.dry_run:
            run = self._state.report.id
            self._record(
                [
                    (EventTag.DOCUMENT_RELABELLED, {"run": run, "document": one.id, "path": one.path, "class": access.id})
                    for one, access in part
                ]
            )
            self._store.relabel([(one.id, access) for one, access in part])
        self._state.relabelled.update(one.path for one, _ in part)


def _parts(moved: list[tuple[Document, AccessClass]]) -> Iterable[list[tuple[Document, AccessClass]]]:
    part: list[tuple[Document, AccessClass]] = []
    passages = 0
    for one in moved:
        part.append(one)
        passages += one[0].passages
        if passages >= _PASSAGES:
            yield part
            part, passages = [], 0
    if part:
        yield part
