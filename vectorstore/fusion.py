"""Joins the lexical and the dense score of a passage into one absolute score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vectorstore.types import PassageId

LEXICAL_WEIGHT = 0.5
"""Weights per query, per kind of question or learned ones gained nothing over halves (bench/retrieval.py)."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A candidate: S = .5·L + .5·P with L = BM25 / bound and P = cosine, both at least 0."""

    id: PassageId
    score: float
    lexical: float
    dense: float


def fuse(lexical: Mapping[PassageId, float], bound: float, dense: Mapping[PassageId, float]) -> list[Fused]:
    """Every candidate of either side, best first; ties go to the lower id. Unlike ranks, the scores say how good the best
    candidate is, so one threshold can refuse."""
    fused = []
    for one in lexical.keys() | dense.keys():
        words = lexical.get(one, 0.0) / bound if bound else 0.0
        meaning = max(0.0, dense.get(one, 0.0))
        fused.append(Fused(one, LEXICAL_WEIGHT * words + (1 - LEXICAL_WEIGHT) * meaning, words, meaning))
    return sorted(fused, key=lambda candidate: (-candidate.score, candidate.id))
