"""The best of scored rows, ties decided by id, so that the order in which an index holds its rows never shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from vectorstore.types import PassageId


def shortlist(scores: Any, count: int, margin: float = 0.0) -> Any:
    """The places of the `count` highest scores and of all that come as near as `margin` to the lowest of these."""
    if len(scores) <= count:
        return np.arange(len(scores))
    if count < 1:
        return np.arange(0)
    edge = scores[np.argpartition(scores, -count)[-count:]].min()
    return np.flatnonzero(scores >= edge - margin)


def best(scores: Any, ids: Any, count: int) -> list[tuple[PassageId, float]]:
    """The `count` highest scores, best first, with their ids; of equal ones the lower id comes first."""
    places = shortlist(scores, count)
    scores, ids = scores[places], ids[places]
    order = np.lexsort((ids, -scores))[:count]
    return [(PassageId(int(ids[place])), float(scores[place])) for place in order]
