"""The best of scored rows, ties decided by id, so that the order in which an index holds its rows never shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vectorstore.types import PassageId


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Passages and what they score, best first: `ids` of int64 beside `scores` of float64."""

    ids: Any
    scores: Any

    def __len__(self) -> int:
        return len(self.ids)

    def pairs(self) -> list[tuple[PassageId, float]]:
        """The same, one by one."""
        return list(zip(self.ids.tolist(), self.scores.tolist(), strict=True))


def shortlist(scores: Any, count: int, margin: float = 0.0) -> Any:
    """The places of the `count` highest scores and of all that come as near as `margin` to the lowest of these."""
    if len(scores) <= count:
        return np.arange(len(scores))
    if count < 1:
        return np.arange(0)
    edge = np.partition(scores, -count)[-count]
    return np.flatnonzero(scores >= edge - margin)


def best(ids: Any, scores: Any, count: int) -> Scored:
    """The `count` highest scores, best first, with their ids; of equal ones the lower id comes first."""
    ids, scores = np.asarray(ids, np.int64), np.asarray(scores, np.float64)
    places = shortlist(scores, count)
    ids, scores = ids[places], scores[places]
    order = np.lexsort((ids, -scores))[:count]
    return Scored(ids[order], scores[order])


def found_in(ordered: Any, wanted: Any) -> tuple[Any, Any]:
    """Which of the wanted ids are among the ordered ones, and at which places of these."""
    places = np.searchsorted(ordered, wanted)
    there = np.flatnonzero(ordered.take(places, mode="clip") == wanted) if len(ordered) else places[:0]
    return there, places[there]


NOTHING = Scored(np.empty(0, np.int64), np.empty(0))
"""What a search finds where there is nothing."""
