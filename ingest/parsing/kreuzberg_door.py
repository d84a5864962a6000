"""The only door to kreuzberg: one file becomes text whose pages are spans of it by construction."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from ingest.parsing.archives import look_into
from ingest.parsing.encodings import decoded, markup_as_utf8
from ingest.parsing.office import open_slides, open_text, powerpoint
from ingest.parsing.pdfium_door import characters
from ingest.parsing.reading_order import as_read, headed, loses_letters, mostly_right_to_left
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseReason
from vectorstore.types import Page

_SEPARATOR = "\n\n"
_PLAIN_TEXT = """
.txt .text .log .rst .adoc .asciidoc .py .js .mjs .ts .tsx .jsx .java .c .h .cc .cpp .hpp .cs .go .rs .rb .php .pl .sh
.bash .zsh .ps1 .bat .sql .r .scala .kt .swift .lua .m .tex .ini .cfg .conf .toml .yaml .yml .json .jsonl .ndjson .xsl
.css .scss .vtt .srt .properties .gradle .cmake .dockerfile .tf .proto .graphql .bib .org .diff .patch
"""
_PLAIN_SUFFIXES = frozenset(_PLAIN_TEXT.split())
"""Read as text: as source code, kreuzberg would fetch grammars from the network."""

_MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})
_ARCHIVES = frozenset([".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".iso", ".jar", ".whl"])
_IMAGES = frozenset([".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2"])
_SLIDES = frozenset({".pptx", ".pptm"})
_ENOUGH = 0.98
"""Of the letters of a text: another way of reading it that kept as many lost nothing."""

_PLAIN_OUTPUT = frozenset({".eml", ".msg"})
_ZIPPED = frozenset([".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".epub", ".docm", ".pptm", ".xlsm", ".pages", ".key"])
_IWORK = frozenset({".pages", ".key", ".numbers"})
_KINDS = {".nxml": "application/x-jats+xml"}
"""Kinds that go by more suffixes than kreuzberg knows."""

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]")
_NO_KIND = ("text/plain", "application/octet-stream")
_SUFFIX = re.compile(r"\.[a-z0-9_+-]{1,16}")


def parse(content: bytes, name: str, *, output_bytes: int, tessdata: str | None) -> ParsedDocument | ParseFailure:
    """Parses one file's bytes; its type is told by the name's suffix, and by the bytes where that says nothing."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _ARCHIVES:
        return ParseFailure(ParseReason.UNSUPPORTED, f"{suffix} archives are not unpacked")
    if suffix in _PLAIN_SUFFIXES or suffix in _MARKDOWN_SUFFIXES:
        return _plain(content, name, suffix)
    if (suffix in _ZIPPED or content.startswith(_ZIP)) and (failure := look_into(content, output_bytes)) is not None:
        if suffix in _IWORK and failure.reason is ParseReason.UNSUPPORTED:
            return ParseFailure(ParseReason.PASSWORD, "its parts are encrypted")
        return failure
    if suffix in _IMAGES and tessdata is None:
        return ParseFailure(ParseReason.NO_OCR, "Tesseract's language data was not found")
    if suffix == ".odp":
        return _slides(open_slides, content, name, suffix)
    kind = _kind(suffix, content)
    if kind in _NO_KIND or (kind is None and not suffix):
        return _plain(content, name, suffix)
    if kind is None:
        return ParseFailure(ParseReason.UNSUPPORTED, f"{suffix} files")
    outcome = _by_kind(kind, content, name, suffix, tessdata)
    if not isinstance(outcome, ParseFailure) or outcome.reason is not ParseReason.DAMAGED:
        return outcome
    if suffix in _SLIDES:
        return _slides(powerpoint, content, name, suffix)
    seen = _kind("", content)
    if seen is None or seen == kind:
        return outcome
    # A name that lies is common: HTML that a program exported "to Excel", a new document under an old suffix.
    other = _by_kind(seen, content, name, "", tessdata)
    if isinstance(other, ParsedDocument):
        return replace(other, warnings=(*other.warnings, f"read as {seen}, which its name does not say"))
    return outcome


