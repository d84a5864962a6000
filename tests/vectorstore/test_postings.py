"""The inverted index on the disk and in its parts: saved, taken up again, merged, and without a trace of what was removed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from vectorstore.lexical.postings import PostingsIndex
from vectorstore.types import PassageId

WORDS = [f"word{number}" for number in range(40)]
QUESTIONS = [["word0"], ["word3", "word39", "word1"], ["word7", "unheard"]]
SCOPES: list[frozenset[int] | None] = [None, frozenset({0}), frozenset({1, 2})]


def text(number: int) -> str:
    drawn = random.Random(number)
    return " ".join(drawn.choices(WORDS, weights=range(40, 0, -1), k=drawn.randrange(1, 30)))


def filled(numbers: Sequence[int], batch: int = 1000) -> PostingsIndex:
    index = PostingsIndex()
    for start in range(0, len(numbers), batch):
        index.add([(PassageId(one), one % 3, text(one)) for one in numbers[start : start + batch]])
        index.commit()
    return index


def told(index: PostingsIndex) -> list[object]:
    """All that an index says, to the last bit."""
    said: list[object] = [index.ids()]
    for question in QUESTIONS:
        for classes in SCOPES:
            query = index.query(question, classes)
            said += [query.frequencies, query.passages, query.best(1000).pairs(), query.scores(index.ids()).tolist()]
    return said


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_in_how_many_parts_passages_came_leaves_no_trace(batch: int) -> None:
    numbers = list(range(200))
    random.Random(batch).shuffle(numbers)
    assert told(filled(numbers, batch)) == told(filled(range(200)))


def test_what_is_saved_and_loaded_says_the_same_and_goes_on(tmp_path: Path) -> None:
    index = filled(range(200), 30)
    index.delete([PassageId(one) for one in range(0, 60, 2)])
    index.commit()
    before = told(index)
    index.save(tmp_path, "now")
    assert told(index) == before
    again = PostingsIndex()
    assert not again.load(tmp_path, "another generation")
    assert again.ids() == []
    assert again.load(tmp_path, "now")
    assert told(again) == before
    again.add([(PassageId(one), one % 3, text(one)) for one in range(0, 60, 2)])
    again.commit()
    assert told(again) == told(filled(range(200)))


def test_a_term_of_removed_passages_alone_is_not_in_what_is_saved(tmp_path: Path) -> None:
    index = filled(range(50))
    index.add([(PassageId(100), 0, "tannhof word1"), (PassageId(101), 0, "word1")])
    index.commit()
    index.save(tmp_path, "with")
    assert b"tannhof" in (tmp_path / "vocabulary.npy").read_bytes()
    index.delete([PassageId(100)])
    index.commit()
    index.save(tmp_path, "without")
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"word1" in written
    assert b"tannhof" not in written


@pytest.mark.parametrize("name", ["vocabulary.npy", "rows.npy", "ids.npy", "stamp.json"])
@pytest.mark.parametrize("damage", ["absent", "empty", "cut"])
def test_a_file_that_is_not_whole_is_not_loaded(tmp_path: Path, name: str, damage: str) -> None:
    filled(range(20)).save(tmp_path, "now")
    path = tmp_path / name
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -5])
    again = PostingsIndex()
    assert not again.load(tmp_path, "now")
    assert again.ids() == []


def test_an_index_of_nothing_is_saved_and_loaded(tmp_path: Path) -> None:
    for index in (PostingsIndex(), filled([])):
        index.save(tmp_path, "now")
        again = PostingsIndex()
        again.load(tmp_path, "now")
        assert again.query(["word1"], None).best(10).pairs() == []
        again.add([(PassageId(1), 0, "word1")])
        again.commit()
        assert again.query(["word1"], None).best(10).ids.tolist() == [1]


def test_a_passage_added_and_removed_before_a_commit_never_shows() -> None:
    index = filled(range(10))
    index.add([(PassageId(20), 0, "zebra")])
    index.delete([PassageId(20), PassageId(3)])
    index.add([(PassageId(3), 0, "zebra")])
    index.commit()
    assert index.query(["zebra"], None).best(10).ids.tolist() == [3]
    assert index.ids() == list(range(10))


def test_a_term_that_stands_more_often_than_can_be_counted_counts_as_often_as_can() -> None:
    index = PostingsIndex()
    index.add([(PassageId(1), 0, "word1 " * 65_536), (PassageId(2), 0, "word1 word2 " * 32_768)])
    index.commit()
    (first, more), (second, less) = index.query(["word1"], None).best(2).pairs()
    assert (first, second) == (1, 2)
    assert more > less > 0
