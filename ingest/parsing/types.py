"""What parsing gives: a document's text and pages, or the reason why there is none."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Limits of one worker: bytes of memory, seconds of processor time for a file before what its size adds, seconds
    without a sign of progress (processor time used, or bytes read), bytes of text, bytes of a file."""

    memory_bytes: int = 2 * 2**30
    cpu_seconds: int = 120
    silence_seconds: int = 60
    output_bytes: int = 64 * 2**20
    file_bytes: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class ParseItem:
    """A file to parse, and the name that its type is told by."""

    path: Path
    name: str
