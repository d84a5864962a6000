"""Cuts a document into passages: whole sentences, rows and items, packed up to a size, each an exact span of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sentencex

from vectorstore.types import Page, PassageDraft

Count = Callable[[Sequence[str]], list[int]]
"""Lengths of texts in the embedder's own word pieces."""

SIZE = 200
"""Word pieces: of 100 to 400 tried, 200 brought most of the gold characters into a budget of context
(bench/retrieval.py); the model reads 256, title and headings included."""

_HEADING = re.compile(r"(#{1,6})\s+(\S.*)")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_RULER = re.compile(r"\|[\s:|-]+\|?\s*")
_SPACE = re.compile(r"\s")
_LANGUAGE = "en"
_CHARACTERS = 10
"""Characters that a word piece is at most taken to stand for; in real text it is 3 to 5."""

_ENDS = (".", "!", "?", ":")
_TITLE = re.compile(r"(?!.*: )(?:\S+ +){0,9}\S*[^\W_]\W?(?<![.!?:;,-])")
_SAYS = re.compile(r"(?!(?:wh|how)).*\b(?:is|are|was|were|has|have|had)\b", re.IGNORECASE)
"""A line that is a sentence, though not the end of one; a title may ask."""

_TITLE_CHARACTERS = 120
_PROSE_WORDS = 4
_FILLED = 0.8
"""The part of the widest line that prose fills at least before it breaks, letters being of different widths."""

_LONGEST_PARAGRAPH = 20_000
"""Sentences are looked for in pieces of at most this many characters, so that a hostile text costs linear time."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A span that is kept whole where it fits: a heading, a title, a table row, a list item or a sentence. A title is a line
    that heads the lines below it without a mark of its own, as in the text of a PDF."""

    start: int
    end: int
    kind: str


def passages(text: str, pages: Sequence[Page], count: Count, size: int = SIZE) -> list[PassageDraft]:
    """The passages of a text, in order and disjoint; together they hold every character that is not white space.

    None crosses a page or is longer than `size` pieces, but for a single character that is. A Markdown heading begins a
    new one and goes into the heading path of those below it; a table that continues from one passage to the next repeats
    its header row as the last part of that path, since a row alone cannot be read.
    """
    spans: list[tuple[int | None, int, int]] = [(page.number, page.start, page.end) for page in pages]
    whole = spans or [(None, 0, len(text))]
    placed = [(number, unit) for number, start, end in whole for unit in units(text, start, end)]
    count = _bounded(count)
    lengths = count([text[unit.start : unit.end] for _, unit in placed])
    packer = _Packer(text, size)
    for (number, unit), length in zip(placed, lengths, strict=True):
        if length <= size:
            packer.add(number, unit, length)
        else:
            for part, part_length in _split(text, unit, length, count, size):
                packer.add(number, part, part_length)
    packer.flush()
    return packer.drafts