def _by_kind(kind: str, content: bytes, name: str, suffix: str, tessdata: str | None) -> ParsedDocument | ParseFailure:
    try:
        result = _extract(_prepared(content, kind), kind, suffix, tessdata)
    except Exception as error:
        return _failure(error, content, suffix)
    return _document(result, content, name, suffix, tessdata)


def _kind(suffix: str, content: bytes) -> str | None:
    """The media type, as kreuzberg names it, or None where neither suffix nor bytes tell one."""
    import kreuzberg

    known = _kind_of_suffix(suffix) if suffix else None
    if known is not None or suffix:
        return known
    try:
        seen = str(kreuzberg.detect_mime_type(content))
    except Exception:
        return None
    return None if seen in _NO_KIND else seen


@cache
def _kind_of_suffix(suffix: str) -> str | None:
    import kreuzberg

    if suffix in _KINDS:
        return _KINDS[suffix]
    if _SUFFIX.fullmatch(suffix) is None:
        return None
    # It tells the type by the suffix, but only of a file that is there.
    with tempfile.NamedTemporaryFile(suffix=suffix) as empty:
        try:
            return str(kreuzberg.detect_mime_type_from_path(empty.name))
        except Exception:
            return None


def _extract(content: bytes, kind: str, suffix: str, tessdata: str | None) -> Any:
    import kreuzberg

    # Without this, what was read in pictures stays in a cache on the disk.
    tesseract = kreuzberg.TesseractConfig(use_cache=False)
    options: dict[str, Any] = {
        "use_cache": False,
        "enable_quality_processing": False,
        "pages": kreuzberg.PageConfig(extract_pages=True),
        "output_format": "plain" if suffix in _PLAIN_OUTPUT else "markdown",
        "ocr": kreuzberg.OcrConfig(backend="tesseract", language="eng", tesseract_config=tesseract) if tessdata else None,
        "disable_ocr": tessdata is None,
    }
    return kreuzberg.extract_bytes_sync(content, kind, kreuzberg.ExtractionConfig(**options))


def _prepared(content: bytes, kind: str) -> bytes:
    """Markup in UTF-8, which is all that its readers know; XML with its numeric character references as characters besides:
    they are dropped else."""
    if kind == "text/html":
        return markup_as_utf8(content)
    if not kind.endswith("xml") or content.startswith(_ZIP):
        return content

    def character(found: re.Match[str]) -> str:
        digits = found.group(1)
        number = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
        # The first 160 hold what is markup by itself, and controls.
        return chr(number) if 160 <= number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else found.group()

    text = markup_as_utf8(content).decode("utf-8")
    return re.sub(r"&#(\d{1,8}|[xX][0-9a-fA-F]{1,8});", character, text).encode("utf-8")


def _slides(
    read: Callable[[bytes], list[tuple[int, str]]], content: bytes, name: str, suffix: str
) -> ParsedDocument | ParseFailure:
    try:
        parts = read(content)
    except ValueError as error:
        return ParseFailure(ParseReason.PASSWORD if _encrypted_office(content) else ParseReason.DAMAGED, str(error)[:300])
    text, pages = _joined(parts)
    if not text.strip():
        return ParseFailure(ParseReason.EMPTY, "the slides hold no text")
    return ParsedDocument(
        text, pages, _title({}, text, name, suffix), str(_kind_of_suffix(suffix) or "application/octet-stream")
    )


def _document(result: Any, content: bytes, name: str, suffix: str, tessdata: str | None) -> ParsedDocument | ParseFailure:
    metadata = dict(result.metadata or {})
    said = result.content or ""
    parts = _slides_besides(said, content, suffix) or _pages(result, metadata)
    if metadata.get("format_type") == "pdf":
        parts = _as_read(parts, content)
    text, pages = _joined(parts) if parts else (_clean(_without_front_matter(said, suffix)), ())
    if suffix == ".odt" and _letters(told := _open_text(content) or "") * _ENOUGH > _letters(text):
        text, pages = told, ()
    if _garbled(text):
        return ParseFailure(ParseReason.DAMAGED, "what came out of it is not text")
    if not text.strip():
        if suffix == ".pdf" and tessdata is None:
            return ParseFailure(ParseReason.NO_OCR, "no text layer, and Tesseract's language data was not found")
        if suffix == ".odt" and _open_text(content) is None:
            return ParseFailure(ParseReason.DAMAGED, "its text is not where it belongs")
        if suffix in _IWORK:
            return ParseFailure(ParseReason.UNSUPPORTED, "a version of iWork that is not read: export it as PDF")
        return ParseFailure(ParseReason.EMPTY, "the parser found no text")
    return ParsedDocument(
        text=text,
        pages=pages,
        title=_title(metadata, text, name, suffix),
        media_type=str(result.mime_type or "application/octet-stream"),
        metadata={key: str(metadata[key]) for key in ("authors", "created_at", "modified_at", "subject") if metadata.get(key)},
    )


