"""Whether a sentence says the opposite of its sources, or more than they do: negation, opposites, bounds, duties."""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.answer.evidence import Evidence, agree, among, content, supporting, weight
from service.answer.reading import Clause, Reading, Segment, Token
from service.answer.wording import OBLIGATION, PARTIAL, PERMISSION, UNIVERSAL, is_light, opposed


def turned(claim: Reading, evidence: Evidence) -> str:
    """A clause that says the opposite of the clause of a source that is nearest to it, or more than it."""
    for clause in claim.clauses:
        terms = [term for term in clause.keys if not is_light(term)]
        items = [token for token in claim.tokens if token.quantity and claim.clauses[token.clause] is clause]
        if not terms and not items:
            continue
        candidates = _nearest_clauses(terms, items, claim, evidence)
        reasons = [
            _contradiction(
                clause, other, not any(among(term, other.keys) for term in terms), _denied_elsewhere(clause, other, reading)
            )
            or _antecedent_denied(clause, claim, other, reading)
            for other, reading in candidates
        ]
        if reasons and all(reasons):
            return reasons[0]
    return _reversed(claim, evidence) or _affirmed(claim, evidence)


def _nearest_clauses(
    terms: Sequence[str], items: Sequence[Token], claim: Reading, evidence: Evidence
) -> list[tuple[Clause, Reading]]:
    whole = [token.key for token in content(claim.tokens)]
    scored = []
    for reading in evidence.readings:
        held: dict[int, list[Token]] = {}
        for token in reading.tokens:
            if token.quantity:
                held.setdefault(token.clause, []).append(token)
        for number, other in enumerate(reading.clauses):
            shared = sum(weight(term) for term in terms if among(term, other.keys))
            shared += 1.2 * sum(any(agree(item, one) for one in held.get(number, ())) for item in items)
            if not shared:
                continue
            segment = reading.segments[other.segment]
            around = sum(weight(term) for term in whole if among(term, segment.keys | segment.context))
            scored.append((shared + 0.5 * around, other, reading))
    best = max((score for score, _, _ in scored), default=0.0)
    return [(other, reading) for score, other, reading in scored if score >= best - 0.01]


def _contradiction(clause: Clause, other: Clause, apart: bool, excused: bool) -> str:
    flips = opposed(clause.senses, other.senses)
    uneven = (clause.negations - other.negations) % 2 == 1 and not excused
    if uneven != bool(flips or _bounded(clause, other)) and not (apart and uneven):
        if flips:
            return f"the cited source says {flips[0][1]}, not {flips[0][0]}"
        return "the cited source says the opposite"
    if not uneven and not clause.negations:
        if OBLIGATION.search(clause.text) and PERMISSION.search(other.text) and not OBLIGATION.search(other.text):
            return "the cited source permits it and does not demand it"
        if PERMISSION.search(clause.text) and OBLIGATION.search(other.text) and not PERMISSION.search(other.text):
            return "the cited source demands it and does not merely permit it"
        if UNIVERSAL.search(clause.text) and PARTIAL.search(other.text) and not UNIVERSAL.search(other.text):
            return "the cited source says it of some, not of all"
    return ""


def _bounded(clause: Clause, other: Clause) -> bool:
    """Whether one number is bounded from different sides."""
    return any(mine.agrees(theirs) and direction != way for mine, direction in clause.bounds for theirs, way in other.bounds)


def _denied_elsewhere(clause: Clause, other: Clause, reading: Reading) -> bool:
    """Whether what the clause denies is denied behind a comma: "delivered to A and no longer to B"."""
    return clause.last in clause.denied and any(
        clause.last in one.denied and one.denied <= clause.denied and one.segment == other.segment and one is not other
        for one in reading.clauses
    )


_RELATIVE = re.compile(r"\W*(?:who|which|that)\b", re.IGNORECASE)


def _antecedent_denied(clause: Clause, claim: Reading, other: Clause, reading: Reading) -> str:
    """What "never by the officer who ..." says of the officer."""
    if not (_RELATIVE.match(clause.text) and _RELATIVE.match(other.text)):
        return ""
    before = claim.clauses[max(0, claim.clauses.index(clause) - 1)]
    there = reading.clauses[max(0, reading.clauses.index(other) - 1)]
    if before.last and before.last == there.last and (before.negations - there.negations) % 2:
        return "the cited source says the opposite"
    return ""


def _reversed(claim: Reading, evidence: Evidence) -> str:
    """A word whose opposite alone stands in the sentence of the source, where neither is denied."""
    told = frozenset(sense for segment in claim.segments for sense in segment.senses)
    denied = sum(clause.negations for clause in claim.clauses)
    found = []
    for _, reading, segment in supporting(claim.tokens, evidence):
        theirs = sum(clause.negations for clause in reading.clauses if reading.segments[clause.segment] is segment)
        pairs = opposed(told, segment.senses | segment.context)
        found.append(pairs[0] if pairs and (denied - theirs) % 2 == 0 else None)
    if found and all(found) and found[0]:
        return f"the cited source says {found[0][1]}, not {found[0][0]}"
    return ""


def _affirmed(claim: Reading, evidence: Evidence) -> str:
    """A word that the sentence affirms and the sentence of the source only denies."""
    found = []
    for _, reading, segment in supporting(claim.tokens, evidence):
        theirs = [clause for clause in reading.clauses if reading.segments[clause.segment] is segment]
        found.append(next((word for clause in claim.clauses if (word := _only_denied(clause, theirs, segment))), ""))
    return f"the cited source denies {found[0]}" if found and all(found) else ""


def _only_denied(clause: Clause, theirs: Sequence[Clause], segment: Segment) -> str:
    if clause.negations:
        return ""
    for term in clause.keys:
        held = [other for other in theirs if term in other.keys]
        if (
            held
            and term not in segment.context
            and all(
                other.negations % 2
                and term in other.denied
                and not opposed(clause.senses, other.senses)
                and not _bounded(clause, other)
                for other in held
            )
        ):
            return term
    return ""
