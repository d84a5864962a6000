"""An answer and its parts, with the JSON contract that programs read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vectorstore.types import DocumentId

FORM = 1
"""The version of the JSON contract; a change that breaks a reader raises it."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One source that the answer rests on: `quote` equals characters [start, end) of that version's parsed text.
    `classification` is the document's when it was cited."""

    number: int
    document: DocumentId
    version: int
    path: str
    title: str
    page: int | None
    start: int
    end: int
    quote: str
    classification: str = ""


@dataclass(frozen=True, slots=True)
class Nearest:
    """A document named in a refusal: near to the question, and readable by who asked. Its nearest passage is characters
    [start, end) of that version's parsed text."""

    document: DocumentId
    path: str
    title: str
    version: int
    page: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `refused` says that the documents do not answer; then `nearest` may help on. `cut_off` says that the
    model reached its limit. `passages` counts those that it was made from, `passages_left_out` those that the
    model's context could not hold; `unsupported` holds the model's sentences that its sources do not support, each with the
    reason in brackets. `instead_of` names the model that was chosen, where another one had to answer because the chosen one
    may not be sent all of what was found, or of what the conversation rests on."""

    answer: str
    refused: bool
    citations: tuple[Citation, ...]
    model: str
    passages_left_out: int
    audit_id: str
    runtime: str = ""
    passages: int = 0
    nearest: tuple[Nearest, ...] = ()
    cut_off: bool = False
    unsupported: tuple[str, ...] = ()
    instead_of: str = ""

    def to_json(self) -> dict[str, Any]:
        """The versioned JSON contract."""
        return {"version": FORM, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of every stream that ends well."""

    answer: Answer


AnswerEvent = Delta | Done
