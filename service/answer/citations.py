"""Numbers in an answer become citations of what was retrieved for it, and what they are put to is held against it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.passages import units
from service.answer.prompts import REFUSAL
from service.answer.statements import MARKER, Statements
from service.answer.types import Citation
from service.answer.verification import Unsupported, Verdict, check, says_nothing
from service.runtimes.interface import Quote, Source
from vectorstore.lexical.analysis import terms

_BRACKETED = re.compile(r"\[(\d{1,20}(?:\s*,\s*\d{1,20})*)\]")


NOT_SUPPORTED = " (not supported by the cited source)"
"""What stands behind a sentence that is shown although its sources do not say it."""


class Citations:
    """Collects the citations of one answer. It knows the sources of this answer alone, so it can make no other.

    A sentence of a model that its sources do not support is left out, or with `mark` shown and marked.
    """

    def __init__(self, sources: Sequence[Source], *, mark: bool = False) -> None:
        self._sources = {source.number: source for source in sources}
        self._mark = mark
        self._found: list[Citation] = []
        self._statements = Statements()
        self._leading = ""
        self._begun = False
        self._unsupported: list[str] = []
        self.dropped = 0

    def text(self, piece: str) -> str:
        """What of a model's text can be shown now: the sentences that are whole and hold. Markers of sources that are not
        there are taken out, even if they come in pieces."""
        return "".join(self._checked(statement) for statement in self._statements.add(piece))

    def rest(self) -> str:
        """What was held back when the text ended."""
        return "".join(self._checked(statement) for statement in self._statements.rest()).rstrip()

    def quote(self, piece: Quote) -> str:
        """A quotation as it is shown, with its number; empty for a source or span that is not there."""
        source = self._sources.get(piece.number)
        if source is None or not 0 <= piece.start < piece.end <= len(source.passage.text):
            self.dropped += 1
            return ""
        self._begun = True
        self._found.append(_citation(source, piece.start, piece.end))
        shown = piece.shown or source.passage.text[piece.start : piece.end]
        # A document's own [7] must not look like a citation of ours.
        plain = _BRACKETED.sub(r"(\1)", " ".join(shown.split()))
        return f"{plain} [{piece.number}]"

    def all(self) -> tuple[Citation, ...]:
        """Every citation, in the order of the answer, none twice."""
        return tuple(dict.fromkeys(self._found))

    def unsupported(self) -> tuple[str, ...]:
        """The sentences of the model that its sources do not support, each with the reason in brackets."""
        return tuple(self._unsupported)

    def _checked(self, statement: str) -> str:
        shown, citations = self._resolved(statement)
        bare = _bare(statement)
        if bare == REFUSAL:
            return self._shown(shown)
        if not citations and says_nothing(bare):
            # "In short:" is worth nothing if nothing follows.
            self._leading += shown
            return ""
        verdict = self._verdict(bare, citations)
        if isinstance(verdict, Unsupported):
            self._unsupported.append(f"{bare} ({verdict.reason})")
            if not self._mark:
                return ""
            shown += NOT_SUPPORTED
        self._found += citations
        return self._shown(shown)

    def _shown(self, text: str) -> str:
        text, self._leading = self._leading + text, ""
        if not self._begun:
            text = text.lstrip()
        self._begun = self._begun or bool(text)
        return text

    def _verdict(self, sentence: str, citations: Sequence[Citation]) -> Verdict:
        if not citations:
            return Unsupported("it cites no source")
        numbers = dict.fromkeys(one.number for one in citations)
        return check(sentence, [_told(self._sources[number]) for number in numbers])

    def _resolved(self, statement: str) -> tuple[str, list[Citation]]:
        """The sentence with the markers of sources that are there, and what they cite."""
        kept, citations, place = [], [], 0
        for marker in MARKER.finditer(statement):
            said = statement[place : marker.start()]
            numbers = [int(number) for number in re.split(r"\s*,\s*", marker.group(1))]
            known = [number for number in numbers if number in self._sources]
            self.dropped += len(numbers) - len(known)
            kept.append(said)
            for number in known:
                citations.append(_supporting(self._sources[number], said if terms(said) else _bare(statement)))
                kept.append(f" [{number}]")
            place = marker.end()
        return "".join([*kept, statement[place:]]), citations


def _bare(statement: str) -> str:
    """A sentence without its markers, on one line, and without the sign of a list in front."""
    return re.sub(r"^(?:[-*+•]|\d{1,3}[.)])\s+", "", " ".join(MARKER.sub("", statement).split()))


def _told(source: Source) -> str:
    """What a source tells: its text below its title and headings, a table's rows below the names of its columns."""
    passage = source.passage
    headings = [part for part in passage.heading if not part.startswith("|")]
    header = [f"{part}\n" for part in passage.heading if part.startswith("|")]
    return "\n\n".join([*dict.fromkeys([passage.title, *headings]), "".join([*header, passage.text])])


def _supporting(source: Source, sentence: str) -> Citation:
    """The sentence of the source that shares most with the sentence that cites it."""
    said = set(terms(sentence))
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
