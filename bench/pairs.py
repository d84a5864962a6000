"""Whether times of two kinds that were taken in turn differ, by how much, and how surely.

Each time of the one kind was taken just before or after one of the other, in an order drawn by lot, so that what the machine
does meanwhile is the same for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SURELY = 0.01
"""How probable it may be that any of the differences called real in one table is none."""

_BOX = (0.01, 0.05)
_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Difference:
    """How much longer the first kind takes, in the unit of the times, between `low` and `high` with a confidence of 95 %; `p`
    is how probable so large a difference is by chance alone, and `apart` what the box test says."""

    typical: float
    low: float
    high: float
    p: float
    apart: bool


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Of pairs of times; there must be ten or more.

    Typical is the median of the means of any two differences (Hodges and Lehmann), p that of Wilcoxon's signed ranks: on times
    of responses both see far smaller differences than a test of two samples or of a fixed quantile does (Kario, "Out of the Box
    Testing", 2023). The box test (Crosby, Wallach and Riedi, "Opportunities and Limits of Remote Timing Attacks", 2009) says
    that two kinds differ where the intervals from their first to their fifth hundredth do not overlap.
    """
    if len(first) != len(second) or len(first) < 10:
        raise ValueError(f"{len(first)} and {len(second)} times are not ten pairs")
    apart = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    count = len(apart)
    rows, columns = np.triu_indices(count)
    means = np.sort((apart[rows] + apart[columns]) / 2)
    middle, spread = count * (count + 1) / 4, math.sqrt(count * (count + 1) * (2 * count + 1) / 24)
    # Among equal means half count as above nothing, so that a difference of zero has no side.
    above = float((means > 0).sum() + (means == 0).sum() / 2)
    p = math.erfc(abs(above - middle) / spread / math.sqrt(2))
    edge = max(0, round(middle - _NORMAL_95 * spread))
    boxes = [np.quantile(np.asarray(one, np.float64), _BOX) for one in (first, second)]
    separate = bool(boxes[0][0] > boxes[1][1] or boxes[1][0] > boxes[0][1])
    return Difference(float(np.median(means)), float(means[edge]), float(means[-1 - edge]), p, separate)


def real(found: Sequence[Difference]) -> list[bool]:
    """Which of them are no chance, looked at together (Holm): with that many, some would look like it alone."""
    order = sorted(range(len(found)), key=lambda place: found[place].p)
    kept = [False] * len(found)
    for done, place in enumerate(order):
        if found[place].p * (len(found) - done) > SURELY:
            break
        kept[place] = True
    return kept
