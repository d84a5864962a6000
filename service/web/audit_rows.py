"""How records of the log are shown: in a line, and whole."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from policies.audit.pages import documents, outcome
from policies.audit.query import record
from policies.audit.records import Record
from policies.errors import NotFoundError
from service.web.rendering import texts

_DIRECTIONS = {chr(point) for point in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
_NOTES = ("what", "verdict", "reason", "error", "person", "key", "source", "version", "file")


@dataclass(frozen=True, slots=True)
class Row:
    """A record in a line. `question` is the text of the question that it is about, `named` are its documents, by path
    where it says one; `record` is the one that it tells of."""

    id: str
    address: str
    time: str
    actor: str
    tag: str
    outcome: str
    question: str
    named: list[str]
    note: str
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a payload, and where more about it is found."""

    text: str
    address: str = ""


def row(directory: Path, one: Record) -> Row:
    """The line of a record. The text of the question that it belongs to is taken from that question's own record."""
    payload: Mapping[str, Any] = one.payload
    text = payload.get("text")
    if not isinstance(text, str) and isinstance(payload.get("question"), str):
        with suppress(NotFoundError):
            text = record(directory, payload["question"]).payload.get("text")
    paths = payload.get("paths") or ([payload["path"]] if isinstance(payload.get("path"), str) else documents(one))
    notes = [str(payload[name]) for name in _NOTES if isinstance(payload.get(name), str)]
    return Row(
        id=one.id,
        address=f"/audit/{one.id}",
        time=one.time[:19].replace("T", " "),
        actor=visible(one.actor),
        tag=one.tag,
        outcome=outcome(one) or "",
        question=visible(text) if isinstance(text, str) else "",
        named=[visible(path) for path in dict.fromkeys(paths)],
        note=visible(", ".join(notes)),
        sequence=one.sequence,
        hash=one.hash,
    )


def detail(one: Record) -> list[tuple[str, list[Item]]]:
    """Each field of a record's payload by name, and its values."""
    return [(name, _items(name, value)) for name, value in sorted(one.payload.items())]


def visible(text: str) -> str:
    """The text with what cannot be seen, or changes the direction of what can, written as an escape."""
    hidden = {one for one in text if one != "\n" and (one in _DIRECTIONS or unicodedata.category(one) in _UNSEEN)}
    return "".join(f"\\u{ord(one):04x}" if one in hidden else one for one in text)


def _items(name: str, value: Any) -> list[Item]:
    if name == "citations":
        return [_citation(one) for one in value]
    values = value if isinstance(value, list) else [value]
    return [Item("–" if one is None else visible(str(one)), _address(name, one)) for one in values]


def _citation(cited: list[Any]) -> Item:
    document, version, start, end = cited
    said = texts()["audit"]["citation"].format(document=visible(str(document)), version=version, start=start, end=end)
    return Item(said, _address("document", document))


def _address(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        return ""
    if name in {"question", "questions", "record", "after"}:
        return f"/audit/{quote(value, safe='')}"
    if name in {"document", "documents", "path", "paths"}:
        return "/audit?" + urlencode({"event": "shown", "document": value})
    return "/audit?" + urlencode({"person": value}) if name == "person" else ""
