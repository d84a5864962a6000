"""BM25 by an inverted index of the permitted passages alone: arrays in memory, derived from the catalog's texts.

A library's index counts its statistics over every passage that it holds, and by them a score tells of passages that a person
may not read. Here the terms of a question are looked up first, what is not permitted is dropped from what they bring, and only
then is anything counted or weighed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vectorstore import derived
from vectorstore.lexical.analysis import K1, B, idf
from vectorstore.lexical.interface import LexicalQuery
from vectorstore.lexical.segment import ARRAYS, Part, merged, of_arrays, of_texts
from vectorstore.ranking import NOTHING, Scored, best, found_in
from vectorstore.types import PassageId

FORM = 1
_FANOUT = 4
"""A part is merged with the one before it unless that is more than so many times as large: few parts, each passage copied a
few times."""

_REMOVED_SHARE = 0.2
"""A part is written anew once this share of it is gone."""


class PostingsIndex:
    """A LexicalIndex. Readers see the state of the last commit and never wait; the file is used only where its stamp equals
    the catalog's generation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added: dict[PassageId, tuple[int, str]] = {}
        self._gone: set[PassageId] = set()
        self._parts: tuple[Part, ...] = ()

    def add(self, rows: Sequence[tuple[PassageId, int, str]]) -> None:
        """Adds passages to what the next commit makes visible."""
        with self._lock:
            self._added.update({one: (number, text) for one, number, text in rows})

    def delete(self, ids: Sequence[PassageId]) -> None:
        """Removes passages with the next commit."""
        with self._lock:
            for one in ids:
                self._added.pop(one, None)
            self._gone.update(ids)

    def commit(self) -> None:
        """Makes the changes visible at once."""
        with self._lock:
            parts = list(self._parts)
            if self._gone:
                gone = np.fromiter(self._gone, np.int64)
                parts = [part.without(gone) for part in parts]
            if self._added:
                parts.append(Part(of_texts([(one, *said) for one, said in self._added.items()])))
            self._parts = tuple(_settled(parts))
            self._added, self._gone = {}, set()

    def query(self, terms: Sequence[str], classes: frozenset[int] | None) -> LexicalQuery:
        """Looks the terms up in the state of this moment."""
        return _Looked(self._parts, terms, classes)

    def ids(self) -> list[PassageId]:
        """Every id in the index, in order."""
        parts = self._parts
        return [PassageId(one) for one in sorted(one for part in parts for one in part.segment.ids[part.alive].tolist())]

    def save(self, directory: Path, generation: str) -> None:
        """Writes what is committed as one part."""
        with self._lock:
            if len(self._parts) > 1 or any(part.removed for part in self._parts):
                self._parts = (merged(self._parts),)
            derived.write(directory, FORM, generation, (self._parts or (Part(of_texts([])),))[0].segment.arrays())

    def load(self, directory: Path, generation: str) -> bool:
        """Takes what was saved for that generation; says whether there was anything."""
        arrays = derived.read(directory, FORM, generation, ARRAYS)
        if arrays is None:
            return False
        with self._lock:
            self._parts = (Part(of_arrays(arrays)),)
        return True


class _Looked:
    """A LexicalQuery over the parts of one moment: for each term the permitted passages that hold it."""

    def __init__(self, parts: Sequence[Part], terms: Sequence[str], classes: frozenset[int] | None) -> None:
        chosen = [(part, *part.selection(classes)) for part in parts]
        self.passages = sum(count for _, _, count, _ in chosen)
        held = [[part.held(term, permitted) for term in terms] for part, permitted, _, _ in chosen]
        self.frequencies = [sum(len(of_part[place][0]) for of_part in held) for place in range(len(terms))]
        mean = sum(total for *_, total in chosen) / max(1, self.passages)
        weights = [idf(frequency, self.passages) * (K1 + 1) for frequency in self.frequencies]
        self._held = [(part.segment.ids, [rows for rows, _ in of_part]) for part, of_part in zip(parts, held, strict=True)]
        self._scored = [
            (part.segment.ids, _scores(part, of_part, weights, mean)) for part, of_part in zip(parts, held, strict=True)
        ]

    def best(self, count: int) -> Scored:
        """The best of all parts."""
        holding = [(ids, scores, np.flatnonzero(scores)) for ids, scores in self._scored]
        if not holding:
            return NOTHING
        scores = np.concatenate([some[rows] for _, some, rows in holding])
        return best(np.concatenate([ids[rows] for ids, _, rows in holding]), scores, count)

    def scores(self, ids: Any) -> Any:
        """Over all parts; an id is in one of them."""
        wanted = np.asarray(ids, np.int64)
        found = np.zeros(len(wanted))
        for of_part, scores in self._scored:
            there, rows = found_in(of_part, wanted)
            found[there] = scores[rows]
        return found

    def holding(self, ids: Any) -> Any:
        """Over all parts; an id is in one of them."""
        wanted = np.asarray(ids, np.int64)
        found = np.zeros((len(wanted), len(self.frequencies)), bool)
        for of_part, held in self._held:
            there, rows = found_in(of_part, wanted)
            for place, holding in enumerate(held):
                marked = np.zeros(len(of_part), bool)
                marked[holding] = True
                found[there, place] = marked[rows]
        return found


def _scores(part: Part, held: Sequence[tuple[Any, Any]], weights: Sequence[float], mean: float) -> Any:
    """BM25 of each row of a part, 0 where it holds none of the terms or is not permitted. The terms of a passage are summed in
    the question's order, wherever its row is, so that equal passages have equal scores to the last bit."""
    scores = np.zeros(len(part.segment.ids))
    for (rows, counts), weight in zip(held, weights, strict=True):
        if len(rows):
            norm = K1 * (1 - B) + (K1 * B / mean) * part.segment.lengths[rows]
            scores[rows] += weight * counts / (counts + norm)
    return scores


def _settled(parts: list[Part]) -> list[Part]:
    """The parts without what was removed, as far as that pays, and without small ones beside each other."""
    kept = [
        merged([part]) if part.removed > _REMOVED_SHARE * len(part.segment.ids) else part for part in parts if part.passages
    ]
    while len(kept) > 1 and kept[-2].passages <= _FANOUT * kept[-1].passages:
        kept[-2:] = [merged(kept[-2:])]
    return kept
