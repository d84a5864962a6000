"""Exact cosine over the permitted rows: a float32 matrix laid out by access class, derived from the keeper's vectors."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectorstore.dense.interface import Scored
from vectorstore.types import PassageId, Vectors

FORM = 1
_CACHED_SELECTIONS = 256
_TAIL_SHARE = 0.1
_TAIL_ROWS = 4096
"""The tail is merged into the matrix once it holds more rows than this and than the share of the whole."""


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
        self._selections: dict[frozenset[int] | None, tuple[Any, Any, Any, Any]] = {}
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
        """How many rows a search over those classes would score."""
        with self._lock:
            if classes is None:
                return len(self._ids) + self._tail_rows
            starts, ends = self._runs(classes)
            return int((ends - starts).sum()) + self._tail_rows

    def search(self, query: Vectors, classes: frozenset[int] | None, count: int) -> Scored:
        """The `count` rows of highest cosine among the permitted ones; ties go to the lower id."""
        vector = np.ascontiguousarray(query.reshape(-1), np.float32)
        with self._lock:
            scores, ids = self._base_scores(vector, classes)
            tail_ids, tail_classes, tail_vectors = self._tail_arrays()
        if len(tail_ids):
            kept = slice(None) if classes is None else np.isin(tail_classes, list(classes))
            scores = np.concatenate([scores, tail_vectors[kept] @ vector])
            ids = np.concatenate([ids, tail_ids[kept]])
        return _best(scores, ids, count)

    def cosines(self, query: Vectors, ids: Sequence[PassageId]) -> dict[PassageId, float]:
        """The exact cosine of each id that is there and not deleted."""
        vector = query.reshape(-1)
        wanted = np.asarray(ids, np.int64)
        with self._lock:
            rows = self._rows_of(wanted)
            rows = rows[self._alive[rows]]
            found = {
                PassageId(int(one)): float(score)
                for one, score in zip(self._ids[rows], self._matrix[rows] @ vector, strict=True)
            }
            tail_ids, _, tail_vectors = self._tail_arrays()
        places = np.flatnonzero(np.isin(tail_ids, wanted))
        if len(places):
            scores = tail_vectors[places] @ vector
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
        """Writes the matrix and its stamp; the stamp comes last, so a file cut short is never taken for whole."""
        with self._lock:
            self._merge()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            stamp = directory / "stamp.json"
            stamp.unlink(missing_ok=True)
            for name, array in (("matrix", self._matrix), ("ids", self._ids), ("classes", self._classes)):
                temporary = directory / f"{name}.part"
                with temporary.open("wb") as file:
                    np.save(file, array)
                os.replace(temporary, directory / f"{name}.npy")
            stamp.write_text(json.dumps({"form": FORM, "generation": generation, "rows": len(self._ids)}), encoding="utf-8")

    def load(self, directory: Path, generation: str) -> bool:
        """Maps the saved matrix if its stamp is that of `generation`; says whether it did."""
        try:
            stamp = json.loads((directory / "stamp.json").read_text(encoding="utf-8"))
            if not isinstance(stamp, dict) or stamp != {"form": FORM, "generation": generation, "rows": stamp.get("rows")}:
                return False
            matrix = np.load(directory / "matrix.npy", mmap_mode="r")
            ids, classes = np.load(directory / "ids.npy"), np.load(directory / "classes.npy")
        except (OSError, ValueError, EOFError):  # numpy says EOFError of an empty file
            return False
        if matrix.shape != (stamp["rows"], self._dimension) or len(ids) != len(classes) or len(ids) != stamp["rows"]:
            return False
        with self._lock:
            self._matrix, self._ids, self._classes = matrix, ids, classes
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

    def _base_scores(self, vector: Any, classes: frozenset[int] | None) -> tuple[Any, Any]:
        selection = self._selections.get(classes)
        if selection is None:
            starts, ends = self._runs(classes)
            runs = list(zip(starts.tolist(), ends.tolist(), strict=True))
            rows = np.concatenate([np.arange(start, end) for start, end in runs]) if runs else starts
            dead = ~self._alive[rows]
            selection = (runs, self._ids[rows], dead if dead.any() else None, len(rows))
            if len(self._selections) >= _CACHED_SELECTIONS:
                self._selections.pop(next(iter(self._selections)))
            self._selections[classes] = selection
        runs, ids, dead, count = selection
        scores = np.empty(count, np.float32)
        place = 0
        for start, end in runs:
            np.dot(self._matrix[start:end], vector, out=scores[place : place + end - start])
            place += end - start
        if dead is not None:
            scores[dead] = -np.inf
        return scores, ids


def _best(scores: Any, ids: Any, count: int) -> Scored:
    if len(scores) > count:
        part = np.argpartition(scores, -count)[-count:]
        # Equal scores at the edge must not depend on the order of rows.
        edge = scores[part].min()
        part = np.concatenate([np.flatnonzero(scores > edge), np.sort(np.flatnonzero(scores == edge))])
        scores, ids = scores[part], ids[part]
    order = np.lexsort((ids, -scores))[:count]
    return [(PassageId(int(ids[row])), float(scores[row])) for row in order if scores[row] > -np.inf]
