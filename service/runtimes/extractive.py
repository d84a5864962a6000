"""The embedded default: answers with the best supported sentences of the sources, word for word, without any weights but
the embedder's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import anyio.to_thread
import numpy as np

from ingest.passages import Unit, units
from service.runtimes.interface import AnswerRequest, End, ModelCard, Piece, Quote, Source
from vectorstore.embedders.interface import Embedder
from vectorstore.lexical.analysis import query_terms, terms

PASSAGES = 5
COVERED, PASSAGE, AROUND, KIND, NUMBERS = 0.5, 0.5, 0.3, 0.15, 0.2
"""Weights beside a cosine of weight 1: the idf-weighted share of the question's terms in the sentence; the passage's fused
score; the same share counting the sentence before and the title; the kind of answer asked for is there; the share
of the question's numbers that stand there or in the title, which is how versions and years are told apart. Learned weights
gained nothing (bench/answers.py)."""

SECOND = 0.75
"""A second sentence is quoted only if it scores at least this share of the first."""

_UNCLEAR = re.compile(
    r"(?:It|Its|He|His|She|Her|They|Their|This|That|These|Those|Such|However|Therefore|Thus|Then|Instead|Both|Here|There)\b"
)
_NUMBER = r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million|billion)\b"
_DATE = (
    r"\b(?:1[0-9]{3}|20[0-9]{2})\b|\b(?:January|February|March|April|May|June|July|August|September|October|November|"
    r"December|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|century|year|day|week|month)s?\b"
)
_NAME = r"(?<!^)(?<![.!?] )\b[A-Z][\w'-]+"
_KINDS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(asked, re.IGNORECASE), re.compile(present))
    for asked, present in (
        (r"\bhow (?:many|much|often|long|far|old|large|big|tall|high|fast)\b|\bwhat (?:percentage|number|share)\b", _NUMBER),
        (r"\bwhen\b|\b(?:what|which|in what) (?:year|date|day|month|century|time)\b|\bdeadline\b", _DATE),
        (r"\bwho(?:m|se)?\b|\bwhich (?:person|people)\b", _NAME),
        (r"\bwhere\b|\b(?:what|which) (?:country|city|place|site|town|state|region|room)\b", _NAME),
        (r"\bwhy\b|\bwhat (?:caused|reason)\b", r"\b(?:because|since|due|owing|so that|reason|to (?:avoid|prevent|ensure))\b"),
    )
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    source: Source
    unit: Unit
    before: Unit | None
    text: str
    score: float = 0.0


class ExtractiveRuntime:
    """Quotes; it can say nothing that a source does not say."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def card(self) -> ModelCard:
        """Names the embedder that the sentences are chosen with."""
        fingerprint = self._embedder.fingerprint
        return ModelCard("extractive", "extractive", fingerprint.weights_sha256, None)

    async def fit(self, request: AnswerRequest) -> AnswerRequest:
        """Everything fits."""
        return request

    async def stream(self, request: AnswerRequest) -> AsyncIterator[Piece]:
        """The chosen sentences, each as a Quote, in the order of their score."""
        quotes = await anyio.to_thread.run_sync(self.choose, request)
        for quote in quotes:
            yield quote
        yield End("stop" if quotes else "refused")

    def choose(self, request: AnswerRequest) -> list[Quote]:
        """Up to `request.sentences` quotations, best first, none saying what another said."""
        candidates = [one for source in request.sources[:PASSAGES] for one in _candidates(source)]
        if not candidates:
            return []
        ranked = self._ranked(request, candidates)
        chosen: list[_Candidate] = []
        for one in ranked:
            if len(chosen) == request.sentences or (chosen and one.score < SECOND * chosen[0].score):
                break
            if not any(_same(one, other) for other in chosen):
                chosen.append(one)
        return _joined(chosen)

    def _ranked(self, request: AnswerRequest, candidates: Sequence[_Candidate]) -> list[_Candidate]:
        vectors = self._embedder.embed([one.text for one in candidates])
        cosines = vectors @ self._embedder.embed_query(request.question).reshape(-1)
        asked = query_terms(request.question)
        numbers = re.findall(r"\d[\w.-]*", request.question.lower())
        kinds = [present for pattern, present in _KINDS if pattern.search(request.question)]
        scored = []
        for one, cosine in zip(candidates, cosines, strict=True):
            own = set(terms(one.text))
            around = own | set(terms(one.source.passage.title))
            around |= {term for heading in one.source.passage.heading for term in terms(heading)}
            if one.before is not None:
                around |= set(terms(one.source.passage.text[one.before.start : one.before.end]))
            score = (
                float(cosine)
                + COVERED * _share(asked, own, request.weights)
                + PASSAGE * one.source.score
                + AROUND * _share(asked, around, request.weights)
                + KIND * any(pattern.search(one.text) for pattern in kinds)
                + NUMBERS * _held_share(numbers, f"{one.source.passage.title} {one.text}".lower())
            )
            scored.append(_Candidate(one.source, one.unit, one.before, one.text, score))
        places = np.argsort([-one.score for one in scored], kind="stable")
        return [scored[place] for place in places]


