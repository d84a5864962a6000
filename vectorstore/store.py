"""Documents in, permitted passages out: the catalog with its indexes, changed together or not at all."""

from __future__ import annotations

import itertools
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policies.access.scope import AccessScope, Scope, UnsafeEverything
from policies.database import unusable
from policies.errors import DataDirectoryError, NotFoundError
from policies.labels import AccessClass, AccessClassId
from vectorstore.catalog import Catalog, Entry
from vectorstore.catalog_rows import DEAD, LIVE, PENDING
from vectorstore.dense.chroma import ChromaVectors
from vectorstore.dense.exact import ExactVectors
from vectorstore.dense.planner import EXACT_ROWS, DensePlanner
from vectorstore.lexical.postings import PostingsIndex
from vectorstore.schema import check, stamp
from vectorstore.types import (
    Document,
    DocumentDraft,
    DocumentId,
    IndexFingerprint,
    Page,
    Passage,
    PassageDraft,
    PassageId,
    Vectors,
)
from vectorstore.versions import add_pending, flip, purge, retire, touch, undo

_REBUILT = 5_000
"""Passages whose words are counted at a time when they are counted anew."""

Checkpoint = Callable[[str], None]
"""Called between the steps of a change with the step's name; tests end the process there."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What is there: live documents and passages by knowledge base, whose vectors, and bytes on disk."""

    knowledge_bases: dict[str, dict[str, int]]
    access_classes: int
    fingerprint: str
    bytes: int


