"""Office files read straight from their XML, where the parser proper loses text or pages, or refuses them altogether."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_SLIDES = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_OPEN = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_TEXT, _TABLE, _OFFICE, _DRAW = (_OPEN % name for name in ("text", "table", "office", "drawing"))
_TITLES = ("title", "ctrTitle")
_SPACES = frozenset({_TEXT + "s", _TEXT + "tab", _TEXT + "line-break", _DRAWING + "br"})
_NOT_SHOWN = frozenset({_TEXT + "tracked-changes", _OFFICE + "annotation", _OFFICE + "forms"})
"""What was deleted, and what is said beside the text."""

_COVERED = _TABLE + "covered-table-cell"
_BREAK = "\n\n"
_ROW_BREAK = "\n"


def powerpoint(content: bytes) -> list[tuple[int, str]]:
    """(number, text) of each slide of a .pptx, in the order in which they are shown. Raises ValueError for what is not one."""
    with _opened(content) as archive:
        shown = _xml(archive, "ppt/presentation.xml").iter(_SLIDES + "sldId")
        targets = {one.get("Id"): one.get("Target", "") for one in _xml(archive, "ppt/_rels/presentation.xml.rels")}
        names = [posixpath.normpath(posixpath.join("ppt", targets.get(one.get(_RELATION), ""))) for one in shown]
        slides = [_xml(archive, name.lstrip("/")) for name in names]
    return [(number, _joined(_drawn(one))) for number, one in enumerate(slides, 1)]


def open_slides(content: bytes) -> list[tuple[int, str]]:
    """(number, text) of each page of an .odp. Raises ValueError for what is not one."""
    with _opened(content) as archive:
        pages = list(_xml(archive, "content.xml").iter(_DRAW + "page"))
    return [(number, _joined(_written(one))) for number, one in enumerate(pages, 1)]


def open_text(content: bytes) -> str:
    """The text of an .odt as Markdown. Raises ValueError for what is not one."""
    with _opened(content) as archive:
        body = _xml(archive, "content.xml").find(f"{_OFFICE}body/{_OFFICE}text")
    return "" if body is None else _joined(_written(body))


def _opened(content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(str(error)) from None


def _xml(archive: zipfile.ZipFile, name: str) -> Element:
    try:
        # Expat refuses entities that multiply, and reads none from elsewhere; the process is confined besides.
        return ElementTree.fromstring(archive.read(name))  # noqa: S314
    except (KeyError, ElementTree.ParseError, zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{name}: {error}") from None


def _drawn(root: Element) -> Iterator[str]:
    """The blocks of a slide of PowerPoint."""
    for one in root:
        if one.tag == _DRAWING + "tbl":
            yield _table(one, _DRAWING + "tr", _DRAWING + "tc", lambda cell: cell.iter(_DRAWING + "p"))
        elif one.tag == _DRAWING + "p":
            yield _text(one)
        elif one.tag == _SLIDES + "sp" and any(kind.get("type") in _TITLES for kind in one.iter(_SLIDES + "ph")):
            yield from (f"## {text}" for text in [" ".join(filter(None, _drawn(one)))] if text)
        else:
            yield from _drawn(one)


def _written(root: Element) -> Iterator[str]:
    """The blocks of an OpenDocument text or page."""
    for one in root:
        if one.tag in _NOT_SHOWN:
            continue
        if one.tag == _TABLE + "table":
            yield _table(one, _TABLE + "table-row", _TABLE + "table-cell", _written_in)
        elif one.tag == _TEXT + "h":
            level = one.get(_TEXT + "outline-level", "1")
            yield f"{'#' * min(6, int(level) if level.isdigit() else 1)} {_text(one)}"
        elif one.tag == _TEXT + "p":
            yield _text(one)
        elif one.tag == _TEXT + "list-item":
            yield f"- {' '.join(filter(None, map(str.strip, _written(one))))}"
        else:
            yield from _written(one)


def _written_in(cell: Element) -> Iterator[Element]:
    yield from (one for one in cell.iter() if one.tag in (_TEXT + "p", _TEXT + "h"))


def _table(table: Element, row: str, cell: str, paragraphs: Callable[[Element], Iterator[Element]]) -> str:
    lines = []
    for one in _rows(table, row, cell):
        cells = [" ".join(filter(None, map(_text, paragraphs(part)))) for part in one if part.tag in (cell, _COVERED)]
        if any(cells):
            lines.append(f"| {' | '.join(part.replace('|', '/') for part in cells)} |")
    if lines:
        lines.insert(1, "|" + " --- |" * lines[0].count(" | ") + " --- |")
    return _ROW_BREAK.join(lines)


def _rows(root: Element, row: str, cell: str) -> Iterator[Element]:
    """The rows of a table, those of tables in its cells left out: they are in the cell's text."""
    for one in root:
        if one.tag == row:
            yield one
        elif one.tag != cell:
            yield from _rows(one, row, cell)


def _text(paragraph: Element) -> str:
    return " ".join("".join(_pieces(paragraph)).split())


def _pieces(element: Element) -> Iterator[str]:
    yield element.text or ""
    for one in element:
        if one.tag in _SPACES:
            yield " "
        elif one.tag not in _NOT_SHOWN:
            yield from _pieces(one)
        yield one.tail or ""
    if element.tag == _TEXT + "p":
        yield " "  # paragraphs in a frame, or of a note, within a paragraph


def _joined(blocks: Iterator[str]) -> str:
    return _BREAK.join(filter(None, map(str.strip, blocks)))
