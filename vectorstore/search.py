"""The retrieval recipe: permitted candidates by words and by meaning, fused, then read from the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policies.access.scope import Scope
from vectorstore.embedders.interface import Embedder
from vectorstore.fusion import Fused, fuse
from vectorstore.lexical.analysis import bound, idf, terms
from vectorstore.proximity import proximity
from vectorstore.store import Store
from vectorstore.types import Hit, Passage, SearchResult

CANDIDATES = 200
"""Candidates taken from each side: of 100,000 passages 100 miss one in a hundred of the ten best (bench/search.py)."""

RESCORED = 50
"""Candidates whose text is looked at for proximity: 30 gain nearly as much, 100 no more (bench/retrieval.py)."""


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
        words = terms(question)
        asked = list(dict.fromkeys(words))
        vector = self._embedder.embed_query(question)
        frequencies, passages = self._store.lexical.document_frequencies(asked)
        weights = {term: idf(frequency, passages) for term, frequency in zip(asked, frequencies, strict=True)}
        highest, step, wider = bound(frequencies, passages), max(RESCORED, limit), 1
        while True:
            lexical = dict(self._store.lexical.search(asked, classes, wider * CANDIDATES))
            dense = dict(self._store.dense.search(vector, classes, wider * max(CANDIDATES, limit)))
            exhausted = len(dense) < wider * max(CANDIDATES, limit)
            # A candidate of one side has a score on the other too; both sides tell it exactly.
            lexical.update(self._store.lexical.scores(asked, [one for one in dense if one not in lexical]))
            dense.update(self._store.dense.cosines(vector, [one for one in lexical if one not in dense]))
            ranked = fuse(lexical, highest, dense)
            hits: list[Hit] = []
            # What was removed or relabelled since is dropped by this read, so later candidates move up.
            for start in range(0, len(ranked), step):
                part = ranked[start : start + step]
                found = self._store.fetch([one.id for one in part], scope)
                hits += [_hit(one, found[one.id], words, weights) for one in part if one.id in found]
                if len(hits) >= limit:
                    break
            if len(hits) >= limit or exhausted:
                hits.sort(key=lambda hit: (-hit.score, hit.passage.id))
                return SearchResult(hits[:limit], len(ranked), weights)
            # In the middle of a large change every candidate may be one that went or is still to come: look further.
            wider *= 4


def _hit(candidate: Fused, passage: Passage, words: Sequence[str], weights: Mapping[str, float]) -> Hit:
    near = proximity(words, weights, terms(passage.title), terms(passage.text))
    return Hit(passage, candidate.with_proximity(near), candidate.lexical, candidate.dense, near)
