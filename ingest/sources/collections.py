"""JSON Lines and CSV files whose lines are documents of their own: how exports from databases come in."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ingest.labelling import CollectionMapping
from ingest.parsing.encodings import encoding_of

_MAX_LINE = 16 * 2**20
_PIECE = 2**20
_SEPARATORS = ",;\t|"
csv.field_size_limit(_MAX_LINE)


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """One line as a document. `content_sha256` is over the mapped fields, so that an unmapped field that changes costs
    nothing."""

    id: str
    title: str
    text: str
    kept: dict[str, str]
    content_sha256: str


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A line that is not a document, by its number from 1."""

    line: int
    detail: str


def read_collection(path: Path, mapping: CollectionMapping) -> Iterator[CollectionRecord | BadRecord]:
    """The records of a `.csv` or `.tsv` file with a header, or of a JSON Lines file under any other name, one by one.

    Lines without an id or text, with an id that was there before, or that cannot be read become BadRecord; a line is at
    most 16 MiB. Raises OSError where the file cannot be read.
    """
    rows = _csv(path) if path.suffix.lower() in {".csv", ".tsv"} else _json_lines(path)
    seen: set[str] = set()
    for line, row in rows:
        found = BadRecord(line, row) if isinstance(row, str) else _record(line, row, mapping)
        if isinstance(found, CollectionRecord):
            if found.id in seen:
                found = BadRecord(line, f"the id {found.id!r} was there before")
            else:
                seen.add(found.id)
        yield found


def _record(line: int, row: dict[str, Any], mapping: CollectionMapping) -> CollectionRecord | BadRecord:
    missing = [name for name in (mapping.id, *mapping.text) if name not in row]
    if missing:
        return BadRecord(line, f"there is no field {missing[0]!r}")
    identifier = _text(row[mapping.id]).strip()
    if not identifier or not identifier.isprintable() or len(identifier) > 500:
        return BadRecord(line, f"the id in {mapping.id!r} is empty, longer than 500 characters, or not printable")
    text = "\n\n".join(part for part in (_text(row[name]).strip() for name in mapping.text) if part)
    kept = {name: _text(row[name]) for name in mapping.keep if row.get(name) not in (None, "")}
    if not text:
        return BadRecord(line, "its text is empty")
    title = _text(row.get(mapping.title)).strip() if mapping.title else ""
    form = json.dumps([identifier, title, text, kept], ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()
    return CollectionRecord(identifier, title or identifier, text.replace("\r\n", "\n"), kept, digest)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(_MAX_LINE + 1):
            number += 1
            if len(raw) > _MAX_LINE:
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(_MAX_LINE)
                yield number, "the line is longer than 16 MiB"
                continue
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON: {error}"
                continue
            yield number, row if isinstance(row, dict) else "not a JSON object"


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    with path.open("rb") as raw:
        encoding = encoding_of(iter(partial(raw.read, _PIECE), b""))
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        header = file.readline(_MAX_LINE)
        file.seek(0)
        # The separator alone is told by the header: quotes are doubled in every export, whether the header shows it or not.
        reader = csv.DictReader(file, delimiter=max(_SEPARATORS, key=header.count))
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"not CSV: {error}"
                continue
            if None in row or None in row.values():
                yield reader.line_num, "it has more or fewer fields than the header"
            else:
                yield reader.line_num, dict(row)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
