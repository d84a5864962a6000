"""Proximity says how near to each other a passage holds a question's terms, as a share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorstore.proximity import WINDOW, most_proximity, proximity

WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=60)
FLAT = dict.fromkeys("abcdefgh", 1.0)


def brute_force(asked: list[str], title: list[str], text: list[str]) -> float:
    """The same by its definition: every window, every pair."""
    wanted = set(asked)
    windows = [set(text[start : start + WINDOW]) for start in range(max(1, len(text)))]
    window = max(len(wanted & (one | set(title))) for one in windows) / len(wanted)
    pairs = {(asked[place], asked[place + 1]) for place in range(len(asked) - 1)}
    there = {(one[place], one[place + 1]) for one in (title, text) for place in range(len(one) - 1)}
    return 2 / 3 * window + 1 / 3 * (len(pairs & there) / len(pairs) if pairs else 0)


@given(WORDS.filter(bool), WORDS, WORDS)
def test_it_is_what_its_definition_says(asked: list[str], title: list[str], text: list[str]) -> None:
    weights = {term: FLAT[term] for term in asked}
    assert proximity(asked, weights, title, text) == pytest.approx(brute_force(asked, title, text))


@given(WORDS, st.lists(st.tuples(WORDS, WORDS), max_size=5))
def test_it_is_never_more_than_the_terms_alone_allow(asked: list[str], passages: list[tuple[list[str], list[str]]]) -> None:
    weights = {term: float(ord(term) - 90) for term in asked}
    held = [[term in title + text for term in dict.fromkeys(asked)] for title, text in passages]
    most = most_proximity(asked, weights, np.array(held, bool).reshape(len(passages), len(weights)))
    assert len(most) == len(passages)
    for highest, (title, text) in zip(most, passages, strict=True):
        near = proximity(asked, weights, title, text)
        assert near <= highest + 1e-12
        if asked and not {*asked} & {*title, *text}:
            assert highest == 0
    together = most_proximity(asked, weights, np.ones((1, len(weights)), bool))[0]
    assert together == pytest.approx(proximity(asked, weights, [], asked) if len(asked) <= WINDOW else together)


def test_terms_together_are_worth_more_than_terms_apart() -> None:
    asked, weights, filler = ["notice", "period"], {"notice": 2.0, "period": 1.0}, ["word"] * WINDOW
    together = proximity(asked, weights, [], [*filler, "notice", "period"])
    near = proximity(asked, weights, [], ["notice", "word", "period", *filler])
    apart = proximity(asked, weights, [], ["notice", *filler, "period"])
    assert together == pytest.approx(1.0)
    assert together > near > apart


def test_rare_terms_count_more() -> None:
    asked, weights = ["leave", "sabbatical"], {"leave": 1.0, "sabbatical": 5.0}
    assert proximity(asked, weights, [], ["sabbatical"]) > proximity(asked, weights, [], ["leave"])


def test_the_title_stands_beside_every_window() -> None:
    asked, weights = ["calibration", "interval"], {"calibration": 1.0, "interval": 1.0}
    assert proximity(asked, weights, ["calibration"], ["interval"]) > proximity(asked, weights, [], ["interval"])


def test_a_question_without_terms_is_near_nothing() -> None:
    assert proximity([], {}, ["title"], ["text"]) == 0.0
