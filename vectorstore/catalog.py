"""The single source of truth: documents, versions, passages and access classes in SQLite. Every index follows it."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from policies.database import open_database
from policies.labels import AccessClass, AccessClassId
from vectorstore.catalog_rows import (
    IS_LIVE,
    LIVE_PASSAGES,
    PASSAGES_BY_ID,
    WANTED,
    document_query,
    parts,
    to_access,
    to_document,
    to_passage,
    wanted,
)
from vectorstore.tables import ACCESS_CLASS, DOCUMENT, PASSAGE, PROPERTY, VERSION
from vectorstore.types import Document, DocumentDraft, DocumentId, Page, Passage, PassageId


@dataclass(frozen=True, slots=True)
class Entry:
    """What an index needs of one passage."""

    id: PassageId
    kb: str
    class_number: int
    text: str


class Catalog:
    """The file `catalog.db`, as it is read; `vectorstore.versions` has the steps of a change."""

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

    def classes(self) -> dict[int, AccessClass]:
        """Every access class that has a live document, by number."""
        live = sa.exists().where(VERSION.c.access_class == ACCESS_CLASS.c.number, IS_LIVE)
        with self.reading() as connection:
            return {row.number: to_access(row) for row in connection.execute(ACCESS_CLASS.select().where(live))}

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

    def passages(self, ids: Sequence[PassageId], classes: Container[AccessClassId] | None) -> dict[PassageId, Passage]:
        """Those of the passages that are live and, where `classes` is given, in one of them; decided by this read alone."""
        with self.reading() as connection:
            found = [to_passage(row) for row in connection.execute(PASSAGES_BY_ID, wanted(ids))]
        return {passage.id: passage for passage in found if classes is None or passage.access_class in classes}

    def passages_of(self, document: DocumentId) -> list[Passage]:
        """The live passages of a document, in the order of its text."""
        query = LIVE_PASSAGES.where(VERSION.c.document == document).order_by(PASSAGE.c.start)
        with self.reading() as connection:
            return [to_passage(row) for row in connection.execute(query)]

    def documents(
        self,
        classes: frozenset[int] | None,
        *,
        source: str | None = None,
        kb: str | None = None,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Document]:
        """Live documents by id. `classes` are numbers of access classes, None means every class; `prefix` is of the path, read
        literally."""
        query = document_query().order_by(DOCUMENT.c.id)
        if source is not None:
            query = query.where(DOCUMENT.c.source == source)
        if after is not None:
            query = query.where(DOCUMENT.c.id > after)
        conditions = [ACCESS_CLASS.c.kb == kb] if kb is not None else []
        if prefix is not None:
            # LIKE would not tell upper case from lower case, and would end at a NUL.
            conditions.append(DOCUMENT.c.path.between(prefix, prefix + chr(sys.maxunicode)))
        query = query.where(_permitted(classes, conditions))
        with self.reading() as connection:
            return [to_document(row) for row in connection.execute(query.limit(limit))]

    def document(self, identifier: DocumentId, classes: frozenset[int] | None) -> Document | None:
        """A live document where it is of one of these classes, numbers as for `documents`; else None."""
        query = document_query().where(DOCUMENT.c.id == identifier, _permitted(classes, []))
        with self.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else to_document(row)

    def classes_by_document(self, documents: Iterable[str]) -> dict[str, AccessClassId]:
        """The access class of each of the documents that is live, by one statement whatever their number."""
        query = (
            sa.select(DOCUMENT.c.id, ACCESS_CLASS.c.id.label("class_id"))
            .join(VERSION, VERSION.c.id == DOCUMENT.c.live_version)
            .join(ACCESS_CLASS, ACCESS_CLASS.c.number == VERSION.c.access_class)
            .where(IS_LIVE, DOCUMENT.c.id.in_(WANTED))
        )
        with self.reading() as connection:
            return {row.id: AccessClassId(row.class_id) for row in connection.execute(query, wanted(documents))}

    def browse(
        self, classes: frozenset[int] | None, *, named: str = "", offset: int = 0, limit: int = 100
    ) -> tuple[list[Document], int]:
        """Live documents of these classes, numbers as for `documents`, by source and path, those behind the first `offset`,
        and how many there are in all. `named` keeps those whose title or path holds it, whatever the case of its letters a
        to z."""
        conditions = []
        if named:
            pattern = "%" + named.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            conditions.append(sa.or_(*(column.like(pattern, escape="\\") for column in (VERSION.c.title, DOCUMENT.c.path))))
        query = document_query().where(_permitted(classes, conditions))
        page = query.order_by(DOCUMENT.c.source, DOCUMENT.c.path).offset(offset).limit(limit)
        with self.reading() as connection:
            count = connection.execute(query.with_only_columns(sa.func.count())).scalar()
            return [to_document(row) for row in connection.execute(page)], int(count or 0)

    def classes_of(self, source: str) -> list[AccessClass]:
        """The access classes of the live documents of a source."""
        there = sa.exists().where(
            VERSION.c.access_class == ACCESS_CLASS.c.number, IS_LIVE, DOCUMENT.c.live_version == VERSION.c.id
        )
        query = ACCESS_CLASS.select().where(there.where(DOCUMENT.c.source == source))
        with self.reading() as connection:
            return [to_access(row) for row in connection.execute(query)]

    def documents_at(self, source: str, paths: Sequence[str]) -> Iterator[Document]:
        """The live documents at those paths of a source."""
        with self.reading() as connection:
            for part in parts(paths):
                query = document_query().where(DOCUMENT.c.source == source, DOCUMENT.c.path.in_(part))
                yield from (to_document(row) for row in connection.execute(query))

    def at_places_of(self, drafts: Sequence[DocumentDraft]) -> dict[tuple[str, str], Document]:
        """The live documents at the places of the drafts, by source and path."""
        found = {}
        for source in {draft.source for draft in drafts}:
            paths = [draft.path for draft in drafts if draft.source == source]
            found.update({(source, one.path): one for one in self.documents_at(source, paths)})
        return found

    def ids_at(self, source: str, paths: Sequence[str]) -> dict[str, DocumentId]:
        """The ids of documents at those paths of a source, by path, also of those that are live no more."""
        found: dict[str, DocumentId] = {}
        with self.reading() as connection:
            for part in parts(paths):
                query = sa.select(DOCUMENT.c.path, DOCUMENT.c.id).where(DOCUMENT.c.source == source, DOCUMENT.c.path.in_(part))
                found.update((row.path, DocumentId(row.id)) for row in connection.execute(query))
        return found

    def text(self, document: DocumentId) -> tuple[str, tuple[Page, ...]]:
        """The parsed text and pages of the live version."""
        query = sa.select(VERSION.c.text, VERSION.c.pages).where(VERSION.c.document == document, IS_LIVE)
        with self.reading() as connection:
            row = connection.execute(query).one()
        return row.text, tuple(Page(*page) for page in json.loads(row.pages))

    def counts(self) -> dict[str, dict[str, int]]:
        """Live documents and passages by knowledge base."""
        query = (
            sa.select(ACCESS_CLASS.c.kb, sa.func.count(), sa.func.sum(VERSION.c.passages))
            .join(VERSION, VERSION.c.access_class == ACCESS_CLASS.c.number)
            .where(IS_LIVE)
            .group_by(ACCESS_CLASS.c.kb)
            .order_by(ACCESS_CLASS.c.kb)
        )
        with self.reading() as connection:
            return {row[0]: {"documents": row[1], "passages": row[2]} for row in connection.execute(query)}


def _permitted(classes: frozenset[int] | None, conditions: Sequence[Any]) -> Any:
    """The condition of being of one of these classes, and the conditions besides.

    NOTE: Of a version that is not permitted nothing else is looked at, and its class is looked up in a table that was made
    before: so neither the conditions nor how many classes are permitted is to be told from the time that forbidden documents
    take.
    """
    if classes is None:
        return sa.and_(sa.true(), *conditions)
    table = sa.literal(_table(classes), sa.LargeBinary)
    permitted = sa.func.substr(table, VERSION.c.access_class + 1, 1) == b"\x01"
    return sa.case((permitted, sa.and_(sa.true(), *conditions)), else_=sa.false())


@lru_cache(maxsize=256)
def _table(classes: frozenset[int]) -> bytes:
    """A byte for each class number, 1 where it is one of the classes."""
    table = bytearray(max(classes, default=0) + 1)
    for number in classes:
        table[number] = 1
    return bytes(table)
