"""Exact cosine over the permitted rows: a float32 matrix laid out by access class, derived from the keeper's vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.cores import granted_cores
from vectorstore import derived
from vectorstore.ranking import Scored, best, found_in, shortlist
from vectorstore.types import PassageId, Vectors

FORM = 1
_ARRAYS = ("matrix", "ids", "classes")
ABSENT = -1
"""What stands for the class of a row that is not there."""

_CACHED_SELECTIONS = 256
_TAIL_SHARE = 0.1
_TAIL_ROWS = 4096
"""The tail is merged into the matrix once it holds more rows than this and than the share of the whole."""

_SHORT_RUN, _BLOCK = 60, 512
"""Runs of fewer rows are copied together and scored in blocks that a core's cache holds: one product each would cost more."""

_PIECE = 1024
"""Rows of a long run that one thread scores at a time."""

_ALONE = 1000
"""So many rows one thread scores sooner than it could share them."""

_THREADS = min(4, granted_cores())
"""More would wait for the same memory."""

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
        self._helpers = ThreadPoolExecutor(_THREADS, "vectors")
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
            self._alive[self._living(gone)[1]] = False
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
            rows, _, dead = self._selection(classes)
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
        return best(ids, _exactly(vectors, vector), count)

    def cosines(self, query: Vectors, ids: Any) -> Any:
        """The exact cosine of each id; NaN for one that is not there or deleted."""
        vector = query.reshape(-1)
        wanted = np.asarray(ids, np.int64)
        found = np.full(len(wanted), np.nan)
        with self._lock:
            there, rows = self._living(wanted)
            vectors = self._matrix[rows]
            later, places = self._in_tail(wanted)
            tail_vectors = self._tail_arrays()[2][places]
        found[there], found[later] = _exactly(vectors, vector), _exactly(tail_vectors, vector)
        return found

    def class_of(self, ids: Any) -> Any:
        """The access class of each id; ABSENT for one that is not there or deleted."""
        wanted = np.asarray(ids, np.int64)
        found = np.full(len(wanted), ABSENT, np.int64)
        with self._lock:
            there, rows = self._living(wanted)
            found[there] = self._classes[rows]
            later, places = self._in_tail(wanted)
            found[later] = self._tail_arrays()[1][places]
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

    def _living(self, ids: NDArray[np.int64]) -> tuple[Any, Any]:
        """Which of the ids are of rows of the matrix that are not deleted, and these rows."""
        there, places = found_in(self._sorted_ids, ids)
        rows = self._order[places]
        alive = self._alive[rows]
        return there[alive], rows[alive]

    def _in_tail(self, ids: NDArray[np.int64]) -> tuple[Any, Any]:
        """Which of the ids are in the tail, and where."""
        tail_ids, _, _ = self._tail_arrays()
        order = np.argsort(tail_ids, kind="stable")
        there, places = found_in(tail_ids[order], ids)
        return there, order[places]

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
        """The permitted rows, the pieces in which they are scored, and which of them are deleted, None where none is."""
        found = self._selections.get(classes)
        if found is None:
            starts, ends = self._runs(classes)
            order = np.argsort(ends - starts < _SHORT_RUN, kind="stable")
            runs = list(zip(starts[order].tolist(), ends[order].tolist(), strict=True))
            rows = np.concatenate([np.arange(start, end, dtype=np.int32) for start, end in runs] or [np.empty(0, np.int32)])
            place, pieces = 0, list[tuple[int, Any]]()
            for start, end in runs:
                if end - start >= _SHORT_RUN:
                    cuts = range(start, end, _PIECE)
                    pieces += [(place + cut - start, slice(cut, min(cut + _PIECE, end))) for cut in cuts]
                    place += end - start
            pieces += [(start, rows[start : start + _BLOCK]) for start in range(place, len(rows), _BLOCK)]
            dead = ~self._alive[rows]
            found = _kept(self._selections, classes, (rows, pieces, dead if dead.any() else None))
        return found

    def _base_scores(self, vector: Any, classes: frozenset[int] | None) -> tuple[Any, Any]:
        rows, pieces, dead = self._selection(classes)
        scores = np.full(len(rows), -np.inf, np.float32)
        threads = 1 if len(rows) <= _ALONE else _THREADS
        others = [self._helpers.submit(self._score, pieces[one::threads], vector, scores) for one in range(1, threads)]
        self._score(pieces[::threads], vector, scores)
        for other in others:
            other.result()
        if dead is not None:
            scores[dead] = -np.inf
        return rows, scores

    def _score(self, pieces: Sequence[tuple[int, Any]], vector: Any, scores: Any) -> None:
        for place, piece in pieces:
            part = self._matrix[piece]
            np.dot(part, vector, out=scores[place : place + len(part)])


def _kept(cache: dict[frozenset[int] | None, Any], classes: frozenset[int] | None, made: Any) -> Any:
    if len(cache) >= _CACHED_SELECTIONS:
        cache.pop(next(iter(cache)))
    cache[classes] = made
    return made


def _exactly(vectors: Any, vector: Any) -> Any:
    """The cosine of each row, to the last bit the same whatever rows stand beside it: a product of matrices sums a row in an
    order that depends on how many there are, and so tells of rows that a person may not read."""
    return np.vecdot(vectors.astype(np.float64), vector.astype(np.float64))
