"""What every DenseReader does: the permitted rows and no others, all that were asked for, with their true cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vectorstore.dense.chroma import ChromaVectors
from vectorstore.dense.exact import ExactVectors
from vectorstore.dense.interface import DenseReader, VectorKeeper
from vectorstore.dense.memory import MemoryVectors
from vectorstore.dense.planner import DensePlanner
from vectorstore.ranking import Scored
from vectorstore.types import PassageId, Vectors

DIMENSION = 16
BASES = 3


@dataclass
class Index:
    """A reader with the rows that it reads, filled as the store fills them, and what is known of each row."""

    exact: ExactVectors
    keeper: VectorKeeper
    reader: DenseReader
    rows: dict[int, tuple[int, Any]] = field(default_factory=dict)

    def add(self, ids: Sequence[int], classes: Sequence[int], vectors: Vectors) -> None:
        for kb in {number % BASES for number in classes}:
            kept = [row for row, number in enumerate(classes) if number % BASES == kb]
            self.keeper.add(f"kb{kb}", [PassageId(ids[row]) for row in kept], vectors[kept])
        self.exact.add([PassageId(one) for one in ids], classes, vectors)
        self.rows.update((one, (classes[row], vectors[row])) for row, one in enumerate(ids))

    def delete(self, ids: Sequence[int], *, from_keeper: bool = True) -> None:
        self.exact.delete([PassageId(one) for one in ids])
        for kb in range(BASES if from_keeper else 0):
            self.keeper.delete(f"kb{kb}", [PassageId(one) for one in ids if self.rows[one][0] % BASES == kb])
        for one in ids:
            del self.rows[one]

    def expected(self, query: Vectors, classes: frozenset[int] | None) -> list[tuple[int, float]]:
        """Every permitted row with its cosine, best first, ties by id: the brute force that the reader must equal."""
        scored = [
            (one, float(row.astype(np.float64) @ query[0].astype(np.float64)))
            for one, (number, row) in self.rows.items()
            if classes is None or number in classes
        ]
        return sorted(scored, key=lambda hit: (-hit[1], hit[0]))


def _bases(classes: frozenset[int] | None) -> list[str]:
    return [f"kb{number}" for number in range(BASES) if classes is None or any(one % BASES == number for one in classes)]


def _planner(exact: ExactVectors, keeper: VectorKeeper, rows: int) -> DensePlanner:
    return DensePlanner(exact, keeper, _bases, exact_rows=rows)


READERS: dict[str, Callable[[ExactVectors, Path], tuple[Any, DenseReader]]] = {
    "exact": lambda exact, directory: (MemoryVectors(), exact),
    "planner, exact": lambda exact, directory: (keeper := MemoryVectors(), _planner(exact, keeper, 10**6)),
    "planner, graph of the double": lambda exact, directory: (keeper := MemoryVectors(), _planner(exact, keeper, 0)),
    "planner, graph of chroma": lambda exact, directory: (keeper := ChromaVectors(directory), _planner(exact, keeper, 0)),
}
APPROXIMATE = {"planner, graph of chroma"}


@pytest.fixture(params=READERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(kind: str, tmp_path: Path) -> Iterator[Index]:
    exact = ExactVectors(DIMENSION)
    keeper, reader = READERS[kind](exact, tmp_path)
    yield Index(exact, keeper, reader)
    if hasattr(keeper, "close"):
        keeper.close()


def rows(count: int, seed: int = 0, near: Any = None, noise: float = 1.0) -> Vectors:
    """Unit rows, about `near` where that is given."""
    drawn = noise * np.random.default_rng(seed).normal(size=(count, DIMENSION)) + (0 if near is None else near)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def numbers(found: Scored) -> list[int]:
    return [int(one) for one in found.ids]


def assert_true(index: Index, query: Vectors, classes: frozenset[int] | None, count: int) -> None:
    """Only permitted rows, as many as were asked for, none twice, best first, each with its own cosine."""
    found = index.reader.search(query, classes, count)
    expected = index.expected(query, classes)
    cosines = dict(expected)
    assert len(found) == min(count, len(expected))
    assert len(set(numbers(found))) == len(found)
    assert all(score == pytest.approx(cosines[one], abs=1e-5) for one, score in found.pairs())
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def fill(index: Index, count: int = 400, classes: int = 20) -> None:
    index.add(list(range(count)), [number % classes for number in range(count)], rows(count))


@pytest.mark.parametrize("permitted", [None, {0}, {3, 4, 5}, {0, 7, 19}, set(range(20)), {0, 999}])
@pytest.mark.parametrize("count", [1, 10, 400])
def test_only_permitted_rows_come_and_as_many_as_were_asked_for(
    index: Index, permitted: set[int] | None, count: int, kind: str
) -> None:
    fill(index)
    classes = None if permitted is None else frozenset(permitted)
    for seed in range(3):
        query = rows(1, seed=100 + seed)
        assert_true(index, query, classes, count)
        found = set(numbers(index.reader.search(query, classes, count)))
        best = {one for one, _ in index.expected(query, classes)[:count]}
        # A graph may pass over a row; it may not bring another kind of row.
        assert len(found & best) >= (0.9 * len(best) if kind in APPROXIMATE else len(best))


def test_more_permissions_than_are_remembered_stay_apart(index: Index) -> None:
    index.add(list(range(300)), list(range(300)), rows(300))
    for _ in range(2):
        for number in range(300):
            assert numbers(index.reader.search(rows(1), frozenset({number}), 2)) == [number]


@pytest.mark.parametrize("permitted", [frozenset[int](), frozenset({999})])
def test_nothing_permitted_finds_nothing(index: Index, permitted: frozenset[int]) -> None:
    fill(index, 40)
    assert numbers(index.reader.search(rows(1), permitted, 10)) == []


def test_an_empty_index_finds_nothing(index: Index) -> None:
    assert numbers(index.reader.search(rows(1), None, 10)) == []
    assert numbers(index.reader.search(rows(1), frozenset({1}), 10)) == []
    assert np.isnan(index.reader.cosines(rows(1), [1])).tolist() == [True]


def test_permitted_rows_far_behind_a_crowd_of_forbidden_ones_are_all_found(index: Index) -> None:
    query = rows(1, seed=3)
    index.add(list(range(900)), [0] * 900, rows(900, near=query[0], noise=0.05))
    index.add(list(range(900, 915)), [BASES] * 15, rows(15, seed=1, near=-query[0], noise=0.3))
    assert sorted(numbers(index.reader.search(query, frozenset({BASES}), 10))) == sorted(
        one for one, _ in index.expected(query, frozenset({BASES}))[:10]
    )
    assert_true(index, query, frozenset({BASES}), 50)


def test_many_rows_with_the_same_vector_are_all_found(index: Index) -> None:
    # Boilerplate: the same footer in every document. A graph of equal points falls apart, the more so where rows went.
    index.add(list(range(2400)), [BASES * (number % 2) for number in range(2400)], np.repeat(rows(8), 300, axis=0))
    query = rows(1, seed=9)
    assert_true(index, query, frozenset({BASES}), 1000)
    index.delete(list(range(1200)))
    for count in (10, 500, 1200):
        assert_true(index, query, None, count)
        assert_true(index, query, frozenset({0}), count)


def test_after_most_rows_went_the_rest_are_all_found(index: Index) -> None:
    fill(index, 1500, classes=4)
    index.delete([one for one in range(1500) if one % 15])
    for permitted in (None, frozenset({1}), frozenset({0, 2})):
        assert_true(index, rows(1, seed=4), permitted, 100)


def test_a_deleted_row_is_not_found_even_while_the_keeper_still_has_it(index: Index) -> None:
    fill(index, 60, classes=3)
    query = rows(1, seed=2)
    best = numbers(index.reader.search(query, None, 5))
    index.delete(best, from_keeper=False)
    assert not set(best) & set(numbers(index.reader.search(query, None, 60)))
    assert_true(index, query, None, 55)
    assert np.isnan(index.reader.cosines(query, best)).all()


def test_a_relabelled_row_is_found_under_its_new_class_alone(index: Index) -> None:
    fill(index, 30, classes=3)
    vector = index.rows[7][1]
    index.delete([7])
    index.add([107], [2], vector[None])
    old, new = frozenset({1}), frozenset({2})
    assert not {7, 107} & set(numbers(index.reader.search(vector[None], old, 100)))
    assert numbers(index.reader.search(vector[None], new, 1)) == [107]
    assert_true(index, vector[None], new, 100)


def test_cosines_are_exact_whoever_may_read_the_row_and_absent_for_what_is_not_there(index: Index) -> None:
    fill(index, 50)
    index.delete([4])
    query = rows(1, seed=6)
    cosines = index.reader.cosines(query, [49, 4, 3, 1000])
    expected = dict(index.expected(query, None))
    assert cosines.tolist() == pytest.approx([expected[49], np.nan, expected[3], np.nan], abs=1e-6, nan_ok=True)
    assert index.reader.cosines(query, []).tolist() == []


def test_equal_scores_come_in_the_order_of_their_ids(index: Index, kind: str) -> None:
    if kind in APPROXIMATE:
        # Which of many equal rows a graph reaches first is its own affair; those that it brought are in order.
        index.add(list(range(20)), [0] * 20, np.repeat(rows(1), 20, axis=0))
        found = numbers(index.reader.search(rows(1), None, 20))
        assert found == sorted(found)
        return
    order = np.random.default_rng(0).permutation(40).tolist()
    index.add(order, [number % 4 for number in order], np.repeat(rows(1), 40, axis=0))
    assert numbers(index.reader.search(rows(1, seed=1), None, 7)) == list(range(7))
    assert numbers(index.reader.search(rows(1, seed=1), frozenset({1, 2}), 5)) == [1, 2, 5, 6, 9]