def _joined(parts: list[tuple[int, str]]) -> tuple[str, tuple[Page, ...]]:
    """One text of the pages' texts, and where each lies in it."""
    pages: list[Page] = []
    pieces: list[str] = []
    place = 0
    for number, part in parts:
        clean = _clean(part)
        if pieces:
            place += len(_SEPARATOR)
        pages.append(Page(number, place, place + len(clean)))
        pieces.append(clean)
        place += len(clean)
    return _SEPARATOR.join(pieces), tuple(pages)


def _pages(result: Any, metadata: dict[str, Any]) -> list[tuple[int, str]]:
    """(number, text) of each page whose text can be trusted; empty where only the whole can."""
    content = result.content or ""
    if metadata.get("format_type") == "excel":
        return _sections(content, [str(name) for name in metadata.get("sheet_names") or []])
    if metadata.get("format_type") == "pptx":
        return _bounded(content, metadata)
    found = [(int(_field(page, "page_number")), str(_field(page, "content") or "")) for page in result.pages or []]
    # Letters and digits alone: what was laid out as a table has rulers in the one and not in the other.
    kept = sum(_letters(text) for _, text in found)
    if found and kept >= _ENOUGH * _letters(content):
        return sorted(found)
    # Pages that lost part of the content, or were never told apart, are worse than none; but one page holds it all.
    single = metadata.get("format_type") == "pdf" and metadata.get("page_count") == 1
    return [(1, content)] if single and content.strip() else []


def _as_read(parts: list[tuple[int, str]], content: bytes) -> list[tuple[int, str]]:
    """A PDF's pages, those that are written from right to left in the order in which they are read: the parser tells words as
    they are seen, from left to right, and takes their lines for tables. A page that would lose letters by it stays as it is."""
    turned = [number for number, text in parts if mostly_right_to_left(text)]
    read = {number: as_read(placed) for number, placed in characters(content, turned).items()} if turned else {}
    return [
        (number, headed(read[number], text) if number in read and not loses_letters(read[number], text) else text)
        for number, text in parts
    ]


def _slides_besides(said: str, content: bytes, suffix: str) -> list[tuple[int, str]]:
    """Slides read from their XML, where they hold all that the parser found: its own bounds are off by some characters."""
    if suffix not in _SLIDES:
        return []
    try:
        slides = powerpoint(content)
    except ValueError:
        return []
    return slides if sum(_letters(text) for _, text in slides) >= _ENOUGH * _letters(said) else []


def _open_text(content: bytes) -> str | None:
    try:
        return open_text(content)
    except ValueError:
        return None


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _sections(content: str, names: list[str]) -> list[tuple[int, str]]:
    """Sheets, which kreuzberg heads with their names in order; their page entries are empty."""
    starts = []
    place = 0
    for name in names:
        head = f"## {name}\n"
        found = content.find(head, place)
        if found < 0 or (found and content[found - 1] != "\n"):
            continue
        starts.append((names.index(name) + 1, found))
        place = found + len(head)
    if not starts or content[: starts[0][1]].strip():
        return []
    ends = [start for _, start in starts[1:]] + [len(content)]
    return [(number, content[start:end].strip()) for (number, start), end in zip(starts, ends, strict=True)]


