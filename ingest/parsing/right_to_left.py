"""Finds a quote in a script that is written from right to left, whose words a parser and a page tell in different orders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

_WORD = re.compile(r"\S+")


_MOST_PLACES = 200
"""Of one word in a page that are looked at: a page may hold nothing else than one word."""

Run = tuple[int, int, int, int]
"""Words that stand together in a page: its characters from the first to past the last, and how many letters and how many
words of the quote they hold."""


def is_right_to_left(text: str) -> bool:
    """Whether a letter of it is written from right to left."""
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def runs(quote: str, page: str, plain: Callable[[str], str], before: int = 0) -> list[Run]:
    """The longest runs of the quote's words that the page holds, forwards or backwards, from each word on that is in none
    yet; `plain` makes letters of a word. Where the whole quote is one run, the one that has `before` others before it.

    Programs write the words of a line as they are seen, as they are read, or as they were drawn, and letters within a word
    likewise: what both tell alike is which letters a word has, and which words are neighbours."""
    words = [key for key, _, _ in _words(quote, plain)]
    there = list(_words(page, plain))
    keys = [key for key, _, _ in there]
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    found: list[Run] = []
    word = 0
    while word < len(words):
        candidates = [
            _run(words, word, keys, place, step) for place in places.get(words[word], [])[:_MOST_PLACES] for step in (1, -1)
        ]
        longest = max((length for _, length in candidates), default=0)
        first = sorted({low for low, length in candidates if length == longest})
        if first:
            low = first[before] if longest == len(words) and before < len(first) else first[0]
            letters = sum(map(len, words[word : word + longest]))
            found.append((there[low][1], there[low + longest - 1][2], letters, longest))
        word += max(longest, 1)
    return found


def _words(text: str, plain: Callable[[str], str]) -> Iterator[tuple[str, int, int]]:
    """Each word by its letters in order of the alphabet, with where it stands."""
    for one in _WORD.finditer(text):
        if letters := "".join(map(plain, one.group())):
            yield "".join(sorted(letters)), one.start(), one.end()


def _run(words: Sequence[str], word: int, keys: Sequence[str], place: int, step: int) -> tuple[int, int]:
    """The first place in the page, and the length, of the run of the quote's words from `word` on that begins at `place`."""
    length = 0
    while word + length < len(words) and 0 <= place + step * length < len(keys):
        if keys[place + step * length] != words[word + length]:
            break
        length += 1
    return (place if step > 0 else place - length + 1), length
