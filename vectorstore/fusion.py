"""Joins what words, meaning and proximity say of a passage into one absolute score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vectorstore.types import Hit, PassageId

LEXICAL, DENSE, PROXIMITY = 0.33, 0.38, 0.29
"""Weights per query, per kind of question or learned ones gained nothing over these. Others near them differ by less than
.003 on each set of bench/retrieval.py; on SciFact, where more proximity helps, equal weights are .003 lower."""

NEIGHBOUR = 0.4
"""Share of the way to a better neighbour's score: .3 to .6 were alike on long documents (bench/passages.py)."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A candidate: L = BM25 / bound and P = cosine, both at least 0. `score` is .33·L + .38·P; proximity can only add to it,
    so whatever is not looked at for proximity has its least score."""

    id: PassageId
    score: float
    lexical: float
    dense: float

    def with_proximity(self, proximity: float) -> float:
        """The whole score, .33·L + .38·P + .29·X, in [0, 1]."""
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


def lift(score: float, better: float) -> float:
    """The score, moved towards that of a neighbour where that is better."""
    return score + NEIGHBOUR * max(0.0, better - score)


def lifted(hits: Sequence[Hit]) -> list[Hit]:
    """The hits in the same order, each lifted towards the passage before or after it in its document where that is better:
    what a question needs often goes on where the best passage ends, in words that the question does not use.

    A score moves towards a better neighbour's and never past it, so the best passage of a document keeps its own. A
    neighbour that is not among the hits lifts nothing. The idea is that of scoring a passage in its document's context
    (Callan, SIGIR 1994; Liu and Croft, CIKM 2002), between neighbours alone.
    """
    scores = {(hit.passage.document, hit.passage.version, hit.passage.id): hit.score for hit in hits}
    found = []
    for hit in hits:
        document, version, place = hit.passage.document, hit.passage.version, hit.passage.id
        # A version's passages are numbered one after another in the order of its text.
        beside = [scores.get((document, version, PassageId(place + step)), 0.0) for step in (-1, 1)]
        score = lift(hit.score, max(beside))
        found.append(replace(hit, score=score, lift=score - hit.score))
    return found
