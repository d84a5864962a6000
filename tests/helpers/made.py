"""What tests of several seams make alike."""

from __future__ import annotations

from typing import Any

from policies.labels import AccessClassId
from service.runtimes.interface import Source
from vectorstore.types import DocumentId, Passage, PassageId


def passage(text: str, number: int = 1, **others: Any) -> Passage:
    """A passage that is its whole document, which has the same number."""
    values: dict[str, Any] = {
        "id": PassageId(number),
        "document": DocumentId(f"doc-{number}"),
        "version": 1,
        "path": "a.md",
        "title": "A",
        "heading": (),
        "page": None,
        "start": 0,
        "end": len(text),
        "text": text,
        "content_sha256": "0" * 64,
        "access_class": AccessClassId("0" * 32),
        "classification": "public",
        "kb": "kb",
    }
    return Passage(**{**values, **others})


def source(number: int, text: str = "Once upon a time there was a dog.", score: float = 0.9, **others: Any) -> Source:
    """The passage as a source of that number."""
    return Source(number, passage(text, number, **others), score)
