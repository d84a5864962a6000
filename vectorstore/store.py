"""Documents in, permitted passages out: the catalog with its indexes, changed together or not at all."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.access.scope import AccessScope, Scope, UnsafeEverything
from policies.errors import DataDirectoryError, NotFoundError, UsageError
from policies.labels import AccessClass, AccessClassId, Label
from vectorstore.catalog import Catalog, Entry
from vectorstore.catalog_rows import DEAD, PENDING
from vectorstore.copying import copied
from vectorstore.dense.chroma import ChromaVectors
from vectorstore.dense.exact import ExactVectors
from vectorstore.dense.planner import EXACT_ROWS, DensePlanner
from vectorstore.disk import disk
from vectorstore.label_changes import (
    By,
    held_among,
    history,
    refuse_held,
    settled,
    write_commit,
    write_hold,
    write_relabelling,
)
from vectorstore.lexical.postings import PostingsIndex
from vectorstore.rebuilding import rebuild_exact, rebuild_words
from vectorstore.schema import check, stamp
from vectorstore.types import (
    NOT_SEEN,
    OWN_ACT,
    Act,
    Document,
    DocumentDraft,
    DocumentId,
    IndexFingerprint,
    LabelChange,
    Page,
    Passage,
    PassageId,
    Seen,
    StoreStatus,
    Vectors,
)
from vectorstore.versions import add_pending, flip, new_document_id, purge, retire, touch, undo

if TYPE_CHECKING:
    from sqlalchemy import Connection

Checkpoint = Callable[[str], None]
"""Called between the steps of a change with the step's name; tests end the process there."""


