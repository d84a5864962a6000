"""Says when the documents do not answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.runtimes.expected import plain
from vectorstore.lexical.analysis import terms
from vectorstore.types import Hit

THRESHOLD = 0.31
"""The fused score below which 3 % of half of SQuAD2's answerable questions were refused (bench/answers.py). It tells another
subject; whether a fact is missing from documents on the subject is for the runtime to see, which reads them."""

FAR_ABOVE = 0.15
"""A score so far above the threshold is believed although a bare number of the question is nowhere."""

_NUMBER = re.compile(r"[A-Za-z]{1,6}-?\d[\dA-Za-z-]*|\d[\d.,:/-]*\d|\d")
"""Numbers, and names that hold one: HM-90 is not in a passage because 90 is."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """There is something to answer from."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Why there is nothing to answer from."""

    reason: str


def judge(question: str, hits: Sequence[Hit], threshold: float | None = None) -> Proceed | Refuse:
    """Refuses where nothing was found, where the best score is under the threshold, or where a number of the question is
    in none of the passages while the score is not far above it."""
    limit = THRESHOLD if threshold is None else threshold
    if not hits:
        return Refuse("nothing was found that this person may read")
    best = max(hit.score for hit in hits)
    if best < limit:
        return Refuse(f"the best passage scores {best:.3f}, under {limit:.3f}")
    absent = _absent(question, hits)
    # A name with a number in it, such as HM-90, is what the question is about; a bare number may be a detail.
    if absent and (best < limit + FAR_ABOVE or any(one[0].isalpha() for one in absent)):
        return Refuse(f"no passage holds {absent[0]}")
    return Proceed()


def _absent(question: str, hits: Sequence[Hit]) -> list[str]:
    found = " ".join(f"{hit.passage.title} {hit.passage.path} {hit.passage.text}" for hit in hits)
    held, joined = set(terms(found)), plain(found)
    return [
        one
        for one in _NUMBER.findall(question)
        if plain(one).removesuffix("s") not in joined and not (one[0].isdigit() and set(terms(one)) & held)
    ]
