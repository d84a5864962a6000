"""The seam for words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from vectorstore.types import PassageId


class LexicalIndex(Protocol):
    """BM25 over passages, each of one access class. Durable once `commit` returned."""

    def add(self, rows: Sequence[tuple[PassageId, int, str]]) -> None:
        """Adds (id, class number, text); the ids must be new."""

    def delete(self, ids: Sequence[PassageId]) -> None:
        """Removes passages; unknown ids are passed over."""

    def commit(self) -> None:
        """Makes what was added and removed durable and visible."""

    def search(self, terms: Sequence[str], classes: frozenset[int] | None, count: int) -> list[tuple[PassageId, float]]:
        """The `count` best permitted passages by BM25 over the terms, best first; `classes` None means every class."""

    def scores(self, terms: Sequence[str], ids: Sequence[PassageId]) -> Mapping[PassageId, float]:
        """BM25 of each of the ids that holds a term."""

    def document_frequencies(self, terms: Sequence[str]) -> tuple[list[int], int]:
        """How many passages hold each term, and how many there are."""
