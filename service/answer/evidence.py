"""The cited texts as one, and where the words, names and quantities of a sentence stand in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.answer.reading import Reading, Segment, Token
from service.answer.wording import is_light

CONTEXT = 0.9
"""How far a term counts as said by a sentence that takes it for granted from its headings or the sentence before."""

BEFORE = 0.5
"""The same for a term of the part before a semicolon, which may be about something else."""

AS_GOOD = 0.02
"""Sentences of a source whose score is this near to the best one's are held to support as well as it."""


class Evidence:
    """The readings of the cited texts as one."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = readings
        self.tokens = [token for one in readings for token in one.tokens]
        self.segments = [(one, segment) for one in readings for segment in one.segments]
        self._rivals: dict[int, list[int]] = {}
        self._homes = {id(token): one for one in readings for token in one.tokens}
        self.words = frozenset(word for one in readings for word in one.words)
        self.keys = frozenset(token.key for token in self.tokens)

    def home(self, token: Token) -> Reading:
        """The reading that a token is of."""
        return self._homes[id(token)]

    def rivals(self, token: Token) -> list[int]:
        """Where in a token's segment others stand that it could be taken for."""
        if id(token) not in self._rivals:
            tokens = self.home(token).segments[token.segment].tokens
            self._rivals[id(token)] = [
                number
                for number, item in enumerate(tokens)
                if item is not token and not (item.entity == token.entity >= 0) and of_one_kind(token, item)
            ]
        return self._rivals[id(token)]

    def holds(self, term: str) -> bool:
        """Whether a term stands anywhere in the cited texts."""
        return any(same(term, other) for other in self.keys)


def counts(token: Token) -> bool:
    """Whether a token says something that a source must hold."""
    return token.kind != "word" or bool(token.key and not is_light(token.key))


def content(tokens: Iterable[Token]) -> list[Token]:
    """The words of content, the names and the codes among the tokens."""
    return [token for token in tokens if token.kind in ("word", "name", "code") and counts(token)]


def same(one: str, two: str) -> bool:
    """Whether two terms are forms of one word that the stemmer leaves apart."""
    if one == two:
        return True
    short, long = sorted((one, two), key=len)
    return len(short) >= 5 and long.startswith(short) and len(long) - len(short) <= 4


def among(term: str, keys: frozenset[str]) -> bool:
    """Whether a term stands among others in any form."""
    return term in keys or any(same(term, other) for other in keys)


def agree(token: Token, other: Token) -> bool:
    """Whether a source's token says what the sentence's says: the same quantity, name or word."""
    if token.quantity:
        return other.quantity is not None and token.quantity.agrees(other.quantity)
    if "name" in (token.kind, other.kind):
        return token.plain.removesuffix("s") == other.plain.removesuffix("s")
    return token.plain == other.plain or (token.key != "" and token.key == other.key)


def alike(term: Token, one: Token) -> bool:
    """Whether two tokens of one kind are the same, words in any form."""
    if term.key and one.key:
        return same(term.key, one.key)
    if term.quantity and one.quantity and term.quantity.unit != one.quantity.unit:
        return False
    return term.kind == one.kind and agree(term, one)


def could_stand_for(token: Token, other: Token) -> bool:
    """Whether a source's token is of the kind of the sentence's, so that a swap of the two would go unnoticed."""
    if token.quantity:
        return other.quantity is not None and (token.quantity.rivals(other.quantity) or token.quantity.agrees(other.quantity))
    if token.kind == "code":
        return other.kind == "code"
    return other.plain == token.plain or (other.kind == "name" and (len(token.plain) == 1) == (len(other.plain) == 1))


def of_one_kind(one: Token, two: Token) -> bool:
    """The same of two tokens of one text, where a number without a unit and one with a unit are of two kinds."""
    if one.quantity and two.quantity:
        return one.quantity.rivals(two.quantity)
    return could_stand_for(one, two)


def weight(term: str) -> float:
    """How much a term counts: long words mostly say more than short ones."""
    return 0.7 if len(term) < 4 else 1.0 if len(term) < 8 else 1.2


def _weighed(token: Token) -> float:
    # Whether names stand there is seen by itself; what is said of them is in the other words.
    return 0.5 * weight(token.key) if token.kind in ("name", "code") else weight(token.key)


def supporting(tokens: Sequence[Token], evidence: Evidence) -> list[tuple[float, Reading, Segment]]:
    """The segments that share most with a part of the claim, best first, those nearly as good as the best."""
    terms = content(tokens)
    ranked = []
    for reading, segment in evidence.segments:
        items = [token for token in tokens if token.quantity]
        held = sum(
            any(one.quantity and token.quantity and token.quantity.agrees(one.quantity) for one in segment.tokens)
            for token in items
        )
        share = _covered(terms, segment)
        ranked.append((share + 0.3 * (held / len(items) if items else 0.0), share, reading, segment))
    ranked.sort(key=lambda one: -one[0])
    return [(share, reading, segment) for score, share, reading, segment in ranked if score >= ranked[0][0] - AS_GOOD]


def best_share(tokens: Sequence[Token], evidence: Evidence) -> float:
    """The largest share of the words of a part of the claim, by their weight, that one segment holds."""
    terms = content(tokens)
    return max((_covered(terms, segment) for _, segment in evidence.segments), default=0.0)


def _covered(terms: Sequence[Token], segment: Segment) -> float:
    total = sum(_weighed(token) for token in terms)
    return sum(_weighed(token) * _held(token.key, segment) for token in terms) / total if total else 1.0


def _held(term: str, segment: Segment) -> float:
    if among(term, segment.keys):
        return 1.0
    return CONTEXT if among(term, segment.context) else BEFORE if among(term, segment.before) else 0.0