def _bounded(content: str, metadata: dict[str, Any]) -> list[tuple[int, str]]:
    """Slides by their boundaries, which count bytes; none where these do not cover the content in order, line by line."""
    raw = content.encode()
    boundaries = (metadata.get("pages") or {}).get("boundaries") or []
    pages, place = [], 0
    for one in boundaries:
        start, end = int(one["byte_start"]), int(one["byte_end"])
        if start < place or end > len(raw) or raw[place:start].strip() or raw[end : end + 1].strip():
            return []
        pages.append((int(one["page_number"]), raw[start:end].decode(errors="replace").strip()))
        place = end
    return [] if raw[place:].strip() else pages


def _field(page: Any, name: str) -> Any:
    return page[name] if isinstance(page, dict) else getattr(page, name)


def _clean(text: str) -> str:
    """Line ends as one character, table padding and rulers shortened (they cost word pieces and say nothing)."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").split("\n")
    return "\n".join(_row(line) if line.startswith("|") else line.rstrip() for line in lines).strip("\n")


def _row(line: str) -> str:
    return re.sub(r"-{4,}", "---", re.sub(r" {2,}", " ", line)).rstrip()


def _without_front_matter(content: str, suffix: str) -> str:
    if suffix not in {".html", ".htm", ".xhtml"}:
        return content
    return re.sub(r"\A---\n(?:[^\n]+\n)*\n*(?:#+ title: [^\n]*\n+)?", "", content)


def _title(metadata: dict[str, Any], text: str, name: str, suffix: str) -> str:
    said = str(metadata.get("title") or metadata.get("subject") or "").strip()
    if said and said.lower() not in {"untitled", "document", "microsoft word - document1"}:
        return said[:300]
    if suffix not in {".xlsx", ".xls", ".ods", ".csv", ".tsv"}:
        heading = re.search(r"^#{1,6} +(\S[^\n]*)$", text[:5000], re.MULTILINE)
        if heading:
            return heading.group(1).strip(" #*_")[:300]
    return re.sub(r"[_\-]+", " ", PurePosixPath(name).stem).strip() or name


def _plain(raw: bytes, name: str, suffix: str) -> ParsedDocument | ParseFailure:
    if b"\x00" in raw[:8192] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ParseFailure(ParseReason.UNSUPPORTED, "binary data under the name of a text file")
    text, warnings = decoded(raw)
    text = "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").split("\n"))
    if _garbled(text):
        return ParseFailure(ParseReason.UNSUPPORTED, "binary data under the name of a text file")
    if not text.strip():
        return ParseFailure(ParseReason.EMPTY, "the file is empty")
    kind = "text/markdown" if suffix in _MARKDOWN_SUFFIXES else "text/plain"
    title = _title({}, text if suffix in _MARKDOWN_SUFFIXES else "", name, suffix)
    return ParsedDocument(text.strip("\n"), (), title, kind, {}, warnings)


def _failure(error: Exception, content: bytes, suffix: str) -> ParseFailure:
    said = " ".join(str(error).split())[:300]
    low = said.lower()
    if _encrypted_office(content) or any(word in low for word in ("password", "encrypted", "decrypt")):
        return ParseFailure(ParseReason.PASSWORD, said)
    if suffix in _IMAGES and "could not determine" in low:
        return ParseFailure(ParseReason.DAMAGED, said)
    if "unsupported" in low or "no extractor" in low or "mime type" in low or "could not determine" in low:
        return ParseFailure(ParseReason.UNSUPPORTED, said or f"{suffix or 'no suffix'}")
    if "pixel cap" in low or ("limit" in low and ("exceed" in low or "security" in low or "too large" in low)):
        return ParseFailure(ParseReason.TOO_MUCH_OUTPUT, said)
    if "tessdata" in low or type(error).__name__ == "MissingDependencyError":
        return ParseFailure(ParseReason.NO_OCR, said)
    return ParseFailure(ParseReason.DAMAGED, said or type(error).__name__)


def _garbled(text: str) -> bool:
    """Whether more than a twentieth of it is what no text has: controls, and marks for bytes that were no characters."""
    return len(_NOT_TEXT.findall(text)) * 20 > len(text)


def _encrypted_office(content: bytes) -> bool:
    """Whether these are the bytes of an office file under a password: an OLE container that holds an encrypted package."""
    return content.startswith(_OLE) and _ENCRYPTED_PACKAGE in content
