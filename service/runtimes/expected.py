"""What a question asks for, and whether sentences and passages hold it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from service.runtimes.sentences import context_terms
from vectorstore.lexical.analysis import query_terms, terms
from vectorstore.types import Passage

_NUMBER = r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million|billion)\b"
_DATES = (
    r"January|February|March|April|May|June|July|August|September|October|November|December|"
    r"Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
)
_DATE = rf"\b(?:1[0-9]{{3}}|20[0-9]{{2}})\b|\b(?:{_DATES}|century|year|day|week|month)s?\b"
_NAME = r"(?<!^)(?<![.!?] )\b[A-Z][\w'-]+"
_HINTS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(asked, re.IGNORECASE), re.compile(present))
    for asked, present in (
        (r"\bhow (?:many|much|often|long|far|old|large|big|tall|high|fast)\b|\bwhat (?:percentage|number|share)\b", _NUMBER),
        (r"\bwhen\b|\b(?:what|which|in what) (?:year|date|day|month|century|time)\b|\bdeadline\b", _DATE),
        (r"\bwho(?:m|se)?\b|\bwhich (?:person|people)\b", _NAME),
        (r"\bwhere\b|\b(?:what|which) (?:country|city|place|site|town|state|region|room)\b", _NAME),
        (r"\bwhy\b|\bwhat (?:caused|reason)\b", r"\b(?:because|since|due|owing|so that|reason|to (?:avoid|prevent|ensure))\b"),
    )
)

_COUNT = re.compile(
    r"\d|\b(?:no|none|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    r"seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|dozens?|hundreds?|thousands?|"
    r"millions?|billions?|half|both|pair|several|many|few|all|every|each|single|once|twice|only|another)\b",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"[$€£¥]|\b(?:euros?|dollars?|pounds?|cents?|francs?|yen|kroner|kronor|rupees?|yuan|USD|EUR|GBP|NOK|SEK|DKK|CHF|JPY|"
    r"free|nothing|half|millions?|billions?)\b|\d[.,]\d\d\b",
    re.IGNORECASE,
)
_SHARE = re.compile(r"\bper ?cent\b|%", re.IGNORECASE)
_ASKS_COUNT = re.compile(r"\bhow many\b", re.IGNORECASE)
_ASKS_MONEY = re.compile(
    r"\b(?:how much|what (?:do|does|did|will|would))\b.*\bcosts?\b|"
    r"\b(?:what|how high) (?:is|are|was|were) the (?:\w+ ){0,2}(?:bonus|budget|cost|fee|price|rate|rent|salary)(?:e?s)?\b",
    re.IGNORECASE,
)
_MAY_BE_A_SHARE = re.compile(r"\b(?:bonus(?:es)?|fees?|rates?)\b", re.IGNORECASE)
"""A bonus may be told as a share of something; a price that is one says nothing."""

_ASKS_NAME = re.compile(r"\b(?:what|which) (?:is|are|was|were) the (?:\w+ )?names? of\b", re.IGNORECASE)

_WRITTEN_AS_NAME = re.compile(r"(?<!^)(?<![\w'-])[A-Z][\w'-]*|\b[\w-]*\d[\w'-]*")
"""Words of a question with a capital, but for its first word, or with a digit."""

_NUMBERED_NAME = re.compile(r"\b[A-Za-z]{1,6}-?\d[\dA-Za-z-]*")


def hints(question: str) -> list[re.Pattern[str]]:
    """Patterns of what an answer to such a question mostly holds; a sentence without them may still answer."""
    return [present for asked, present in _HINTS if asked.search(question)]


def requirement(question: str) -> Callable[[str], bool] | None:
    """Whether a sentence can answer at all: a question how many, what something costs, or what its name is needs a
    quantity, an amount of money, or a name that the question does not hold. None for other questions."""
    tests: list[Callable[[str], bool]] = []
    if _ASKS_COUNT.search(question):
        tests.append(lambda text: bool(_COUNT.search(text)))
    if _ASKS_MONEY.search(question):
        amounts = (_MONEY, _SHARE) if _MAY_BE_A_SHARE.search(question) else (_MONEY,)
        tests.append(lambda text: any(amount.search(text) for amount in amounts))
    if _ASKS_NAME.search(question):
        known = {word.lower() for word in re.findall(r"[\w'-]+", question)}
        tests.append(lambda text: any(_is_new(word, known) for word in re.findall(_NAME, text)))
    return (lambda text: all(test(text) for test in tests)) if tests else None


def holds_only_names(question: str, passages: Sequence[Passage]) -> bool:
    """Whether the question has names and other words, and no passage holds any of the others in any inflection: then the
    passages are about what it names, and what it asks of that is not there in its own words."""
    named = set(terms(" ".join(_WRITTEN_AS_NAME.findall(question))))
    others = [term for term in query_terms(question) if term not in named]
    held = {term for passage in passages for term in context_terms(passage).union(terms(passage.text))}
    return bool(named and others) and held.isdisjoint(others)


def numbered_names_held(question: str, passage: Passage) -> int:
    """How many of the question's names with a number in them, such as HM-90, stand in a passage, its title or headings."""
    text = plain(" ".join((passage.title, *passage.heading, passage.text)))
    return sum(plain(name) in text for name in _NUMBERED_NAME.findall(question))


def plain(text: str) -> str:
    """A text in which HM-90, hm 90 and HM90 are the same."""
    return text.lower().replace("-", "").replace(" ", "")


def _is_new(word: str, known: set[str]) -> bool:
    return word.lower() not in known and not re.fullmatch(_DATES, word)
