"""A part of an inverted index in arrays: made of texts, or of other parts without what was removed from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vectorstore.lexical.analysis import terms
from vectorstore.types import PassageId

_CACHED_SELECTIONS = 64
_LARGEST_COUNT = 65_535
"""How often a term stands in a passage is kept in two bytes; past that BM25 has long stopped to grow."""

ARRAYS = ("ids", "classes", "lengths", "starts", "rows", "counts", "vocabulary")


@dataclass(frozen=True, slots=True)
class Segment:
    """Passages in the order of their ids, and for each term, from `starts[number]` to the next, the rows that hold it and how
    often. `lengths` are in terms, repeats counted."""

    ids: Any
    classes: Any
    lengths: Any
    numbers: dict[str, int]
    starts: Any
    rows: Any
    counts: Any

    def arrays(self) -> dict[str, Any]:
        """What is written to the disk."""
        vocabulary = np.frombuffer("\n".join(self.numbers).encode("utf-8"), np.uint8)
        return {**{name: getattr(self, name) for name in ARRAYS[:-1]}, "vocabulary": vocabulary}


def of_arrays(arrays: dict[str, Any]) -> Segment:
    """The reverse of `Segment.arrays`."""
    text = arrays["vocabulary"].tobytes().decode("utf-8")
    numbers = {term: number for number, term in enumerate(text.split("\n") if text else [])}
    return Segment(numbers=numbers, **{name: arrays[name] for name in ARRAYS[:-1]})


def of_texts(rows: Sequence[tuple[PassageId, int, str]]) -> Segment:
    """The segment of (id, class number, text)."""
    numbers: dict[str, int] = {}
    found: list[int] = []
    counts: list[int] = []
    distinct, lengths = [], []
    ordered = sorted(rows, key=lambda row: row[0])
    for _, _, text in ordered:
        held = Counter(terms(text))
        found.extend(numbers.setdefault(term, len(numbers)) for term in held)
        counts.extend(held.values())
        distinct.append(len(held))
        lengths.append(held.total())
    return _grouped(
        np.array([one for one, _, _ in ordered], np.int64),
        np.array([number for _, number, _ in ordered], np.int64),
        np.array(lengths, np.int64),
        numbers,
        np.array(found, np.int32),
        np.repeat(np.arange(len(ordered), dtype=np.int32), distinct),
        np.minimum(np.array(counts, np.int64), _LARGEST_COUNT).astype(np.uint16),
    )


def _grouped(ids: Any, classes: Any, lengths: Any, numbers: dict[str, int], found: Any, rows: Any, counts: Any) -> Segment:
    order = np.argsort(found, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(found, minlength=len(numbers)))]).astype(np.int64)
    return Segment(ids, classes, lengths, numbers, starts, rows[order], counts[order])


class Part:
    """A segment and which of its passages are still there. Never changed: what is removed makes another part."""

    def __init__(self, segment: Segment, alive: Any | None = None) -> None:
        self.segment = segment
        self.alive = np.ones(len(segment.ids), bool) if alive is None else alive
        self.passages = int(self.alive.sum())
        self._selections: dict[frozenset[int] | None, tuple[Any, int, int]] = {}

    @property
    def removed(self) -> int:
        """How many of its passages are gone."""
        return len(self.segment.ids) - self.passages

    def without(self, gone: Any) -> Part:
        """The part without those ids; itself where it has none of them."""
        alive = self.alive & ~np.isin(self.segment.ids, gone)
        return self if int(alive.sum()) == self.passages else Part(self.segment, alive)

    def selection(self, classes: frozenset[int] | None) -> tuple[Any, int, int]:
        """Which rows are permitted (None: all), how many these are, and how many terms they have together."""
        found = self._selections.get(classes)
        if found is None:
            permitted = self.alive
            if classes is not None:
                last = max(int(self.segment.classes.max(initial=0)), max(classes, default=0))
                table = np.zeros(last + 1, bool)
                table[np.fromiter(classes, np.int64)] = True
                permitted = permitted & table[self.segment.classes]
            total = int(self.segment.lengths[permitted].sum())
            found = (None if permitted.all() else permitted, int(permitted.sum()), total)
            if len(self._selections) >= _CACHED_SELECTIONS:
                self._selections.pop(next(iter(self._selections)), None)
            self._selections[classes] = found
        return found

    def held(self, term: str, permitted: Any) -> tuple[Any, Any]:
        """The permitted rows that hold a term, and how often each does."""
        number = self.segment.numbers.get(term)
        if number is None:
            return _NONE, _NONE
        span = slice(self.segment.starts[number], self.segment.starts[number + 1])
        rows, counts = self.segment.rows[span], self.segment.counts[span]
        if permitted is None:
            return rows, counts
        kept = permitted[rows]
        return rows[kept], counts[kept]


def merged(parts: Sequence[Part]) -> Part:
    """One part of what is still there in several. A term that only removed passages held is forgotten."""
    numbers: dict[str, int] = {}
    found, rows, counts = [], [], []
    first = 0
    for part in parts:
        segment = part.segment
        held = part.alive[segment.rows]
        old = np.repeat(np.arange(len(segment.numbers), dtype=np.int32), np.diff(segment.starts))[held]
        left = np.bincount(old, minlength=len(segment.numbers)).tolist()
        new = [numbers.setdefault(term, len(numbers)) if kept else -1 for term, kept in zip(segment.numbers, left, strict=True)]
        found.append(np.array(new, np.int32)[old])
        rows.append((np.cumsum(part.alive) - 1 + first)[segment.rows[held]])
        counts.append(segment.counts[held])
        first += part.passages
    ids, classes, lengths = (
        np.concatenate([getattr(part.segment, name)[part.alive] for part in parts]) for name in ("ids", "classes", "lengths")
    )
    order = np.argsort(ids)
    place = np.empty(len(ids), np.int32)
    place[order] = np.arange(len(ids), dtype=np.int32)
    whole = (ids[order], classes[order], lengths[order], numbers)
    return Part(_grouped(*whole, np.concatenate(found), place[np.concatenate(rows)], np.concatenate(counts)))


_NONE = np.empty(0, np.int32)
