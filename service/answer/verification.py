"""Says whether a sentence is supported by the texts that it cites: its words, numbers, dates, names and negation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.answer.evidence import Evidence, among, best_share, content, counts, same, supporting
from service.answer.placing import swapped
from service.answer.polarity import turned
from service.answer.reading import Reading, Segment, Token, read
from service.answer.statements import MARKER
from service.answer.wording import leads_over

COVERED = 0.62
"""The share of a sentence's words, by their weight, that one sentence of the sources must hold. Of the cases that are not
set aside the faithful ones reach .65; of those whose source does not say it, one in ten does (bench/verification.py)."""


LONGEST = 1_000
"""Characters of the longest sentence that is looked at."""

MOST_ITEMS = 24
"""The most numbers, dates, names and codes of a sentence that is looked at: the time grows with their square, and whoever
writes a document may make a model say anything."""


@dataclass(frozen=True, slots=True)
class Supported:
    """The cited texts say it."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """What of the sentence the cited texts do not say."""

    reason: str


Verdict = Supported | Unsupported

_LONGEST_GAP = 6
"""Words of a source among which another one may take the place of the sentence's."""

_PARTS = re.compile(r"[;:]\s|,?\s(?=(?:and|but|while|whereas|or)\s)|,\s(?=(?:which|who|where)\s)|,\s")


def check(sentence: str, cited: Sequence[str]) -> Verdict:
    """Whether the cited texts, each with its title and headings before it, support the sentence."""
    claim = read(MARKER.sub("", sentence).strip())
    if len(claim.text) > LONGEST or sum(token.kind != "word" for token in claim.tokens) > MOST_ITEMS:
        return Unsupported("it is too long to be checked")
    if not any(counts(token) for token in claim.tokens):
        return Unsupported("it says nothing that a source could hold")
    if any(_is_quoted(claim, read(text)) for text in cited):
        return Supported()
    evidence = Evidence([read(text) for text in cited])
    tests = (_absent, _uncovered, _misplaced, _done_by_another, swapped, turned)
    return next((Unsupported(reason) for test in tests if (reason := test(claim, evidence))), Supported())


def says_nothing(sentence: str) -> bool:
    """Whether a sentence only leads over to the next one, as "In short:" does."""
    return all(token.kind == "word" and (not token.key or leads_over(token.key)) for token in read(sentence).tokens)


def _is_quoted(claim: Reading, source: Reading) -> bool:
    """Whether the claim is whole sentences of a source, word for word."""
    said = [token.plain for token in claim.tokens]
    own = [token.plain for token in source.tokens]
    begins = [
        number
        for number, token in enumerate(source.tokens)
        if number == 0 or token.segment != source.tokens[number - 1].segment
    ]
    return any(
        own[start : start + len(said)] == said and (start + len(said) in begins or start + len(said) == len(own))
        for start in begins
    )


def _absent(claim: Reading, evidence: Evidence) -> str:
    """A number, date, code or name that no cited text holds."""
    for token in claim.tokens:
        if token.quantity and not any(token.quantity.agrees(other.quantity) for other in evidence.tokens if other.quantity):
            return f"no cited source holds {token.plain}"
        if token.kind == "code" and not _holds_code(token, evidence):
            return f"no cited source holds {token.plain}"
        if token.kind == "name" and not evidence.words & {token.plain, f"{token.plain}s", token.plain.removesuffix("s")}:
            return f"no cited source names {claim.text[token.start : token.end]}"
    return ""


def _holds_code(token: Token, evidence: Evidence) -> bool:
    return any(token.plain == other.plain for other in evidence.tokens) or any(
        token.plain in re.sub(r"[-\s]", "", one.text.lower()) and not token.plain[0].isdigit() for one in evidence.readings
    )


def _uncovered(claim: Reading, evidence: Evidence) -> str:
    """Too small a share of the sentence's words in any sentence of the sources."""
    share = best_share(claim.tokens, evidence)
    if share >= COVERED or min(best_share(part, evidence) for part in _parts(claim)) >= COVERED:
        return ""
    return f"no sentence of the cited sources says it: {share:.0%} of its words at most"


def _misplaced(claim: Reading, evidence: Evidence) -> str:
    """A word of the sentence that the sources say of something else, where its place is taken by another word."""
    reason = ""
    for parts in ([claim.tokens], _parts(claim)):
        reason = ""
        for part in parts:
            found = [_replaced(content(part), segment, evidence) for _, _, segment in supporting(part, evidence)]
            if found and found[0] and all(found):
                reason = reason or f"the cited sources say it of {found[0][1]}, not of {found[0][0]}"
        if not reason:
            break
    return reason


def _replaced(terms: Sequence[Token], segment: Segment, evidence: Evidence) -> tuple[str, str] | None:
    own = content(segment.tokens)
    places = [next((n for n, other in enumerate(own) if same(token.key, other.key)), None) for token in terms]
    claimed = [token.key for token in terms]
    for number, token in enumerate(terms):
        if places[number] is not None or among(token.key, segment.context):
            continue
        initial = number == 0 and token.kind == "word"
        if not evidence.holds(token.key) and not initial:
            continue
        before = max((place for place in places[:number] if place is not None), default=-1)
        after = sorted(place for place in places[number + 1 :] if place is not None and place > before)
        edge = after[min(1, len(after) - 1)] if after else len(own)
        between = [other for other in own[before + 1 : edge] if not any(same(other.key, one) for one in claimed)]
        if between and len(between) <= _LONGEST_GAP:
            return token.plain, between[0].plain
    return None


_AGENT = re.compile(r"\bby (?:an? |the |our )?$", re.IGNORECASE)


def _done_by_another(claim: Reading, evidence: Evidence) -> str:
    """Somebody by whom something is done that the source has done by somebody else."""
    said = frozenset(token.key for token in claim.tokens)
    for token in _agents(claim.text, claim.tokens):
        found = []
        for _, reading, segment in supporting(claim.tokens, evidence):
            there = _agents(reading.text, segment.tokens)
            held = among(token.key, segment.keys | segment.context)
            found.append("" if held else next((one.plain for one in there if not among(one.key, said)), ""))
        if found and all(found):
            return f"the cited sources say it of {found[0]}, not of {token.plain}"
    return ""


def _agents(text: str, tokens: Sequence[Token]) -> list[Token]:
    return [token for token in content(tokens) if _AGENT.search(text[max(0, token.start - 8) : token.start])]


def _parts(claim: Reading) -> list[list[Token]]:
    """The claim's tokens as it may be divided, each part long enough to say something."""
    edges = [match.start() for match in _PARTS.finditer(claim.text)]
    parts: list[list[Token]] = [[]]
    for token in claim.tokens:
        while edges and token.start > edges[0]:
            edges.pop(0)
            if len(content(parts[-1])) >= 2:
                parts.append([])
        parts[-1].append(token)
    if len(parts) > 1 and len(content(parts[-1])) < 2:
        parts[-2:] = [parts[-2] + parts[-1]]
    return parts
