"""The seam for vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from vectorstore.ranking import Scored
from vectorstore.types import PassageId, Vectors


class VectorKeeper(Protocol):
    """Keeps vectors by knowledge base and passage id, durably: what `add` returned from survives a crash."""

    def add(self, kb: str, ids: Sequence[PassageId], vectors: Vectors) -> None:
        """Adds rows; an id that is there already is replaced."""

    def delete(self, kb: str, ids: Sequence[PassageId]) -> None:
        """Removes rows; unknown ids are passed over."""

    def get(self, kb: str, ids: Sequence[PassageId]) -> dict[PassageId, Vectors]:
        """The vectors of those of the ids that are there, each of shape (dimension,)."""

    def all(self, kb: str) -> Iterator[tuple[list[PassageId], Vectors]]:
        """Every row, in blocks."""

    def nearest(self, kb: str, query: Vectors, count: int) -> Scored:
        """About the `count` nearest rows of one knowledge base, whoever may read them: the caller must drop."""


class DenseReader(Protocol):
    """Scores vectors of permitted rows by cosine. `classes` maps permitted class numbers; None stands for every class."""

    def search(self, query: Vectors, classes: frozenset[int] | None, count: int) -> Scored:
        """The `count` best permitted rows for a query of shape (1, dimension)."""

    def cosines(self, query: Vectors, ids: Any) -> Any:
        """The exact cosine of each of the distinct ids, an array or a sequence; NaN for one that is not there."""