def _bounded(count: Count) -> Count:
    """A word too long for a vocabulary counts as one piece; this counts it by its characters."""

    def bounded(texts: Sequence[str]) -> list[int]:
        lengths = count(texts)
        return [max(length, len(text) // _CHARACTERS) for length, text in zip(lengths, texts, strict=True)]

    return bounded


class _Packer:
    def __init__(self, text: str, size: int) -> None:
        self.drafts: list[PassageDraft] = []
        self._text = text
        self._size = size
        self._units: list[Unit] = []
        self._length = self._last = 0
        self._page: int | None = None
        self._path: list[tuple[int, str]] = []
        self._heading: tuple[str, ...] = ()
        self._header: Unit | None = None
        self._was_row = False

    def add(self, page: int | None, unit: Unit, length: int) -> None:
        self._follow_table(unit)
        only_headings = all(one.kind == "heading" for one in self._units)
        begins = unit.kind == "heading" and not only_headings
        if self._units and (begins or page != self._page or self._length + length > self._size):
            stays = len(self._units) > 1 and self._units[-1].kind == "title" and not begins and page == self._page
            if stays and self._last + length <= self._size:
                self._flush_before_title()
            else:
                self.flush()
        if unit.kind == "heading":
            self._enter(unit)
        if not self._units or all(one.kind == "heading" for one in self._units):
            self._heading = self._context(unit)
        self._page = page
        self._units.append(unit)
        self._length += length
        self._last = length

    def _flush_before_title(self) -> None:
        title, length = self._units.pop(), self._last
        self.flush()
        self._units, self._length = [title], length
        self._heading = self._context(title)

    def flush(self) -> None:
        if self._units:
            start, end = self._units[0].start, self._units[-1].end
            self.drafts.append(PassageDraft(start, end, self._text[start:end], self._page, self._heading))
        self._units, self._length = [], 0

    def _enter(self, unit: Unit) -> None:
        found = _HEADING.fullmatch(self._text[unit.start : unit.end].strip())
        if found is not None:
            level = len(found.group(1))
            title = found.group(2).strip(" #*_")
            self._path = [one for one in self._path if one[0] < level] + [(level, title)]

    def _follow_table(self, unit: Unit) -> None:
        if unit.kind != "row":
            self._header, self._was_row = None, False
        elif not self._was_row:
            self._header, self._was_row = unit, True

    def _context(self, unit: Unit) -> tuple[str, ...]:
        path = tuple(title for _, title in self._path if title)
        if unit.kind == "row" and self._header is not None and self._header.start < unit.start:
            return (*path, self._text[self._header.start : self._header.end].strip())
        return path


def units(text: str, start: int, end: int) -> Iterator[Unit]:
    """Every unit of [start, end), trimmed of white space."""
    paragraph: tuple[int, int] | None = None
    place = start
    for line in text[start:end].splitlines(keepends=True):
        here, place = place, place + len(line)
        bare = line.strip()
        kind = _kind(line, bare)
        if kind == "text":
            paragraph = (paragraph[0] if paragraph else here, place)
            continue
        if paragraph:
            yield from _sentences(text, *paragraph)
            paragraph = None
        if kind == "item":
            # An item goes on until the next blank line, item, row or heading.
            paragraph = (here, place)
        elif bare:
            yield _trimmed(text, here, place, kind)
    if paragraph:
        yield from _sentences(text, *paragraph)


def _kind(line: str, bare: str) -> str:
    if not bare:
        return "blank"
    if bare.startswith("|"):
        return "row"
    if _HEADING.fullmatch(bare):
        return "heading"
    return "item" if _ITEM.match(line) else "text"


def _sentences(text: str, start: int, end: int) -> Iterator[Unit]:
    if _ITEM.match(text[start:end]) and end - start < 2000:
        yield _trimmed(text, start, end, "item")
        return
    for kind, first, last in _titled(text, start, end):
        if kind == "title":
            yield _trimmed(text, first, last, kind)
        else:
            yield from _prose(text, first, last)


def _titled(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """A paragraph in parts, each title apart from the prose around it.

    A title stands where a sentence could begin, has few words, neither a value behind a colon nor the end of a sentence, and
    prose follows that begins anew. What tells it from a line of prose is that it stops although the next word had room: prose
    goes on to the margin.
    """
    lines = [(line, line.strip()) for line in text[start:end].splitlines(keepends=True)]
    width = max((len(bare) for _, bare in lines), default=0)
    place, ended = start, True
    for (line, bare), (_, following) in zip(lines, [*lines[1:], ("", "")], strict=True):
        here, place = place, place + len(line)
        if ended and _heads(bare, following, width):
            if start < here:
                yield "prose", start, here
            yield "title", here, place
            start, ended = place, False
        else:
            ended = bare.endswith(_ENDS)
    if start < end:
        yield "prose", start, end


def _heads(line: str, following: str, width: int) -> bool:
    if not 0 < len(line) <= _TITLE_CHARACTERS or len(following) <= len(line):
        return False
    words = following.split()
    if len(words) < _PROSE_WORDS or not _TITLE.fullmatch(line) or _SAYS.match(line):
        return False
    is_prose = following.endswith(_ENDS) or len(following) >= _FILLED * width
    begins_anew = _cased(line) and _cased(following)
    return is_prose and begins_anew and len(line) + 1 + len(words[0]) <= _FILLED * width


def _cased(line: str) -> bool:
    """Whether a line begins like a sentence, as far as its script tells: where it has no capitals, nothing does."""
    first = next((one for one in line if one.isalpha()), "")
    return first.isupper()


def _prose(text: str, start: int, end: int) -> Iterator[Unit]:
    for first in range(start, end, _LONGEST_PARAGRAPH):
        # A line break inside a paragraph is a space to the reader, and one character all the same.
        part = text[first : min(end, first + _LONGEST_PARAGRAPH)]
        flat = _SPACE.sub(" ", part)
        place = first
        for sentence in sentencex.segment(_LANGUAGE, flat):
            if sentence.strip():
                yield _trimmed(text, place, place + len(sentence), "sentence")
            place += len(sentence)


def _trimmed(text: str, start: int, end: int, kind: str) -> Unit:
    part = text[start:end]
    return Unit(start + len(part) - len(part.lstrip()), start + len(part.rstrip()), kind)


def _split(text: str, unit: Unit, length: int, count: Count, size: int) -> Iterator[tuple[Unit, int]]:
    """Parts of a unit that is too long, at white space where there is some, none longer than `size`."""
    todo = [(unit.start, unit.end, length)]
    while todo:
        start, end, pieces = todo.pop()
        if pieces <= size or end - start < 2:
            yield Unit(start, end, unit.kind), pieces
            continue
        # One count for all parts of a cut, each meant to be well under the size.
        step = max(1, (end - start) * size * 9 // (pieces * 10))
        cuts = list(_cuts(text, start, end, step))
        lengths = count([text[first:last] for first, last in cuts])
        todo += [(first, last, pieces) for (first, last), pieces in zip(reversed(cuts), reversed(lengths), strict=True)]


def _cuts(text: str, start: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    place = start
    while place < end:
        edge = min(end, place + step)
        if edge == end and place == start:
            edge = place + (end - place + 1) // 2
        if edge < end:
            space = max(text.rfind(white, place + step // 2, edge) for white in (" ", "\n", "\t"))
            edge = space if space > place else edge
        part = _trimmed(text, place, edge, "")
        if part.end > part.start:
            yield part.start, part.end
        place = edge
