"""The sentences, list items and table rows of a passage, each as it can be read alone and with what stands around it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingest.passages import Unit, units
from vectorstore.lexical.analysis import terms
from vectorstore.types import Passage


@dataclass(frozen=True, slots=True)
class Sentence:
    """A part of a passage that may be quoted; `text` is it on one line: a row with the names of its columns, and the first
    sentence below a title with that, by which it is found though it is quoted without."""

    passage: Passage
    unit: Unit
    before: Unit | None
    text: str


def sentences(passage: Passage) -> list[Sentence]:
    """What may be quoted from a passage, in order; headings, titles and table headers belong to what follows them."""
    text = passage.text
    found: list[Sentence] = []
    before: Unit | None = None
    header = next((part for part in reversed(passage.heading) if part.startswith("|")), None)
    in_table = False
    for unit in units(text, 0, len(text)):
        part = text[unit.start : unit.end]
        if unit.kind == "row":
            if not in_table and header is None:
                header = part
            elif re.search(r"\w", part) and part != header:
                found.append(Sentence(passage, unit, None, _row(header or "", part)))
            in_table = True
            continue
        if in_table:
            in_table, header = False, None
        if unit.kind not in ("heading", "title") and re.search(r"\w", part):
            read = text[before.start : unit.end] if before is not None and before.kind == "title" else part
            found.append(Sentence(passage, unit, before, " ".join(read.split())))
        before = unit
    return found


def share(asked: Sequence[str], held: set[str], weights: Mapping[str, float]) -> float:
    """The part of the question's terms, by weight, that is among those held; 0 where nothing is asked."""
    total = sum(weights.get(term, 1.0) for term in asked)
    return sum(weights.get(term, 1.0) for term in asked if term in held) / total if total else 0.0


def context_terms(passage: Passage) -> set[str]:
    """The terms of a passage's title and headings."""
    return {term for part in (passage.title, *passage.heading) for term in terms(part)}


def _row(header: str, row: str) -> str:
    """A row with the name of each column before its cell, so that it can be read alone."""
    names, cells = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in (header, row))
    if len(names) != len(cells):
        return "; ".join(cell for cell in cells if cell)
    pairs = zip(names, cells, strict=True)
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)
