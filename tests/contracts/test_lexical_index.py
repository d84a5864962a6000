"""What every LexicalIndex does: BM25 over the permitted passages that are committed, and over no others."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorstore.lexical.analysis import bound, query_terms, terms
from vectorstore.lexical.interface import LexicalIndex
from vectorstore.lexical.memory import MemoryLexical
from vectorstore.lexical.tantivy import TantivyIndex
from vectorstore.types import PassageId

INDEXES: dict[str, Callable[[Path], Any]] = {"tantivy": TantivyIndex, "memory": lambda directory: MemoryLexical()}
Rows = Sequence[tuple[int, int, str]]


@pytest.fixture(params=sorted(INDEXES))
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LexicalIndex]:
    made = INDEXES[request.param](tmp_path)
    yield made
    if hasattr(made, "close"):
        made.close()


def filled(index: LexicalIndex, rows: Rows) -> LexicalIndex:
    index.add([(PassageId(one), number, text) for one, number, text in rows])
    index.commit()
    return index


def ids(*numbers: int) -> list[PassageId]:
    return [PassageId(one) for one in numbers]


def found(index: LexicalIndex, question: str, classes: set[int] | None = None, count: int = 100) -> list[int]:
    return [int(one) for one, _ in index.search(query_terms(question), None if classes is None else frozenset(classes), count)]


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
    scores = [score for _, score in index.search(query_terms("annual leave"), None, 10)]
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


def test_the_permission_changes_no_score(index: LexicalIndex) -> None:
    filled(index, SMALL)
    whole = dict(index.search(query_terms("annual leave"), None, 10))
    part = dict(index.search(query_terms("annual leave"), frozenset({0, 2}), 10))
    assert part == {one: pytest.approx(whole[one], rel=1e-6) for one in (1, 2, 2**40)}


def test_scores_of_given_passages_are_those_of_a_search(index: LexicalIndex) -> None:
    filled(index, SMALL)
    asked = query_terms("annual leave")
    whole = dict(index.search(asked, None, 10))
    given_ids = index.scores(asked, ids(1, 3, 77))
    assert given_ids == {one: pytest.approx(whole[PassageId(one)], rel=1e-6) for one in (1, 3)}
    assert index.scores(query_terms("hotel"), ids(1, 2)) == {}
    assert index.scores([], ids(1)) == {}
    assert index.scores(asked, []) == {}


def test_nothing_asked_and_nothing_there_find_nothing(index: LexicalIndex) -> None:
    assert index.search(["leav"], None, 10) == []
    assert index.document_frequencies(["leav"]) == ([0], 0)
    filled(index, SMALL)
    assert index.search([], None, 10) == []
    assert index.search([], frozenset({0}), 10) == []


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
    assert index.scores(query_terms("annual leave"), ids(1)) == {}
    # Relabelled: the same text comes back under another id and class.
    filled(index, [(11, 2, SMALL[0][2])])
    assert 11 not in found(index, "thirty days", {0})
    assert found(index, "thirty days", {2}) == [11]


def test_frequencies_count_passages_and_not_occurrences(index: LexicalIndex) -> None:
    filled(index, SMALL)
    assert index.document_frequencies(query_terms("annual leave hotel zebra")) == ([2, 3, 1, 0], 4)
    assert index.document_frequencies([]) == ([], 4)


@pytest.mark.parametrize("term", ["leav AND hotel", "le*", '"leav"', "text:leav", "leav~2", "", " ", "-leav", "[a TO z]"])
def test_a_term_is_never_an_operator(index: LexicalIndex, term: str) -> None:
    filled(index, SMALL)
    assert index.search([term], None, 10) == []
    assert set(dict(index.search([term, "hotel"], None, 10))) == {3}


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


def kept(length: int) -> int:
    """The length of a passage as one byte tells it, four significant bits past 24 (Lucene's SmallFloat.intToByte4)."""
    rest = length - 24
    if rest < 16:
        return length
    shift = rest.bit_length() - 4
    return 24 + (rest >> shift << shift)


def bm25(rows: Rows, asked: Sequence[str]) -> dict[int, float]:
    """The formula, from the texts (Robertson and Zaragoza 2009, k1 1.2, b .75, +1 inside the logarithm)."""
    texts = {one: terms(text) for one, _, text in rows}
    mean = sum(map(len, texts.values())) / len(texts)
    scores: dict[int, float] = {}
    for term in asked:
        holding = sum(term in words for words in texts.values())
        weight = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for one, words in texts.items():
            if often := words.count(term):
                norm = 1.2 * (0.25 + 0.75 * kept(len(words)) / mean)
                scores[one] = scores.get(one, 0.0) + weight * 2.2 * often / (often + norm)
    return scores


def test_scores_are_those_of_the_formula_whatever_the_length(index: LexicalIndex) -> None:
    drawn = random.Random(7)
    words = [f"word{number}" for number in range(60)]
    rows = [
        (number, 0, " ".join(drawn.choices(words, weights=range(60, 0, -1), k=length)))
        for number, length in enumerate([*range(1, 130), 200, 255, 256, 257, 500, 999, 1000, 2048, 4097])
    ]
    filled(index, rows)
    for question in ("word0", "word3 word40", "word59 word58 word57 word1", "word7 zebra"):
        asked = query_terms(question)
        expected = bm25(rows, asked)
        scored = index.search(asked, None, 1000)
        assert {int(one): score for one, score in scored} == pytest.approx(expected, rel=1e-4)


DRAWN = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), max_size=6)), max_size=12
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=DRAWN, second=DRAWN, data=st.data())
def test_any_order_of_changes_leaves_what_a_dictionary_would_hold(
    index: LexicalIndex, first: Any, second: Any, data: st.DataObject
) -> None:
    _empty(index)
    held: dict[int, tuple[int, list[str]]] = {}
    for start, drawn in ((0, first), (100, second)):
        filled(index, [(start + place, number, " ".join(words)) for place, (number, words) in enumerate(drawn)])
        held.update({start + place: one for place, one in enumerate(drawn)})
        gone = data.draw(st.lists(st.sampled_from([*sorted(held), 999]), max_size=5))
        index.delete(ids(*gone))
        index.commit()
        for one in gone:
            held.pop(one, None)
    for asked in (["alpha"], ["beta", "gamma"]):
        for classes in (None, {0}, {1, 3}):
            expected = {
                one for one, (number, words) in held.items() if {*asked} & {*words} and (classes is None or number in classes)
            }
            scored = index.search(asked, None if classes is None else frozenset(classes), 100)
            assert {int(one) for one, _ in scored} == expected
            assert len(scored) == len(expected)
            highest = bound(*index.document_frequencies(asked))
            assert all(0 < score <= highest * (1 + 1e-5) for _, score in scored)
    _empty(index)