class Store:
    """The catalog, the vectors and the words of one data directory. One process may have it open; its threads may read
    while one writes.

    A change is: (1) rows in state pending; (2) entries in the indexes; (3) one transaction that makes the new version
    live and the old one dead; (4) dead entries leave the indexes. Reads see only what is live, so a crash anywhere shows
    the old state or the new one. `open` undoes what was pending and finishes what was dead.
    """

    def __init__(self, directory: Path, fingerprint: IndexFingerprint, checkpoint: Checkpoint, exact_rows: int) -> None:
        self._directory = directory
        self._checkpoint = checkpoint
        self._write = threading.Lock()
        with _disk(directory):
            self.catalog = Catalog(directory / "catalog.db")
            check(self.catalog, fingerprint, directory)
            self.fingerprint = fingerprint
            self.lexical = PostingsIndex()
            self.vectors = ChromaVectors(directory / "chroma")
            self.exact = ExactVectors(fingerprint.dimension)
            self.dense = DensePlanner(self.exact, self.vectors, self._bases, exact_rows=exact_rows)
            self._refresh_classes()
            self._recover()

    @classmethod
    def create(cls, directory: Path, fingerprint: IndexFingerprint) -> None:
        """Makes the catalog and stamps it; does nothing where the same stamp is there. Raises IndexMismatch for another."""
        with _disk(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            catalog = Catalog(directory / "catalog.db")
            stamp(catalog, fingerprint, directory)
            catalog.close()

    @classmethod
    def open(
        cls,
        directory: Path,
        fingerprint: IndexFingerprint,
        *,
        checkpoint: Checkpoint = lambda step: None,
        exact_rows: int = EXACT_ROWS,
    ) -> Store:
        """Opens and recovers the store. Raises IndexMismatch for another embedder's index, DataDirectoryError where there
        is none or the disk refuses."""
        if not (directory / "catalog.db").is_file():
            raise DataDirectoryError(f"there is no index in {directory}", hint="Make one: inhouse init")
        return cls(directory, fingerprint, checkpoint, exact_rows)

    def commit(self, batch: Sequence[tuple[DocumentDraft, Vectors]]) -> list[Document]:
        """Puts documents in, each replacing its former version, all in one change. A draft's vectors have one row for each
        of its passages, in order. Returns the documents in the same order."""
        for draft, vectors in batch:
            if vectors.shape != (len(draft.passages), self.fingerprint.dimension):
                raise ValueError(f"{draft.path}: vectors of shape {vectors.shape} for {len(draft.passages)} passages")
        with self._write, _disk(self._directory):
            return self._commit(batch, keep_number=False)

    def relabel(self, changes: Sequence[tuple[DocumentId, AccessClass]]) -> None:
        """Moves documents to other access classes in one change; their vectors are copied, nothing is embedded. From the
        return on no read finds them under the old label. Raises NotFoundError for a document that is not there."""
        with self._write, _disk(self._directory):
            batch = [self._copy(document, access) for document, access in changes]
            self._commit(batch, keep_number=True)

    def remove(self, documents: Sequence[DocumentId]) -> int:
        """Takes documents out; returns how many were there."""
        with self._write, _disk(self._directory):
            with self.catalog.writing() as connection:
                count = retire(connection, documents)
                self._new_generation(connection)
            self._checkpoint("retired")
            self._clean()
            return count

    def touch(self, stats: Sequence[tuple[DocumentId, int, int]]) -> None:
        """Keeps (size, modified_ns) of files whose bytes did not change."""
        with self._write, _disk(self._directory), self.catalog.writing() as connection:
            touch(connection, stats)

    def known(self, source: str) -> dict[str, Document]:
        """Every live document of a source by path, whoever may read it: for ingest alone."""
        return {document.path: document for document in self.catalog.documents(None, source=source)}

    def access_classes(self) -> list[AccessClass]:
        """The access classes that have live documents."""
        return list(self._classes.values())

    def documents(
        self,
        scope: Scope,
        *,
        kb: str | None = None,
        prefix: str | None = None,
        after: DocumentId | None = None,
        limit: int = 100,
    ) -> list[Document]:
        """Permitted documents in the order of their ids, those behind `after`."""
        return self.catalog.documents(_ids(scope), kb=kb, prefix=prefix, after=after, limit=limit)

    def browse(self, scope: AccessScope, *, named: str = "", offset: int = 0, limit: int = 100) -> tuple[list[Document], int]:
        """Permitted documents by source and path, those behind the first `offset`, and how many there are in all; with
        `named`, those whose title or path holds it."""
        return self.catalog.browse(scope.classes, named=named, offset=offset, limit=limit)

    def classes_of(self, source: str) -> list[AccessClass]:
        """The access classes that the index has of a source."""
        return self.catalog.classes_of(source)

    def document(self, scope: Scope, document: DocumentId) -> Document:
        """One document; raises the same NotFoundError for an absent and for a forbidden one."""
        found = self.catalog.documents(_ids(scope), ids=[document])
        if not found:
            raise NotFoundError(f"there is no document {document}", hint="`inhouse documents list` shows what there is.")
        return found[0]

    def document_text(self, scope: Scope, document: DocumentId) -> tuple[str, tuple[Page, ...]]:
        """The parsed text of a document and its pages; raises NotFoundError as `document` does."""
        self.document(scope, document)
        return self.catalog.text(document)

    def passages(self, scope: Scope, document: DocumentId) -> list[Passage]:
        """The passages of a document in the order of its text; raises NotFoundError as `document` does."""
        self.document(scope, document)
        return self.catalog.passages_of(document)

    def fetch(self, ids: Sequence[PassageId], scope: Scope) -> dict[PassageId, Passage]:
        """Those of the passages that are live and permitted now."""
        return self.catalog.passages(ids, _ids(scope))

    def class_numbers(self, scope: Scope, kb: str | None) -> frozenset[int] | None:
        """The numbers of the permitted access classes, of one knowledge base or of all; None, for every class, only where the
        scope is UnsafeEverything: to a person who may read all there is, what a change is about to bring is not there yet."""
        permitted = _ids(scope)
        if permitted is None and kb is None:
            return None
        key = (permitted, kb)
        found = self._numbers.get(key)
        if found is None:
            found = frozenset(
                number
                for number, access in self._classes.items()
                if (permitted is None or access.id in permitted) and kb in (None, access.kb)
            )
            if len(self._numbers) > 1000:
                self._numbers.clear()
            self._numbers[key] = found
        return found

    def status(self) -> StoreStatus:
        """Counts and sizes."""
        size = sum(path.stat().st_size for path in self._directory.rglob("*") if path.is_file())
        return StoreStatus(self.catalog.counts(), len(self._classes), self.fingerprint.as_text(), size)

    def close(self) -> None:
        """Saves what was derived and lets go of the files."""
        with self._write, _disk(self._directory):
            generation = self.catalog.properties()["generation"]
            self.exact.save(self._directory / "dense", generation)
            self.lexical.save(self._directory / "words", generation)
            self.vectors.close()
            self.catalog.close()

    def _commit(self, batch: Sequence[tuple[DocumentDraft, Vectors]], *, keep_number: bool) -> list[Document]:
        versions: list[int] = []
        with self.catalog.writing() as connection:
            vectors_of: dict[PassageId, Any] = {}
            for draft, vectors in batch:
                version, ids = add_pending(connection, draft, keep_number=keep_number)
                versions.append(version)
                vectors_of.update(zip(ids, vectors, strict=True))
        self._checkpoint("pending")
        self._index(list(self.catalog.entries([PENDING], versions=versions)), vectors_of)
        with self.catalog.writing() as connection:
            flip(connection, versions)
            self._new_generation(connection)
        self._checkpoint("flipped")
        self._refresh_classes()
        self._clean()
        by_place = {(one.source, one.path): one for one in self._committed(batch)}
        return [by_place[draft.source, draft.path] for draft, _ in batch]

    def _committed(self, batch: Sequence[tuple[DocumentDraft, Vectors]]) -> Iterator[Document]:
        wanted = {(draft.source, draft.path) for draft, _ in batch}
        for source in {source for source, _ in wanted}:
            paths = [path for one, path in wanted if one == source]
            yield from self.catalog.documents_at(source, paths)

    def _index(self, entries: Sequence[Entry], vectors_of: dict[PassageId, Any]) -> None:
        for kb in sorted({entry.kb for entry in entries}):
            ids = [entry.id for entry in entries if entry.kb == kb]
            self.vectors.add(kb, ids, np.stack([vectors_of[one] for one in ids]))
            self._checkpoint("vectors")
        if entries:
            self.lexical.add([(entry.id, entry.class_number, entry.text) for entry in entries])
            self.lexical.commit()
            self._checkpoint("words")
            ids = [entry.id for entry in entries]
            self.exact.add(ids, [entry.class_number for entry in entries], np.stack([vectors_of[one] for one in ids]))

    def _clean(self) -> None:
        """Takes what is dead out of the indexes, then out of the catalog."""
        versions = self.catalog.versions_in(DEAD)
        if not versions:
            return
        self._drop(list(self.catalog.entries([DEAD])))
        self._checkpoint("dropped")
        with self.catalog.writing() as connection:
            purge(connection, versions)
        self._refresh_classes()

    def _drop(self, entries: Sequence[Entry]) -> None:
        ids = [entry.id for entry in entries]
        self.exact.delete(ids)
        for kb in sorted({entry.kb for entry in entries}):
            self.vectors.delete(kb, [entry.id for entry in entries if entry.kb == kb])
        self.lexical.delete(ids)
        self.lexical.commit()

    def _copy(self, document: DocumentId, access: AccessClass) -> tuple[DocumentDraft, Vectors]:
        found = self.document(UnsafeEverything("a change of label is decided before it reaches the store"), document)
        text, pages = self.catalog.text(document)
        passages = self.catalog.passages_of(document)
        kept = self.vectors.get(found.access.kb, [one.id for one in passages])
        draft = DocumentDraft(
            source=found.source,
            path=found.path,
            title=found.title,
            media_type=found.media_type,
            content_sha256=found.content_sha256,
            size=found.size,
            modified_ns=found.modified_ns,
            access=access,
            text=text,
            pages=pages,
            passages=tuple(PassageDraft(one.start, one.end, one.text, one.page, one.heading) for one in passages),
            metadata=found.metadata,
        )
        vectors = [kept[one.id] for one in passages]
        return draft, np.stack(vectors) if vectors else np.empty((0, self.fingerprint.dimension), np.float32)

    def _recover(self) -> None:
        generation = self.catalog.properties()["generation"]
        if not self.lexical.load(self._directory / "words", generation):
            self._rebuild_words()
        if not self.exact.load(self._directory / "dense", generation):
            self._rebuild_exact()
        pending = self.catalog.versions_in(PENDING)
        if pending:
            self._drop(list(self.catalog.entries([PENDING])))
            with self.catalog.writing() as connection:
                undo(connection, pending)
        self._clean()

    def _rebuild_words(self) -> None:
        shutil.rmtree(self._directory / "words", ignore_errors=True)
        entries = self.catalog.entries([LIVE, DEAD])
        while some := list(itertools.islice(entries, _REBUILT)):
            self.lexical.add([(entry.id, entry.class_number, entry.text) for entry in some])
            self.lexical.commit()

    def _rebuild_exact(self) -> None:
        shutil.rmtree(self._directory / "dense", ignore_errors=True)
        number_of = {entry.id: entry.class_number for entry in self.catalog.entries([LIVE, DEAD])}
        for kb in self._bases(None):
            for ids, vectors in self.vectors.all(kb):
                kept = [row for row, one in enumerate(ids) if one in number_of]
                self.exact.add([ids[row] for row in kept], [number_of[ids[row]] for row in kept], vectors[kept])

    def _bases(self, classes: frozenset[int] | None) -> list[str]:
        return sorted({access.kb for number, access in self._classes.items() if classes is None or number in classes})

    def _refresh_classes(self) -> None:
        self._classes = self.catalog.classes()
        self._numbers: dict[tuple[frozenset[AccessClassId] | None, str | None], frozenset[int]] = {}

    def _new_generation(self, connection: Any) -> None:
        self.catalog.set_property(connection, "generation", secrets.token_hex(8))


def _ids(scope: Scope) -> frozenset[AccessClassId] | None:
    if isinstance(scope, AccessScope):
        return scope.classes
    assert isinstance(scope, UnsafeEverything)
    return None


@contextmanager
def _disk(directory: Path) -> Iterator[None]:
    """Turns what the disk or a library says of it into the product's own error."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        raise unusable(directory / "catalog.db", error.orig or error) from None
    except OSError as error:
        raise unusable(directory, error) from None
