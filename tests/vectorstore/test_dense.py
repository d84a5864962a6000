"""ExactVectors against brute force, through any order of adding, deleting, merging, saving and starting again."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vectorstore.dense.exact
from vectorstore.dense.exact import ABSENT, ExactVectors
from vectorstore.types import PassageId, Vectors

DIMENSION = 4
# Small whole numbers have exact products in float32, so that the oracle's scores and ties are equal to the bit.
ROW = st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION).map(lambda row: np.asarray(row, np.float32))
CLASSES = st.integers(0, 5)


class AgainstBruteForce(RuleBasedStateMachine):
    """`rows` is what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        # So that a few rows are in both places, and in as many pieces as many rows are.
        for name, few in (("_TAIL_ROWS", 5), ("_SHORT_RUN", 3), ("_BLOCK", 2), ("_PIECE", 2), ("_ALONE", 4), ("_THREADS", 3)):
            self.patch.setattr(vectorstore.dense.exact, name, few)
        self.directory = Path(tempfile.mkdtemp())
        self.rows: dict[int, tuple[int, Any]] = {}
        self.next = 0
        self.generation = "none"

    @initialize()
    def empty(self) -> None:
        self.exact = ExactVectors(DIMENSION)

    @rule(added=st.lists(st.tuples(CLASSES, ROW), max_size=7))
    def add(self, added: list[tuple[int, Any]]) -> None:
        ids = list(range(self.next, self.next + len(added)))
        self.next += len(added)
        vectors = np.stack([row for _, row in added]) if added else np.empty((0, DIMENSION), np.float32)
        self.exact.add([PassageId(one) for one in ids], [number for number, _ in added], vectors)
        self.rows.update(zip(ids, added, strict=True))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        gone = data.draw(st.lists(st.integers(0, self.next + 2), max_size=4))
        self.exact.delete([PassageId(one) for one in gone])
        for one in gone:
            self.rows.pop(one, None)

    @rule(data=st.data(), number=CLASSES)
    def relabel(self, data: st.DataObject, number: int) -> None:
        if self.rows:
            old = data.draw(st.sampled_from(sorted(self.rows)))
            _, vector = self.rows[old]
            self.add([(number, vector)])
            self.exact.delete([PassageId(old)])
            del self.rows[old]

    @rule()
    def save(self) -> None:
        self.generation = f"generation {self.next} {len(self.rows)}"
        self.exact.save(self.directory, self.generation)

    @rule()
    def start_again(self) -> None:
        """As a new process does: the file where it is current, all the rows where it is not."""
        self.save()
        self.exact = ExactVectors(DIMENSION)
        assert not self.exact.load(self.directory, "another generation")
        assert self.exact.ids() == []
        assert self.exact.load(self.directory, self.generation)

    @rule(query=ROW, classes=st.none() | st.frozensets(CLASSES), count=st.integers(1, 12))
    def search(self, query: Any, classes: frozenset[int] | None, count: int) -> None:
        found = self.exact.search(query[None], classes, count)
        scored = [(one, float(row @ query)) for one, (number, row) in self.rows.items() if classes is None or number in classes]
        assert found.pairs() == sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:count]
        assert self.exact.permitted(classes) >= len(scored)

    @invariant()
    def it_knows_what_is_there(self) -> None:
        if not hasattr(self, "exact"):
            return
        assert self.exact.ids() == sorted(self.rows)
        asked = [PassageId(one) for one in range(self.next + 2)]
        query = np.asarray([1, 2, 3, -1], np.float32)
        gone = ABSENT, np.zeros(DIMENSION)
        assert self.exact.class_of(asked).tolist() == [self.rows.get(one, gone)[0] for one in asked]
        cosines = [float(self.rows[one][1] @ query) if one in self.rows else np.nan for one in asked]
        np.testing.assert_array_equal(self.exact.cosines(query[None], asked), cosines)

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.directory)


TestAgainstBruteForce = AgainstBruteForce.TestCase
TestAgainstBruteForce.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


def filled(count: int = 40, seed: int = 0) -> tuple[ExactVectors, Vectors]:
    vectors = np.asarray(np.random.default_rng(seed).normal(size=(count, DIMENSION)), np.float32)
    exact = ExactVectors(DIMENSION)
    exact.add([PassageId(one) for one in range(count)], [one % 3 for one in range(count)], vectors)
    return exact, vectors


def test_every_permitted_row_is_scored_however_many_lie_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("_TAIL_ROWS", 0), ("_SHORT_RUN", 4), ("_BLOCK", 2), ("_PIECE", 5), ("_ALONE", 6), ("_THREADS", 3)):
        monkeypatch.setattr(vectorstore.dense.exact, name, few)
    classes = [number for number in range(22) for _ in range(1 + number // 2)]
    vectors = np.asarray(np.random.default_rng(1).normal(size=(len(classes), DIMENSION)), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = ExactVectors(DIMENSION)
    exact.add([PassageId(one) for one in range(len(classes))], classes, vectors)
    for count in range(1, 12):
        # Every other class, so that no two lie beside each other.
        permitted = frozenset(range(0, 2 * count, 2))
        for row, number in enumerate(classes):
            if number in permitted:
                assert exact.search(vectors[row : row + 1], permitted, 1).ids.tolist() == [row]


@pytest.mark.parametrize("name", ["matrix.npy", "ids.npy", "classes.npy", "stamp.json"])
@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "other"])
def test_a_file_that_is_not_whole_is_not_loaded(tmp_path: Path, name: str, damage: str) -> None:
    exact, _ = filled()
    exact.save(tmp_path, "now")
    path = tmp_path / name
    if damage == "absent":
        path.unlink()
    elif damage == "other":
        path.write_bytes(b'["some other file"]')
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -5])
    again = ExactVectors(DIMENSION)
    assert not again.load(tmp_path, "now")
    assert again.ids() == []


def test_a_file_of_another_dimension_is_not_loaded(tmp_path: Path) -> None:
    filled()[0].save(tmp_path, "now")
    assert not ExactVectors(DIMENSION + 1).load(tmp_path, "now")


def test_a_save_that_is_cut_off_leaves_nothing_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, _ = filled()
    exact.save(tmp_path, "first")
    # As many rows as before, and others: their number does not tell.
    exact.delete([PassageId(3)])
    exact.add([PassageId(100)], [0], np.ones((1, DIMENSION), np.float32))
    written = iter(range(100))

    def save(file: Any, array: Any, whole: Any = np.save) -> None:
        if next(written) == 1:
            raise OSError(28, "No space left on device")
        whole(file, array)

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(OSError, match="No space"):
        exact.save(tmp_path, "second")
    for generation in ("first", "second"):
        assert not ExactVectors(DIMENSION).load(tmp_path, generation)


def test_readers_see_whole_states_while_rows_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectorstore.dense.exact, "_TAIL_ROWS", 10)
    exact, vectors = filled(60)
    failed: list[object] = []
    done = threading.Event()

    def read() -> None:
        query = vectors[:1]
        try:
            while not done.is_set():
                found = exact.search(query, frozenset({0}), 1000)
                # Rows 0, 3, … 57 stay for good; each batch that comes has 3 rows of class 0, and goes as a whole.
                if not set(range(0, 60, 3)) <= set(found.ids.tolist()) or len(found) % 3 != 2:
                    failed.append(found)
        except Exception as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for one in readers:
        one.start()
    for number in range(60):
        ids = [PassageId(1000 + 3 * number + place) for place in range(3)]
        exact.add(ids, [0, 0, 0], vectors[:3])
        if number % 2:
            exact.delete(ids)
    done.set()
    for one in readers:
        one.join()
    assert not failed
