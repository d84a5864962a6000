"""What a GGUF file says of itself, read without trusting it: no model is loaded for it, and no length in it is believed."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from policies.errors import ModelRefused

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_FIELDS = 10_000
_MOST_TENSORS = 200_000
_MOST_DIMENSIONS = 8
_LONGEST_KEPT = 4096
_DEEPEST_LIST = 2
_ALIGNMENT = 32
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9
_BLOCKS = {
    kind: (values, size)
    for values, sizes in (
        (1, {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2}),
        (32, {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 9: 36, 20: 18, 39: 17}),
        (256, {10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292, 16: 66, 17: 74, 18: 98, 19: 50, 21: 110, 22: 82, 23: 136}),
        (256, {29: 56, 34: 54, 35: 66}),
    )
    for kind, size in sizes.items()
}
"""Values in a block and its bytes, by the number of a tensor's type. Of a newer type only where it begins is looked at."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a model before it is loaded: the lengths in tokens and bytes; `title` is the model's own name."""

    architecture: str
    title: str
    context_tokens: int | None
    chat_template: bool


def read_header(file: BinaryIO) -> Header:
    """The header of an open file, which is read from its beginning. Raises ModelRefused for a file that is no GGUF, of an
    unknown version, damaged, cut short, one of several parts, or of a model that does not generate text."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    reader = _Reader(file, size)
    if reader.raw(4, "it is too short") != _MAGIC:
        raise _refused("it does not begin with GGUF", hint="Name a model file in the GGUF form, as llama.cpp reads it.")
    version = reader.number("I")
    if version not in _VERSIONS:
        raise _refused(f"its form is version {version}, and {_VERSIONS[0]} and {_VERSIONS[1]} are known")
    tensors, fields = reader.number("Q"), reader.number("Q")
    if tensors > _MOST_TENSORS or fields > _MOST_FIELDS or not tensors:
        raise _refused(f"it names {tensors} tensors and {fields} fields")
    found = dict(reader.field() for _ in range(fields))
    end = max(reader.tensor() for _ in range(tensors))
    alignment = found.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**16:
        raise _refused("its alignment makes no sense")
    start = -(-reader.position // alignment) * alignment
    if start + end > size:
        raise _refused(f"it has {size} bytes and should have at least {start + end}", hint="Copy or download it again.")
    return _header(found)


def _header(found: dict[str, Any]) -> Header:
    parts = found.get("split.count")
    if isinstance(parts, int) and parts > 1:
        raise _refused(f"it is one of {parts} parts", hint="Make one file of them: llama-gguf-split --merge FIRST-PART FILE.")
    architecture = str(found.get("general.architecture", ""))
    if not architecture:
        raise _refused("it does not name its architecture")
    if f"{architecture}.pooling_type" in found or architecture in ("clip", "bert", "nomic-bert"):
        raise _refused("its model makes vectors, not text", hint="Name a chat model.")
    context = found.get(f"{architecture}.context_length")
    return Header(
        architecture=architecture,
        title=str(found.get("general.name", "")),
        context_tokens=context if isinstance(context, int) and context > 0 else None,
        chat_template=bool(found.get("tokenizer.chat_template")),
    )


class _Reader:
    """Reads one value after the other, and never more than the file has."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self.position = 0

    def raw(self, length: int, otherwise: str = "it ends within its header") -> bytes:
        """So many bytes."""
        self._pass(length, otherwise)
        return self._file.read(length)

    def number(self, form: str) -> Any:
        """One number of a `struct` form."""
        return struct.unpack(f"<{form}", self.raw(struct.calcsize(f"<{form}")))[0]

    def field(self) -> tuple[str, Any]:
        """A name and its value; None for a list, and for a text that is longer than anything that is asked for."""
        return self._text() or "", self._value(self.number("I"), 0)

    def tensor(self) -> int:
        """Where a tensor ends, in bytes from the start of the data."""
        self._text()
        dimensions = self.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise _refused(f"a tensor has {dimensions} dimensions")
        values = 1
        for _ in range(dimensions):
            values *= self.number("Q")
        kind, offset = self.number("I"), self.number("Q")
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
        return int(offset + values // per_block * block_bytes)

    def _text(self) -> str | None:
        length = self.number("Q")
        if length > _LONGEST_KEPT:
            self._pass(length)
            self._file.seek(length, os.SEEK_CUR)
            return None
        return self.raw(length).decode("utf-8", errors="replace")

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            text = self._text()
            # A chat template is long, and all that is asked of it is whether there is one.
            return True if text is None else text
        if kind == _LIST and depth < _DEEPEST_LIST:
            inner, count = self.number("I"), self.number("Q")
            if inner in _NUMBERS:
                length = count * struct.calcsize(f"<{_NUMBERS[inner]}")
                self._pass(length)
                self._file.seek(length, os.SEEK_CUR)
            else:
                # Each entry takes bytes, so that a count that is a lie ends with the file.
                for _ in range(count):
                    self._value(inner, depth + 1)
            return None
        raise _refused(f"a field is of the unknown type {kind}")

    def _pass(self, length: int, otherwise: str = "it ends within its header") -> None:
        if length > self._left:
            raise _refused(otherwise, hint="Copy or download it again.")
        self._left -= length
        self.position += length


def _refused(why: str, *, hint: str = "Take the file from where it was published, and compare its SHA-256.") -> ModelRefused:
    return ModelRefused(f"this is no GGUF file that can be used: {why}", hint=hint)
