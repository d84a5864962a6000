"""What every VectorKeeper does, whichever engine keeps the rows."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.errors import IndexMismatch
from vectorstore.dense.chroma import ChromaVectors
from vectorstore.dense.interface import VectorKeeper
from vectorstore.dense.memory import MemoryVectors
from vectorstore.types import PassageId, Vectors

DIMENSION = 8
KEEPERS: dict[str, Callable[[Path], Any]] = {"chroma": ChromaVectors, "memory": lambda directory: MemoryVectors()}
_NAMES = itertools.count()


def rows(count: int, seed: int = 0) -> Vectors:
    """Unit rows."""
    drawn = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def ids(*numbers: int) -> list[PassageId]:
    return [PassageId(one) for one in numbers]


def everything(keeper: VectorKeeper, kb: str) -> dict[PassageId, Any]:
    found = [(one, row) for block, vectors in keeper.all(kb) for one, row in zip(block, vectors, strict=True)]
    assert len(dict(found)) == len(found), "a row came twice"
    return dict(found)


@pytest.fixture(scope="module", params=sorted(KEEPERS))
def keeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorKeeper]:
    made = KEEPERS[request.param](tmp_path_factory.mktemp("vectors"))
    yield made
    if hasattr(made, "close"):
        made.close()


@pytest.fixture
def kb() -> str:
    """A knowledge base that no other test uses."""
    return f"kb {next(_NAMES)}"


def test_what_is_added_is_there_as_it_was(keeper: VectorKeeper, kb: str) -> None:
    vectors = rows(3)
    keeper.add(kb, ids(7, 2**40, 9), vectors)
    found = keeper.get(kb, ids(9, 8, 2**40))
    assert sorted(found) == [9, 2**40]
    assert all(row.shape == (DIMENSION,) and row.dtype == np.float32 for row in found.values())
    np.testing.assert_allclose(found[PassageId(9)], vectors[2], atol=1e-6)
    np.testing.assert_allclose(found[PassageId(2**40)], vectors[1], atol=1e-6)
    assert everything(keeper, kb).keys() == {7, 2**40, 9}


def test_an_id_that_is_there_is_replaced(keeper: VectorKeeper, kb: str) -> None:
    first, second = rows(2)
    keeper.add(kb, ids(1), first[None])
    keeper.add(kb, ids(1), second[None])
    np.testing.assert_allclose(everything(keeper, kb)[PassageId(1)], second, atol=1e-6)
    assert keeper.nearest(kb, second[None], 5).pairs() == [(1, pytest.approx(1.0, abs=1e-5))]


def test_what_the_caller_does_to_its_array_afterwards_changes_nothing(keeper: VectorKeeper, kb: str) -> None:
    vectors = rows(2)
    keeper.add(kb, ids(1, 2), vectors)
    expected = vectors.copy()
    vectors[:] = 0
    np.testing.assert_allclose(keeper.get(kb, ids(1, 2))[PassageId(2)], expected[1], atol=1e-6)


def test_what_is_deleted_is_nowhere_and_unknown_ids_are_passed_over(keeper: VectorKeeper, kb: str) -> None:
    vectors = rows(4)
    keeper.add(kb, ids(1, 2, 3, 4), vectors)
    keeper.delete(kb, ids(2, 99, 4))
    assert keeper.get(kb, ids(1, 2, 3, 4)).keys() == {1, 3}
    assert everything(keeper, kb).keys() == {1, 3}
    assert set(keeper.nearest(kb, vectors[1:2], 4).ids.tolist()) == {1, 3}
    keeper.delete(f"{kb} that never was", ids(1))
    keeper.delete(kb, [])
    assert everything(keeper, kb).keys() == {1, 3}


def test_nothing_added_is_nothing_there(keeper: VectorKeeper, kb: str) -> None:
    keeper.add(kb, [], np.empty((0, DIMENSION), np.float32))
    assert everything(keeper, kb) == {}
    assert keeper.get(kb, ids(1)) == {}
    assert keeper.nearest(kb, rows(1), 3).pairs() == []


@pytest.mark.parametrize("names", [("HR", "hr"), ("a/b", "a_b"), ("größe", "grosse"), ("x" * 500, "x" * 501), ("", " ")])
def test_knowledge_bases_are_apart_whatever_they_are_called(keeper: VectorKeeper, kb: str, names: tuple[str, str]) -> None:
    one, other = rows(2)
    for name, row in zip(names, (one, other), strict=True):
        keeper.add(kb + name, ids(1), row[None])
    keeper.delete(kb + names[0], ids(1))
    assert keeper.get(kb + names[0], ids(1)) == {}
    np.testing.assert_allclose(keeper.get(kb + names[1], ids(1))[PassageId(1)], other, atol=1e-6)


def test_the_nearest_come_best_first_with_their_cosine(keeper: VectorKeeper, kb: str) -> None:
    vectors, query = rows(300), rows(1, seed=5)
    keeper.add(kb, [PassageId(number) for number in range(300)], vectors)
    cosines = (vectors @ query[0]).astype(float)
    expected = [int(row) for row in np.argsort(-cosines)[:20]]
    found = keeper.nearest(kb, query, 20).pairs()
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert all(score == pytest.approx(cosines[one], abs=1e-5) for one, score in found)
    # A graph may miss one; a wrong metric or a wrong order misses most.
    assert len({one for one, _ in found} & set(expected)) >= 19
    assert len(keeper.nearest(kb, query, 1000)) == 300
    assert keeper.nearest(kb, query, 0).pairs() == []


def test_more_rows_than_an_engine_takes_at_once_are_all_kept(keeper: VectorKeeper, kb: str) -> None:
    count = 5_600
    vectors = rows(count)
    keeper.add(kb, [PassageId(number) for number in range(count)], vectors)
    found = everything(keeper, kb)
    assert found.keys() == set(range(count))
    assert len(keeper.get(kb, [PassageId(number) for number in range(count)])) == count
    np.testing.assert_allclose(found[PassageId(5_500)], vectors[5_500], atol=1e-6)
    keeper.delete(kb, [PassageId(number) for number in range(1, count)])
    assert everything(keeper, kb).keys() == {0}


_CHANGES = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 12), max_size=5, unique=True)), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=_CHANGES)
def test_it_holds_what_a_dictionary_would(keeper: VectorKeeper, changes: list[tuple[bool, list[int]]]) -> None:
    kb, expected = f"drawn {next(_NAMES)}", dict[int, Any]()
    for number, (adds, chosen) in enumerate(changes):
        if adds:
            vectors = rows(len(chosen), seed=number)
            keeper.add(kb, ids(*chosen), vectors)
            expected.update(zip(chosen, vectors, strict=True))
        else:
            keeper.delete(kb, ids(*chosen))
            for one in chosen:
                expected.pop(one, None)
    found = everything(keeper, kb)
    assert found.keys() == expected.keys()
    assert all(np.allclose(found[PassageId(one)], row, atol=1e-6) for one, row in expected.items())
    assert set(keeper.nearest(kb, rows(1), 50).ids.tolist()) == expected.keys()


# Durability is for the keepers that live on a disk: the double says that it forgets.

CHILD = """
import os, signal, sys
from pathlib import Path
import numpy as np
from policies.errors import IndexMismatch
from vectorstore.dense.chroma import ChromaVectors
keeper = ChromaVectors(Path(sys.argv[1]))
keeper.add("kb", [1, 2, 3], np.eye(8, dtype=np.float32)[:3])
keeper.delete("kb", [2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    keeper = ChromaVectors(tmp_path)
    assert everything(keeper, "kb").keys() == {1, 3}
    assert keeper.nearest("kb", np.eye(DIMENSION, dtype=np.float32)[2:3], 1).ids.tolist() == [3]
    keeper.close()


def test_a_collection_that_names_an_embedding_function_is_refused(tmp_path: Path) -> None:
    """Chroma would load that function by its name when the collection is opened, and hand it whatever is asked."""
    import chromadb

    keeper = ChromaVectors(tmp_path)
    keeper.add("kb", ids(1), rows(1))
    keeper.close()
    client = chromadb.PersistentClient(str(tmp_path))
    name = client.list_collections()[0].name
    client.delete_collection(name)
    client.create_collection(name, embedding_function=chromadb.utils.embedding_functions.DefaultEmbeddingFunction())  # type: ignore[arg-type]
    client.close()
    again = ChromaVectors(tmp_path)
    with pytest.raises(IndexMismatch, match="embedding function"):
        again.get("kb", ids(1))
    again.close()
