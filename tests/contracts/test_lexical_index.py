"""What every LexicalIndex does: BM25 over the permitted passages that are committed, as if there were no others."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorstore.lexical.analysis import bound, query_terms, terms
from vectorstore.lexical.interface import LexicalIndex, LexicalQuery
from vectorstore.lexical.memory import MemoryLexical
from vectorstore.lexical.postings import PostingsIndex
from vectorstore.types import PassageId

INDEXES: dict[str, Callable[[], LexicalIndex]] = {"postings": PostingsIndex, "memory": MemoryLexical}
Rows = Sequence[tuple[int, int, str]]


@pytest.fixture(params=sorted(INDEXES))
def make(request: pytest.FixtureRequest) -> Callable[[], LexicalIndex]:
    return INDEXES[request.param]


@pytest.fixture
def index(make: Callable[[], LexicalIndex]) -> LexicalIndex:
    return make()


def filled(index: LexicalIndex, rows: Rows) -> LexicalIndex:
    index.add([(PassageId(one), number, text) for one, number, text in rows])
    index.commit()
    return index


def ids(*numbers: int) -> list[PassageId]:
    return [PassageId(one) for one in numbers]


def asked(index: LexicalIndex, question: str, classes: set[int] | None = None) -> LexicalQuery:
    return index.query(query_terms(question), None if classes is None else frozenset(classes))


def found(index: LexicalIndex, question: str, classes: set[int] | None = None, count: int = 100) -> list[int]:
    return list(best(asked(index, question, classes), count))


def best(query: LexicalQuery, count: int = 100) -> dict[int, float]:
    return dict(query.best(count).pairs())


SMALL: Rows = [
    (1, 0, "Staff have thirty days of annual leave."),
    (2, 0, "Annual report: the annual figures of the annual meeting."),
    (3, 1, "Hotels are paid up to a limit. Leave the key at the desk."),
    (2**40, 2, "Leave leave leave."),
]


def test_the_passages_that_hold_a_term_are_found_best_first(index: LexicalIndex) -> None:
    filled(index, SMALL)
    assert found(index, "annual leave")[0] == 1
    assert set(found(index, "annual leave")) == {1, 2, 3, 2**40}
    assert found(index, "hotel") == [3]
    assert found(index, "zebra") == []
    scores = list(best(asked(index, "annual leave")).values())
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0


def test_only_the_permitted_are_found_and_as_many_as_were_asked_for(index: LexicalIndex) -> None:
    rows = [(number, number % 40, f"leave number {number} {'leave ' * (number % 7)}") for number in range(400)]
    filled(index, rows)
    for permitted in (set[int](), {3}, {0, 7, 39}, set(range(40)), {3, 999}, {999}):
        expected = {number for number in range(400) if number % 40 in permitted}
        assert set(found(index, "leave", permitted, 1000)) == expected
        assert len(found(index, "leave", permitted, 5)) == min(5, len(expected))
    assert len(found(index, "leave", None, 1000)) == 400


def test_more_permissions_than_are_remembered_stay_apart(index: LexicalIndex) -> None:
    filled(index, [(number, number, "leave") for number in range(300)])
    for _ in range(2):
        for number in range(300):
            assert found(index, "leave", {number}) == [number]


def test_scores_of_given_passages_are_those_of_the_best_and_tell_nothing_of_others(index: LexicalIndex) -> None:
    filled(index, SMALL)
    query = asked(index, "annual leave", {0, 2})
    score = best(query)[1]
    assert query.scores(ids(1, 3, 77, 1)).tolist() == [score, 0, 0, score]
    assert query.scores([]).tolist() == []
    assert asked(index, "hotel").scores(ids(1, 2)).tolist() == [0, 0]
    assert index.query([], None).scores(ids(1)).tolist() == [0]


def test_which_terms_a_passage_holds_is_told_of_permitted_ones_alone(index: LexicalIndex) -> None:
    filled(index, SMALL)
    filled(index, [(7, 0, "An annual hotel.")])
    index.delete(ids(2))
    index.commit()
    said = asked(index, "annual leave hotel zebra", {0, 2}).holding(ids(7, 1, 2, 3, 77, 2**40, 1))
    yes, no = True, False
    nothing = [no, no, no, no]
    assert said.tolist() == [
        [yes, no, yes, no],
        [yes, yes, no, no],
        nothing,
        nothing,
        nothing,
        [no, yes, no, no],
        [yes, yes, no, no],
    ]
    assert asked(index, "annual leave").holding([]).shape == (0, 2)
    assert index.query([], None).holding(ids(1)).shape == (1, 0)


def test_nothing_asked_and_nothing_there_find_nothing(index: LexicalIndex) -> None:
    for classes in (None, set[int](), {0}):
        query = asked(index, "leave", classes)
        assert (best(query), query.scores(ids(1)).tolist(), query.frequencies, query.passages) == ({}, [0], [0], 0)
    filled(index, SMALL)
    assert best(index.query([], None)) == {}
    assert asked(index, "leave", set()).passages == 0
    assert found(index, "leave", {999}) == found(index, "leave", count=0) == []


def test_changes_show_with_the_commit_and_not_before(index: LexicalIndex) -> None:
    filled(index, SMALL)
    index.add([(PassageId(9), 0, "zebra")])
    index.delete(ids(3))
    assert found(index, "zebra") == []
    assert found(index, "hotel") == [3]
    index.commit()
    assert found(index, "zebra") == [9]
    assert found(index, "hotel") == []


def test_what_is_deleted_is_not_found_by_search_or_by_id_and_unknown_ids_are_passed_over(index: LexicalIndex) -> None:
    filled(index, SMALL)
    index.delete(ids(1, 77))
    index.delete([])
    index.commit()
    assert set(found(index, "annual leave")) == {2, 3, 2**40}
    assert asked(index, "annual leave").scores(ids(1)).tolist() == [0]
    # Relabelled: the same text comes back under another id and class.
    filled(index, [(11, 2, SMALL[0][2])])
    assert 11 not in found(index, "thirty days", {0})
    assert found(index, "thirty days", {2}) == [11]


def test_frequencies_count_permitted_passages_that_are_there_and_not_occurrences(index: LexicalIndex) -> None:
    filled(index, SMALL)

    def counted(classes: set[int] | None) -> tuple[list[int], int]:
        query = asked(index, "annual leave hotel zebra", classes)
        return query.frequencies, query.passages

    assert counted(None) == ([2, 3, 1, 0], 4)
    assert counted({0}) == ([2, 1, 0, 0], 2)
    assert counted({1, 2}) == ([0, 2, 1, 0], 2)
    index.delete(ids(1, 3))
    index.commit()
    assert counted(None) == ([1, 1, 0, 0], 2)
    assert counted({0}) == ([1, 0, 0, 0], 1)
    assert index.query([], frozenset({0})).frequencies == []


def test_a_query_goes_on_seeing_the_moment_that_it_was_made_in(index: LexicalIndex) -> None:
    filled(index, SMALL)
    query = asked(index, "annual leave")
    before = best(query)
    index.delete(ids(1, 2))
    filled(index, [(9, 0, "annual leave")])
    assert best(query) == before
    assert query.scores(ids(1, 2, 9)).tolist() == [before[1], before[2], 0]


@pytest.mark.parametrize("term", ["leav AND hotel", "le*", '"leav"', "text:leav", "leav~2", "", " ", "-leav", "[a TO z]"])
def test_a_term_is_never_an_operator(index: LexicalIndex, term: str) -> None:
    filled(index, SMALL)
    assert best(index.query([term], None)) == {}
    assert best(index.query([term, "hotel"], None)).keys() == {3}


@pytest.mark.parametrize(
    "text", ["", " ", "the of and", "\x00\u200b", "日本語の文章", "x" * 70_000, "word " * 50_000, "🙂 ()[]{}"]
)
def test_every_text_can_be_added_and_taken_out(index: LexicalIndex, text: str) -> None:
    filled(index, [*SMALL, (50, 0, text)])
    for term in terms(text)[:1]:
        assert found(index, term)[:1] == [50] or term not in query_terms(term)
    assert found(index, "hotel") == [3]
    index.delete(ids(50))
    index.commit()
    assert 50 not in found(index, f"{text[:100]} annual leave hotel")


def bm25(rows: Rows, asked: Sequence[str]) -> dict[int, float]:
    """The formula, from the texts (Robertson and Zaragoza 2009, k1 1.2, b .75, +1 inside the logarithm)."""
    texts = {one: terms(text) for one, _, text in rows}
    mean = sum(map(len, texts.values())) / max(1, len(texts))
    scores: dict[int, float] = {}
    for term in asked:
        holding = sum(term in words for words in texts.values())
        weight = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for one, words in texts.items():
            if often := words.count(term):
                norm = 1.2 * (0.25 + 0.75 * len(words) / mean)
                scores[one] = scores.get(one, 0.0) + weight * 2.2 * often / (often + norm)
    return scores


def test_scores_are_those_of_the_formula_whatever_the_length(index: LexicalIndex) -> None:
    drawn = random.Random(7)
    words = [f"word{number}" for number in range(60)]
    rows = [
        (number, number % 2, " ".join(drawn.choices(words, weights=range(60, 0, -1), k=length)))
        for number, length in enumerate([*range(1, 130), 200, 255, 256, 257, 500, 999, 1000, 2048, 4097])
    ]
    filled(index, rows)
    for question in ("word0", "word3 word40", "word59 word58 word57 word1", "word7 zebra"):
        for classes in (None, {0}, {1}):
            permitted = [row for row in rows if classes is None or row[1] in classes]
            scored = best(asked(index, question, classes), 1000)
            assert scored == pytest.approx(bm25(permitted, query_terms(question)), rel=1e-9)


DRAWN = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), max_size=6)), max_size=12
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=DRAWN, second=DRAWN, data=st.data())
def test_any_order_of_changes_leaves_an_index_of_the_permitted_alone(
    make: Callable[[], LexicalIndex], first: Any, second: Any, data: st.DataObject
) -> None:
    """To the last bit: what is forbidden, removed or written in another order has no part in frequencies, scores or order."""
    index = make()
    held: dict[int, tuple[int, str]] = {}
    for start, drawn in ((0, first), (100, second)):
        rows = {start + place: (number, " ".join(words)) for place, (number, words) in enumerate(drawn)}
        filled(index, [(one, *said) for one, said in rows.items()])
        held.update(rows)
        gone = data.draw(st.lists(st.sampled_from([*sorted(held), 999]), max_size=5))
        index.delete(ids(*gone))
        index.commit()
        for one in gone:
            held.pop(one, None)
    everything = {number for number, _ in held.values()}
    for classes in (None, {0}, {1, 3}):
        permitted = [(one, number, text) for one, (number, text) in held.items() if number in (classes or everything)]
        alone = filled(make(), permitted[::-1])
        for question in ("alpha", "beta gamma alpha"):
            query, expected = asked(index, question, classes), asked(alone, question)
            assert (query.frequencies, query.passages) == (expected.frequencies, len(permitted))
            told = best(query)
            assert list(told.items()) == list(best(expected).items())
            assert query.scores(ids(*range(200))).tolist() == [told.get(one, 0) for one in range(200)]
            assert list(best(query, 3)) == list(told)[:3]
            assert all(0 < score <= bound(query.frequencies, query.passages) for score in told.values())


def test_no_score_passes_the_bound_however_many_passages_went(index: LexicalIndex) -> None:
    """The share of the bound is what refusals are decided by: it must not rise because others were removed."""
    filled(index, [(number, 0, f"alpha word{number} filler text") for number in range(200)])
    filled(index, [(1000, 0, "zebra quick")])
    index.delete(ids(*range(10, 200)))
    index.commit()
    for question in ("zebra", "word3", "alpha zebra", "zebra unheard"):
        query = asked(index, question)
        assert all(score <= bound(query.frequencies, query.passages) for score in best(query).values())
