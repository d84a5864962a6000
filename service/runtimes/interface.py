"""The seam for runtimes: sources and a question in, a stream of text and quotes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from vectorstore.types import Passage


@dataclass(frozen=True, slots=True)
class Source:
    """A retrieved passage under the number by which the answer cites it (from 1)."""

    number: int
    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the conversation. `classification` is the highest of what it rests on; empty where it rests on
    no document."""

    role: Literal["user", "assistant"]
    content: str
    classification: str = ""


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """What a runtime gets: untrusted passages, apart from the instructions. `weights` are the idf of the question's terms;
    `sentences` bounds a quoted answer. `about` is the question with what it refers back to, where it is a follow-up."""

    question: str
    sources: Sequence[Source]
    weights: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Turn] = ()
    sentences: int = 2
    about: str = ""

    @property
    def subject(self) -> str:
        """What sentences are held against: the question, with what it refers back to."""
        return self.about or self.question


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer. May hold markers like [2]; the engine checks each against the sources."""

    text: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A quotation: characters [start, end) of a source's passage. `shown` is how it is put before people where that must
    differ, as for a table row with the names of its columns."""

    number: int
    start: int
    end: int
    shown: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The last item of every complete stream. `reason` 'refused' means that the sources do not answer."""

    reason: Literal["stop", "length", "refused"]
    prompt_tokens: int = 0
    answer_tokens: int = 0


Piece = Text | Quote | End


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Which model answers: for the audit record and for people. `digest` identifies the weights."""

    name: str
    runtime: str
    digest: str
    context_tokens: int | None


class Runtime(Protocol):
    """Generates an answer. Closing the iterator early cancels the work where it runs, the model server included."""

    async def card(self) -> ModelCard:
        """The model in use, verified to run inside the network; raises ModelUnavailable or ModelRefused."""

    async def fit(self, request: AnswerRequest) -> AnswerRequest:
        """The same request with as many of its sources as the context window holds, best first, never a cut one."""

    def stream(self, request: AnswerRequest) -> AsyncIterator[Piece]:
        """Yields pieces and, last, exactly one End. A stream that cannot be completed raises ModelUnavailable."""
