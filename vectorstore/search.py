"""The retrieval recipe: permitted candidates by words and by meaning, fused, then read from the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from policies.access.scope import Scope
from vectorstore.embedders.interface import Embedder
from vectorstore.fusion import Fused, fuse, lift, lifted, with_proximity
from vectorstore.lexical.analysis import bound, idf, terms
from vectorstore.proximity import most_proximity, proximity
from vectorstore.store import Store
from vectorstore.types import Hit, Passage, PassageId, SearchResult, Vectors

CANDIDATES = 200
"""Candidates taken from each side: of 100,000 passages 100 miss one in a hundred of the ten best (bench/search.py)."""

_FIRST, _MORE = 12, 4
"""Candidates whose texts are read first, and then at a time: twelve settle mostly which ten are best (bench/search.py)."""

_LIKELY = 10
"""Passages that are read before a question's meaning is known: the first by words, of which seven or eight are wanted."""

_ROUNDING = 1e-9
"""More than what the order of summing can move a score of at most 1."""


class Search:
    """Retrieval over one store with the embedder that its vectors came from."""

    def __init__(self, store: Store, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder
        self._embedding = ThreadPoolExecutor(thread_name_prefix="question")

    def search(self, question: str, scope: Scope, *, limit: int, kb: str | None = None) -> SearchResult:
        """The `limit` best passages that the scope permits, best first, each live when it was read.

        Scores are absolute, in [0, 1], and those of an index that holds nothing else: no document outside the scope has a
        part in them. An empty scope or a knowledge base outside it finds nothing.
        """
        classes = self._store.class_numbers(scope, kb)
        if classes is not None and not classes:
            return SearchResult([], 0, {})
        vector = self._embedding.submit(self._embedder.embed_query, question)
        asked = _Asked(self._store, vector, question, scope, classes)
        asked.read_likely()
        wider = 1
        while True:
            candidates, exhausted = asked.candidates(wider, limit)
            hits: list[Hit] = []
            # What was removed or relabelled since is dropped by this read, so later candidates move up.
            start, step = 0, max(_FIRST, limit)
            while start < len(candidates):
                if len(hits) >= limit and candidates.highest[start] < _best(hits, limit)[-1].score - _ROUNDING:
                    break
                hits += asked.hits(candidates.taken(slice(start, start + step)))
                start, step = start + step, max(_MORE, limit // 3)
            if len(hits) >= limit or exhausted:
                hits = lifted([*hits, *asked.beside(_best(hits, limit), hits, limit)])
                return SearchResult(_best(hits, limit), len(candidates), asked.weights)
            # In the middle of a large change every candidate may be one that went or is still to come: look further, and again.
            wider *= 4
            asked.forget_texts()


class _Asked:
    """One question over those classes of one store. What words weigh is counted over these alone."""

    def __init__(
        self, store: Store, vector: Future[Vectors], question: str, scope: Scope, classes: frozenset[int] | None
    ) -> None:
        self._store = store
        self._scope = scope
        self._classes = classes
        self._words = terms(question)
        self._distinct = list(dict.fromkeys(self._words))
        self._vector = vector
        self._query = store.lexical.query(self._distinct, classes)
        frequencies, passages = self._query.frequencies, self._query.passages
        self._highest = bound(frequencies, passages)
        self.weights = {term: idf(frequency, passages) for term, frequency in zip(self._distinct, frequencies, strict=True)}
        self._texts: dict[PassageId, tuple[Passage, float] | None] = {}

    def read_likely(self) -> None:
        """Reads what words alone would bring first while the question is still being embedded, which takes longer than to look
        words up. Most of it is read in any case (bench/search.py)."""
        if not self._vector.done():
            self._read(self._query.best(_LIKELY).ids.tolist())

    def candidates(self, wider: int, limit: int) -> tuple[Fused, bool]:
        """What words and meaning bring, those that may score highest first, and whether that is all there is."""
        most = wider * max(CANDIDATES, limit)
        lexical = self._query.best(wider * CANDIDATES)
        dense = self._store.dense.search(self._vector.result(), self._classes, most)
        ids = np.union1d(lexical.ids, dense.ids)
        cosines = np.full(len(ids), np.nan)
        cosines[np.searchsorted(ids, dense.ids)] = dense.scores
        found = self._joined(ids, cosines)
        return found.taken(np.lexsort((ids, -found.highest))), len(dense) < most

    def forget_texts(self) -> None:
        """Whatever is wanted from now on is read from the catalog again."""
        self._texts.clear()

    def hits(self, candidates: Fused) -> list[Hit]:
        """Those of the candidates that are live and permitted when they are read, in the same order."""
        self._read(candidates.ids.tolist())
        hits = []
        for one, score, lexical, dense in candidates.rows():
            if (read := self._texts[one]) is not None:
                passage, near = read
                hits.append(Hit(passage, with_proximity(score, near), lexical, dense, near))
        return hits

    def _read(self, ids: Sequence[PassageId]) -> None:
        """Keeps of each passage how near to each other it holds the terms; None where it went or is not permitted."""
        new = [one for one in ids if one not in self._texts]
        found = self._store.fetch(new, self._scope) if new else {}
        for one in new:
            passage = found.get(one)
            self._texts[one] = None if passage is None else (passage, self._proximity(passage))

    def _proximity(self, passage: Passage) -> float:
        return proximity(self._words, self.weights, terms(passage.title), terms(passage.text))

    def beside(self, best: Sequence[Hit], known: Sequence[Hit], limit: int) -> list[Hit]:
        """The passages before and after the best in their documents that are not known yet and may be lifted among these: no
        candidates by themselves."""
        there = {hit.passage.id for hit in known}
        better: dict[PassageId, float] = {}
        for hit in best:
            for one in (PassageId(hit.passage.id - 1), PassageId(hit.passage.id + 1)):
                if one not in there:
                    better[one] = max(better.get(one, 0.0), hit.score)
        ids = np.array(sorted(better), np.int64)
        wanted = self._joined(ids, np.full(len(ids), np.nan))
        if len(best) == limit:
            least = best[-1].score - _ROUNDING
            highest = zip(ids.tolist(), wanted.highest.tolist(), strict=True)
            wanted = wanted.taken([place for place, (one, most) in enumerate(highest) if lift(most, better[one]) >= least])
        documents = {hit.passage.document for hit in best}
        return [hit for hit in self.hits(wanted) if hit.passage.document in documents]

    def _joined(self, ids: Any, cosines: Any) -> Fused:
        """The candidates as both sides tell them exactly, and how far each may come. Where a cosine is NaN it is looked up: a
        candidate of words alone has one too."""
        missing = np.flatnonzero(np.isnan(cosines))
        cosines[missing] = np.nan_to_num(self._store.dense.cosines(self._vector.result(), ids[missing]))
        most = most_proximity(self._words, self.weights, self._query.holding(ids))
        return fuse(ids, self._query.scores(ids), self._highest, cosines, most)


def _best(hits: Sequence[Hit], limit: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage.id))[:limit]
