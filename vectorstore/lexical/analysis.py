"""How text becomes terms: lower case, words without function and question words, English stems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

K1, B = 1.2, 0.75
"""How soon more of a term adds little to BM25, and how much a passage's length divides it: other values gained nothing."""

_STOP_TEXT = """
a about above after again against all also am an and any are aren as at be because been before being below between both
but by can cannot could couldn did didn do does doesn doing don down during each etc few for from further get gets got
had hadn has hasn have haven having he her here hers herself him himself his how however i if in into is isn it its
itself just ll let many may me might mine more most much must mustn my myself name named no nor not of off on once one
only or other ought our ours ourselves out over own per please re said same say says shall shan she should shouldn show
so some such tell than that the their theirs them themselves then there these they this those through thus to too under
until up upon us use used using ve very was wasn we were weren what whatever when whenever where wherever which while
who whoever whom whose why will with within without won would wouldn yet you your yours yourself yourselves
"""

STOP_WORDS = tuple(_STOP_TEXT.split())
"""English function words and question words: the latter say what kind of answer is wanted, not which passage holds it, and
leaving them out gained .013 nDCG@10."""


def idf(document_frequency: int, passages: int) -> float:
    """The weight of a term in BM25 (Robertson and Zaragoza 2009, with +1 inside the logarithm, so that it is above none)."""
    return math.log(1 + (passages - document_frequency + 0.5) / (document_frequency + 0.5))


def bound(frequencies: Sequence[int], passages: int) -> float:
    """The highest score that BM25 could give to a query of terms with these frequencies: the sum of idf·(k1+1). A term
    that no passage holds counts with the largest idf, so that a query about other things scores low everywhere."""
    return sum(idf(frequency, passages) for frequency in frequencies) * (K1 + 1)


def terms(text: str) -> list[str]:
    """The terms of a text in order, repeats kept."""
    return list(analyser().analyze(text))


def query_terms(text: str) -> list[str]:
    """The distinct terms of a question, in order."""
    return list(dict.fromkeys(terms(text)))


@cache
def analyser() -> Any:
    """The one analyser, for the index and for questions alike."""
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    return (
        TextAnalyzerBuilder(Tokenizer.simple())
        .filter(Filter.remove_long(60))
        .filter(Filter.lowercase())
        .filter(Filter.ascii_fold())
        .filter(Filter.custom_stopword(list(STOP_WORDS)))
        .filter(Filter.stemmer("english"))
        .build()
    )
