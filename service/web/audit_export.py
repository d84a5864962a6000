"""Records of the log as a file: JSON Lines as they are stored, or CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from policies.audit.pages import documents, outcome
from policies.audit.records import Record
from service.web.audit_rows import visible

FORMS = ("jsonl", "csv")
_PIECE = 200
_COLUMNS = ("id", "time", "person", "event", "outcome", "documents", "payload", "hash", "previous")
# A formula can begin a cell, also one that a spreadsheet makes of ours because it separates by another character.
_FORMULA = re.compile(r"(^|[;,|\t])([\s'\"]*)(?=[=+\-@＝＋－＠])")
_ESCAPED = str.maketrans({one: f"\\u{ord(one):04x}" for one in ";=+@|＝＋－＠"})


def exported(records: Iterable[Record], form: str) -> tuple[str, Iterator[bytes]]:
    """The media type and the file in pieces. A line of `jsonl` is what the log has, so that its hash can be checked."""
    if form == "jsonl":
        return "application/jsonl", _in_pieces(one.line() for one in records)
    return "text/csv; charset=utf-8", _in_pieces(_csv(records))


def cell(text: str) -> str:
    """The text as it may stand in a spreadsheet: what would begin a formula is made text by an apostrophe, and a line does not
    end in it."""
    return _FORMULA.sub(r"\1'\2", visible(text).replace("\n", "\\n"))


def _csv(records: Iterable[Record]) -> Iterator[bytes]:
    yield _line(_COLUMNS)
    for one in records:
        # JSON has escapes of its own for what a spreadsheet could obey, so the payload stays what it is.
        payload = json.dumps(dict(one.payload), ensure_ascii=True, sort_keys=True).translate(_ESCAPED)
        plain = (one.id, one.time, one.actor, one.tag, outcome(one) or "", " ".join(documents(one)))
        yield _line((*(cell(text) for text in plain), payload, one.hash, one.previous))


def _line(cells: Iterable[str]) -> bytes:
    made = io.StringIO()
    csv.writer(made, quoting=csv.QUOTE_ALL).writerow(cells)
    return made.getvalue().encode("utf-8", "backslashreplace")


def _in_pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    while piece := b"".join(islice(lines, _PIECE)):
        yield piece
