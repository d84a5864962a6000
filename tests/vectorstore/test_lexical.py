"""How text becomes terms, and what a question's terms can weigh."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorstore.lexical.analysis import STOP_WORDS, bound, idf, query_terms, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How many days of annual LEAVE do staff have?", ["day", "annual", "leav", "staff"]),
        ("Résumé, Größe, naïve", ["resum", "gross", "naiv"]),
        ("calibrations calibrated calibrate", ["calibr", "calibr", "calibr"]),
        ("HM-40 4.2 v3", ["hm", "40", "4", "2", "v3"]),
        ("staff's e-mail", ["staff", "s", "e", "mail"]),
        ("x" * 59 + " " + "y" * 61, ["x" * 59]),
        ("of the and what WHO", []),
        ("", []),
    ],
)
def test_terms_are_folded_stemmed_and_without_function_words(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_a_question_has_each_term_once_in_its_order() -> None:
    assert query_terms("leave days, leave staff, DAYS") == ["leav", "day", "staff"]


def test_no_stop_word_is_written_twice_or_in_a_form_that_never_comes() -> None:
    assert len(set(STOP_WORDS)) == len(STOP_WORDS)
    assert all(word == word.lower() and word.isalpha() for word in STOP_WORDS)
    assert terms(" ".join(STOP_WORDS)) == []


@given(passages=st.integers(1, 10**6), data=st.data())
def test_a_rarer_term_weighs_more_and_none_weighs_less_than_nothing(passages: int, data: st.DataObject) -> None:
    rarer, commoner = sorted(data.draw(st.lists(st.integers(0, passages), min_size=2, max_size=2)))
    assert idf(rarer, passages) >= idf(commoner, passages) > 0


def test_the_bound_counts_what_nobody_says_as_the_rarest() -> None:
    assert bound([], 10) == 0
    assert bound([0], 10) > bound([1], 10) > bound([10], 10)
    assert bound([1, 3], 10) == pytest.approx(2.2 * (idf(1, 10) + idf(3, 10)))
