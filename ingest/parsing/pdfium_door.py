"""The only door to pdfium: a page of a PDF as a picture with the words of a quote marked, and where its characters stand."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any

from ingest.parsing.marking import Box, find, lines
from ingest.parsing.reading_order import Placed
from ingest.parsing.types import (
    PICTURE_HEIGHT,
    PICTURE_WIDTH,
    NoSuchPage,
    ParseFailure,
    ParseReason,
    Picture,
    PictureOutcome,
)

_YELLOW = (255, 232, 80)
"""Multiplied over the page: white becomes it, black stays black."""

_ROUNDING = 1 - 1e-6
"""Sizes are rounded up: what is a whole number but for the last digit must not become the next one."""

_LEVEL = 0.05
"""An angle in radians at which a line is level."""

_UNKNOWN = "\ufffd"
_MOST_CHARACTERS = 200_000
"""Of a page's text that are looked through: a dense page has some ten thousand."""


def draw(content: bytes, page: int, quote: str, before: int) -> PictureOutcome:
    """Draws a page as a `PictureItem` asks for it, `PICTURE_WIDTH` pixels wide where `PICTURE_HEIGHT` allows it. A quote that
    is not found leaves the picture unmarked. A document that cannot be opened or a page that cannot be loaded is a failure."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        return _not_opened(error)
    with document:
        # Else what was filled into a form is not shown; it must come before pages are counted.
        document.init_forms()
        if not 1 <= page <= len(document):
            return NoSuchPage(len(document))
        try:
            return _drawn(document[page - 1], quote, before)
        except pypdfium2.PdfiumError as error:
            return ParseFailure(ParseReason.DAMAGED, f"page {page}: {error}")


def characters(content: bytes, pages: Iterable[int]) -> dict[int, list[Placed]]:
    """The characters of those pages with their places, in the order in which pdfium tells them and with its ends of lines. A
    page is left out that cannot be read, that is too dense, or that has text at an angle."""
    import pypdfium2

    told: dict[int, list[Placed]] = {}
    try:
        with pypdfium2.PdfDocument(content) as document:
            for number in pages:
                placed = _characters(document[number - 1])
                if placed:
                    told[number] = placed
    except (pypdfium2.PdfiumError, IndexError):
        return told
    return told


def _characters(page: Any) -> list[Placed]:
    from pypdfium2 import raw

    text = page.get_textpage()
    count = text.count_chars()
    if count > _MOST_CHARACTERS:
        return []
    placed = []
    for place in range(count):
        character = _character(raw.FPDFText_GetUnicode(text, place))
        # Negative where it has none.
        angle = raw.FPDFText_GetCharAngle(text, place)
        if _LEVEL < angle < math.tau - _LEVEL:
            return []
        if character.isspace() or (character.isprintable() and character != _UNKNOWN):
            placed.append(Placed(character, *text.get_charbox(place, loose=True)))
    return placed


def _not_opened(error: Any) -> ParseFailure:
    from pypdfium2 import raw

    protected = error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
    return ParseFailure(ParseReason.PASSWORD if protected else ParseReason.DAMAGED, str(error))


def _drawn(page: Any, quote: str, before: int) -> Picture | ParseFailure:
    from PIL import Image, ImageChops, ImageDraw

    width, height = page.get_size()
    if not (0 < width < math.inf and 0 < height < math.inf):
        return ParseFailure(ParseReason.DAMAGED, "a page without a size")
    bitmap = page.render(scale=min(PICTURE_WIDTH / width, PICTURE_HEIGHT / height) * _ROUNDING, rev_byteorder=True)
    image = bitmap.to_pil()
    boxes, marked = _marks(page, bitmap, quote, before)
    if boxes:
        # One mask for all: where two lines touch, the colour would else be multiplied twice.
        mask = Image.new("1", image.size)
        for box in boxes:
            ImageDraw.Draw(mask).rectangle(box, fill=1)
        image.paste(ImageChops.multiply(image, Image.new("RGB", image.size, _YELLOW)), mask=mask)
    png = io.BytesIO()
    image.save(png, "PNG")
    return Picture(png.getvalue(), image.width, image.height, marked)


def _marks(page: Any, bitmap: Any, quote: str, before: int) -> tuple[list[Box], int]:
    """The rectangles over the quote's words, and how many words they cover; none where the page has no text."""
    import pypdfium2
    from pypdfium2 import raw

    try:
        text = page.get_textpage()
        count = min(text.count_chars(), _MOST_CHARACTERS)
    except pypdfium2.PdfiumError:
        return [], 0
    characters = "".join(_character(raw.FPDFText_GetUnicode(text, place)) for place in range(count))
    found = find(quote, characters, before)
    position = bitmap.get_posconv(page)
    boxes = []
    for start, end in found.ranges:
        for place in range(start, end):
            if not characters[place].isspace() and (box := _box(text, place, position, bitmap)) is not None:
                boxes.append(box)
    return lines(boxes), found.words if boxes else 0


def _character(code: int) -> str:
    return chr(code) if 0 < code <= 0x10FFFF else _UNKNOWN


def _box(text: Any, place: int, position: Any, bitmap: Any) -> Box | None:
    """A character's box within the picture; None where the page shows nothing of it."""
    import pypdfium2

    try:
        left, bottom, right, top = text.get_charbox(place, loose=True)
        (one, two), (three, four) = position.to_bitmap(left, top), position.to_bitmap(right, bottom)
    except pypdfium2.PdfiumError:
        return None
    box = (max(min(one, three), 0), max(min(two, four), 0))
    most = (min(max(one, three), bitmap.width - 1), min(max(two, four), bitmap.height - 1))
    return (*box, *most) if box[0] < most[0] and box[1] < most[1] else None
