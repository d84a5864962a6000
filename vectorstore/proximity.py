"""How near to each other a passage holds the terms of a question: what BM25 and a vector of the whole passage do not see."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WINDOW = 20
"""Terms of a passage that are looked at together, about two sentences: 16 to 28 were alike (bench/retrieval.py)."""

_IN_WINDOW, _IN_PAIRS = 2 / 3, 1 / 3


def proximity(asked: Sequence[str], weights: Mapping[str, float], title: Sequence[str], text: Sequence[str]) -> float:
    """Between 0 and 1: two parts the share of the question's terms, weighted by idf, that the best window of the passage
    holds, its title counted in; one part the share of the question's neighbouring terms that are neighbours there too.

    `asked`, `title` and `text` are terms in order, repeats kept. The idea is that of sequential dependence (Metzler and
    Croft, SIGIR 2005) over windows (Tao and Zhai, SIGIR 2007), on absolute shares instead of smoothed counts.
    """
    total = sum(weights[term] for term in dict.fromkeys(asked))
    if not total:
        return 0.0
    return _IN_WINDOW * _window(weights, title, text) / total + _IN_PAIRS * _pairs(asked, weights, title, text)


def most_proximity(asked: Sequence[str], weights: Mapping[str, float], held: Any) -> Any:
    """The most that `proximity` can be for passages of which only the terms are known, not their places.

    `held` has a row for each passage and a column for each distinct term of `asked`, in order: whether the passage, its title
    counted in, holds it. Returns a value for each row.
    """
    places = {term: place for place, term in enumerate(dict.fromkeys(asked))}
    total = sum(weights[term] for term in places)
    if not total:
        return np.zeros(len(held))
    window = held @ np.array([weights[term] for term in places])
    wanted = _wanted(asked, weights)
    pairs = np.zeros(len(held))
    for (first, second), weight in wanted.items():
        pairs += weight * (held[:, places[first]] & held[:, places[second]])
    return _IN_WINDOW * window / total + _IN_PAIRS * pairs / (sum(wanted.values()) or 1.0)


def _window(weights: Mapping[str, float], title: Sequence[str], text: Sequence[str]) -> float:
    """The most weight that the title and one window hold together."""
    always = {term for term in title if term in weights}
    places = [(place, term) for place, term in enumerate(text) if term in weights and term not in always]
    held: dict[str, int] = {}
    best = total = 0.0
    first = 0
    for place, term in places:
        held[term] = held.get(term, 0) + 1
        if held[term] == 1:
            total += weights[term]
        while place - places[first][0] >= WINDOW:
            gone = places[first][1]
            held[gone] -= 1
            if held[gone] == 0:
                total -= weights[gone]
            first += 1
        best = max(best, total)
    return best + sum(weights[term] for term in always)


def _pairs(asked: Sequence[str], weights: Mapping[str, float], title: Sequence[str], text: Sequence[str]) -> float:
    wanted = _wanted(asked, weights)
    total = sum(wanted.values())
    if not total:
        return 0.0
    there = {*itertools.pairwise(title), *itertools.pairwise(text)}
    return sum(weight for pair, weight in wanted.items() if pair in there) / total


def _wanted(asked: Sequence[str], weights: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """The neighbouring terms of a question, and what each pair weighs."""
    return {pair: weights[pair[0]] + weights[pair[1]] for pair in itertools.pairwise(asked)}
