"""Lines that are written from right to left, put into the order in which they are read from where their characters stand."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence

import pytest

from ingest.parsing.reading_order import Placed, as_read, headed, loses_letters, mostly_right_to_left

YESH, YAMIM, SHANA = "\u05d9\u05e9", "\u05d9\u05de\u05d9\u05dd", "\u05e9\u05e0\u05d4"
KULL, YAWM = "\u0643\u0644", "\u064a\u0648\u0645"
POINTED = "\u05e9\u05c1\u05b8\u05e0\u05b8\u05d4"


def drawn(*parts: str, bottom: float = 0.0, left: bool = False) -> list[Placed]:
    """Parts of a line in the order in which they are read, drawn from its right end, or its left one: letters that run from
    right to left so, all others from left to right; a mark stands over its letter, a space is a gap."""
    placed: list[Placed] = []
    place = 0.0
    for part in parts:
        turned = any(unicodedata.bidirectional(one) in ("R", "AL") for one in part)
        width = 10.0 * sum(not unicodedata.combining(one) for one in part)
        at = place if left else place - width
        at += width if turned else 0.0
        for one in part:
            if unicodedata.combining(one):
                placed.append(Placed(one, at + 3, bottom, at + 7, bottom + 10))
                continue
            at -= 10.0 if turned else 0.0
            if not one.isspace():
                placed.append(Placed(one, at, bottom, at + 10, bottom + 10))
            at += 0.0 if turned else 10.0
        place += width if left else -width
    return placed


LINES = {
    "a number and a full stop": (YESH, " ", "30", " ", YAMIM, "."),
    "words from left to right": (YESH, " ", "travel desk", " ", YAMIM),
    "words with a number": (YESH, " ", "Windows 11", " ", YAMIM),
    "hours after Hebrew": (YESH, " ", "9:30-17:00", ",", " ", YAMIM),
    "hours after Arabic": (KULL, " ", "9:30", "-", "17:00", " ", YAWM),
    "a price and a share": (YESH, " ", "\u20aa12.50", " ", "50%", " ", YAMIM),
    "a share in Arabic": (KULL, " ", "50", "%", " ", YAWM),
    "two numbers": (YESH, " ", "30", " ", "40", " ", YAMIM),
    "points over letters": (YESH, " ", POINTED, " ", YAMIM),
}


@pytest.mark.parametrize("parts", LINES.values(), ids=LINES)
@pytest.mark.parametrize("order", ["as drawn", "as seen", "in no order"])
def test_a_line_is_read_from_where_its_characters_stand_in_whichever_order_they_are_told(
    parts: Sequence[str], order: str
) -> None:
    placed = drawn(*parts)
    if order == "as seen":
        placed.sort(key=lambda one: one.left)
    if order == "in no order":
        random.Random(7).shuffle(placed)
    assert as_read(placed) == unicodedata.normalize("NFC", "".join(parts))


def test_a_line_that_runs_from_left_to_right_keeps_its_order_and_the_words_in_it_are_read() -> None:
    placed = drawn("The word ", f"{YESH} {SHANA}", " is said", left=True)
    assert as_read(sorted(placed, key=lambda one: one.left)) == f"The word {YESH} {SHANA} is said"


def test_lines_are_told_apart_by_where_they_stand_where_nothing_else_tells() -> None:
    comma = [Placed(one.character, one.left, -3, one.right, 0) if one.character == "," else one for one in drawn(YESH, ",")]
    assert as_read(comma + drawn(SHANA, bottom=-14)) == f"{YESH},\n{SHANA}"
    # A low letter is told first.
    low, high = Placed(YESH[0], 10, 0, 20, 6), Placed(YESH[1], 0, 4, 10, 13)
    assert as_read([low, high]) == YESH


def test_a_space_without_a_width_says_nothing_and_a_gap_does() -> None:
    astray = Placed(" ", -15, 0, -15, 10)
    assert as_read([*drawn(YAMIM, " ", SHANA), astray]) == f"{YAMIM} {SHANA}"


def test_brackets_face_what_they_enclose_however_they_are_told() -> None:
    for one in "()":
        for other in "()":
            assert as_read(drawn(YESH, " ", one, "travel desk", other, " ", YAMIM)) == f"{YESH} (travel desk) {YAMIM}"
    assert as_read(drawn(YESH, ")", " ", YAMIM)) == f"{YESH}) {YAMIM}"


def test_forms_that_letters_have_within_words_become_the_letters() -> None:
    assert as_read(drawn("\ufedb\ufefc", " ", "\ufb2a")) == "\u0643\u0644\u0627 \u05e9\u05c1"


def test_headings_stay_headings_and_a_text_that_lacks_letters_is_known() -> None:
    told = f"| {SHANA} | {YESH} |\n| --- | --- |\n| {YAMIM} | 30 |\n\n# {SHANA} {YESH}\n\n30 {YAMIM}"
    read = f"{YESH} {SHANA}\n{YAMIM} 30"
    assert headed(read, told) == f"# {YESH} {SHANA}\n\n{YAMIM} 30"
    assert not loses_letters(read, told)
    assert loses_letters(read.replace(YAMIM, ""), told)
    assert mostly_right_to_left(f"{YESH} {SHANA} 2030 etc")
    assert not mostly_right_to_left(f"{YESH} has a number, 2030")
