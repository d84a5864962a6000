"""Says when the documents do not answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.runtimes.expected import plain
from service.runtimes.sentences import sentences, share
from vectorstore.lexical.analysis import query_terms, terms
from vectorstore.types import Hit

COVERAGE = 1 / 3
"""How much of the evidence is the share of the question's terms that one sentence holds. Beside the fused score alone it
refuses a sixth more of the questions whose document is not there, at the same cost (bench/answers.py), and lets long
passages answer, whose score is low because BM25 divides by their length."""

THRESHOLD = 0.384
"""The evidence below which 5 % of half of SQuAD2's answerable questions were refused (bench/answers.py). It tells another
subject, and half of the time a document that is not there; it hardly tells that one fact is missing."""

PASSAGES = 5
"""Passages whose sentences are looked at."""

FAR_ABOVE = 0.1
"""Evidence so far above the threshold is believed although a bare number of the question is nowhere."""

_NUMBER = re.compile(r"[A-Za-z]{1,6}-?\d[\dA-Za-z-]*|\d[\d.,:/-]*\d|\d")
"""Numbers, and names that hold one: HM-90 is not in a passage because 90 is."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """There is something to answer from."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Why there is nothing to answer from."""

    reason: str


def evidence(question: str, hits: Sequence[Hit], weights: Mapping[str, float]) -> float:
    """How much speaks for an answer, in [0, 1]: the best fused score, and the weighted share of the question's terms in
    the sentence of the best passages that holds most of them."""
    asked = query_terms(question)
    best = max((hit.score for hit in hits), default=0.0)
    held = [set(terms(one.text)) for hit in hits[:PASSAGES] for one in sentences(hit.passage)]
    return (1 - COVERAGE) * best + COVERAGE * max((share(asked, one, weights) for one in held), default=0.0)


def judge(question: str, hits: Sequence[Hit], weights: Mapping[str, float], threshold: float | None = None) -> Proceed | Refuse:
    """Refuses where nothing was found, where the evidence is under the threshold, or where a number of the question is in
    none of the passages while the evidence is not far above it."""
    limit = THRESHOLD if threshold is None else threshold
    if not hits:
        return Refuse("nothing was found that this person may read")
    found = evidence(question, hits, weights)
    if found < limit:
        return Refuse(f"the evidence is {found:.3f}, under {limit:.3f}")
    absent = _absent(question, hits)
    # A name with a number in it, such as HM-90, is what the question is about; a bare number may be a detail.
    if absent and (found < limit + FAR_ABOVE or any(one[0].isalpha() for one in absent)):
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
