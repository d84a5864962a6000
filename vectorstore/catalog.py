"""The single source of truth: documents, versions, passages and access classes in SQLite. Every index follows it."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from policies.database import open_database
from policies.labels import AccessClass, AccessClassId
from vectorstore.tables import ACCESS_CLASS, DOCUMENT, PASSAGE, PROPERTY, VERSION
from vectorstore.types import Document, DocumentDraft, DocumentId, Page, Passage, PassageId

PENDING, LIVE, DEAD, PURGED = "pending", "live", "dead", "purged"
_IS_LIVE = VERSION.c.state.concat("") == LIVE
"""An expression on purpose: nearly every version is live, and by the index of the state SQLite would read them all."""

_CHUNK = 500
"""Values in one IN list; SQLite refuses more than 32,766 variables, and short lists keep statements cached."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What an index needs of one passage."""

    id: PassageId
    kb: str
    class_number: int
    text: str


class Catalog:
    """The file `catalog.db`. Writing methods take the connection of a transaction that the caller commits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = open_database(path, Path(__file__).parent / "migrations")

    def writing(self) -> Any:
        """A transaction that commits at the end of the block, or leaves nothing."""
        return self._engine.begin()

    def reading(self) -> Connection:
        """A connection that sees one consistent state and blocks nobody."""
        return self._engine.connect().execution_options(reading=True)

    def close(self) -> None:
        """Closes the file."""
        self._engine.dispose()

    def properties(self) -> dict[str, str]:
        """What is stamped on the index."""
        with self.reading() as connection:
            return {row.name: row.value for row in connection.execute(PROPERTY.select())}

    def set_property(self, connection: Connection, name: str, value: str) -> None:
        """Stamps one."""
        connection.execute(PROPERTY.delete().where(PROPERTY.c.name == name))
        connection.execute(PROPERTY.insert().values(name=name, value=value))

    def class_number(self, connection: Connection, access: AccessClass) -> int:
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
        return _row_id(connection.execute(ACCESS_CLASS.insert().values(values)))

    def classes(self) -> dict[int, AccessClass]:
        """Every access class that has a live document, by number."""
        live = sa.exists().where(VERSION.c.access_class == ACCESS_CLASS.c.number, _IS_LIVE)
        with self.reading() as connection:
            return {row.number: _access(row) for row in connection.execute(ACCESS_CLASS.select().where(live))}

    def add_pending(
        self, connection: Connection, draft: DocumentDraft, *, keep_number: bool = False
    ) -> tuple[int, list[PassageId]]:
        """A pending version of the draft's document, which is made if it is new; returns its row and its passages' ids.

        `keep_number` is for the same content under another label, which is not a new version to people.
        """
        identifier = self._document_id(connection, draft.source, draft.path)
        newest = connection.execute(sa.select(sa.func.max(VERSION.c.number)).where(VERSION.c.document == identifier)).scalar()
        values = {
            "document": identifier,
            "number": (newest or 0) + (0 if keep_number else 1),
            "state": PENDING,
            "access_class": self.class_number(connection, draft.access),
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
        }
        version = _row_id(connection.execute(VERSION.insert().values(values)))
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

    def _document_id(self, connection: Connection, source: str, path: str) -> DocumentId:
        wanted = sa.and_(DOCUMENT.c.source == source, DOCUMENT.c.path == path)
        found = connection.execute(sa.select(DOCUMENT.c.id).where(wanted)).scalar()
        if found is not None:
            return DocumentId(found)
        identifier = "doc-" + secrets.token_hex(8)
        connection.execute(DOCUMENT.insert().values(id=identifier, source=source, path=path, live_version=None))
        return DocumentId(identifier)

    def flip(self, connection: Connection, versions: Sequence[int]) -> None:
        """Makes pending versions live, and dead what they replace."""
        for part in _parts(versions):
            documents = sa.select(VERSION.c.document).where(VERSION.c.id.in_(part))
            connection.execute(VERSION.update().where(VERSION.c.document.in_(documents), _IS_LIVE).values(state=DEAD))
            connection.execute(VERSION.update().where(VERSION.c.id.in_(part)).values(state=LIVE))
            newest = sa.select(VERSION.c.id).where(VERSION.c.document == DOCUMENT.c.id, _IS_LIVE).scalar_subquery()
            connection.execute(DOCUMENT.update().where(DOCUMENT.c.id.in_(documents)).values(live_version=newest))

    def retire(self, connection: Connection, documents: Sequence[DocumentId]) -> int:
        """Makes the live versions of documents dead; returns how many were live."""
        count = 0
        for part in _parts(documents):
            live = sa.and_(VERSION.c.document.in_(part), _IS_LIVE)
            count += connection.execute(VERSION.update().where(live).values(state=DEAD)).rowcount
            connection.execute(DOCUMENT.update().where(DOCUMENT.c.id.in_(part)).values(live_version=None))
        return count

    def entries(self, states: Sequence[str], *, versions: Sequence[int] | None = None) -> Iterator[Entry]:
        """The index entries of versions in those states, in the order of their ids."""
        from vectorstore.context import context_text

        query = (
            sa.select(PASSAGE, VERSION.c.title, VERSION.c.access_class, ACCESS_CLASS.c.kb)
            .join(VERSION, VERSION.c.id == PASSAGE.c.version)
            .join(ACCESS_CLASS, ACCESS_CLASS.c.number == VERSION.c.access_class)
            .where(VERSION.c.state.in_(states))
            .order_by(PASSAGE.c.id)
        )
        if versions is not None:
            query = query.where(VERSION.c.id.in_(versions))
        with self.reading() as connection:
            for row in connection.execution_options(yield_per=1000).execute(query):
                text = context_text(row.title, json.loads(row.heading), row.text)
                yield Entry(PassageId(row.id), row.kb, row.access_class, text)

    def versions_in(self, state: str) -> list[int]:
        """Rows of versions in a state."""
        with self.reading() as connection:
            return [row.id for row in connection.execute(sa.select(VERSION.c.id).where(VERSION.c.state == state))]

    def undo(self, connection: Connection, versions: Sequence[int]) -> None:
        """Forgets pending versions, and documents that never had another."""
        for part in _parts(versions):
            connection.execute(PASSAGE.delete().where(PASSAGE.c.version.in_(part)))
            connection.execute(VERSION.delete().where(VERSION.c.id.in_(part)))
        used = sa.exists().where(VERSION.c.document == DOCUMENT.c.id)
        connection.execute(DOCUMENT.delete().where(~used))

    def purge(self, connection: Connection, versions: Sequence[int]) -> None:
        """Forgets the text and passages of dead versions; that they were there, and their hash, stays."""
        for part in _parts(versions):
            connection.execute(PASSAGE.delete().where(PASSAGE.c.version.in_(part)))
            connection.execute(VERSION.update().where(VERSION.c.id.in_(part)).values(state=PURGED, text=None, pages="[]"))

    def touch(self, connection: Connection, stats: Iterable[tuple[DocumentId, int, int]]) -> None:
        """Keeps the new stat of files whose bytes did not change."""
        for document, size, modified_ns in stats:
            live = sa.and_(VERSION.c.document == document, _IS_LIVE)
            connection.execute(VERSION.update().where(live).values(size=size, modified_ns=modified_ns))

    def passages(self, ids: Sequence[PassageId], classes: Mapping[AccessClassId, int] | None) -> dict[PassageId, Passage]:
        """Those of the passages that are live and, where `classes` is given, in one of them; decided by this read alone."""
        query = _passage_query()
        found: dict[PassageId, Passage] = {}
        with self.reading() as connection:
            for part in _parts(ids):
                for row in connection.execute(query.where(PASSAGE.c.id.in_(part))):
                    if classes is None or row.class_id in classes:
                        found[PassageId(row.id)] = _passage(row)
        return found

    def passages_of(self, document: DocumentId) -> list[Passage]:
        """The live passages of a document, in the order of its text."""
        query = _passage_query().where(VERSION.c.document == document).order_by(PASSAGE.c.start)
        with self.reading() as connection:
            return [_passage(row) for row in connection.execute(query)]

    def documents(
        self,
        classes: Iterable[AccessClassId] | None,
        *,
        ids: Sequence[str] | None = None,
        source: str | None = None,
        kb: str | None = None,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Document]:
        """Live documents by id. `classes` None means every class; `prefix` is of the path, read literally."""
        query = _document_query().order_by(DOCUMENT.c.id)
        if ids is not None:
            query = query.where(DOCUMENT.c.id.in_(ids))
        if source is not None:
            query = query.where(DOCUMENT.c.source == source)
        if kb is not None:
            query = query.where(ACCESS_CLASS.c.kb == kb)
        if prefix is not None:
            # LIKE would not tell upper case from lower case, and would end at a NUL.
            query = query.where(DOCUMENT.c.path.between(prefix, prefix + chr(sys.maxunicode)))
        if after is not None:
            query = query.where(DOCUMENT.c.id > after)
        if classes is not None:
            # One bound JSON array instead of thousands of variables.
            permitted = sa.text("SELECT value FROM json_each(:classes)").bindparams(classes=json.dumps(sorted(classes)))
            query = query.where(ACCESS_CLASS.c.id.in_(permitted))
        with self.reading() as connection:
            return [_document(row) for row in connection.execute(query.limit(limit))]

    def browse(
        self, classes: Iterable[AccessClassId], *, named: str = "", offset: int = 0, limit: int = 100
    ) -> tuple[list[Document], int]:
        """Live documents of these classes by source and path, those behind the first `offset`, and how many there are in
        all. `named` keeps those whose title or path holds it, whatever the case of its letters a to z."""
        permitted = sa.text("SELECT value FROM json_each(:classes)").bindparams(classes=json.dumps(sorted(classes)))
        query = _document_query().where(ACCESS_CLASS.c.id.in_(permitted))
        if named:
            pattern = "%" + named.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            held = [column.like(pattern, escape="\\") for column in (VERSION.c.title, DOCUMENT.c.path)]
            query = query.where(sa.or_(*held))
        page = query.order_by(DOCUMENT.c.source, DOCUMENT.c.path).offset(offset).limit(limit)
        with self.reading() as connection:
            count = connection.execute(query.with_only_columns(sa.func.count())).scalar()
            return [_document(row) for row in connection.execute(page)], int(count or 0)

    def classes_of(self, source: str) -> list[AccessClass]:
        """The access classes of the live documents of a source."""
        there = sa.exists().where(
            VERSION.c.access_class == ACCESS_CLASS.c.number, _IS_LIVE, DOCUMENT.c.live_version == VERSION.c.id
        )
        query = ACCESS_CLASS.select().where(there.where(DOCUMENT.c.source == source))
        with self.reading() as connection:
            return [_access(row) for row in connection.execute(query)]

    def documents_at(self, source: str, paths: Sequence[str]) -> Iterator[Document]:
        """The live documents at those paths of a source."""
        with self.reading() as connection:
            for part in _parts(paths):
                query = _document_query().where(DOCUMENT.c.source == source, DOCUMENT.c.path.in_(part))
                yield from (_document(row) for row in connection.execute(query))

    def text(self, document: DocumentId) -> tuple[str, tuple[Page, ...]]:
        """The parsed text and pages of the live version."""
        query = sa.select(VERSION.c.text, VERSION.c.pages).where(VERSION.c.document == document, _IS_LIVE)
        with self.reading() as connection:
            row = connection.execute(query).one()
        return row.text, tuple(Page(*page) for page in json.loads(row.pages))

    def counts(self) -> dict[str, dict[str, int]]:
        """Live documents and passages by knowledge base."""
        query = (
            sa.select(ACCESS_CLASS.c.kb, sa.func.count(), sa.func.sum(VERSION.c.passages))
            .join(VERSION, VERSION.c.access_class == ACCESS_CLASS.c.number)
            .where(_IS_LIVE)
            .group_by(ACCESS_CLASS.c.kb)
            .order_by(ACCESS_CLASS.c.kb)
        )
        with self.reading() as connection:
            return {row[0]: {"documents": row[1], "passages": row[2]} for row in connection.execute(query)}


def _passage_query() -> Any:
    return (
        sa.select(
            PASSAGE,
            VERSION.c.document,
            VERSION.c.number,
            VERSION.c.title,
            DOCUMENT.c.path,
            ACCESS_CLASS.c.id.label("class_id"),
            ACCESS_CLASS.c.kb,
            ACCESS_CLASS.c.classification,
        )
        .join(VERSION, VERSION.c.id == PASSAGE.c.version)
        .join(DOCUMENT, DOCUMENT.c.id == VERSION.c.document)
        .join(ACCESS_CLASS, ACCESS_CLASS.c.number == VERSION.c.access_class)
        .where(_IS_LIVE)
    )


def _document_query() -> Any:
    kept = [column for column in VERSION.c if column.name not in {"text", "id"}]
    access = [ACCESS_CLASS.c.kb, ACCESS_CLASS.c.classification, ACCESS_CLASS.c.groups, ACCESS_CLASS.c.owner]
    return (
        sa.select(DOCUMENT.c.id.label("document_id"), DOCUMENT.c.source, DOCUMENT.c.path, *kept, *access)
        .join(VERSION, VERSION.c.id == DOCUMENT.c.live_version)
        .join(ACCESS_CLASS, ACCESS_CLASS.c.number == VERSION.c.access_class)
        .where(_IS_LIVE)
    )


def _passage(row: Any) -> Passage:
    return Passage(
        id=PassageId(row.id),
        document=DocumentId(row.document),
        version=row.number,
        path=row.path,
        title=row.title,
        heading=tuple(json.loads(row.heading)),
        page=row.page,
        start=row.start,
        end=row.end,
        text=row.text,
        content_sha256=row.content_sha256,
        access_class=AccessClassId(row.class_id),
        classification=row.classification,
        kb=row.kb,
    )


def _document(row: Any) -> Document:
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
        access=_access(row),
        pages=len(json.loads(row.pages)),
        passages=row.passages,
        created_at=row.created,
        metadata=json.loads(row.metadata),
    )


def _access(row: Any) -> AccessClass:
    return AccessClass(row.kb, row.classification, frozenset(json.loads(row.groups)), row.owner)


def _row_id(result: Any) -> int:
    return int(result.inserted_primary_key[0])


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