def _candidates(source: Source) -> list[_Candidate]:
    text = source.passage.text
    found: list[_Candidate] = []
    before: Unit | None = None
    header = next((part for part in reversed(source.passage.heading) if part.startswith("|")), None)
    in_table = False
    for unit in units(text, 0, len(text)):
        part = text[unit.start : unit.end]
        if unit.kind == "row":
            if not in_table and header is None:
                header = part
            elif re.search(r"\w", part) and part != header:
                found.append(_Candidate(source, unit, None, _row(header or "", part)))
            in_table = True
            continue
        if in_table:
            in_table, header = False, None
        if unit.kind != "heading" and re.search(r"\w", part):
            found.append(_Candidate(source, unit, before, " ".join(part.split())))
        before = unit
    return found


def _row(header: str, row: str) -> str:
    """A row with the name of each column before its cell, so that it can be read alone."""
    names, cells = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in (header, row))
    if len(names) != len(cells):
        return "; ".join(cell for cell in cells if cell)
    pairs = zip(names, cells, strict=True)
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


def _share(asked: Sequence[str], held: set[str], weights: Mapping[str, float]) -> float:
    total = sum(weights.get(term, 1.0) for term in asked)
    return sum(weights.get(term, 1.0) for term in asked if term in held) / total if total else 0.0


def _held_share(numbers: Sequence[str], text: str) -> float:
    held = [one for one in numbers if re.search(rf"(?<!\d){re.escape(one)}(?!\d)", text)]
    return len(held) / len(numbers) if numbers else 0.0


def _same(one: _Candidate, other: _Candidate) -> bool:
    """Whether two sentences say the same, by the words that they share."""
    first, second = set(terms(one.text)), set(terms(other.text))
    return bool(first and second) and len(first & second) / min(len(first), len(second)) > 0.85


def _joined(chosen: Sequence[_Candidate]) -> list[Quote]:
    """Quotations, with the sentence before where one alone is unclear, and neighbours made one."""
    spans: list[tuple[int, int, int, str | None]] = []
    for one in chosen:
        number, start, end = one.source.number, one.unit.start, one.unit.end
        unclear = one.unit.kind == "sentence" and _UNCLEAR.match(one.text)
        if unclear and one.before is not None and one.before.kind == "sentence":
            start = one.before.start
        shown = one.text if one.unit.kind == "row" else None
        if any(n == number and s <= start and end <= e for n, s, e, _ in spans):
            continue
        spans = [span for span in spans if not (span[0] == number and start <= span[1] and span[2] <= end)]
        spans.append((number, start, end, shown))
    return [Quote(number, start, end, shown) for number, start, end, shown in spans]
