"""Chooses how to find the nearest permitted vectors: exactly where they are few enough, else through the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vectorstore.dense.exact import ABSENT, ExactVectors
from vectorstore.dense.interface import VectorKeeper
from vectorstore.ranking import NOTHING, Scored, best
from vectorstore.types import Vectors

EXACT_ROWS = 300_000
"""Exact scoring of this many rows of 384 takes about as long on two cores as over-fetching from the
graph."""

_OVER_FETCH = 6
"""With half of it forbidden rows changed three times as many candidates (bench/noninterference.py)."""


class DensePlanner:
    """Never returns a row outside the permitted classes, nor fewer than asked for while permitted ones are left.

    Scores depend on no other row. Which rows are found does neither, up to `exact_rows` permitted ones; past that, the graph
    that finds them is of all rows, and a row that a person may not read can change which of the last ones it brings.
    """

    def __init__(
        self,
        exact: ExactVectors,
        keeper: VectorKeeper,
        knowledge_bases: Callable[[frozenset[int] | None], Sequence[str]],
        *,
        exact_rows: int = EXACT_ROWS,
    ) -> None:
        self._exact = exact
        self._keeper = keeper
        self._knowledge_bases = knowledge_bases
        self._exact_rows = exact_rows

    def search(self, query: Vectors, classes: frozenset[int] | None, count: int) -> Scored:
        """The `count` best permitted rows."""
        permitted = self._exact.permitted(classes)
        if permitted <= self._exact_rows:
            return self._exact.search(query, classes, count)
        bases = [self._from_graph(kb, query, classes, count) for kb in self._knowledge_bases(classes)] or [NOTHING]
        ids, scores = np.concatenate([one.ids for one in bases]), np.concatenate([one.scores for one in bases])
        if len(ids) < min(count, permitted):
            # A graph over many equal vectors falls apart, and what it does not reach it does not bring.
            return self._exact.search(query, classes, count)
        return best(ids, scores, count)

    def cosines(self, query: Vectors, ids: Any) -> Any:
        """Always exact."""
        return self._exact.cosines(query, ids)

    def _from_graph(self, kb: str, query: Vectors, classes: frozenset[int] | None, count: int) -> Scored:
        wanted = count * _OVER_FETCH
        while True:
            nearest = self._keeper.nearest(kb, query, wanted)
            known = self._exact.class_of(nearest.ids)
            kept = nearest.ids[(known != ABSENT) if classes is None else np.isin(known, list(classes))]
            if len(kept) >= count or len(nearest) < wanted:
                # The graph sums in its own order: a row that it finds has the score that it has without the graph.
                cosines = self._exact.cosines(query, kept)
                there = ~np.isnan(cosines)
                return best(kept[there], cosines[there], count)
            wanted *= 4
