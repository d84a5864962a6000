"""Exact cosine over the permitted rows: a float32 matrix laid out by access class, derived from the keeper's vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectorstore import derived
from vectorstore.dense.interface import Scored
from vectorstore.ranking import best, shortlist
from vectorstore.types import PassageId, Vectors

FORM = 1
_ARRAYS = ("matrix", "ids", "classes")
_CACHED_SELECTIONS = 256
_TAIL_SHARE = 0.1
_TAIL_ROWS = 4096
"""The tail is merged into the matrix once it holds more rows than this and than the share of the whole."""

_ROUNDING = 3 * 2.0**-24
"""For each dimension, more than what the order of summing can move two products of float32 unit vectors apart (Higham 2002,
section 3.1)."""


class ExactVectors:
    """Rows of one class lie together, so a search reads only what it may score.

    New rows go to a tail in memory and are merged in by and by. Deleted rows are masked at once. The file is a copy that
    can be rebuilt: it is used only where its stamp equals the catalog's generation. Safe for threads.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._lock = threading.RLock()
        self._tail: list[tuple[Any, Any, Any]] = []
        self._tail_rows = 0
        self._joined: tuple[Any, Any, Any] | None = None
        self._selections: dict[frozenset[int] | None, tuple[Any, Any, Any]] = {}
        self._tail_selections: dict[frozenset[int] | None, Any] = {}
        self._matrix: Any = np.empty((0, dimension), np.float32)
        self._ids: NDArray[np.int64] = np.empty(0, np.int64)
        self._classes: NDArray[np.int64] = np.empty(0, np.int64)
        self._settle()

    def add(self, ids: Sequence[PassageId], classes: Sequence[int], vectors: Vectors) -> None:
        """Adds rows; their ids must be new."""
        with self._lock:
            self._tail.append((np.asarray(ids, np.int64), np.asarray(classes, np.int64), np.asarray(vectors, np.float32)))
            self._tail_rows += len(ids)
            self._joined = None
            if self._tail_rows > max(_TAIL_ROWS, _TAIL_SHARE * len(self._ids)):
                self._merge()

    def delete(self, ids: Iterable[PassageId]) -> None:
        """Masks rows; unknown ids are passed over."""
        gone = np.fromiter((int(one) for one in ids), np.int64)
        if not len(gone):
            return
        with self._lock:
            self._alive[self._rows_of(gone)] = False
            self._selections.clear()
            self._tail = [
                (some[kept], numbers[kept], vectors[kept])
                for some, numbers, vectors in self._tail
                if (kept := ~np.isin(some, gone)).any()
            ]
            self._tail_rows = sum(len(some) for some, _, _ in self._tail)
            self._joined = None

    def permitted(self, classes: frozenset[int] | None) -> int:
        """How many rows a search over those classes may find."""
        with self._lock:
            _, rows, dead = self._selection(classes)
            return len(rows) - (0 if dead is None else int(dead.sum())) + len(self._tail_selection(classes))

    def search(self, query: Vectors, classes: frozenset[int] | None, count: int) -> Scored:
        """The `count` rows of highest cosine among the permitted ones; ties go to the lower id."""
        vector = np.ascontiguousarray(query.reshape(-1), np.float32)
        with self._lock:
            rows, scores = self._base_scores(vector, classes)
            tail_ids, _, tail_vectors = self._tail_arrays()
            tail = self._tail_selection(classes)
            near = shortlist(np.concatenate([scores, tail_vectors[tail] @ vector]), count, self._dimension * _ROUNDING)
            base, later = rows[near[near < len(rows)]], tail[near[near >= len(rows)] - len(rows)]
            base = base[self._alive[base]]
            ids = np.concatenate([self._ids[base], tail_ids[later]])
            vectors = np.concatenate([self._matrix[base], tail_vectors[later]])
        return best(_exactly(vectors, vector), ids, count)

    def cosines(self, query: Vectors, ids: Sequence[PassageId]) -> dict[PassageId, float]:
        """The exact cosine of each id that is there and not deleted."""
        vector = query.reshape(-1)
        wanted = np.asarray(ids, np.int64)
        with self._lock:
            rows = self._rows_of(wanted)
            rows = rows[self._alive[rows]]
            found = {
                PassageId(int(one)): float(score)
                for one, score in zip(self._ids[rows], _exactly(self._matrix[rows], vector), strict=True)
            }
            tail_ids, _, tail_vectors = self._tail_arrays()
        places = np.flatnonzero(np.isin(tail_ids, wanted))
        if len(places):
            scores = _exactly(tail_vectors[places], vector)
            found.update({PassageId(int(one)): float(score) for one, score in zip(tail_ids[places], scores, strict=True)})
        return found

    def class_of(self, ids: Sequence[PassageId]) -> dict[PassageId, int]:
        """The access class of each id that is there and not deleted."""
        wanted = np.asarray(ids, np.int64)
        with self._lock:
            rows = self._rows_of(wanted)
            rows = rows[self._alive[rows]]
            found = {PassageId(int(one)): int(number) for one, number in zip(self._ids[rows], self._classes[rows], strict=True)}
            tail_ids, tail_classes, _ = self._tail_arrays()
        places = np.flatnonzero(np.isin(tail_ids, wanted))
        found.update({PassageId(int(tail_ids[place])): int(tail_classes[place]) for place in places})
        return found

    def ids(self) -> list[PassageId]:
        """Every id that is there, in order."""
        with self._lock:
            tail, _, _ = self._tail_arrays()
            return [PassageId(int(one)) for one in np.sort(np.concatenate([self._ids[self._alive], tail]))]

    def save(self, directory: Path, generation: str) -> None:
        """Writes the matrix for a generation of the catalog."""
        with self._lock:
            self._merge()
            arrays = (self._matrix, self._ids, self._classes)
            derived.write(directory, FORM, generation, dict(zip(_ARRAYS, arrays, strict=True)))

    def load(self, directory: Path, generation: str) -> bool:
        """Maps the matrix that was saved for `generation`; says whether there was one."""
        arrays = derived.read(directory, FORM, generation, _ARRAYS)
        if arrays is None or arrays["matrix"].shape != (len(arrays["ids"]), self._dimension):
            return False
        with self._lock:
            self._matrix = arrays["matrix"]
            # The two that every search reads are held in memory.
            self._ids, self._classes = np.array(arrays["ids"]), np.array(arrays["classes"])
            self._settle()
        return True

    def _settle(self) -> None:
        self._alive = np.ones(len(self._ids), bool)
        self._order = np.argsort(self._ids, kind="stable")
        self._sorted_ids = self._ids[self._order]
        boundaries = np.flatnonzero(np.diff(self._classes)) + 1
        self._run_starts = np.concatenate([[0], boundaries]) if len(self._ids) else np.empty(0, np.int64)
        self._run_ends = np.concatenate([boundaries, [len(self._ids)]]) if len(self._ids) else np.empty(0, np.int64)
        self._run_classes = self._classes[self._run_starts.astype(np.int64)]
        self._selections = {}
        self._tail = []
        self._tail_rows = 0
        self._joined = None

    def _merge(self) -> None:
        tail_ids, tail_classes, tail_vectors = self._tail_arrays()
        if not len(tail_ids) and self._alive.all():
            return
        ids = np.concatenate([self._ids[self._alive], tail_ids])
        classes = np.concatenate([self._classes[self._alive], tail_classes])
        vectors = np.concatenate([self._matrix[self._alive], tail_vectors])
        order = np.lexsort((ids, classes))
        self._matrix, self._ids, self._classes = np.ascontiguousarray(vectors[order]), ids[order], classes[order]
        self._settle()

    def _tail_arrays(self) -> tuple[Any, Any, Any]:
        if self._joined is None:
            self._tail_selections = {}
            if self._tail:
                ids, classes, vectors = zip(*self._tail, strict=True)
                self._joined = (np.concatenate(ids), np.concatenate(classes), np.concatenate(vectors))
            else:
                self._joined = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, self._dimension), np.float32))
        return self._joined

    def _rows_of(self, ids: NDArray[np.int64]) -> Any:
        if not len(self._sorted_ids):
            return np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(self._sorted_ids, ids), len(self._sorted_ids) - 1)
        return self._order[places[self._sorted_ids[places] == ids]]

    def _runs(self, classes: frozenset[int] | None) -> tuple[Any, Any]:
        if classes is None:
            whole = np.array([0], np.int64), np.array([len(self._ids)], np.int64)
            return whole if len(self._ids) else (whole[0][:0], whole[1][:0])
        kept = np.isin(self._run_classes, list(classes))
        starts, ends = self._run_starts[kept], self._run_ends[kept]
        if len(starts) > 1:
            # Neighbouring runs are one.
            apart = np.concatenate([[True], starts[1:] != ends[:-1]])
            starts, ends = starts[apart], ends[np.concatenate([apart[1:], [True]])]
        return starts, ends

    def _tail_selection(self, classes: frozenset[int] | None) -> Any:
        """The places of the permitted rows in the tail."""
        _, tail_classes, _ = self._tail_arrays()
        found = self._tail_selections.get(classes)
        if found is None:
            permitted = np.ones(len(tail_classes), bool) if classes is None else np.isin(tail_classes, list(classes))
            found = _kept(self._tail_selections, classes, np.flatnonzero(permitted))
        return found

    def _selection(self, classes: frozenset[int] | None) -> tuple[Any, Any, Any]:
        """The runs of permitted rows, these rows, and which of them are deleted, None where none is."""
        found = self._selections.get(classes)
        if found is None:
            starts, ends = self._runs(classes)
            runs = list(zip(starts.tolist(), ends.tolist(), strict=True))
            rows = np.concatenate([np.arange(start, end, dtype=np.int32) for start, end in runs] or [np.empty(0, np.int32)])
            dead = ~self._alive[rows]
            found = _kept(self._selections, classes, (runs, rows, dead if dead.any() else None))
        return found

    def _base_scores(self, vector: Any, classes: frozenset[int] | None) -> tuple[Any, Any]:
        runs, rows, dead = self._selection(classes)
        scores = np.empty(len(rows), np.float32)
        place = 0
        for start, end in runs:
            np.dot(self._matrix[start:end], vector, out=scores[place : place + end - start])
            place += end - start
        if dead is not None:
            scores[dead] = -np.inf
        return rows, scores


def _kept(cache: dict[frozenset[int] | None, Any], classes: frozenset[int] | None, made: Any) -> Any:
    if len(cache) >= _CACHED_SELECTIONS:
        cache.pop(next(iter(cache)))
    cache[classes] = made
    return made


def _exactly(vectors: Any, vector: Any) -> Any:
    """The cosine of each row, to the last bit the same whatever rows stand beside it: a product of matrices sums a row in an
    order that depends on how many there are, and so tells of rows that a person may not read."""
    return (vectors.astype(np.float64) * vector.astype(np.float64)).sum(axis=1)
