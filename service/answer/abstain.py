"""Says when the documents do not answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vectorstore.lexical.analysis import terms
from vectorstore.types import Hit

THRESHOLD = 0.352
"""The fused score below which 5 % of half of SQuAD2's answerable questions were refused (bench/answers.py). It tells
another subject; it cannot tell that a fact is missing from documents on the subject."""

_NUMBER = re.compile(r"\d[\d.,:/-]*\d|\d")


@dataclass(frozen=True, slots=True)
class Proceed:
    """There is something to answer from."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Why there is nothing to answer from."""

    reason: str


def judge(question: str, hits: Sequence[Hit], weights: Mapping[str, float], threshold: float | None = None) -> Proceed | Refuse:
    """Refuses where nothing was found, where the best score is under the threshold, or where a number of the question is
    in none of the passages while the score is not far above it."""
    limit = THRESHOLD if threshold is None else threshold
    if not hits:
        return Refuse("nothing was found that this person may read")
    best = max(hit.score for hit in hits)
    if best < limit:
        return Refuse(f"the best passage scores {best:.3f}, under {limit:.3f}")
    absent = _absent_numbers(question, hits)
    if absent and best < limit + 0.15:
        return Refuse(f"no passage holds {absent[0]}")
    return Proceed()


def _absent_numbers(question: str, hits: Sequence[Hit]) -> list[str]:
    found = " ".join(f"{hit.passage.title} {hit.passage.path} {hit.passage.text}" for hit in hits)
    held = set(terms(found))
    return [number for number in _NUMBER.findall(question) if number not in found and not set(terms(number)) & held]
