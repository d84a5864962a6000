"""The only door to kreuzberg: one file becomes text whose pages are spans of it by construction."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

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
_PLAIN_OUTPUT = frozenset({".eml", ".msg"})
_ZIPPED = frozenset([".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".epub", ".docm", ".pptm", ".xlsm"])
_RATIO_LIMIT = 200
"""Text inflates 10 to 30 times, sheets of zeros up to some 100; bombs a thousand times."""

_ENTRY_LIMIT = 20_000


def parse(path: Path, name: str, *, output_bytes: int, tessdata: str | None) -> ParsedDocument | ParseFailure:
    """Parses one file; the type is told by the name's suffix, and by the content where that says nothing."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _ARCHIVES:
        return ParseFailure(ParseReason.UNSUPPORTED, f"{suffix} archives are not unpacked")
    if suffix in _PLAIN_SUFFIXES or suffix in _MARKDOWN_SUFFIXES:
        return _plain(path, name, suffix)
    if suffix in _ZIPPED and (failure := _bomb(path, output_bytes)) is not None:
        return failure
    if suffix in _IMAGES and tessdata is None:
        return ParseFailure(ParseReason.NO_OCR, "Tesseract's language data was not found")
    try:
        result = _extract(path, suffix, tessdata)
    except Exception as error:
        if not suffix and isinstance(text := _plain(path, name, suffix), ParsedDocument):
            return text
        return _failure(error, suffix, path)
    return _document(result, name, suffix, tessdata)


def _extract(path: Path, suffix: str, tessdata: str | None) -> Any:
    import kreuzberg

    options: dict[str, Any] = {
        "use_cache": False,
        "enable_quality_processing": False,
        "pages": kreuzberg.PageConfig(extract_pages=True),
        "output_format": "plain" if suffix in _PLAIN_OUTPUT else "markdown",
        "ocr": kreuzberg.OcrConfig(backend="tesseract", language="eng") if tessdata else None,
        "disable_ocr": tessdata is None,
    }
    return kreuzberg.extract_file_sync(path, None, kreuzberg.ExtractionConfig(**options))


def _document(result: Any, name: str, suffix: str, tessdata: str | None) -> ParsedDocument | ParseFailure:
    metadata = dict(result.metadata or {})
    parts = _pages(result, metadata, suffix)
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
    text = _SEPARATOR.join(pieces) if parts else _clean(_without_front_matter(result.content or "", suffix))
    if not text.strip():
        if suffix == ".pdf" and tessdata is None:
            return ParseFailure(ParseReason.NO_OCR, "no text layer, and Tesseract's language data was not found")
        return ParseFailure(ParseReason.EMPTY, "the parser found no text")
    return ParsedDocument(
        text=text,
        pages=tuple(pages),
        title=_title(metadata, text, name, suffix),
        media_type=str(result.mime_type or "application/octet-stream"),
        metadata={key: str(metadata[key]) for key in ("authors", "created_at", "modified_at", "subject") if metadata.get(key)},
    )


def _pages(result: Any, metadata: dict[str, Any], suffix: str) -> list[tuple[int, str]]:
    """(number, text) of each page whose text can be trusted; empty where only the whole can."""
    content = result.content or ""
    if metadata.get("format_type") == "excel":
        return _sections(content, [str(name) for name in metadata.get("sheet_names") or []])
    if metadata.get("format_type") == "pptx":
        return _bounded(content, metadata)
    found = [(int(_field(page, "page_number")), str(_field(page, "content") or "")) for page in result.pages or []]
    # Letters and digits alone: what was laid out as a table has rulers in the one and not in the other.
    kept = sum(_letters(text) for _, text in found)
    # Pages that lost part of the content, or were never told apart, are worse than none.
    if not found or kept < 0.98 * _letters(content):
        return []
    return sorted(found)


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
    """Slides by their boundaries, which count bytes; none where the boundaries do not cover the content in order."""
    raw = content.encode()
    boundaries = (metadata.get("pages") or {}).get("boundaries") or []
    pages, place = [], 0
    for one in boundaries:
        start, end = int(one["byte_start"]), int(one["byte_end"])
        if start < place or end > len(raw) or raw[place:start].strip():
            return []
        pages.append((int(one["page_number"]), raw[start:end].decode(errors="replace").strip()))
        place = end
    if pages and (rest := raw[place:].decode(errors="replace").strip()):
        number, last = pages[-1]
        pages[-1] = (number, f"{last}{_SEPARATOR}{rest}")
    return pages


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


def _plain(path: Path, name: str, suffix: str) -> ParsedDocument | ParseFailure:
    raw = path.read_bytes()
    if b"\x00" in raw[:8192] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ParseFailure(ParseReason.UNSUPPORTED, "binary data under the name of a text file")
    text, warnings = _decoded(raw)
    text = "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").split("\n"))
    if not text.strip():
        return ParseFailure(ParseReason.EMPTY, "the file is empty")
    kind = "text/markdown" if suffix in _MARKDOWN_SUFFIXES else "text/plain"
    title = _title({}, text if suffix in _MARKDOWN_SUFFIXES else "", name, suffix)
    return ParsedDocument(text.strip("\n"), (), title, kind, {}, warnings)


def _decoded(raw: bytes) -> tuple[str, tuple[str, ...]]:
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace"), ()
    try:
        return raw.decode("utf-8"), ()
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(raw).best()
        encoding = best.encoding if best else "cp1252"
        return raw.decode(encoding, errors="replace"), (f"encoding guessed: {encoding}",)


def _bomb(path: Path, output_bytes: int) -> ParseFailure | None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None  # the parser says better what is wrong: old office formats hide under new names, and some are encrypted
    inflated = sum(entry.file_size for entry in entries)
    packed = max(1, sum(entry.compress_size for entry in entries))
    if len(entries) > _ENTRY_LIMIT or (inflated > output_bytes and inflated / packed > _RATIO_LIMIT):
        return ParseFailure(ParseReason.TOO_MUCH_OUTPUT, f"{len(entries)} entries, {inflated} bytes from {packed}")
    return None


def _failure(error: Exception, suffix: str, path: Path) -> ParseFailure:
    said = " ".join(str(error).replace(str(path), path.name).split())[:300]
    low = said.lower()
    if any(word in low for word in ("password", "encrypted", "decrypt")):
        return ParseFailure(ParseReason.PASSWORD, said)
    if "unsupported" in low or "no extractor" in low or "mime type" in low or "could not determine" in low:
        return ParseFailure(ParseReason.UNSUPPORTED, said or f"{suffix or 'no suffix'}")
    if "tesseract" in low or "tessdata" in low or type(error).__name__ in {"OCRError", "MissingDependencyError"}:
        return ParseFailure(ParseReason.NO_OCR, said)
    if "limit" in low and ("exceed" in low or "security" in low or "too large" in low):
        return ParseFailure(ParseReason.TOO_MUCH_OUTPUT, said)
    return ParseFailure(ParseReason.DAMAGED, said or type(error).__name__)
