"""What a worker answered, taken as from a stranger: typed, in order, and no longer or larger than it needs to be."""

from __future__ import annotations

import base64
import struct
from typing import Any

from ingest.parsing.frames import FrameError
from ingest.parsing.types import (
    PICTURE_HEIGHT,
    PICTURE_WIDTH,
    NoSuchPage,
    ParsedDocument,
    ParseFailure,
    ParseReason,
    Picture,
)
from vectorstore.types import Page

_HIGHEST_PAGE = 10_000_000
_LONGEST_WORDS = 1000
_MOST_WARNINGS = 100
_PNG = struct.Struct(">8sI4sII")
_PNG_STARTS = (b"\x89PNG\r\n\x1a\n", 13, b"IHDR")
"""How every PNG begins; its width and height come next."""


def document_in(answer: dict[str, Any]) -> ParsedDocument | None:
    """The document, or None where the answer holds none. Like the others here, raises FrameError, KeyError, TypeError,
    ValueError or OverflowError for what cannot be one."""
    if "document" not in answer:
        return None
    said = answer["document"]
    text = _unicode(said["text"])
    pages = tuple(Page(int(page["number"]), int(page["start"]), int(page["end"])) for page in said["pages"])
    place = 0
    for page in pages:
        if not place <= page.start <= page.end <= len(text) or not 0 <= page.number <= _HIGHEST_PAGE:
            raise FrameError("pages outside the text")
        place = page.end
    return ParsedDocument(
        text=text,
        pages=pages,
        title=_unicode(said["title"])[:_LONGEST_WORDS],
        media_type=_unicode(said["media_type"])[:_LONGEST_WORDS],
        metadata={_unicode(key): _unicode(value)[:_LONGEST_WORDS] for key, value in dict(said["metadata"]).items()},
        warnings=tuple(_unicode(one)[:_LONGEST_WORDS] for one in said["warnings"][:_MOST_WARNINGS]),
    )


def picture_in(answer: dict[str, Any]) -> Picture | NoSuchPage | None:
    """The picture, or how many pages there are where the page is not among them, or None."""
    if "pages" in answer:
        return NoSuchPage(_between(0, answer["pages"], _HIGHEST_PAGE))
    if "picture" not in answer:
        return None
    said = answer["picture"]
    png = base64.b64decode(said["png"], validate=True)
    width, height = _between(1, said["width"], PICTURE_WIDTH), _between(1, said["height"], PICTURE_HEIGHT)
    # A browser gives a picture the room that its header asks for.
    if len(png) < _PNG.size or _PNG.unpack_from(png) != (*_PNG_STARTS, width, height):
        raise FrameError("not a PNG of that size")
    return Picture(png, width, height, _between(0, said["marked"], len(png) * 8))


def failure_in(answer: dict[str, Any]) -> ParseFailure | None:
    """Why there is neither, or None."""
    if "failure" not in answer:
        return None
    said = answer["failure"]
    return ParseFailure(ParseReason(said["reason"]), _unicode(said["detail"])[:_LONGEST_WORDS])


def _between(least: int, value: object, most: int) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise FrameError("not such a number")
    return value


def _unicode(value: object) -> str:
    """A string that can be stored; half a surrogate pair, which JSON can say, cannot."""
    if not isinstance(value, str):
        raise FrameError("not a string")
    value.encode("utf-8")
    return value
