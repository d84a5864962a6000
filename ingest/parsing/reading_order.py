"""Puts the characters of a page that is written from right to left into the order in which they are read."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from statistics import median
from typing import NamedTuple

_SPACE = 0.2
"""Of the height of a line: a gap that is a space, where nothing says that there is one."""

_BESIDE = 0.25
"""Of the height of a line: how far above or below it the middle of what belongs to it may be."""

_SAME_LINE = 0.3
"""Of the lower one's height: what a line and a character of it overlap by, where its middle is elsewhere."""

_MOST = 0.98
"""Of the letters of a text: another way of reading it that kept as many lost nothing."""

_WITHIN_NUMBERS = frozenset(".,:/\u00a0")
_WITHIN_EUROPEAN_NUMBERS = frozenset("+-")
_HEADING = re.compile(r"^(#{1,6}) +(\S.*)$", re.MULTILINE)
_OPENING = re.compile(r"(?<!\S)[)\]}](?=\w)")
_CLOSING = re.compile(r"(?<=\w)[(\[{](?![^\s.,:;!?])")
"""Brackets that face the wrong way: readers of PDF mirror some and leave others as they are seen."""

_MIRRORED = str.maketrans("()[]{}", ")(][}{")
_BESIDE_NUMBERS = re.compile("T+(?=N)|(?<=N)T+")
_FORMS = re.compile(r"[\ufb1d-\ufdff\ufe70-\ufefc]")
"""Letters of Hebrew and Arabic in the form that they have in a word, for which there are plain ones."""


class Placed(NamedTuple):
    """A character and its box on the page, in points from the lower left corner."""

    character: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def middle(self) -> float:
        """Half way from left to right."""
        return (self.left + self.right) / 2


def loses_letters(text: str, other: str) -> bool:
    """Whether a text lacks letters that another one of the same page has, in its tables or beside them: what was taken for
    a table may be told there once more."""
    rows = [line.startswith("|") for line in other.split("\n")]
    parts = ("\n".join(compress(other.split("\n"), kept)) for kept in (rows, [not one for one in rows]))
    there = _letters(text)
    return any((_letters(part) - there).total() > (1 - _MOST) * _letters(part).total() for part in parts)


def _letters(text: str) -> Counter[str]:
    return Counter(filter(str.isalnum, unicodedata.normalize("NFKC", text)))


def headed(text: str, other: str) -> str:
    """A text with the marks of Markdown before those of its lines that are headings of another one."""
    heads = {frozenset(_words(found.group(2))): found.group(1) for found in _HEADING.finditer(other)}
    marks = ((heads.get(frozenset(_words(line)), ""), line) for line in text.split("\n"))
    return "\n".join(f"\n{mark} {line}\n" if mark else line for mark, line in marks).strip("\n")


def _words(text: str) -> set[str]:
    told = ("".join(sorted(filter(str.isalnum, word))) for word in unicodedata.normalize("NFKC", text).split())
    return set(filter(None, told))


def mostly_right_to_left(text: str) -> bool:
    """Whether more than half of its letters are written from right to left."""
    kinds = "".join(_kind(one) for one in text if one.isalpha())
    return 2 * kinds.count("R") > len(kinds)


def as_read(characters: Iterable[Placed]) -> str:
    """The text of a page, line by line. Only where characters stand is believed, and which of them are of one line: programs
    that write PDF, and those that read it, tell them as they are seen, as they are read, or some words in each way."""
    return "\n".join(text for line in _lines(characters) if (text := _line(line)))


def _lines(characters: Iterable[Placed]) -> list[list[Placed]]:
    lines: list[list[Placed]] = [[]]
    bottom = top = 0.0
    for one in characters:
        if one.character in "\r\n":
            lines.append([])
            continue
        if lines[-1] and not _beside(one, bottom, top):
            lines.append([])
        bottom, top = (min(bottom, one.bottom), max(top, one.top)) if lines[-1] else (one.bottom, one.top)
        lines[-1].append(one)
    return lines


def _beside(one: Placed, bottom: float, top: float) -> bool:
    middle, far = (one.bottom + one.top) / 2, _BESIDE * (top - bottom)
    overlap = min(one.top, top) - max(one.bottom, bottom)
    return bottom - far <= middle <= top + far or overlap > _SAME_LINE * min(one.top - one.bottom, top - bottom)


