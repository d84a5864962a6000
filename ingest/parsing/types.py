"""What parsing gives: a document's text and pages, or a page's picture, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vectorstore.types import Page


class ParseReason(StrEnum):
    """Why a file was not indexed, in words that a steward understands."""

    CHANGED = "changed-while-read"
    CRASHED = "parser-crashed"
    DAMAGED = "damaged"
    EMPTY = "no-text"
    NO_OCR = "scan-without-ocr"
    PASSWORD = "password-protected"  # noqa: S105 (a reason, not a secret)
    TOO_LARGE = "too-large"
    TOO_MUCH_MEMORY = "too-much-memory"
    TOO_MUCH_OUTPUT = "too-much-text"
    TOO_MUCH_TIME = "took-too-long"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported-type"


EXPLANATIONS: dict[ParseReason, str] = {
    ParseReason.CHANGED: "It was written to while it was read. The next run reads it again.",
    ParseReason.CRASHED: "The parser crashed on this file. Open it, save it anew, and retry.",
    ParseReason.DAMAGED: "The file is not a whole file of its kind. Get it again from its source.",
    ParseReason.EMPTY: "No text was found in it.",
    ParseReason.NO_OCR: "It holds pictures of text, and Tesseract's language data is not installed. `inhouse doctor` says how.",
    ParseReason.PASSWORD: "It is protected by a password. Save it without one, and retry.",
    ParseReason.TOO_LARGE: "It is larger than ingest.file_mb.",
    ParseReason.TOO_MUCH_MEMORY: "Parsing it needs more memory than ingest.memory_mb.",
    ParseReason.TOO_MUCH_OUTPUT: "It unpacks into more than ingest.output_mb, or more pixels than a scan has, as a bomb does.",
    ParseReason.TOO_MUCH_TIME: "Parsing it took more processor time than ingest.cpu_seconds, or stood still.",
    ParseReason.UNREADABLE: "The file could not be read. Look at its permissions.",
    ParseReason.UNSUPPORTED: "This kind of file is not read. Archives are not unpacked: extract them into the folder.",
}


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """`text` with its pages, each page a span of it; `pages` is empty where the format has none."""

    text: str
    pages: tuple[Page, ...]
    title: str
    media_type: str
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """The reason, and what the parser said."""

    reason: ParseReason
    detail: str


Outcome = ParsedDocument | ParseFailure
"""What parsing a file gives."""


PICTURE_WIDTH, PICTURE_HEIGHT = 1000, 2000
"""Pixels of a page's picture: the first where the second allows it, and never more than both, whatever the page says."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as a PNG of `width` times `height` pixels, in which `marked` words of a quote are marked."""

    png: bytes
    width: int
    height: int
    marked: int


@dataclass(frozen=True, slots=True)
class NoSuchPage:
    """The document has this many pages, and the one that was asked for is not among them."""

    pages: int


PictureOutcome = Picture | NoSuchPage | ParseFailure
"""What drawing a page gives."""


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Limits of one worker: bytes of memory, seconds of processor time for a file before what its size adds, seconds
    without a sign of progress (processor time used, or bytes read), bytes of what is given out, bytes of a file, and
    seconds for a file in all."""

    memory_bytes: int = 2 * 2**30
    cpu_seconds: int = 120
    silence_seconds: int = 60
    output_bytes: int = 64 * 2**20
    file_bytes: int = 256 * 2**20
    whole_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class ParseItem:
    """A file to parse, and the name that its type is told by."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class PictureItem:
    """A page to draw, its number from 1, of a PDF file, the words to mark in it, and how often the page holds them before
    the place that is meant."""

    path: Path
    page: int
    quote: str
    before: int
