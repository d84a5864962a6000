"""A double: BM25 in plain Python, every permitted passage scored for every question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vectorstore.lexical.analysis import K1, B, idf, terms
from vectorstore.lexical.interface import LexicalQuery
from vectorstore.ranking import Scored, best
from vectorstore.types import PassageId


class MemoryLexical:
    """A LexicalIndex of dictionaries."""

    def __init__(self) -> None:
        self._waiting: list[tuple[PassageId, tuple[int, Counter[str]] | None]] = []
        self._passages: dict[PassageId, tuple[int, Counter[str]]] = {}

    def add(self, rows: Sequence[tuple[PassageId, int, str]]) -> None:
        """Adds passages to what the next commit makes visible."""
        self._waiting += [(one, (number, Counter(terms(text)))) for one, number, text in rows]

    def delete(self, ids: Sequence[PassageId]) -> None:
        """Removes passages with the next commit."""
        self._waiting += [(one, None) for one in ids]

    def commit(self) -> None:
        """Makes the changes visible, in their order."""
        passages = dict(self._passages)
        for one, passage in self._waiting:
            if passage is None:
                passages.pop(one, None)
            else:
                passages[one] = passage
        self._passages, self._waiting = passages, []

    def query(self, terms: Sequence[str], classes: frozenset[int] | None) -> LexicalQuery:
        """Scores what is there now."""
        held = {one: counts for one, (number, counts) in self._passages.items() if classes is None or number in classes}
        return _Counted(terms, held)


class _Counted:
    """A LexicalQuery over counted passages."""

    def __init__(self, terms: Sequence[str], held: Mapping[PassageId, Counter[str]]) -> None:
        self.frequencies = [sum(term in counts for counts in held.values()) for term in terms]
        self.passages = len(held)
        mean = sum(counts.total() for counts in held.values()) / max(1, len(held))
        self._terms, self._held = terms, held
        self._scores: dict[PassageId, float] = {}
        for term, frequency in zip(terms, self.frequencies, strict=True):
            weight = idf(frequency, self.passages) * (K1 + 1)
            for one, counts in held.items():
                if counts[term]:
                    norm = K1 * (1 - B + B * counts.total() / mean)
                    self._scores[one] = self._scores.get(one, 0.0) + weight * counts[term] / (counts[term] + norm)

    def best(self, count: int) -> Scored:
        """All of them in order, cut."""
        return best(list(self._scores), list(self._scores.values()), count)

    def scores(self, ids: Any) -> Any:
        """Looked up one by one."""
        return np.array([self._scores.get(one, 0.0) for one in ids], np.float64)

    def holding(self, ids: Any) -> Any:
        """Looked up one by one."""
        held = [[term in self._held.get(one, ()) for term in self._terms] for one in ids]
        return np.array(held, bool).reshape(len(ids), len(self._terms))
