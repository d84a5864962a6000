"""The retrieval recipe: permitted candidates by words and by meaning, fused, then read from the catalog."""

from __future__ import annotations

from policies.access.scope import Scope
from vectorstore.embedders.interface import Embedder
from vectorstore.fusion import fuse
from vectorstore.lexical.analysis import bound, idf, query_terms
from vectorstore.store import Store
from vectorstore.types import Hit, SearchResult

CANDIDATES = 100
"""Candidates taken from each side."""


class Search:
    """Retrieval over one store with the embedder that its vectors came from."""

    def __init__(self, store: Store, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder

    def search(self, question: str, scope: Scope, *, limit: int, kb: str | None = None) -> SearchResult:
        """The `limit` best passages that the scope permits, best first, each live when it was read.

        Scores are absolute, in [0, 1]. An empty scope or a knowledge base outside it finds nothing.
        """
        classes = self._store.class_numbers(scope, kb)
        if classes is not None and not classes:
            return SearchResult([], 0, {})
        terms = query_terms(question)
        vector = self._embedder.embed_query(question)
        lexical = dict(self._store.lexical.search(terms, classes, CANDIDATES))
        dense = dict(self._store.dense.search(vector, classes, max(CANDIDATES, limit)))
        # A candidate of one side has a score on the other too; both sides tell it exactly.
        lexical.update(self._store.lexical.scores(terms, [one for one in dense if one not in lexical]))
        dense.update(self._store.dense.cosines(vector, [one for one in lexical if one not in dense]))
        frequencies, passages = self._store.lexical.document_frequencies(terms)
        ranked = fuse(lexical, bound(frequencies, passages), dense)
        hits: list[Hit] = []
        # What was removed or relabelled since is dropped by this read, so later candidates move up.
        for start in range(0, len(ranked), 2 * limit):
            part = ranked[start : start + 2 * limit]
            found = self._store.fetch([one.id for one in part], scope)
            hits += [Hit(found[one.id], one.score, one.lexical, one.dense) for one in part if one.id in found]
            if len(hits) >= limit:
                break
        weights = {term: idf(frequency, passages) for term, frequency in zip(terms, frequencies, strict=True)}
        return SearchResult(hits[:limit], len(ranked), weights)
