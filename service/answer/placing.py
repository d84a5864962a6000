"""Whether a number, date or name of a sentence stands in the sources beside what it stands beside in the sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.answer.evidence import Evidence, agree, alike, could_stand_for, counts, of_one_kind
from service.answer.reading import Reading, Segment, Token
from service.answer.wording import key

MARGIN = 0.18
"""By how much another item of the source must fit better before the sentence's own is held to be swapped. Fitted, like the
weights below, on the cases that are not set aside (bench/verification.py)."""

EXCHANGED = 0.6
"""The same where the sentence names both, so that both would have to change places."""

TAKEN_FOR_GRANTED = 0.4
"""What a word tells of an item if it stands only in the headings above it or in the sentences that it refers back to."""

LATER = -0.7
"""What a word tells of an item if it stands behind the next item of the kind: that it belongs to that one."""


def swapped(claim: Reading, evidence: Evidence) -> str:
    """A number, date or name that stands in the sources beside something else than in the sentence."""
    fits: dict[tuple[int, int], float] = {}

    def fit(token: Token, other: Token) -> float:
        at = (id(token), id(other))
        if at not in fits:
            fits[at] = _fit(token, claim, other, evidence)
        return fits[at]

    items = [token for token in claim.tokens if token.kind != "word"]
    for token in items:
        rivals = [other for other in evidence.tokens if could_stand_for(token, other)]
        agreeing = [other for other in rivals if agree(token, other)]
        if not agreeing:
            continue
        best = max(agreeing, key=lambda other: fit(token, other))
        if _repeats(token, items, best, rivals, evidence):
            return f"the cited sources have {token.plain} only once"
        label = _label(token, claim)
        if label and label == _label(best, evidence.home(best)):
            rivals = [other for other in rivals if _label(other, evidence.home(other)) == label]
        for rival in rivals:
            if agree(token, rival) or _listed(best, rival, evidence):
                continue
            gain = fit(token, rival) - fit(token, best)
            said = [
                other
                for other in items
                if other is not token and other.kind == rival.kind and of_one_kind(other, rival) and agree(other, rival)
            ]
            if any(other.entity == token.entity >= 0 for other in said):
                continue
            if said:
                gain += max(fit(other, best) - fit(other, rival) for other in said)
            if gain > (EXCHANGED if said else MARGIN):
                return f"the cited sources have {rival.plain} for that, not {token.plain}"
    return _exchanged(claim, evidence)


def _repeats(token: Token, items: Sequence[Token], best: Token, rivals: Sequence[Token], evidence: Evidence) -> bool:
    """Whether the sentence has an item twice of which the source has one, and something else for the other."""
    if token.quantity is None or not any(one is not token and _competes(one, token) and agree(one, token) for one in items):
        return False
    segment = evidence.home(best).segments[best.segment]
    near = [one for one in rivals if one in segment.tokens]
    return sum(agree(token, one) for one in near) < 2 <= len(near)


def _listed(one: Token, two: Token, evidence: Evidence) -> bool:
    """Whether two items stand in one list, so that what is said of one is said of the other."""
    home = evidence.home(one)
    if home is not evidence.home(two) or (one.entity >= 0 and one.entity == two.entity):
        return home is evidence.home(two)
    first, second = sorted((one, two), key=lambda token: token.start)
    return bool(
        re.fullmatch(r"[\s,]*(?:[A-Z][\w.]*[\s,]*)*(?:and|or|,)\s(?:[A-Z][\w.]*[\s,]*)*", home.text[first.end : second.start])
    )


def _fit(token: Token, claim: Reading, other: Token, evidence: Evidence) -> float:
    """How well the words around an item of the sentence go with those around an item of a source."""
    home = evidence.home(other)
    label = _label(token, claim)
    around = [term for term in claim.tokens if counts(term) or term is token]
    place = around.index(token)
    weights = [
        (term, _pull(around, place, number))
        for number, term in enumerate(around)
        if not (term is token or term.entity == token.entity >= 0 or _competes(term, token) or alike(term, other))
    ]
    own = home.segments[other.segment]
    rivals = evidence.rivals(other)
    fit = sum(weight * _nearness(term, other, own, around, rivals) for term, weight in weights)
    if other.quantity is None:
        # What stands in a heading, or begins a paragraph, is what the sentences below are about.
        below = [segment for segment in home.segments if segment is not own and other.key in segment.context]
        fit = max([fit, *(sum(weight * _below(term, segment) for term, weight in weights) for segment in below)])
    return fit + _side(token, claim, other, home) + (1.0 if label and label == _label(other, home) else 0.0)


def _pull(around: Sequence[Token], place: int, number: int) -> float:
    """How much a word of the sentence says about an item: less from afar, and from the other side of such an item."""
    token, term = around[place], around[number]
    weight = 1.5 if term.kind in ("name", "code") else 1.0
    if term.clause != token.clause:
        weight *= 0.8
    between = around[min(place, number) + 1 : max(place, number)]
    if any(_competes(one, token) for one in between) or (
        term.clause != token.clause and any(_competes(one, token) and one.clause == term.clause for one in around)
    ):
        weight *= 0.4 if number > place else 0.7
    return weight / (1 + 0.15 * max(0, abs(number - place) - 1))


def _competes(term: Token, token: Token) -> bool:
    """Whether a word of the sentence is an item of the same kind, which is looked at by itself."""
    if term.quantity is None or token.quantity is None:
        return term.kind == token.kind != "word"
    return of_one_kind(token, term)


def _below(term: Token, segment: Segment) -> float:
    if any(alike(term, one) for one in segment.tokens):
        return 0.5
    return TAKEN_FOR_GRANTED if term.key and (term.key in segment.context or term.key in segment.before) else 0.0


_SIDES = {"from": 1, "since": 1, "after": 1, "to": 2, "until": 2, "by": 2, "till": 2, "before": 2}


def _side(token: Token, claim: Reading, other: Token, home: Reading) -> float:
    """Whether both begin something or both end it."""
    if token.quantity is None:
        return 0.0
    found = []
    for one, reading in ((token, claim), (other, home)):
        before = re.search(r"([a-z]+)\s+$", reading.text[max(0, one.start - 10) : one.start], re.IGNORECASE)
        found.append(_SIDES.get(before.group(1).lower(), 0) if before else 0)
    mine, theirs = found
    return 0.0 if not mine or not theirs else 0.3 if mine == theirs else -0.3


def _label(token: Token, reading: Reading) -> str:
    """The word that an item without a unit is the number or letter of: hall 3, gate C."""
    if token.quantity and (token.quantity.unit or token.quantity.kind != "number"):
        return ""
    if token.kind == "name" and len(token.plain) > 1:
        return ""
    before = re.search(r"([^\W\d_]+)\s$", reading.text[max(0, token.start - 30) : token.start])
    after = re.match(r"\s([^\W\d_]+)", reading.text[token.end : token.end + 30]) if token.quantity else None
    return (key(before.group(1)) if before else "") or (key(after.group(1)) if after else "")


def _nearness(term: Token, other: Token, segment: Segment, around: Sequence[Token], rivals: Sequence[int]) -> float:
    here = segment.tokens.index(other)
    values = []
    for place, one in enumerate(segment.tokens):
        if one is other or (one.entity == other.entity >= 0) or not alike(term, one):
            continue
        apart = abs(place - here)
        first, last = sorted((one.clause, other.clause))
        parted = _parted(segment.tokens, here, place, rivals)
        if segment.is_row or (first == last and not parted):
            values.append(1.0 - 0.03 * apart)
        elif place < here:
            shared = parted and _is_shared(segment.tokens, here, place, around, rivals)
            values.append((0.95 if shared else 0.65 if parted else 0.8) - 0.02 * min(apart, 15))
        else:
            values.append((0.45 if first == last else LATER) if parted else 0.7)
    if values:
        return max(values)
    return TAKEN_FOR_GRANTED if term.key and (term.key in segment.context or term.key in segment.before) else 0.0


def _is_shared(tokens: Sequence[Token], here: int, place: int, around: Sequence[Token], rivals: Sequence[int]) -> bool:
    """Whether a word stands before all items of the kind, and the one at `here` has no other subject of its own."""
    if tokens[place].kind == "quantity" or place >= min(rivals, default=0):
        return False
    begin = max(
        (n + 1 for n in range(here) if tokens[n].plain in ("and", "or") or tokens[n].clause != tokens[here].clause), default=0
    )
    own = [one for one in tokens[begin:here] if counts(one)]
    return all(any(alike(term, one) for term in around) for one in own)


def _parted(tokens: Sequence[Token], here: int, place: int, rivals: Sequence[int]) -> bool:
    """Whether a word belongs to another item of the same kind rather than to the one at `here`."""
    other = tokens[here]
    low, high = sorted((here, place))
    if tokens[low].clause != tokens[high].clause:
        first, last = tokens[low].clause, tokens[high].clause
        return any(first <= tokens[number].clause <= last for number in rivals)
    if any(low < number < high for number in rivals):
        return True
    joined = [number for number in range(low, high) if tokens[number].plain in ("and", "or")]
    return bool(joined) and any(
        tokens[number].clause == other.clause and (number > joined[0] if place > here else number < joined[0])
        for number in rivals
    )


_PREPOSITION = re.compile(
    r"(?:\b(?:of|for|to|from|in|at|by|with|under|on|and|or|than|as|per|between|against|is|are|was|were)\s|[^\w\s]\s*)$",
    re.IGNORECASE,
)


def _exchanged(claim: Reading, evidence: Evidence) -> str:
    """Two names of which the sentence makes the one do what in the source the other does."""
    mine = _doers(claim.text, claim.tokens)
    for reading, segment in evidence.segments:
        theirs = _doers(reading.text, segment.tokens)
        if mine and theirs and mine[0] != mine[1] and mine == theirs[::-1]:
            return f"the cited source says it of {mine[1]}, not of {mine[0]}"
        if " by " not in claim.text and (done := _done_to_the_doer(claim, segment)):
            return f"in the cited source {done} is what it is done to"
    return ""


def _done_to_the_doer(claim: Reading, segment: Segment) -> str:
    """The item before a verb of the sentence that the source has behind it, while the one behind it stands there nowhere."""
    own = [token for token in claim.tokens if counts(token)]
    for doer, verb, *rest in (own[number:] for number in range(len(own) - 2)):
        done = next((one for one in rest if one.kind == doer.kind != "word" and could_stand_for(doer, one)), None)
        if (
            done is None
            or verb.kind != "word"
            or claim.text[doer.end : verb.start].strip()
            or _PREPOSITION.search(claim.text[max(0, doer.start - 10) : doer.start])
        ):
            continue
        verbs = [place for place, one in enumerate(segment.tokens) if alike(verb, one)]
        behind = [agree(doer, one) for one in segment.tokens[max(verbs, default=0) :]]
        before = [agree(doer, one) for one in segment.tokens[: max(verbs, default=0)]]
        if verbs and any(behind) and not any(before) and not any(agree(done, one) for one in segment.tokens):
            return doer.plain
    return ""


def _doers(text: str, tokens: Sequence[Token]) -> tuple[str, str] | None:
    """The first word of the name that a sentence begins with, and of the one that follows its verb at once."""
    heads = [
        token
        for number, token in enumerate(tokens)
        if token.kind in ("name", "code") and (number == 0 or tokens[number - 1].entity != token.entity or token.entity < 0)
    ]
    if len(heads) < 2 or text[tokens[0].start : heads[0].start].strip().lower() not in ("", "the"):
        return None
    second = heads[1]
    if _PREPOSITION.search(text[max(0, second.start - 10) : second.start]):
        return None
    return heads[0].plain, second.plain
