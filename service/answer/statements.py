"""Cuts a model's text, as it comes, into sentences with the markers that belong to them."""

from __future__ import annotations

import re

MARKER = re.compile(r"[ \t]?\[(\d{1,20}(?:\s*,\s*\d{1,20})*)\]")

LONGEST = 2_000
"""Characters after which a sentence ends, whatever it is: nothing may be held back for ever."""

_END = re.compile(r"[.!?…][\"'”’)*_]*|\n")
_CLOSING = re.compile(r"[.!?]?[\"'”’)*_]*")
_OPEN = re.compile(r"[ \t]*\[[\d\s,]{0,60}$")
_CITED = re.compile(r"\[\d{1,20}(?:\s*,\s*\d{1,20})*\][.!?…][\"'”’)*_]*$")
_SHORT = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|Nos|Art|Fig|Sec|Ch|Vol|pp?|approx|ca|cf|vs|etc|incl|max|min|e\.g|i\.e|[A-Z])|^\d{1,3})\.$"
)
"""Where a full stop ends no sentence: an abbreviation, an initial, the number of an item."""


class Statements:
    """Gives a sentence as soon as it is sure that nothing more belongs to it: the same ones, wherever the pieces are cut."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> list[str]:
        """The sentences that this piece completes, each with the white space before it."""
        self._held += piece
        return self._complete(last=False)

    def rest(self) -> list[str]:
        """What is left when the text has ended."""
        return self._complete(last=True)

    def _complete(self, *, last: bool) -> list[str]:
        found: list[str] = []
        while self._held.strip() and (end := self._end(last)) is not None:
            found.append(self._held[:end])
            self._held = self._held[end:]
        return found

    def _end(self, last: bool) -> int | None:
        """Where the first sentence of what is held ends; None where that is not certain yet."""
        text = self._held
        start = len(text) - len(text.lstrip())
        for match in _END.finditer(text, start):
            if match.start() - start > LONGEST:
                return start + LONGEST
            if match.group() == "\n":
                return match.start()
            end = match.end()
            if _CITED.search(text[start:end]) and text[end : end + 1].isspace():
                # Nothing is to be waited for: the next sentence may be long in coming.
                return end
            while marker := MARKER.match(text, end):
                end = _CLOSING.match(text, marker.end()).end()  # type: ignore[union-attr]  # it matches nothing too
            following = text[end:].lstrip()
            if not following or _OPEN.match(text, end):
                return len(text) if last else end if "\n" in text[end:] and not following else None
            if end > match.end() or _begins(text[start : match.end()], text[end], following[0]):
                return end
        if len(text) - start > LONGEST:
            return start + LONGEST
        return len(text) if last else None


def _begins(before: str, gap: str, after: str) -> bool:
    """Whether a new sentence begins behind a full stop."""
    return gap.isspace() and not (after.islower() or after in ",;:)") and not _SHORT.search(before)
