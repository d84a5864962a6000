"""The embedded default: answers with the best supported sentences of the sources, word for word, without any weights but
the embedder's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio.to_thread

from service.runtimes.expected import hints, holds_only_names, numbered_names_held, requirement
from service.runtimes.interface import AnswerRequest, End, ModelCard, Piece, Quote, Source
from service.runtimes.sentences import Sentence, context_terms, sentences, share
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

BY_SCORE, BY_MEANING, BY_WORDS = 0.6, 0.2, 0.2
"""What the evidence is made of: the fused score of the best passage, the cosine of the nearest sentence, and the largest share
of the question's terms in one sentence. With the document that answers taken away, it refuses 52 % of SQuAD2's questions
where the score alone refuses 44 % at the same cost (bench/answers.py); long passages, whose score is low because BM25 divides
by their length, answer too."""

ENOUGH = 0.412
"""The evidence below which 5 % of half of SQuAD2's answerable questions were refused (bench/answers.py)."""

CLOSE = 0.6
"""The cosine from which a sentence may say in other words what the question asks. Of SQuAD2's questions of which the passages
hold the names alone, 3 of 15 answerable ones have no sentence so near, and 10 of 15 whose document was taken away."""

AS_MUCH = 0.6
"""A sentence that holds what is required answers only if it has at least this share of the question's terms that one without
it has: else the documents speak of the thing asked for and do not say it. Of SQuAD2's questions that require something it
refuses .19 of the unanswerable ones instead of .15, and the answer is held by .95 of the others instead of .97."""

_UNCLEAR = re.compile(
    r"(?:It|Its|He|His|She|Her|They|Their|This|That|These|Those|Such|However|Therefore|Thus|Then|Instead|Both|Here|There)\b"
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    source: Source
    sentence: Sentence
    cosine: float
    covered: float
    score: float

    @property
    def text(self) -> str:
        return self.sentence.text


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
        """Up to `request.sentences` quotations, best first, none saying what another said; none where what speaks for an
        answer is not enough, or where the sources lack what is asked for."""
        evidence, quotes = self.weigh(request)
        return quotes if evidence >= ENOUGH else []

    def weigh(self, request: AnswerRequest) -> tuple[float, list[Quote]]:
        """How much speaks for an answer, in [0, 1], and what would be quoted.

        Nothing where the sources lack what is asked for: a quantity, an amount of money or a name that the question wants
        and no good sentence has; or every word of the question but its names, while no sentence means something near.
        """
        ranked = self._ranked(request)
        if not ranked:
            return 0.0, []
        evidence = (
            BY_SCORE * max(source.score for source in request.sources)
            + BY_MEANING * max(0.0, *(one.cosine for one in ranked))
            + BY_WORDS * max(one.covered for one in ranked)
        )
        return evidence, self._quotes(request, ranked)

    def _quotes(self, request: AnswerRequest, ranked: Sequence[_Candidate]) -> list[Quote]:
        passages = [source.passage for source in request.sources]
        if max(one.cosine for one in ranked) < CLOSE and holds_only_names(request.question, passages):
            return []
        chosen: list[_Candidate] = []
        for one in _answering(request.question, ranked):
            if len(chosen) == request.sentences or (chosen and one.score < SECOND * chosen[0].score):
                break
            if not any(_same(one, other) for other in chosen):
                chosen.append(one)
        return _joined(chosen)

    def _ranked(self, request: AnswerRequest) -> list[_Candidate]:
        found = [(source, one) for source in request.sources[:PASSAGES] for one in sentences(source.passage)]
        if not found:
            return []
        vectors = self._embedder.embed([one.text for _, one in found])
        cosines = vectors @ self._embedder.embed_query(request.subject).reshape(-1)
        asked = query_terms(request.subject)
        numbers = re.findall(r"\d[\w.-]*", request.subject.lower())
        kinds = hints(request.question)
        scored = []
        for (source, one), cosine in zip(found, cosines, strict=True):
            own = set(terms(one.text))
            around = own | context_terms(source.passage)
            if one.before is not None:
                around |= set(terms(source.passage.text[one.before.start : one.before.end]))
            covered = share(asked, own, request.weights)
            score = (
                float(cosine)
                + COVERED * covered
                + PASSAGE * source.score
                + AROUND * share(asked, around, request.weights)
                + KIND * any(pattern.search(one.text) for pattern in kinds)
                + NUMBERS * _held_share(numbers, f"{source.passage.title} {one.text}".lower())
            )
            scored.append(_Candidate(source, one, float(cosine), covered, score))
        return sorted(scored, key=lambda one: -one.score)


def _answering(question: str, ranked: Sequence[_Candidate]) -> list[_Candidate]:
    """The candidates; where the question requires something, only those nearly as good as the best one that hold it and are
    about what is asked, from passages that speak of as many of the question's numbered names as any of them: another model
    has other figures."""
    required = requirement(question)
    if required is None:
        return list(ranked)
    good = [one for one in ranked if one.score >= SECOND * ranked[0].score]
    named = [numbered_names_held(question, one.source.passage) for one in good]
    without = max((one.covered for one in good if not required(one.text)), default=0.0)
    return [
        one
        for one, held in zip(good, named, strict=True)
        if required(one.text) and one.covered >= AS_MUCH * without and held == max(named)
    ]


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
        number, start, end = one.source.number, one.sentence.unit.start, one.sentence.unit.end
        unclear = one.sentence.unit.kind == "sentence" and _UNCLEAR.match(one.text)
        if unclear and one.sentence.before is not None and one.sentence.before.kind == "sentence":
            start = one.sentence.before.start
        shown = one.text if one.sentence.unit.kind == "row" else None
        if any(n == number and s <= start and end <= e for n, s, e, _ in spans):
            continue
        spans = [span for span in spans if not (span[0] == number and start <= span[1] and span[2] <= end)]
        spans.append((number, start, end, shown))
    return [Quote(number, start, end, shown) for number, start, end, shown in spans]
