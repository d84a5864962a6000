"""The steps of a change in the catalog: versions come as pending, become live, die, and lose their text.

Each function takes the connection of a transaction that its caller commits.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from policies.labels import AccessClass
from vectorstore.catalog_rows import DEAD, IS_LIVE, LIVE, PENDING, PURGED, parts, row_id
from vectorstore.tables import ACCESS_CLASS, DOCUMENT, PASSAGE, VERSION
from vectorstore.types import DocumentDraft, DocumentId, PassageId


def add_pending(connection: Connection, draft: DocumentDraft, *, keep_number: bool = False) -> tuple[int, list[PassageId]]:
    """A pending version of the draft's document, which is made if it is new; returns its row and its passages' ids.

    `keep_number` is for the same content under another label, which is not a new version to people.
    """
    identifier = _document_id(connection, draft)
    newest = connection.execute(sa.select(sa.func.max(VERSION.c.number)).where(VERSION.c.document == identifier)).scalar()
    values = {
        "document": identifier,
        "number": (newest or 0) + (0 if keep_number else 1),
        "state": PENDING,
        "access_class": class_number(connection, draft.access),
        "title": draft.title,
        "media_type": draft.media_type,
        "content_sha256": draft.content_sha256,
        "size": draft.size,
        "modified_ns": draft.modified_ns,
        "text": draft.text,
        "pages": json.dumps([[page.number, page.start, page.end] for page in draft.pages]),
        "metadata": json.dumps(dict(draft.metadata)),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "passages": len(draft.passages),
        "purpose": draft.purpose,
        "retention": draft.retention,
        "origin": draft.origin,
    }
    version = row_id(connection.execute(VERSION.insert().values(values)))
    first = int(connection.execute(sa.select(sa.func.max(PASSAGE.c.id))).scalar() or 0)
    last = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'passage'").scalar()
    first = max(first, int(last or 0)) + 1
    rows: list[dict[str, Any]] = [
        {
            "id": first + index,
            "version": version,
            "page": passage.page,
            "start": passage.start,
            "end": passage.end,
            "heading": json.dumps(list(passage.heading)),
            "text": passage.text,
            "content_sha256": hashlib.sha256(passage.text.encode("utf-8", "surrogatepass")).hexdigest(),
        }
        for index, passage in enumerate(draft.passages)
    ]
    if rows:
        connection.execute(PASSAGE.insert(), rows)
    return version, [PassageId(row["id"]) for row in rows]


def flip(connection: Connection, versions: Sequence[int]) -> None:
    """Makes pending versions live, and dead what they replace."""
    for part in parts(versions):
        documents = sa.select(VERSION.c.document).where(VERSION.c.id.in_(part))
        connection.execute(VERSION.update().where(VERSION.c.document.in_(documents), IS_LIVE).values(state=DEAD))
        connection.execute(VERSION.update().where(VERSION.c.id.in_(part)).values(state=LIVE))
        newest = sa.select(VERSION.c.id).where(VERSION.c.document == DOCUMENT.c.id, IS_LIVE).scalar_subquery()
        connection.execute(DOCUMENT.update().where(DOCUMENT.c.id.in_(documents)).values(live_version=newest))


def retire(connection: Connection, documents: Sequence[DocumentId]) -> int:
    """Makes the live versions of documents dead; returns how many were live."""
    count = 0
    for part in parts(documents):
        live = sa.and_(VERSION.c.document.in_(part), IS_LIVE)
        count += connection.execute(VERSION.update().where(live).values(state=DEAD)).rowcount
        connection.execute(DOCUMENT.update().where(DOCUMENT.c.id.in_(part)).values(live_version=None))
    return count


def undo(connection: Connection, versions: Sequence[int]) -> None:
    """Forgets pending versions, and documents that never had another."""
    for part in parts(versions):
        connection.execute(PASSAGE.delete().where(PASSAGE.c.version.in_(part)))
        connection.execute(VERSION.delete().where(VERSION.c.id.in_(part)))
    used = sa.exists().where(VERSION.c.document == DOCUMENT.c.id)
    connection.execute(DOCUMENT.delete().where(~used))


def purge(connection: Connection, versions: Sequence[int]) -> None:
    """Forgets the text and passages of dead versions; that they were there, and their hash, stays."""
    for part in parts(versions):
        connection.execute(PASSAGE.delete().where(PASSAGE.c.version.in_(part)))
        connection.execute(VERSION.update().where(VERSION.c.id.in_(part)).values(state=PURGED, text=None, pages="[]"))


def touch(connection: Connection, stats: Iterable[tuple[DocumentId, int, int]]) -> None:
    """Keeps the new stat of files whose bytes did not change."""
    for document, size, modified_ns in stats:
        live = sa.and_(VERSION.c.document == document, IS_LIVE)
        connection.execute(VERSION.update().where(live).values(size=size, modified_ns=modified_ns))


def class_number(connection: Connection, access: AccessClass) -> int:
    """The small number by which indexes know an access class, given when it is first seen."""
    found = connection.execute(sa.select(ACCESS_CLASS.c.number).where(ACCESS_CLASS.c.id == access.id)).scalar()
    if found is not None:
        return int(found)
    values = {
        "id": access.id,
        "kb": access.kb,
        "classification": access.classification,
        "groups": json.dumps(sorted(access.groups)),
        "owner": access.owner,
    }
    return row_id(connection.execute(ACCESS_CLASS.insert().values(values)))


def new_document_id() -> DocumentId:
    """An id that no document has."""
    return DocumentId("doc-" + secrets.token_hex(8))


def _document_id(connection: Connection, draft: DocumentDraft) -> DocumentId:
    wanted = sa.and_(DOCUMENT.c.source == draft.source, DOCUMENT.c.path == draft.path)
    found = connection.execute(sa.select(DOCUMENT.c.id).where(wanted)).scalar()
    if found is not None:
        return DocumentId(found)
    identifier = draft.id or new_document_id()
    place = {"source": draft.source, "path": draft.path}
    connection.execute(DOCUMENT.insert().values(id=identifier, **place, live_version=None, held=False))
    return identifier