def _empty(index: LexicalIndex) -> None:
    index.delete(ids(*range(20), *range(100, 120)))
    index.commit()


def test_no_score_passes_the_bound_however_many_passages_went(index: LexicalIndex) -> None:
    """The share of the bound is what refusals are decided by: it must not rise because others were removed."""
    filled(index, [(number, 0, f"alpha word{number} filler text") for number in range(200)])
    filled(index, [(1000, 0, "zebra quick")])
    index.delete(ids(*range(10, 200)))
    index.commit()
    for question in ("zebra", "word3", "alpha zebra", "zebra unheard"):
        asked = query_terms(question)
        highest = bound(*index.document_frequencies(asked))
        assert all(score <= highest for _, score in index.search(asked, None, 100))


# Durability is for the index that lives on a disk: the double says that it forgets.

CHILD = """
import os, signal, sys
from pathlib import Path
from vectorstore.lexical.tantivy import TantivyIndex
index = TantivyIndex(Path(sys.argv[1]))
index.add([(1, 0, "annual leave"), (2, 0, "annual hotel")])
index.commit()
index.delete([2])
index.commit()
index.add([(3, 0, "annual zebra")])
index.delete([1])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_committed_survives_a_kill_and_what_was_not_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    index = TantivyIndex(tmp_path)
    assert found(index, "annual") == [1]
    assert index.ids() == [1]
    index.close()


def test_statistics_are_the_same_after_it_is_opened_again(tmp_path: Path) -> None:
    index = TantivyIndex(tmp_path)
    filled(index, [(number, 0, f"alpha word{number}") for number in range(50)])
    index.delete(ids(*range(40)))
    index.commit()

    def told(index: TantivyIndex) -> Mapping[str, Any]:
        asked = ["alpha", "word45"]
        return {"frequencies": index.document_frequencies(asked), "hits": index.search(asked, None, 100)}

    before = told(index)
    index.close()
    again = TantivyIndex(tmp_path)
    assert told(again) == before
    again.close()
