"""A double: vectors kept in a dictionary, found by scoring every one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vectorstore.ranking import Scored, best
from vectorstore.types import PassageId, Vectors


class MemoryVectors:
    """A VectorKeeper that forgets with its process."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[PassageId, Vectors]] = {}

    def add(self, kb: str, ids: Sequence[PassageId], vectors: Vectors) -> None:
        """Adds or replaces rows."""
        self._rows.setdefault(kb, {}).update(zip(ids, np.array(vectors, np.float32), strict=True))

    def delete(self, kb: str, ids: Sequence[PassageId]) -> None:
        """Removes rows."""
        for one in ids:
            self._rows.get(kb, {}).pop(one, None)

    def get(self, kb: str, ids: Sequence[PassageId]) -> dict[PassageId, Vectors]:
        """The vectors of those that are there."""
        rows = self._rows.get(kb, {})
        return {one: rows[one] for one in ids if one in rows}

    def all(self, kb: str) -> Iterator[tuple[list[PassageId], Vectors]]:
        """Every row in one block."""
        rows = self._rows.get(kb, {})
        if rows:
            yield list(rows), np.stack(list(rows.values()))

    def nearest(self, kb: str, query: Vectors, count: int) -> Scored:
        """The nearest rows, exactly."""
        vector, rows = query.reshape(-1), self._rows.get(kb, {})
        return best(list(rows), [float(row @ vector) for row in rows.values()], count)
