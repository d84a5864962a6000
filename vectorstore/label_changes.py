"""What is said of documents in the catalog: by their source, by people instead of it, legal holds, and every change of it.

Each writing function takes the connection of a transaction that its caller commits.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from policies.errors import LegalHold
from policies.labels import Label, Origin
from vectorstore.catalog_rows import parts
from vectorstore.tables import DOCUMENT, LABEL_CHANGE, VERSION
from vectorstore.types import Act, Document, DocumentDraft, DocumentId, LabelChange


class ChangeKind(StrEnum):
    """What a change of a label was: a first label, another one of the source, one of a person instead, the end of that, a
    legal hold, or the end of it."""

    CHANGED = "changed"
    CLEARED = "cleared"
    GIVEN = "given"
    HELD = "held"
    OVERRIDDEN = "overridden"
    RELEASED = "released"


class By(StrEnum):
    """On whose word a label changes: the source's, a person's instead, or a person's who takes theirs back."""

    CLEARING = "clearing"
    PERSON = "person"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Said:
    """What is kept of a document's label beside its versions: a person's label instead of the source's, and
    whether it is held."""

    document: DocumentId
    override: Label | None
    held: bool


def said_of(connection: Connection, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Said]:
    """What is kept of the documents at those places (source and path), of those that were there before."""
    found = {}
    for source in {source for source, _ in places}:
        for part in parts([path for one, path in places if one == source]):
            for row in connection.execute(DOCUMENT.select().where(DOCUMENT.c.source == source, DOCUMENT.c.path.in_(part))):
                found[source, row.path] = Said(DocumentId(row.id), _label(row.override), row.held)
    return found


def settled(connection: Connection, drafts: Sequence[DocumentDraft]) -> list[DocumentDraft]:
    """The drafts with the labels that hold: a person's, where there is one, whatever their sources say."""
    said = said_of(connection, [(draft.source, draft.path) for draft in drafts])
    return [_settled(draft, said.get((draft.source, draft.path))) for draft in drafts]


def _settled(draft: DocumentDraft, said: Said | None) -> DocumentDraft:
    if said is None or said.override is None:
        return draft
    label = said.override
    return replace(draft, access=label.access, purpose=label.purpose, retention=label.retention, origin=label.origin)


def write_commit(
    connection: Connection,
    drafts: Sequence[DocumentDraft],
    before: Mapping[tuple[str, str], Document],
    act: Act,
) -> None:
    """Writes what a commit of these drafts changes in the labels of what was there before, by source and path."""
    said = said_of(connection, [(draft.source, draft.path) for draft in drafts])
    for draft in drafts:
        place = draft.source, draft.path
        kept = said[place]
        if kept.override is not None and draft.origin is not Origin.OVERRIDE:
            _update(connection, kept.document, ruled=draft.label.as_text())
        elif draft.origin is Origin.OVERRIDE:
            # A person's label holds over later runs also where it is the first.
            _update(connection, kept.document, override=draft.label.as_text())
        _note_change(connection, kept.document, _label_before(before.get(place)), _settled(draft, kept).label, act)


def write_relabelling(connection: Connection, changes: Sequence[tuple[Document, Label | None]], by: By, act: Act) -> None:
    """Writes what is said of documents from now on. What the source says of one that has a person's label is only kept beside
    it, None where it says nothing any more; else there must be a label."""
    for document, label in changes:
        if by is By.SOURCE and document.overridden:
            _update(connection, document.id, ruled=None if label is None else label.as_text())
            continue
        assert label is not None
        if by is By.PERSON:
            ruled = document.ruled if document.overridden else document.label
            _update(connection, document.id, override=label.as_text(), ruled=None if ruled is None else ruled.as_text())
        elif by is By.CLEARING:
            _update(connection, document.id, override=None, ruled=None)
        live = sa.select(DOCUMENT.c.live_version).where(DOCUMENT.c.id == document.id).scalar_subquery()
        values = {"purpose": label.purpose, "retention": label.retention, "origin": label.origin}
        connection.execute(VERSION.update().where(VERSION.c.id == live).values(values))
        _note_change(connection, document.id, document.label, label, act)


def write_hold(connection: Connection, documents: Sequence[Document], held: bool, act: Act) -> None:
    """Sets or lifts the legal hold on documents, of those on which that changes something."""
    for document in documents:
        if document.held is not held:
            _update(connection, document.id, held=held)
            kind = ChangeKind.HELD if held else ChangeKind.RELEASED
            _note(connection, document.id, kind, document.label, document.label, act)


def held_among(connection: Connection, documents: Sequence[DocumentId]) -> dict[DocumentId, str]:
    """Those of the documents that are under legal hold, with their paths."""
    found = {}
    for part in parts(documents):
        query = sa.select(DOCUMENT.c.id, DOCUMENT.c.path).where(DOCUMENT.c.id.in_(part), DOCUMENT.c.held)
        found.update({DocumentId(row.id): row.path for row in connection.execute(query)})
    return found


def refuse_held(paths: Sequence[str]) -> None:
    """Raises LegalHold where there are any: they are those of held documents that were to go or to be replaced."""
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        hint = "Whoever may hold it can lift that: inhouse documents release ID --reason TEXT"
        raise LegalHold(f"under legal hold: {paths[0]}{more}", hint=hint)


def history(connection: Connection, document: DocumentId) -> list[LabelChange]:
    """Every change of a document's label, oldest first."""
    query = LABEL_CHANGE.select().where(LABEL_CHANGE.c.document == document).order_by(LABEL_CHANGE.c.id)
    return [
        LabelChange(number, row.at, row.actor, row.kind, _label(row.old), Label.from_text(row.new), row.reason)
        for number, row in enumerate(connection.execute(query), 1)
    ]


def _note_change(connection: Connection, document: DocumentId, old: Label | None, new: Label, act: Act) -> None:
    if old is not None and (old, old.origin) == (new, new.origin):
        return
    if old is None:
        kind = ChangeKind.GIVEN
    elif new.origin is Origin.OVERRIDE:
        kind = ChangeKind.OVERRIDDEN
    else:
        kind = ChangeKind.CLEARED if old.origin is Origin.OVERRIDE else ChangeKind.CHANGED
    _note(connection, document, kind, old, new, act)


def _note(connection: Connection, document: DocumentId, kind: ChangeKind, old: Label | None, new: Label, act: Act) -> None:
    values = {
        "document": document,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "actor": act.actor,
        "kind": kind,
        "old": None if old is None else old.as_text(),
        "new": new.as_text(),
        "reason": act.reason,
    }
    connection.execute(LABEL_CHANGE.insert().values(values))


def _update(connection: Connection, document: DocumentId, **values: Any) -> None:
    connection.execute(DOCUMENT.update().where(DOCUMENT.c.id == document).values(values))


def _label_before(document: Document | None) -> Label | None:
    return None if document is None else document.label


def _label(text: str | None) -> Label | None:
    return None if text is None else Label.from_text(text)
