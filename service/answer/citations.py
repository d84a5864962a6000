"""Numbers in an answer become citations of what was retrieved for it; any other number loses its brackets' meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.passages import units
from service.answer.types import Citation
from service.runtimes.interface import Quote, Source
from vectorstore.lexical.analysis import terms

_MARKER = re.compile(r"\s?\[(\d{1,20}(?:\s*,\s*\d{1,20})*)\]")
_OPEN = re.compile(r"\s?\[[\d\s,]{0,60}$|\s$")
_BRACKETED = re.compile(r"\[(\d{1,20}(?:\s*,\s*\d{1,20})*)\]")


class Citations:
    """Collects the citations of one answer. It knows the sources of this answer alone, so it can make no other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {source.number: source for source in sources}
        self._found: list[Citation] = []
        self._pending = ""
        self._sentence = ""
        self.dropped = 0

    def text(self, piece: str) -> str:
        """What of a model's text can be shown now: markers of sources that are not there are taken out, even if they come
        in pieces."""
        whole = self._pending + piece
        held = _OPEN.search(whole)
        ready, self._pending = (whole[: held.start()], whole[held.start() :]) if held else (whole, "")
        return self._checked(ready)

    def rest(self) -> str:
        """What was held back when the text ended."""
        ready, self._pending = self._pending, ""
        return self._checked(ready).rstrip()

    def quote(self, piece: Quote) -> str:
        """A quotation as it is shown, with its number; empty for a source or span that is not there."""
        source = self._sources.get(piece.number)
        if source is None or not 0 <= piece.start < piece.end <= len(source.passage.text):
            self.dropped += 1
            return ""
        self._found.append(_citation(source, piece.start, piece.end))
        shown = piece.shown or source.passage.text[piece.start : piece.end]
        # A document's own [7] must not look like a citation of ours.
        plain = _BRACKETED.sub(r"(\1)", " ".join(shown.split()))
        return f"{plain} [{piece.number}]"

    def all(self) -> tuple[Citation, ...]:
        """Every citation, in the order of the answer, none twice."""
        return tuple(dict.fromkeys(self._found))

    def _checked(self, text: str) -> str:
        kept, place = [], 0
        for marker in _MARKER.finditer(text):
            kept.append(text[place : marker.start()])
            self._sentence += text[place : marker.start()]
            numbers = [int(number) for number in re.split(r"\s*,\s*", marker.group(1))]
            known = [number for number in numbers if number in self._sources]
            self.dropped += len(numbers) - len(known)
            for number in known:
                self._found.append(_supporting(self._sources[number], self._sentence))
                kept.append(f" [{number}]")
            self._sentence = ""
            place = marker.end()
        kept.append(text[place:])
        self._sentence += text[place:]
        return "".join(kept)


def _supporting(source: Source, sentence: str) -> Citation:
    """The sentence of the source that shares most with the sentence that cites it."""
    said = set(terms(sentence.rsplit(". ", 1)[-1]))
    text = source.passage.text
    parts = list(units(text, 0, len(text)))
    best = max(parts, key=lambda unit: len(said & set(terms(text[unit.start : unit.end]))), default=None)
    return _citation(source, best.start, best.end) if best else _citation(source, 0, len(text))


def _citation(source: Source, start: int, end: int) -> Citation:
    passage = source.passage
    return Citation(
        number=source.number,
        document=passage.document,
        version=passage.version,
        path=passage.path,
        title=passage.title,
        page=passage.page,
        start=passage.start + start,
        end=passage.start + end,
        quote=passage.text[start:end],
        classification=passage.classification,
    )
