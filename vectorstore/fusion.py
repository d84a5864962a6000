"""Joins what words, meaning and proximity say of a passage into one absolute score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from vectorstore.types import Hit, PassageId

LEXICAL, DENSE, PROXIMITY = 0.33, 0.38, 0.29
"""Weights per query, per kind of question or learned ones gained nothing over these. Others near them differ by less than
.003 on each set of bench/retrieval.py; on SciFact, where more proximity helps, equal weights are .003 lower."""

NEIGHBOUR = 0.4
"""Share of the way to a better neighbour's score: .3 to .6 were alike on long documents (bench/passages.py)."""


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Candidates whose texts were not read yet, each array with a value for each of them: L = BM25 / bound and P = cosine, both
    at least 0. `score` is .33·L + .38·P; proximity can only add to it, so whatever is not looked at for proximity has its least
    score. `highest` is the most that it can be once proximity is known: from there on down no candidate can come among the
    best, however near to each other it holds the terms (Fagin, Lotem and Naor 2003)."""

    ids: Any
    score: Any
    lexical: Any
    dense: Any
    highest: Any

    def __len__(self) -> int:
        return len(self.ids)

    def taken(self, places: Any) -> Fused:
        """Those of the candidates, in that order."""
        return Fused(*(getattr(self, field.name)[places] for field in fields(self)))

    def rows(self) -> Iterator[tuple[PassageId, float, float, float]]:
        """Id, score, L and P of each candidate."""
        columns = (self.ids, self.score, self.lexical, self.dense)
        return zip(*(column.tolist() for column in columns), strict=True)


def fuse(ids: Any, lexical: Any, bound: float, dense: Any, most: Any) -> Fused:
    """Joins BM25 and cosine of the same candidates, 0 where one has none, and the `most` that their proximity can be. Unlike
    ranks, the scores say how good the best candidate is, so one threshold can refuse."""
    words = lexical / bound if bound else np.zeros(len(ids))
    meaning = np.maximum(dense, 0.0)
    score = LEXICAL * words + DENSE * meaning
    return Fused(ids, score, words, meaning, with_proximity(score, most))


def with_proximity(score: Any, near: Any) -> Any:
    """The whole score, .33·L + .38·P + .29·X, in [0, 1]; of one candidate or of an array of them."""
    return score + PROXIMITY * near


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
