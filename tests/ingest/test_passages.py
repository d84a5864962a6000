"""Nothing is lost between the parsed text and its passages."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunking import PassageParser
from ingest.passages import passages, units
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.types import Page

COUNT = HashingEmbedder().count
LINE = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.sampled_from(["# Heading", "## Part two", "- item one", "1. step", "| a | b |", "| --- | --- |", "| 1 | 2 |", "", " "]),
    st.sampled_from(
        [
            "Battery",
            "The lithium battery lasts twelve years at one message.",
            "A sentence. Another one! A third?",
            "Dr. Smith pays 3.50 euros.",
            "word " * 90,
            "x" * 900,
            "你好。再见。",
        ]
    ),
)
TEXT = st.lists(LINE, max_size=25).map("\n".join)


def covered(text: str, spans: list[tuple[int, int]]) -> str:
    """The characters of the text that no span covers, white space aside."""
    held = [False] * len(text)
    for start, end in spans:
        held[start:end] = [True] * (end - start)
    return "".join(one for one, is_held in zip(text, held, strict=True) if not is_held and not one.isspace())


@settings(deadline=None, max_examples=150)
@given(text=TEXT, size=st.integers(16, 200))
def test_the_spans_cover_the_text_in_order_and_none_is_too_long(text: str, size: int) -> None:
    made = passages(text, (), COUNT, size)
    assert covered(text, [(one.start, one.end) for one in made]) == ""
    assert all(one.text == text[one.start : one.end] and one.text.strip() for one in made)
    assert all(before.end <= after.start for before, after in itertools.pairwise(made))
    assert all(COUNT([one.text])[0] <= size for one in made)


@settings(deadline=None, max_examples=100)
@given(parts=st.lists(TEXT, min_size=1, max_size=5))
def test_each_passage_has_the_page_that_holds_its_start(parts: list[str]) -> None:
    pages, place = [], 0
    for number, part in enumerate(parts, 1):
        pages.append(Page(number, place, place + len(part)))
        place += len(part) + 2
    text = "\n\n".join(parts)
    made = passages(text, pages, COUNT, 50)
    assert covered(text, [(one.start, one.end) for one in made]) == ""
    for one in made:
        page = next(page for page in pages if page.number == one.page)
        assert page.start <= one.start < page.end
        assert one.end <= page.end


@settings(deadline=None, max_examples=100)
@given(text=TEXT)
def test_units_cover_any_part_of_a_text(text: str) -> None:
    assert covered(text, [(one.start, one.end) for one in units(text, 0, len(text))]) == ""


def test_headings_go_with_what_they_head() -> None:
    text = "# Leave\n\nStaff have 30 days.\n\n## Sick leave\n\nA note is needed.\n\n# Pay\n\nIt comes monthly."
    made = passages(text, (), COUNT, 12)
    told = {one.text.splitlines()[-1]: one.heading for one in made}
    assert told["Staff have 30 days."] == ("Leave",)
    assert told["A note is needed."] == ("Leave", "Sick leave")
    assert told["It comes monthly."] == ("Pay",)


HANDBOOK = """\
Employee handbook, edition of 2026
The week has 37.5 hours. Office staff begin between 7:00 and 9:30 and end between 15:00 and 18:00; in
between there is a break of at least 30 minutes that is not paid. There is a plan of each
Monday for assembly.
Which overtime is paid
Overtime is ordered by the line manager beforehand and never just reported afterwards."""


def kinds(text: str) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in units(text, 0, len(text))]


def test_a_line_that_heads_prose_without_a_mark_is_a_title_and_a_line_of_prose_is_none() -> None:
    told = kinds(HANDBOOK)
    titles = [part for kind, part in told if kind == "title"]
    assert titles == ["Employee handbook, edition of 2026", "Which overtime is paid"]
    assert ("sentence", "The week has 37.5 hours.") in told
    assert ("sentence", "There is a plan of each\nMonday for assembly.") in told


@pytest.mark.parametrize(
    "line",
    [
        "Price: 40 euros",
        "and a half",
        "Trains leave at 7:00.",
        "Dear Anna,",
        "The pump is new",
        "Many more words than what stands above some other lines of a document",
        "---",
    ],
)
def test_what_tells_something_itself_or_goes_on_is_no_title(line: str) -> None:
    prose = "The pump of the north hall is serviced in May, and that of the south hall, the older one of the two, in June."
    text = f"Pumps are serviced in spring.\n{line}\n{prose}"
    assert "title" not in [kind for kind, _ in kinds(text)]
    assert "title" in [kind for kind, _ in kinds(text.replace(line, "North hall"))]


@pytest.mark.parametrize(
    "text",
    [
        "Pumps are serviced in spring. Valves are not.\n"
        "Every week the north pump gets oil, some grease\n"
        "Then somebody writes down into the book what it got.",
        "The plan of each hall hangs beside the doors of\n"
        "Building Two\n"
        "The pump of the north hall is serviced in May each year.",
    ],
    ids=["it goes on to the margin", "a sentence has not ended"],
)
def test_a_line_in_mid_prose_is_no_title(text: str) -> None:
    assert "title" not in [kind for kind, _ in kinds(text)]


def test_a_title_begins_no_passage_and_ends_none() -> None:
    text = "\n".join(f"Part {name}\nEvery part {name} has one sentence of some words like this one." for name in "ABCDEFGH")
    for size in range(24, 60):
        made = passages(text, (), COUNT, size)
        assert covered(text, [(one.start, one.end) for one in made]) == ""
        assert all(one.text.startswith("Part ") and one.text.endswith("like this one.") for one in made), size
        assert max(COUNT([one.text])[0] for one in made) <= size
    assert len(passages(text, (), COUNT, 59)) < 8


def test_a_table_cut_in_two_keeps_its_header_as_context() -> None:
    rows = "\n".join(f"| item {number} | {number} euros |" for number in range(30))
    made = passages(f"| name | price |\n| --- | --- |\n{rows}", (), COUNT, 40)
    assert len(made) > 2
    assert all("| name | price |" in one.heading for one in made[1:])


@pytest.mark.parametrize("text", ["", "   \n\n ", "\n"])
def test_nothing_gives_nothing(text: str) -> None:
    assert passages(text, (), COUNT, 50) == []


def test_the_node_parser_says_the_same() -> None:
    text = "# A\n\nOne sentence here. Another there.\n\n- an item\n- one more"
    parser = PassageParser(count=COUNT, size=20)
    assert list(parser.drafts(text, (Page(1, 0, len(text)),))) == list(passages(text, (Page(1, 0, len(text)),), COUNT, 20))
