"""The only door to tantivy: BM25 with the access class inside the query."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tantivy import Document, Index, Occur, Query, SchemaBuilder

from vectorstore.lexical.analysis import analyser
from vectorstore.types import PassageId

_HEAP_BYTES = 64_000_000
_CACHED_FILTERS = 256
_ANALYSER = "inhouse"


class TantivyIndex:
    """An index directory. Queries are built from terms, never parsed from text, so a question has no operators."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        builder = SchemaBuilder()
        builder.add_unsigned_field("id", stored=False, indexed=True, fast=True)
        builder.add_unsigned_field("class", stored=False, indexed=True, fast=True)
        builder.add_text_field("text", stored=False, tokenizer_name=_ANALYSER, index_option="freq")
        self._schema = builder.build()
        self._index = Index(self._schema, path=str(directory))
        self._index.register_tokenizer(_ANALYSER, analyser())
        self._writer: Any = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        self._index.config_reader(reload_policy="manual")
        self._index.reload()
        self._weighed = self._count_weighed()
        self._lock = threading.Lock()
        self._filters: dict[frozenset[int], Any] = {}

    def add(self, rows: Sequence[tuple[PassageId, int, str]]) -> None:
        """Adds passages to what the next commit makes visible."""
        with self._lock:
            for one, number, text in rows:
                document = Document()
                document.add_unsigned("id", one)
                document.add_unsigned("class", number)
                document.add_text("text", text)
                self._writer.add_document(document)

    def delete(self, ids: Sequence[PassageId]) -> None:
        """Removes passages with the next commit."""
        with self._lock:
            if ids:
                self._writer.delete_documents_by_query(Query.term_set_query(self._schema, "id", list(ids)))

    def commit(self) -> None:
        """Durable and visible from here on; merging goes on beside it."""
        with self._lock:
            self._writer.commit()
            self._index.reload()
            self._weighed = self._count_weighed()

    def search(self, terms: Sequence[str], classes: frozenset[int] | None, count: int) -> list[tuple[PassageId, float]]:
        """BM25 over the permitted passages."""
        if not terms or (classes is not None and not classes):
            return []
        query = self._query(terms)
        if classes is not None:
            query = Query.boolean_query([(Occur.Must, query), (Occur.Must, self._filter(classes))])
        return self._run(query, count)

    def scores(self, terms: Sequence[str], ids: Sequence[PassageId]) -> Mapping[PassageId, float]:
        """BM25 of given passages."""
        if not terms or not ids:
            return {}
        only = Query.const_score_query(Query.term_set_query(self._schema, "id", list(ids)), 0.0)
        query = Query.boolean_query([(Occur.Must, self._query(terms)), (Occur.Must, only)])
        return dict(self._run(query, len(ids)))

    def document_frequencies(self, terms: Sequence[str]) -> tuple[list[int], int]:
        """Counts over the whole index, removed passages among them until their segment is merged: so does BM25."""
        searcher = self._index.searcher()
        frequencies = [searcher.doc_freq("text", term) for term in terms]
        # A merge between two commits may have dropped some: more than all would give a term a weight below none.
        return frequencies, max([self._weighed, searcher.num_docs, *frequencies])

    def ids(self) -> list[PassageId]:
        """Every id in the index, in order."""
        searcher = self._index.searcher()
        found = self._run(Query.all_query(), max(1, searcher.num_docs))
        return sorted(one for one, _ in found)

    def close(self) -> None:
        """Waits for merges and lets go of the files."""
        with self._lock:
            if self._writer is not None:
                self._writer.wait_merging_threads()
                self._writer = None

    def _count_weighed(self) -> int:
        """The passages that BM25's weights count. The searcher tells only those that are not removed; with that number a
        score could pass the bound, and a question be answered because other documents went."""
        meta = json.loads((self._directory / "meta.json").read_text(encoding="utf-8"))
        return sum(int(segment["max_doc"]) for segment in meta["segments"])

    def _query(self, terms: Sequence[str]) -> Any:
        return Query.boolean_query(
            [(Occur.Should, Query.term_query(self._schema, "text", term, index_option="freq")) for term in terms]
        )

    def _filter(self, classes: frozenset[int]) -> Any:
        found = self._filters.get(classes)
        if found is None:
            found = Query.const_score_query(Query.term_set_query(self._schema, "class", sorted(classes)), 0.0)
            if len(self._filters) >= _CACHED_FILTERS:
                self._filters.pop(next(iter(self._filters)))
            self._filters[classes] = found
        return found

    def _run(self, query: Any, count: int) -> list[tuple[PassageId, float]]:
        searcher = self._index.searcher()
        hits = searcher.search(query, count, count=False).hits
        ids: list[Any] = list(searcher.fast_field_values("id", [address for _, address in hits]))
        return [(PassageId(int(one)), float(score)) for one, (score, _) in zip(ids, hits, strict=True)]
