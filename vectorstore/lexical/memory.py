"""A double: BM25 in plain Python, every passage scored for every question."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence

from vectorstore.lexical.analysis import K1, idf, terms
from vectorstore.types import PassageId

B = 0.75
"""How much a passage's length divides its score, as tantivy has it fixed."""

_LENGTHS: tuple[int, ...] = (*range(8), *((8 | low) << shift for shift in range(24) for low in range(8)))
"""Lengths past 24 are kept in a byte, as Lucene and tantivy keep them: four significant bits."""

_EXACT = 24


def kept_length(length: int) -> int:
    """The length that tantivy remembers of a passage of so many terms: at most that, and at least seven eighths of it."""
    if length < _EXACT:
        return length
    return _EXACT + _LENGTHS[bisect_right(_LENGTHS, length - _EXACT) - 1]


class MemoryLexical:
    """A LexicalIndex that forgets with its process. Ties go to the lower id."""

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
        for one, passage in self._waiting:
            if passage is None:
                self._passages.pop(one, None)
            else:
                self._passages[one] = passage
        self._waiting = []

    def search(self, terms: Sequence[str], classes: frozenset[int] | None, count: int) -> list[tuple[PassageId, float]]:
        """BM25 over the permitted passages."""
        permitted = [one for one, (number, _) in self._passages.items() if classes is None or number in classes]
        scored = self.scores(terms, permitted).items()
        return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:count]

    def scores(self, terms: Sequence[str], ids: Sequence[PassageId]) -> Mapping[PassageId, float]:
        """BM25 of given passages."""
        frequencies, passages = self.document_frequencies(terms)
        weights = {term: idf(frequency, passages) for term, frequency in zip(terms, frequencies, strict=True)}
        mean = sum(counts.total() for _, counts in self._passages.values()) / max(1, passages)
        found: dict[PassageId, float] = {}
        for one in ids:
            _, counts = self._passages.get(one, (0, Counter[str]()))
            held = [term for term in terms if counts[term]]
            if held:
                norm = K1 * (1 - B + B * kept_length(counts.total()) / mean)
                found[one] = sum(weights[term] * (K1 + 1) * counts[term] / (counts[term] + norm) for term in held)
        return found

    def document_frequencies(self, terms: Sequence[str]) -> tuple[list[int], int]:
        """Counts over what is there."""
        passages = [counts for _, counts in self._passages.values()]
        return [sum(term in counts for counts in passages) for term in terms], len(passages)