def _line(characters: Sequence[Placed]) -> str:
    """A line from how it is seen to how it is read."""
    # A space without a width stands anywhere; what is above or below a letter belongs to it, not beside it.
    marks = [one for one in characters if unicodedata.combining(one.character)]
    wide = [one for one in characters if one.right > one.left or not one.character.isspace()]
    placed = sorted((one for one in wide if not unicodedata.combining(one.character)), key=lambda one: one.middle)
    if not placed:
        return ""
    cells = [one.character for one in placed]
    for mark in marks:
        right = bisect_left(placed, mark.middle, key=lambda one: one.middle)
        near = range(max(right - 1, 0), min(right + 1, len(placed)))
        cells[min(near, key=lambda place: abs(placed[place].middle - mark.middle))] += mark.character
    space = _SPACE * median(one.top - one.bottom for one in placed)
    seen = [cells[0]]
    for before, after, cell in zip(placed, placed[1:], cells[1:], strict=False):
        seen += [" ", cell] if after.left - before.right > space else [cell]
    read = _OPENING.sub(_mirrored, _CLOSING.sub(_mirrored, "".join(_read(seen))))
    return " ".join(unicodedata.normalize("NFC", _FORMS.sub(_plain, read)).split())


def _read(seen: Sequence[str]) -> list[str]:
    """Cells in the order in which they are read: the inverse of Unicode's bidirectional algorithm (UAX 9) as far as it has
    one. A line runs from left to right where it begins and ends so, and most of its letters do."""
    kinds = "".join(map(_kind, seen))
    strong = [one for one in kinds if one in "LR"]
    if "R" in (*strong[:1], *strong[-1:]) or strong.count("R") > strong.count("L"):
        return _from_right(seen, kinds)
    read: list[str] = []
    place = 0
    while place < len(seen):
        end = place + 1
        if kinds[place] == "R":
            rest = kinds.find("L", place)
            end = kinds.rfind("R", place, len(kinds) if rest < 0 else rest) + 1
            read += _from_right(seen[place:end], kinds[place:end])
        else:
            read.append(seen[place])
        place = end
    return read


def _from_right(seen: Sequence[str], kinds: str) -> list[str]:
    """Cells from the last to the first, but for what is read from left to right among them."""
    arabic = any(unicodedata.bidirectional(one[0]) == "AL" for one in seen)
    if not arabic:
        kinds = _BESIDE_NUMBERS.sub(lambda found: "N" * len(found.group()), kinds)
    parts: list[list[str]] = []
    place = 0
    while place < len(seen):
        end = _from_left(seen, kinds, place, arabic) if kinds[place] in "LN" else place + 1
        parts.append(list(seen[place:end]))
        place = end
    return [one for part in reversed(parts) for one in part]


def _from_left(seen: Sequence[str], kinds: str, start: int, arabic: bool) -> int:
    """Past the last cell of what is read from left to right from `start` on: words and what is between them, or a number."""
    end, words = start + 1, kinds[start] == "L"
    while True:
        after = next((place for place in range(end, len(seen)) if kinds[place] in "LNR"), None)
        if after is None or kinds[after] == "R":
            return end
        between = seen[end:after]
        one_number = kinds[after] == "N" and len(between) == 1 and _joins(between[0], arabic)
        if between and not words and not one_number:
            return end
        end, words = after + 1, words or kinds[after] == "L"


def _joins(separator: str, arabic: bool) -> bool:
    """Whether what stands between two numbers makes them one, which after Arabic letters a sign does not."""
    return separator in _WITHIN_NUMBERS or (separator in _WITHIN_EUROPEAN_NUMBERS and not arabic)


def _kind(cell: str) -> str:
    """R and L for letters that run so, N for numbers, T for what goes with one beside it, - for what has no direction."""
    return {"R": "R", "AL": "R", "L": "L", "EN": "N", "AN": "N", "ET": "T"}.get(unicodedata.bidirectional(cell[0]), "-")


def _mirrored(found: re.Match[str]) -> str:
    return found.group().translate(_MIRRORED)


def _plain(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", found.group())
