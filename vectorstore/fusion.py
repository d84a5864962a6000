"""Joins what words, meaning and proximity say of a passage into one absolute score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vectorstore.types import PassageId

LEXICAL, DENSE, PROXIMITY = 0.38, 0.38, 0.24
"""Weights per query, per kind of question or learned ones gained nothing over these (bench/retrieval.py)."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A candidate: L = BM25 / bound and P = cosine, both at least 0. `score` is .38·L + .38·P; proximity can only add to it,
    so whatever is not looked at for proximity has its least score."""

    id: PassageId
    score: float
    lexical: float
    dense: float

    def with_proximity(self, proximity: float) -> float:
        """The whole score, .38·L + .38·P + .24·X, in [0, 1]."""
        return self.score + PROXIMITY * proximity


def fuse(lexical: Mapping[PassageId, float], bound: float, dense: Mapping[PassageId, float]) -> list[Fused]:
    """Every candidate of either side, best first; ties go to the lower id. Unlike ranks, the scores say how good the best
    candidate is, so one threshold can refuse."""
    fused = []
    for one in lexical.keys() | dense.keys():
        words = lexical.get(one, 0.0) / bound if bound else 0.0
        meaning = max(0.0, dense.get(one, 0.0))
        fused.append(Fused(one, LEXICAL * words + DENSE * meaning, words, meaning))
    return sorted(fused, key=lambda candidate: (-candidate.score, candidate.id))
