"""The seam for words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from vectorstore.ranking import Scored
from vectorstore.types import PassageId


class LexicalQuery(Protocol):
    """BM25 of some terms over the permitted passages of one moment, as an index would score that held no others.

    How many passages there are, how long they are, and how many of them hold a term is counted over the permitted ones
    alone. So nothing that is said here depends on a passage outside them, to the last bit.
    """

    frequencies: list[int]
    """How many permitted passages hold each of the terms."""

    passages: int
    """How many permitted passages there are."""

    def best(self, count: int) -> Scored:
        """The `count` best passages that hold a term, best first; of equal ones the lower id comes first."""

    def scores(self, ids: Any) -> Any:
        """The score of each of the ids, an array or a sequence; 0 for one that is not permitted or holds none of the terms."""

    def holding(self, ids: Any) -> Any:
        """Which of the terms each of the ids holds: booleans, a row for each id and a column for each term, all False where
        an id is not permitted."""


class LexicalIndex(Protocol):
    """The words of passages, each of one access class. Safe for threads that read while one writes."""

    def add(self, rows: Sequence[tuple[PassageId, int, str]]) -> None:
        """Adds (id, class number, text); the ids must be new."""

    def delete(self, ids: Sequence[PassageId]) -> None:
        """Removes passages; unknown ids are passed over."""

    def commit(self) -> None:
        """Makes what was added and removed visible to the queries that come after it."""

    def query(self, terms: Sequence[str], classes: frozenset[int] | None) -> LexicalQuery:
        """What is to be known of distinct terms in those classes; `classes` None means every class."""
