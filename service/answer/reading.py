"""A text as it is held against another: its sentences and clauses, the words, names and quantities in each."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from ingest.passages import Unit, units
from service.answer.quantities import Quantity, quantities
from service.answer.wording import BOUND_AFTER, BOUND_BEFORE, first_negation, key, negations, senses

_CODE = re.compile(
    r"(?<![\w-])(?!m[23]\b)(?!(?:EUR|USD|GBP|CHF|NOK|SEK|DKK)\d)"
    r"(?:[A-Za-z]+(?:-[A-Za-z]+)*-?\d\w*(?:-\w+)*|(?:\d{1,2}\.){2,}\d{1,2}(?!\d)|\d+-\d{3,}|[A-Za-z]+-[A-Z]\d?)(?![\w])"
)
_WORD = re.compile(r"[^\W\d_](?:[\w]|['’](?=\w))*")
_COORDINATES = (
    r"_|\d|the|an?|it|he|she|they|we|you|this|that|is|are|was|were|has|had|have|there|must|may|can|will|do|does|did|no|not|never|then|if|nobody|with"
    r"|without|\w+\s(?:nothing|no|not|never|none)"
)
_BOUNDARY = re.compile(
    rf"[,)–—\n]|(?<!\w)-(?!\w)|\b(?:and|or)\s(?=(?:{_COORDINATES})\b|_)|\b(?:but|while|whereas|because|if|unless|until|when|whenever"
    r"|where|which|who|whoever|that|since|so|although|without|except)\b",
    re.IGNORECASE,
)
_BACK = re.compile(r"\b(?:it|he|she|they|this)\b|^\s*(?:its|his|her|their)\b", re.IGNORECASE)
_TITLES = frozenset(["dr", "prof", "mr", "mrs", "ms", "st", "i", "eu"])


@dataclass(slots=True)
class Token:
    """A word, name, code or quantity of a text; `key` is what it is compared by, `plain` its lower-case surface."""

    kind: str
    key: str
    plain: str
    start: int
    end: int
    segment: int
    clause: int
    quantity: Quantity | None = None
    bound: int = 0
    entity: int = -1
    """Names that stand together have the same number."""


@dataclass(slots=True)
class Clause:
    """A stretch without a comma or a conjunction in it."""

    text: str
    segment: int
    keys: frozenset[str]
    senses: frozenset[str]
    negations: int
    bounds: tuple[tuple[Quantity, int], ...]
    denied: frozenset[str]
    """The terms behind its first word of negation."""
    last: str
    """The term that it ends with."""


@dataclass(slots=True)
class Segment:
    """A sentence, an item, a row, or a part of them up to a semicolon. `context` holds the terms that it may take for
    granted: of titles, headings, the names that its paragraph begins with, and the sentences before where it refers back."""

    tokens: list[Token]
    keys: frozenset[str]
    context: frozenset[str]
    before: frozenset[str]
    """The terms of the part before the semicolon."""
    senses: frozenset[str]
    is_row: bool


@dataclass(slots=True)
class Reading:
    """A whole text."""

    text: str
    tokens: list[Token]
    segments: list[Segment]
    clauses: list[Clause]
    words: frozenset[str]


@dataclass(slots=True)
class _Place:
    start: int
    end: int
    kind: str
    context: tuple[str, ...]


@lru_cache(maxsize=256)
def read(text: str) -> Reading:
    """The reading of a text; remembered, since each sentence of an answer is held against the same sources."""
    places = list(_places(text))
    codes = list(_CODE.finditer(text))
    masked = _masked(text, [match.span() for match in codes])
    found = _dated(quantities(masked))
    words_in = _masked(masked, [(one.start, one.end) for one in found])
    tokens = [_code(match) for match in codes]
    tokens += [
        Token("quantity", "", text[one.start : one.end], one.start, one.end, 0, 0, one, _bound(text, one)) for one in found
    ]
    tokens += [_word(match) for match in _WORD.finditer(words_in)]
    tokens.sort(key=lambda token: token.start)
    _name(tokens, text, places)
    clauses = _clauses(text, words_in, places, tokens)
    segments = _segments(text, places, tokens)
    words = frozenset(token.plain for token in tokens)
    return Reading(text, tokens, segments, clauses, words)


def _places(text: str) -> Iterator[_Place]:
    """The parts of a text in order, each with the headings above it."""
    title: tuple[str, ...] = ()
    heading: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    for unit in units(text, 0, len(text)):
        part = text[unit.start : unit.end]
        if unit.kind != "row":
            header = ()
        if unit.kind in ("heading", "title") or (unit.kind == "sentence" and _is_title(part)):
            if not title and unit.start == 0:
                title = (part,)
            heading = (part,)
            yield _Place(unit.start, unit.end, "heading", title)
        elif unit.kind == "row":
            yield _Place(unit.start, unit.end, "row", (*title, *heading, *header))
            header = header or (part,)
        else:
            for start, end in _parts(text, unit):
                yield _Place(start, end, unit.kind, (*title, *heading))


def _is_title(part: str) -> bool:
    return len(part) < 120 and not re.search(r"[.!?:;,]\W*$", part)


def _parts(text: str, unit: Unit) -> Iterator[tuple[int, int]]:
    place = unit.start
    for mark in re.finditer(r";\s", text[unit.start : unit.end]):
        yield place, unit.start + mark.start()
        place = unit.start + mark.end()
    yield place, unit.end


def _masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    kept, place = [], 0
    for start, end in spans:
        kept += [text[place:start], "_" * (end - start)]
        place = end
    return "".join([*kept, text[place:]])


def _dated(found: list[Quantity]) -> list[Quantity]:
    """A date without its year has one of the years that the text names."""
    years = {value[0] for one in found if one.kind == "date" for value in one.values if value[0] is not None}
    return [
        replace(one, values=one.values | {(year, *value[1:]) for value in one.values for year in years})
        if one.kind == "date" and all(value[0] is None for value in one.values)
        else one
        for one in found
    ]


_BOTH_SIDES = re.compile(r"[^.;]{0,60}[;.,]\s*(?:beyond|above|over|below|under) that\b", re.IGNORECASE)
"""What follows a bound where the text goes on to speak of the other side."""


def _bound(text: str, one: Quantity) -> int:
    if one.kind not in ("number", "nth", "fraction"):
        return 0
    if _BOTH_SIDES.match(text, one.end):
        return 0
    before = BOUND_BEFORE.search(text[max(0, one.start - 30) : one.start])
    after = BOUND_AFTER.match(text, one.end)
    if before and before.group().lower().startswith("from") and not (after and after.group("up")):
        before = None
    if after and after.group("up") and after.group("up").lower() == "on" and not before:
        after = None
    for found in (before, after):
        if found:
            return 1 if found.group("up") else -1
    return 0


def _code(match: re.Match[str]) -> Token:
    plain = match.group().lower().replace("-", "")
    return Token("code", plain, plain, match.start(), match.end(), 0, 0)


def _word(match: re.Match[str]) -> Token:
    plain = re.sub(r"['’]s?$", "", match.group().lower())
    return Token("word", key(plain) if len(plain) > 1 else "", plain, match.start(), match.end(), 0, 0)


def _name(tokens: list[Token], text: str, places: Sequence[_Place]) -> None:
    """Marks the names: words with a capital that do not merely begin a sentence."""
    starts = [place.start for place in places]
    first: dict[int, Token] = {}
    for token in tokens:
        token.segment = max(0, bisect_right(starts, token.start) - 1)
        first.setdefault(token.segment, token)
    capital = [token for token in tokens if token.kind == "word" and text[token.start].isupper() and token.plain not in _TITLES]
    begins = {id(token) for token in first.values()}
    abbreviated = {id(two) for one, two in pairwise(tokens) if one.plain in _TITLES}
    begins |= {
        id(token)
        for token in capital
        if id(token) not in abbreviated
        and re.search(r"(?:[:.!?|#\n\"“„]\s*|^\s*)$", text[max(0, token.start - 3) : token.start])
    }
    for token in capital:
        if id(token) not in begins:
            token.kind = "name"
    named = {token.plain for token in tokens if token.kind == "name"}
    for token, following in pairwise(tokens):
        together = following.kind == "name" and text[token.end : following.start] in (" ", ". ")
        if token.kind == "word" and text[token.start].isupper() and (token.plain in named or (together and token.key)):
            token.kind = "name"
    entity = -1
    for number, token in enumerate(tokens):
        if token.kind == "name":
            token.key = token.key or token.plain
            joined = (
                number
                and tokens[number - 1].kind == "name"
                and not re.search(r"[,;:(|]|\band\b", text[tokens[number - 1].end : token.start])
            )
            entity += not joined
            token.entity = entity


def _clauses(text: str, masked: str, places: Sequence[_Place], tokens: Sequence[Token]) -> list[Clause]:
    spans: list[tuple[int, int, int]] = []
    for number, place in enumerate(places):
        edge = place.start
        marks = () if place.kind == "row" else _BOUNDARY.finditer(masked, place.start, place.end)
        for mark in marks:
            if mark.start() > edge:
                spans.append((edge, mark.start(), number))
                edge = mark.start()
        spans.append((edge, place.end, number))
    starts = [start for start, _, _ in spans]
    held: list[list[Token]] = [[] for _ in spans]
    for token in tokens:
        token.clause = max(0, bisect_right(starts, token.start) - 1)
        held[token.clause].append(token)
    return [
        Clause(
            text[start:end],
            number,
            frozenset(token.key for token in own if token.key),
            senses(token.plain for token in own if token.kind in ("word", "name") and not _bounds(token, own)),
            negations(text[start:end]),
            tuple((token.quantity, token.bound) for token in own if token.quantity and token.bound),
            _denied(text[start:end], start, own),
            next((token.key for token in reversed(own) if token.key), ""),
        )
        for (start, end, number), own in zip(spans, held, strict=True)
    ]


def _denied(clause: str, start: int, own: Sequence[Token]) -> frozenset[str]:
    place = first_negation(clause)
    return frozenset(token.key for token in own if token.key and place is not None and token.start > start + place)


def _bounds(token: Token, own: Sequence[Token]) -> bool:
    """Whether a word such as "above" bounds a number, which is compared with its number instead."""
    return any(
        one.bound
        and (one.start - 30 <= token.start < one.start or one.end <= token.start <= one.end + 12)
        and token.plain in _BOUNDING
        for one in own
    )


_BOUNDING = frozenset(
    [
        "at",
        "least",
        "most",
        "up",
        "to",
        "minimum",
        "maximum",
        "no",
        "not",
        "less",
        "fewer",
        "more",
        "than",
        "above",
        "over",
        "beyond",
        "below",
        "under",
        "within",
        "or",
        "and",
    ]
)


def _segments(text: str, places: Sequence[_Place], tokens: Sequence[Token]) -> list[Segment]:
    held: list[list[Token]] = [[] for _ in places]
    for token in tokens:
        held[token.segment].append(token)
    segments: list[Segment] = []
    topic: frozenset[str] = frozenset()
    paragraph: frozenset[str] = frozenset()
    end = 0
    for place, own in zip(places, held, strict=True):
        context = {key(word) for part in place.context for word in _WORD.findall(part)}
        context |= {match.group().lower().replace("-", "") for part in place.context for match in _CODE.finditer(part)}
        keys = frozenset(token.key for token in own if token.key)
        if "\n\n" in text[end : place.start] or place.kind in ("row", "heading"):
            topic, paragraph = _topic(own), paragraph if _BACK.search(text[place.start : place.start + 12]) else frozenset()
        if place.kind not in ("row", "heading"):
            context |= frozenset() if any(token.kind in ("name", "code") for token in own[:3]) else topic
            first = _BOUNDARY.search(text, place.start + 1, place.end)
            if _BACK.search(text[place.start : first.start() if first else place.end]):
                context |= paragraph
        paragraph |= keys
        end = place.end
        told = senses(token.plain for token in own if token.kind in ("word", "name") and not _bounds(token, own))
        part = segments[-1].keys if segments and text[: place.start].rstrip().endswith(";") else frozenset()
        segments.append(Segment(own, keys, frozenset(context - {""}), part, told, place.kind == "row"))
    return segments


def _topic(own: Sequence[Token]) -> frozenset[str]:
    """What a paragraph is about: the names that its first sentence begins with, and what they are called."""
    head = [token for token in own if token.kind != "quantity"][:2]
    return (
        frozenset(token.key for token in head if token.key)
        if any(token.kind in ("name", "code") for token in head)
        else frozenset()
    )
