"""Looks into the ZIP containers of office files before any parser does: how much is in them, and whether it can be read."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from ingest.parsing.types import ParseFailure, ParseReason

_RATIO_LIMIT = 200
"""Text inflates 10 to 30 times, sheets of zeros up to some 100; bombs a thousand times."""

_ENTRY_LIMIT = 20_000
_DEFLATE_MOST = 1032
"""No deflated byte becomes more than this many."""

_PIECE = 1 << 20
_MANIFEST = "META-INF/manifest.xml"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def look_into(content: bytes, most: int) -> ParseFailure | None:
    """Why a container may not be given to a parser, or None. What its directory says of sizes is not believed: entries are
    inflated, piece by piece, and counted; more than `most` bytes, packed as no honest file is, are too many."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            encrypted = _MANIFEST in archive.NameToInfo and b":encryption-data" in _start_of(archive, _MANIFEST)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
        return None  # the parser says better what is wrong: old office formats hide under new names, and some are encrypted
    if len(entries) > _ENTRY_LIMIT:
        return ParseFailure(ParseReason.TOO_MUCH_OUTPUT, f"{len(entries)} entries in it")
    if encrypted or any(entry.flag_bits & _ENCRYPTED for entry in entries):
        return ParseFailure(ParseReason.PASSWORD, "its parts are encrypted")
    if any(entry.compress_type not in (_STORED, _DEFLATED) for entry in entries):
        return ParseFailure(ParseReason.UNSUPPORTED, "its parts are packed in a way that office files are not")
    if _DEFLATE_MOST * sum(min(entry.compress_size, len(content)) for entry in entries) <= most:
        return None
    inflated = 0
    for entry in entries:
        inflated += _inflated(content, entry, most - inflated)
        if inflated > most and inflated > _RATIO_LIMIT * len(content):
            return ParseFailure(ParseReason.TOO_MUCH_OUTPUT, f"more than {most} bytes from {len(content)}")
    return None


def _start_of(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as file:
            return file.read(_PIECE)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
        return b""  # nor can anything else be known of it; its entries are counted all the same


def _inflated(content: bytes, entry: zipfile.ZipInfo, left: int) -> int:
    """The bytes that an entry really holds; counting ends when they are past `left` and past any honest ratio."""
    header = content[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
    if entry.compress_type == _STORED or len(header) < _LOCAL_HEADER.size:
        return min(entry.compress_size, len(content))
    _, name, extra = _LOCAL_HEADER.unpack(header)
    start = entry.header_offset + _LOCAL_HEADER.size + name + extra
    inflate, packed, count = zlib.decompressobj(-15), memoryview(content)[start : start + entry.compress_size], 0
    enough = max(left, _RATIO_LIMIT * len(content)) + 1
    try:
        while packed and not inflate.eof and count < enough:
            count += len(inflate.decompress(packed, _PIECE))
            packed = memoryview(inflate.unconsumed_tail)
    except zlib.error:
        pass  # what came so far counts; the parser says what is broken
    return count
