"""Finds a quote in the text layer of a page, and the rectangles that mark it, line by line."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ingest.parsing.right_to_left import is_right_to_left, runs

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels from the upper left corner."""

_HYPHENATED = re.compile(r"(?<=\w)[-\u00ad\u2010]\s*\n\s*(?=\w)")
_LONG = 8
"""Letters of a quote that is marked even where it begins or ends within a word: scripts without spaces, words run together."""

_PIECE = 12
"""Letters that a part of a quote has at the least, where only parts of it are found."""

_SAME_LINE = 0.5
"""Of the lower box's height: what two boxes of one line overlap by."""

_WIDEST_GAP = 2.0
"""In heights of a line: what is farther apart is another column."""


@dataclass(frozen=True, slots=True)
class Found:
    """Ranges of the page's characters, each from the first to past the last, and how many words of the quote they hold."""

    ranges: tuple[tuple[int, int], ...] = ()
    words: int = 0


def find(quote: str, page: str, before: int = 0) -> Found:
    """Where a page's text holds a quote: the place where it stands whole after `before` others (the first, where there are
    not so many), else parts of it that together are at least half of it, else nothing.

    Letters and digits alone are compared, without case, accents and ligatures: white space, hyphens at the ends of lines,
    typographic signs and marks of Markdown differ between a quote and the page that it was taken from."""
    words = [letters for word in _HYPHENATED.sub("", quote).split() if (letters := _Letters(word).text)]
    text = _Letters(page)
    whole = "".join(words)
    if not whole:
        return Found()
    start = text.find(whole, 0, before)
    if start >= 0:
        return Found((text.range(start, len(whole)),), len(words))
    pieces = [(*text.range(start, length), length, count) for start, length, count in _pieces(words, text)]
    found = _joined(pieces, len(whole))
    if is_right_to_left(quote):
        either_way = [one for one in runs(quote, page, _plain, before) if one[2] >= min(_PIECE, len(whole))]
        found = max(found, _joined(either_way, len(whole)), key=lambda one: one.words)
    return found


def _joined(pieces: Sequence[tuple[int, int, int, int]], letters: int) -> Found:
    """What is marked of these pieces of a quote of so many letters: nothing where they are less than half of it."""
    if 2 * sum(length for _, _, length, _ in pieces) < letters:
        return Found()
    return Found(tuple((start, end) for start, end, *_ in pieces), sum(count for *_, count in pieces))


class _Letters:
    """The letters and digits of a text in their plainest form, and the character that each of them comes from."""

    def __init__(self, original: str) -> None:
        plain: dict[str, str] = {}
        pieces: list[str] = []
        self._original = original
        self._places: list[int] = []
        for place, character in enumerate(original):
            if character not in plain:
                plain[character] = _plain(character)
            pieces.append(plain[character])
            self._places += [place] * len(plain[character])
        self.text = "".join(pieces)

    def range(self, start: int, length: int) -> tuple[int, int]:
        return self._places[start], self._places[start + length - 1] + 1

    def find(self, letters: str, start: int, before: int = 0) -> int:
        """The place from `start` on that begins and ends with a word and has `before` such places before it, or the first
        of them; for long ones, failing that, any; else -1."""
        any_place = place = self.text.find(letters, start)
        first = -1
        while place >= 0:
            if self._bounded(*self.range(place, len(letters))):
                if before == 0:
                    return place
                first = place if first < 0 else first
                before -= 1
            place = self.text.find(letters, place + 1)
        return any_place if first < 0 and len(letters) >= _LONG else first

    def _bounded(self, start: int, end: int) -> bool:
        before = start > 0 and self._original[start - 1].isalnum()
        return not before and not (end < len(self._original) and self._original[end].isalnum())


def _plain(character: str) -> str:
    if character.isascii():
        return character.lower() if character.isalnum() else ""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(filter(str.isalnum, decomposed))


def _pieces(words: Sequence[str], text: _Letters) -> Iterable[tuple[int, int, int]]:
    """Runs of the quote's words that the page holds, the longest from each word on: place, letters, words."""
    starts = [0, *accumulate(map(len, words))]
    whole, word, place = "".join(words), 0, 0
    while (least := bisect_left(starts, starts[word] + _PIECE)) < len(starts):
        end = _longest(whole, starts, word, least, text.text)
        letters = whole[starts[word] : starts[end]]
        found = text.find(letters, place) if letters else -1
        if letters and found < 0:
            found = text.find(letters, 0)
        if found >= 0:
            yield found, len(letters), end - word
            place = found + len(letters)
        word = end if found >= 0 else word + 1


def _longest(whole: str, starts: Sequence[int], word: int, least: int, text: str) -> int:
    """The word before which the longest run from `word` on ends that the page holds; `word` where even the run to `least`
    is not in it. A longer run is in it only where the shorter is, so halving finds it."""
    if whole[starts[word] : starts[least]] not in text:
        return word
    low, high = least, len(starts) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if whole[starts[word] : starts[middle]] in text:
            low = middle
        else:
            high = middle - 1
    return low


def lines(boxes: Iterable[Box]) -> list[Box]:
    """The boxes of characters, in the order of reading, joined where they stand side by side on one line."""
    joined: list[Box] = []
    for box in boxes:
        if joined and _side_by_side(joined[-1], box):
            last = joined[-1]
            joined[-1] = (min(last[0], box[0]), min(last[1], box[1]), max(last[2], box[2]), max(last[3], box[3]))
        else:
            joined.append(box)
    return joined


def _side_by_side(one: Box, other: Box) -> bool:
    lower = min(one[3] - one[1], other[3] - other[1])
    overlap = min(one[3], other[3]) - max(one[1], other[1])
    gap = max(one[0], other[0]) - min(one[2], other[2])
    return overlap >= _SAME_LINE * lower and gap <= _WIDEST_GAP * (one[3] - one[1])
