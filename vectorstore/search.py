"""The retrieval recipe: permitted candidates by words and by meaning, fused, then read from the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.access.scope import Scope
from vectorstore.embedders.interface import Embedder
from vectorstore.fusion import Fused, fuse, lift, lifted
from vectorstore.lexical.analysis import bound, idf, terms
from vectorstore.proximity import most_proximity, proximity
from vectorstore.store import Store
from vectorstore.types import Hit, Passage, PassageId, SearchResult

CANDIDATES = 200
"""Candidates taken from each side: of 100,000 passages 100 miss one in a hundred of the ten best (bench/search.py)."""

_STEP = 16
"""Candidates whose text is read at once; mostly the first sixteen settle which ten are best (bench/search.py)."""

_ROUNDING = 1e-9
"""More than what the order of summing can move a score of at most 1."""


class Search:
    """Retrieval over one store with the embedder that its vectors came from."""

    def __init__(self, store: Store, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder

    def search(self, question: str, scope: Scope, *, limit: int, kb: str | None = None) -> SearchResult:
        """The `limit` best passages that the scope permits, best first, each live when it was read.

        Scores are absolute, in [0, 1], and those of an index that holds nothing else: no document outside the scope has a
        part in them. An empty scope or a knowledge base outside it finds nothing.
        """
        classes = self._store.class_numbers(scope, kb)
        if classes is not None and not classes:
            return SearchResult([], 0, {})
        asked = _Asked(self._store, self._embedder, question, classes)
        step, wider = max(_STEP, limit), 1
        while True:
            candidates, exhausted = asked.candidates(wider, limit)
            hits: list[Hit] = []
            # What was removed or relabelled since is dropped by this read, so later candidates move up.
            for start in range(0, len(candidates), step):
                if len(hits) >= limit and candidates[start].highest < _best(hits, limit)[-1].score - _ROUNDING:
                    break
                hits += asked.hits(candidates[start : start + step], scope)
            if len(hits) >= limit or exhausted:
                hits = lifted([*hits, *asked.beside(_best(hits, limit), hits, scope, limit)])
                return SearchResult(_best(hits, limit), len(candidates), asked.weights)
            # In the middle of a large change every candidate may be one that went or is still to come: look further.
            wider *= 4


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A candidate whose text was not read yet, and the most that it can score once its proximity is known: from there on
    down no candidate can come among the best, however near to each other it holds the terms (Fagin, Lotem and Naor 2003)."""

    fused: Fused
    highest: float


class _Asked:
    """One question over those classes of one store. What words weigh is counted over these alone."""

    def __init__(self, store: Store, embedder: Embedder, question: str, classes: frozenset[int] | None) -> None:
        self._store = store
        self._classes = classes
        self._words = terms(question)
        self._distinct = list(dict.fromkeys(self._words))
        self._vector = embedder.embed_query(question)
        self._query = store.lexical.query(self._distinct, classes)
        frequencies, passages = self._query.frequencies, self._query.passages
        self._highest = bound(frequencies, passages)
        self.weights = {term: idf(frequency, passages) for term, frequency in zip(self._distinct, frequencies, strict=True)}

    def candidates(self, wider: int, limit: int) -> tuple[list[_Candidate], bool]:
        """What words and meaning bring, those that may score highest first, and whether that is all there is."""
        most = wider * max(CANDIDATES, limit)
        lexical = dict(self._query.best(wider * CANDIDATES))
        dense = dict(self._store.dense.search(self._vector, self._classes, most))
        exhausted = len(dense) < most
        # A candidate of one side has a score on the other too; both sides tell it exactly.
        lexical.update(self._query.scores([one for one in dense if one not in lexical]))
        dense.update(self._store.dense.cosines(self._vector, [one for one in lexical if one not in dense]))
        found = self._joined(lexical, dense)
        return sorted(found, key=lambda candidate: (-candidate.highest, candidate.fused.id)), exhausted

    def hits(self, candidates: Sequence[_Candidate], scope: Scope) -> list[Hit]:
        """Those of the candidates that are live and permitted now, in the same order."""
        found = self._store.fetch([one.fused.id for one in candidates], scope)
        return [self._hit(one.fused, found[one.fused.id]) for one in candidates if one.fused.id in found]

    def beside(self, best: Sequence[Hit], known: Sequence[Hit], scope: Scope, limit: int) -> list[Hit]:
        """The passages before and after the best in their documents that are not known yet and may be lifted among these: no
        candidates by themselves."""
        there = {hit.passage.id for hit in known}
        better: dict[PassageId, float] = {}
        for hit in best:
            for one in (PassageId(hit.passage.id - 1), PassageId(hit.passage.id + 1)):
                if one not in there:
                    better[one] = max(better.get(one, 0.0), hit.score)
        dense = self._store.dense.cosines(self._vector, list(better))
        wanted = self._joined(self._query.scores(list(better)), {one: dense.get(one, 0.0) for one in better})
        if len(best) == limit:
            least = best[-1].score - _ROUNDING
            wanted = [one for one in wanted if lift(one.highest, better[one.fused.id]) >= least]
        documents = {hit.passage.document for hit in best}
        return [hit for hit in self.hits(wanted, scope) if hit.passage.document in documents]

    def _joined(self, lexical: Mapping[PassageId, float], dense: Mapping[PassageId, float]) -> list[_Candidate]:
        """The candidates of both sides, and how far each may come."""
        fused = fuse(lexical, self._highest, dense)
        most = most_proximity(self._words, self.weights, self._query.holding([one.id for one in fused]))
        return [_Candidate(one, one.with_proximity(float(near))) for one, near in zip(fused, most, strict=True)]

    def _hit(self, candidate: Fused, passage: Passage) -> Hit:
        near = proximity(self._words, self.weights, terms(passage.title), terms(passage.text))
        return Hit(passage, candidate.with_proximity(near), candidate.lexical, candidate.dense, near)


def _best(hits: Sequence[Hit], limit: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage.id))[:limit]
