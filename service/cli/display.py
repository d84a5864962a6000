"""How text reaches the terminal: control characters stripped, file names never read as markup."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from policies.errors import InhouseError

_KEPT = {"\n", "\t"}
_BIDIRECTIONAL = {chr(point) for point in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}


def plain(text: object) -> str:
    """The text without control characters (C0, C1), unpaired surrogates and direction overrides, any of which could
    make a terminal show something else than what is there."""
    return "".join(
        character
        for character in str(text)
        if character in _KEPT or (unicodedata.category(character) not in {"Cc", "Cs"} and character not in _BIDIRECTIONAL)
    )


def one_line(text: object) -> str:
    """The text as `plain` has it, on one line: a name or a title cannot begin a line that looks like ours."""
    return " ".join(plain(text).splitlines()).replace("\t", " ")


def say(text: object = "") -> None:
    """One line to standard output, whatever is in it."""
    sys.stdout.write(one_line(text) + "\n")


def say_text(text: str) -> None:
    """A text of many lines, such as a document's, to standard output."""
    sys.stdout.write(plain(text) + "\n")


def write(text: str) -> None:
    """A piece of an answer to standard output, at once."""
    sys.stdout.write(plain(text))
    sys.stdout.flush()


def note(text: object) -> None:
    """One line to standard error: what is not the result."""
    sys.stderr.write(one_line(text) + "\n")


def say_json(value: object) -> None:
    """One line of JSON to standard output. What `plain` would take out is escaped, so that a program still gets it and a
    terminal does not obey it."""
    text = json.dumps(value, ensure_ascii=False)
    sys.stdout.write("".join(one if one_line(one) else f"\\u{ord(one):04x}" for one in text) + "\n")
    sys.stdout.flush()


def show_error(error: InhouseError) -> None:
    """The error and its next step, to standard error."""
    note(f"inhouse: {error.message}")
    if error.hint:
        note(f"  {error.hint}")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> None:
    """Rows as aligned columns; `columns` are (key, heading). One line a row, so that line tools work on it."""
    lines = [[heading for _, heading in columns]]
    lines += [[one_line(_cell(row.get(key))) for key, _ in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(str(item) for item in value)
    return str(value)
