"""How the catalog's rows become the nouns of the store, and the queries that pick the live ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from policies.labels import AccessClass, Label, Origin
from vectorstore.tables import ACCESS_CLASS, DOCUMENT, PASSAGE, VERSION
from vectorstore.types import Document, DocumentId, Passage

PENDING, LIVE, DEAD, PURGED = "pending", "live", "dead", "purged"
IS_LIVE = VERSION.c.state.concat("") == LIVE
"""An expression on purpose: nearly every version is live, and by the index of the state SQLite would read them all."""

WANTED = sa.text("SELECT value FROM json_each(:wanted)")
"""Stands for a list of any length in a statement that is prepared once; `wanted` binds it."""

_CHUNK = 500
"""Values in one IN list; SQLite refuses more than 32,766 variables, and short lists keep statements cached."""


def wanted(values: Iterable[Any]) -> dict[str, str]:
    """The parameter of a statement with WANTED in it."""
    return {"wanted": json.dumps(list(values))}


_COLUMNS = {
    "id": PASSAGE.c.id,
    "document": VERSION.c.document,
    "version": VERSION.c.number,
    "path": DOCUMENT.c.path,
    "title": VERSION.c.title,
    "heading": PASSAGE.c.heading,
    "page": PASSAGE.c.page,
    "start": PASSAGE.c.start,
    "end": PASSAGE.c.end,
    "text": PASSAGE.c.text,
    "content_sha256": PASSAGE.c.content_sha256,
    "access_class": ACCESS_CLASS.c.id,
    "classification": ACCESS_CLASS.c.classification,
    "kb": ACCESS_CLASS.c.kb,
}
LIVE_PASSAGES = (
    sa.select(*(_COLUMNS[field.name].label(field.name) for field in fields(Passage)))
    .join(VERSION, VERSION.c.id == PASSAGE.c.version)
    .join(DOCUMENT, DOCUMENT.c.id == VERSION.c.document)
    .join(ACCESS_CLASS, ACCESS_CLASS.c.number == VERSION.c.access_class)
    .where(IS_LIVE)
)
"""Live passages with what is told of their documents: the fields of Passage in their order."""

PASSAGES_BY_ID = LIVE_PASSAGES.where(PASSAGE.c.id.in_(WANTED))
"""Those of the ids that `wanted` binds. Every question asks this, some of them several times: it is made once."""


def document_query() -> Any:
    """Live documents, without their text."""
    kept = [column for column in VERSION.c if column.name not in {"text", "id"}]
    access = [ACCESS_CLASS.c.kb, ACCESS_CLASS.c.classification, ACCESS_CLASS.c.groups, ACCESS_CLASS.c.owner]
    return (
        sa.select(
            DOCUMENT.c.id.label("document_id"),
            DOCUMENT.c.source,
            DOCUMENT.c.path,
            DOCUMENT.c.ruled,
            DOCUMENT.c.held,
            *kept,
            *access,
        )
        .join(VERSION, VERSION.c.id == DOCUMENT.c.live_version)
        .join(ACCESS_CLASS, ACCESS_CLASS.c.number == VERSION.c.access_class)
        .where(IS_LIVE)
    )


def to_passage(row: Any) -> Passage:
    """A row of LIVE_PASSAGES."""
    identifier, document, version, path, title, heading, *rest = row
    return Passage(identifier, document, version, path, title, tuple(json.loads(heading)), *rest)


def to_document(row: Any) -> Document:
    """A row of `document_query`."""
    return Document(
        id=DocumentId(row.document_id),
        source=row.source,
        path=row.path,
        title=row.title,
        media_type=row.media_type,
        version=row.number,
        content_sha256=row.content_sha256,
        size=row.size,
        modified_ns=row.modified_ns,
        access=to_access(row),
        pages=len(json.loads(row.pages)),
        passages=row.passages,
        created_at=row.created,
        metadata=json.loads(row.metadata),
        purpose=row.purpose,
        retention=row.retention,
        origin=Origin(row.origin),
        ruled=None if row.ruled is None else Label.from_text(row.ruled),
        held=row.held,
    )


def to_access(row: Any) -> AccessClass:
    """A row that has the columns of an access class."""
    return AccessClass(row.kb, row.classification, frozenset(json.loads(row.groups)), row.owner)


def row_id(result: Any) -> int:
    """The number of the row that an insert made."""
    return int(result.inserted_primary_key[0])


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values in parts that one statement can take."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
