"""What of a model's sentences is held to be supported by the texts that they cite, over a table of cases and beyond it."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ingest.passages import units
from service.answer.quantities import quantities
from service.answer.reading import read
from service.answer.statements import LONGEST, Statements
from service.answer.verification import Supported, Unsupported, check, says_nothing


@dataclass(frozen=True)
class Case:
    """A sentence, what it cites, whether that supports it, and of which kind it is."""

    sentence: str
    sources: tuple[str, ...]
    supported: bool
    kind: str
    aside: bool


def _cases() -> Iterator[Case]:
    table = tomllib.loads(Path(__file__).with_name("verification_cases.toml").read_text(encoding="utf-8"))
    for passage in table["passage"]:
        for supported in (True, False):
            for kind, sentences in passage["supported" if supported else "unsupported"].items():
                for sentence in sentences:
                    yield Case(sentence, tuple(passage["sources"]), supported, kind, bool(passage.get("aside")))


CASES = list(_cases())
SOURCES = list(dict.fromkeys(source for case in CASES for source in case.sources))


def sentences(source: str) -> list[str]:
    """The whole sentences of a source, without its headings."""
    found = [source[one.start : one.end] for one in units(source, 0, len(source)) if one.kind == "sentence"]
    return [" ".join(one.split()) for one in found if one.endswith(".")]


WRITTEN = [(sentence, source) for source in SOURCES for sentence in sentences(source)]
WITH_DIGITS = [one for one in WRITTEN if re.search(r"\d", one[0])]


def test_the_table_is_large_and_holds_every_kind_on_both_sides_of_the_line() -> None:
    assert len(CASES) >= 200
    assert len([case for case in CASES if case.aside]) >= len(CASES) / 3
    for aside in (True, False):
        kinds = {(case.supported, case.kind) for case in CASES if case.aside is aside}
        assert {kind for supported, kind in kinds if supported} == {
            "verbatim", "shortened", "reordered", "paraphrase", "number form", "two sources",
        }  # fmt: skip
        assert {kind for supported, kind in kinds if not supported} == {
            "wrong number", "wrong unit", "wrong date", "wrong name", "negation", "not said",
        }  # fmt: skip


def test_every_planted_sentence_is_caught_with_a_reason() -> None:
    planted = [(case, check(case.sentence, case.sources)) for case in CASES if not case.supported]
    assert [case for case, verdict in planted if isinstance(verdict, Supported)] == []
    assert all(verdict.reason for _, verdict in planted if isinstance(verdict, Unsupported))


def test_of_the_faithful_sentences_at_least_95_in_100_are_kept() -> None:
    faithful = [(case, check(case.sentence, case.sources)) for case in CASES if case.supported]
    lost = [(case.sentence, verdict.reason) for case, verdict in faithful if isinstance(verdict, Unsupported)]
    assert len(lost) <= len(faithful) * 0.05, lost


@given(st.sampled_from(WRITTEN))
def test_a_sentence_of_the_source_itself_is_always_kept(one: tuple[str, str]) -> None:
    sentence, source = one
    assert check(sentence, [source]) == Supported()


@given(st.sampled_from(WITH_DIGITS), st.randoms(use_true_random=False), st.integers(1, 999))
def test_a_number_changed_in_a_sentence_of_the_source_is_always_caught(
    one: tuple[str, str], chance: random.Random, more: int
) -> None:
    sentence, source = one
    digits = chance.choice(list(re.finditer(r"\d+", sentence)))
    changed = sentence[: digits.start()] + str(int(digits.group()) + more) + sentence[digits.end() :]
    # Another figure of the source in its place is a matter of what stands beside it: the table has those.
    assume(str(int(digits.group()) + more) not in re.findall(r"\d+", source))
    assume(not any(new.agrees(old) for new in _at(changed, digits.start()) for old in quantities(source)))
    assert isinstance(check(changed, [source]), Unsupported)


def _at(text: str, place: int) -> list:
    return [one.quantity for one in read(text).tokens if one.quantity and one.start <= place < one.end]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("48 million", "48,000,000"),
        ("30 %", "30 percent"),
        ("thirty days", "30 days"),
        ("EUR 1.500", "1,500 euros"),
        ("10 000 euros", "€10,000"),
        ("37,4 percent", "37.4 %"),
        ("the 4th", "the fourth"),
        ("thirty-five hours", "35 h"),
        ("half an hour", "30 minutes"),
        ("90 °C", "90 degrees Celsius"),
        ("15 m²", "15 square metres"),
        ("7:30 pm", "19:30"),
        ("18 February 2026", "2026-02-18"),
        ("October 1st, 2026", "01.10.2026"),
        ("twice", "2 times"),
        ("15", "15 years"),
        ("minus 15 degrees Celsius", "−15 °C"),
    ],
)
def test_quantities_are_the_same_however_they_are_written(one: str, two: str) -> None:
    assert [[first.agrees(second) for second in quantities(two)] for first in quantities(one)] == [[True]]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("30 days", "30 euros"),
        ("30 days", "30 weeks"),
        ("1.5 million", "1.5 thousand"),
        ("18 February 2026", "18 March 2026"),
        ("18 February 2026", "18 February 2025"),
        ("4 days", "the fourth"),
        ("12 kW", "12 W"),
        ("5 kVA", "5 VA"),
        ("Monday", "Tuesday"),
        ("8:00", "18:00"),
    ],
)
def test_quantities_that_differ_in_value_or_unit_are_not_the_same(one: str, two: str) -> None:
    assert [[first.agrees(second) for second in quantities(two)] for first in quantities(one)] == [[False]]


def test_a_sentence_is_held_against_all_that_it_cites_and_against_nothing_else() -> None:
    first, second = "Hotels are paid up to 140 euros a night.", "Taxis need a receipt."
    sentence = "Hotels are paid up to 140 euros a night [1], and taxis need a receipt [2]."
    assert check(sentence, [first, second]) == Supported()
    assert isinstance(check(sentence, [first]), Unsupported)
    assert isinstance(check(sentence, []), Unsupported)


def test_a_row_of_a_table_is_read_with_the_names_of_its_columns_and_its_title() -> None:
    source = "Budget 2026\n\n| Department | Head | Budget |\n|---|---|---|\n| Quality | Berg | 1310 |\n| Finance | Moe | 555 |"
    assert check("The budget of Quality is 1310.", [source]) == Supported()
    assert isinstance(check("The budget of Quality is 555.", [source]), Unsupported)
    assert isinstance(check("The head of Finance is Berg.", [source]), Unsupported)


def test_a_sentence_too_long_to_look_at_is_not_taken_on_trust() -> None:
    for text in ("The meter counts. " * 100, "1 " * 400):
        assert check(text, [text]) == Unsupported("it is too long to be checked")


@pytest.mark.parametrize("sentence", ["In short:", "According to the documents:", "Here is what they say."])
def test_what_only_leads_over_says_nothing(sentence: str) -> None:
    assert says_nothing(sentence)


@pytest.mark.parametrize("sentence", ["Thirty days.", "Ask Ingrid.", "See HM-40.", "Meters leak."])
def test_what_holds_a_number_a_name_or_a_word_of_content_does_not_only_lead_over(sentence: str) -> None:
    assert not says_nothing(sentence)


ANSWER = (
    "Dr. Voss has version 4.2.0 [1]. Left ones expire. [2][3] Is it, e.g. in part, so [1, 2]?\n"
    "- D. Raman says 3.5 percent [4].\n- and item two\n\n1. First [5]! The end [x] of [1"
)


def test_a_text_is_cut_into_sentences_with_their_markers() -> None:
    cut = Statements()
    assert [one.strip() for one in [*cut.add(ANSWER), *cut.rest()]] == [
        "Dr. Voss has version 4.2.0 [1].",
        "Left ones expire. [2][3]",
        "Is it, e.g. in part, so [1, 2]?",
        "- D. Raman says 3.5 percent [4].",
        "- and item two",
        "1. First [5]!",
        "The end [x] of [1",
    ]


@given(st.lists(st.integers(0, len(ANSWER)), max_size=40), st.text(alphabet=".!? [1],\nAb", max_size=30))
def test_the_sentences_are_the_same_wherever_the_pieces_are_cut(places: list[int], more: str) -> None:
    text = ANSWER + more
    whole, pieces = Statements(), Statements()
    edges = [0, *sorted(places), len(text)]
    found = [one for first, last in pairwise(edges) for one in pieces.add(text[first:last])]
    assert [*found, *pieces.rest()] == [*whole.add(text), *whole.rest()]


def test_a_sentence_that_ends_with_its_marker_waits_for_nothing_more() -> None:
    assert Statements().add("Staff have thirty days [1]. ") == ["Staff have thirty days [1]."]


def test_no_text_is_held_back_for_ever() -> None:
    cut = Statements()
    assert sum(len(one) for _ in range(100) for one in cut.add("word " * 20)) >= 10_000 - 2 * LONGEST