class Store:
    """The catalog, the vectors and the words of one data directory. One process may have it open; its threads may read
    while one writes.

    A change is: (1) rows in state pending; (2) entries in the indexes; (3) one transaction that makes the new version
    live and the old one dead; (4) dead entries leave the indexes. Reads see only what is live, so a crash anywhere shows
    the old state or the new one. `open` undoes what was pending and finishes what was dead. `moment` is another number after
    each change of what is live or of who may read it, before the call that made it returns.
    """

    def __init__(self, directory: Path, fingerprint: IndexFingerprint, checkpoint: Checkpoint, exact_rows: int) -> None:
        self._directory = directory
        self._checkpoint = checkpoint
        self._write = threading.Lock()
        self.moment = 0
        with disk(directory):
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
        with disk(directory):
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

    def commit(self, batch: Sequence[tuple[DocumentDraft, Vectors]], act: Act = OWN_ACT) -> list[Document]:
        """Puts documents in, each replacing its former version, all in one change. A draft's vectors have one row for each
        of its passages, in order. Returns the documents in the same order; one that a person gave a label keeps that,
        whatever its draft says. Raises LegalHold, and changes nothing, where one is there and held."""
        for draft, vectors in batch:
            if vectors.shape != (len(draft.passages), self.fingerprint.dimension):
                raise ValueError(f"{draft.path}: vectors of shape {vectors.shape} for {len(draft.passages)} passages")
        drafts = [draft for draft, _ in batch]
        with self._write, disk(self._directory):
            before = self.catalog.at_places_of(drafts)
            refuse_held([one.path for one in before.values() if one.held])
            with self.catalog.reading() as connection:
                holding = settled(connection, drafts)
            changed = [(draft, vectors) for draft, (_, vectors) in zip(holding, batch, strict=True)]
            self._commit(changed, lambda connection: write_commit(connection, drafts, before, act), keep_number=False)
            now = self.catalog.at_places_of(drafts)
            return [now[draft.source, draft.path] for draft in drafts]

    def labels_for(self, drafts: Sequence[DocumentDraft]) -> list[Label]:
        """The label that each of the drafts would have after a commit: a person's instead of its own where there is one."""
        with self.catalog.reading() as connection:
            return [draft.label for draft in settled(connection, drafts)]

    def relabel(
        self,
        changes: Sequence[tuple[DocumentId, Label | None]],
        act: Act = OWN_ACT,
        *,
        by: By = By.SOURCE,
        seen: Seen = NOT_SEEN,
    ) -> None:
        """Says something else of documents, all in one change; vectors are copied, nothing is embedded. From the return on no
        read finds them under the old label. What a source says (None: nothing any more) is kept beside a person's label and
        holds when that is cleared. Raises NotFoundError for a document that is not there, or is no longer in the class in which
        it was `seen`: the right to change it was decided on that."""
        with self._write, disk(self._directory):
            self._relabel([(self._found(document, seen), label) for document, label in changes], by, act)

    def clear_overrides(self, documents: Sequence[DocumentId], act: Act, *, seen: Seen = NOT_SEEN) -> None:
        """Gives documents back the label of their source, all in one change; those without a label of their own stay as they
        are. Raises NotFoundError, and UsageError where the source says nothing of one."""
        with self._write, disk(self._directory):
            found = [one for one in (self._found(document, seen) for document in documents) if one.overridden]
            for one in found:
                if one.ruled is None:
                    raise UsageError(f"no rule labels {one.path}", hint="Give it another label, or remove it.")
            self._relabel([(one, one.ruled) for one in found], By.CLEARING, act)

    def hold(self, documents: Sequence[DocumentId], held: bool, act: Act, *, seen: Seen = NOT_SEEN) -> None:
        """Puts documents under legal hold, or lifts it. Raises NotFoundError."""
        with self._write, disk(self._directory):
            found = [self._found(document, seen) for document in documents]
            with self.catalog.writing() as connection:
                write_hold(connection, found, held, act)

    def held(self, documents: Sequence[DocumentId]) -> frozenset[DocumentId]:
        """Those of the documents that are under legal hold."""
        with self.catalog.reading() as connection:
            return frozenset(held_among(connection, documents))

    def label_changes(self, scope: Scope, document: DocumentId) -> list[LabelChange]:
        """What was said of a document when and by whom, oldest first; raises NotFoundError as `document` does."""
        self.document(scope, document)
        with self.catalog.reading() as connection:
            return history(connection, document)

    def remove(self, documents: Sequence[DocumentId], *, seen: Seen = NOT_SEEN) -> int:
        """Takes documents out; returns how many were there. Raises LegalHold, and takes none, where one is held."""
        with self._write, disk(self._directory):
            for document in seen:
                self._found(document, seen)
            with self.catalog.writing() as connection:
                refuse_held(list(held_among(connection, documents).values()))
                count = retire(connection, documents)
                self._new_generation(connection)
            self.moment += 1
            self._checkpoint("retired")
            self._clean()
            return count

    def touch(self, stats: Sequence[tuple[DocumentId, int, int]]) -> None:
        """Keeps (size, modified_ns) of files whose bytes did not change."""
        with self._write, disk(self._directory), self.catalog.writing() as connection:
            touch(connection, stats)

    def known(self, source: str) -> dict[str, Document]:
        """Every live document of a source by path, whoever may read it: for ingest alone."""
        return {document.path: document for document in self.catalog.documents(None, source=source)}

    def identified(self, drafts: Sequence[DocumentDraft]) -> list[DocumentDraft]:
        """The drafts, in order, with the ids that their documents have or will have: what is told of a change before it is
        made can then name them."""
        ids: dict[tuple[str, str], DocumentId] = {}
        for source in {draft.source for draft in drafts}:
            paths = list(dict.fromkeys(draft.path for draft in drafts if draft.source == source))
            ids |= {(source, path): one for path, one in self.catalog.ids_at(source, paths).items()}
        return [replace(one, id=ids.setdefault((one.source, one.path), new_document_id())) for one in drafts]

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
        return self.catalog.documents(self.class_numbers(scope, None), kb=kb, prefix=prefix, after=after, limit=limit)

    def browse(self, scope: AccessScope, *, named: str = "", offset: int = 0, limit: int = 100) -> tuple[list[Document], int]:
        """Permitted documents by source and path, those behind the first `offset`, and how many there are in all; with
        `named`, those whose title or path holds it."""
        return self.catalog.browse(self.class_numbers(scope, None), named=named, offset=offset, limit=limit)

    def classes_of(self, source: str) -> list[AccessClass]:
        """The access classes that the index has of a source."""
        return self.catalog.classes_of(source)

    def document(self, scope: Scope, document: DocumentId) -> Document:
        """One document; raises the same NotFoundError for an absent and for a forbidden one."""
        found = self.catalog.document(document, self.class_numbers(scope, None))
        if found is None:
            raise _absent(document)
        return found

    def permits(self, scope: Scope, documents: Iterable[str]) -> bool:
        """Whether all of the documents are there and permitted."""
        classes, wanted = _ids(scope), frozenset(documents)
        found = self.catalog.classes_by_document(wanted)
        return found.keys() == wanted and (classes is None or classes.issuperset(found.values()))

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
        with self._write, disk(self._directory):
            generation = self.catalog.properties()["generation"]
            self.exact.save(self._directory / "dense", generation)
            self.lexical.save(self._directory / "words", generation)
            self.vectors.close()
            self.catalog.close()

    def _relabel(self, changes: Sequence[tuple[Document, Label | None]], by: By, act: Act) -> None:
        batch = []
        for document, label in changes:
            holds = by is not By.SOURCE or not document.overridden
            if label is not None and holds and label.access != document.access:
                batch.append(copied(self.catalog, self.vectors, document, label, self.fingerprint.dimension))
        self._commit(batch, lambda connection: write_relabelling(connection, changes, by, act), keep_number=True)

    def _commit(
        self,
        batch: Sequence[tuple[DocumentDraft, Vectors]],
        write_labels: Callable[[Connection], None],
        *,
        keep_number: bool,
    ) -> None:
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
            write_labels(connection)
            self._new_generation(connection)
        self._refresh_classes()
        self.moment += 1
        self._checkpoint("flipped")
        self._clean()

    def _found(self, document: DocumentId, seen: Seen) -> Document:
        found = self.document(UnsafeEverything("a change of label is decided before it reaches the store"), document)
        if found.access != seen.get(document, found.access):
            raise _absent(document)
        return found

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

    def _recover(self) -> None:
        generation = self.catalog.properties()["generation"]
        if not self.lexical.load(self._directory / "words", generation):
            shutil.rmtree(self._directory / "words", ignore_errors=True)
            rebuild_words(self.catalog, self.lexical)
        if not self.exact.load(self._directory / "dense", generation):
            shutil.rmtree(self._directory / "dense", ignore_errors=True)
            rebuild_exact(self.catalog, self.vectors, self.exact, self._bases(None))
        pending = self.catalog.versions_in(PENDING)
        if pending:
            self._drop(list(self.catalog.entries([PENDING])))
            with self.catalog.writing() as connection:
                undo(connection, pending)
        self._clean()

    def _bases(self, classes: frozenset[int] | None) -> list[str]:
        return sorted({access.kb for number, access in self._classes.items() if classes is None or number in classes})

    def _refresh_classes(self) -> None:
        self._classes = self.catalog.classes()
        self._numbers: dict[tuple[frozenset[AccessClassId] | None, str | None], frozenset[int]] = {}

    def _new_generation(self, connection: Any) -> None:
        self.catalog.set_property(connection, "generation", secrets.token_hex(8))


def _absent(document: DocumentId) -> NotFoundError:
    return NotFoundError(f"there is no document {document}", hint="`inhouse documents list` shows what there is.")


def _ids(scope: Scope) -> frozenset[AccessClassId] | None:
    if isinstance(scope, AccessScope):
        return scope.classes
    assert isinstance(scope, UnsafeEverything)
    return None
