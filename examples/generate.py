"""Writes the binary documents of examples/documents from the readable sources in examples/sources.

A source is named after its document with `.txt` behind it, as `finance/budget-2026.xlsx.txt`. Its first line is the title. A
line of `---` begins a new page or slide; a paragraph whose lines have cells parted by `|` is a table, its header first, that
goes on over pages where it is long. The result is the same, byte for byte, each time.
"""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
WHEN = datetime.datetime(2026, 3, 2, 9, 0, 0)  # noqa: DTZ001 -- office formats keep local time


def pages_of(text: str) -> tuple[str, list[list[str]]]:
    """The title, and the paragraphs of each page."""
    title, _, rest = text.strip().partition("\n")
    return title, [[part.strip() for part in page.split("\n\n") if part.strip()] for page in rest.split("\n---\n")]


def rows_of(paragraph: str) -> list[list[str]]:
    """The cells of a paragraph that is a table; empty for one that is text."""
    lines = paragraph.splitlines()
    return [[cell.strip() for cell in line.split("|")] for line in lines] if all("|" in line for line in lines) else []


def pdf(title: str, pages: list[list[str]]) -> bytes:
    """A PDF with a page for each page, or more where one is too long; a table repeats its header on each page."""
    from fpdf import FPDF

    made = FPDF(format="A4")
    made.set_creation_date(WHEN.replace(tzinfo=datetime.UTC))
    made.set_title(title)
    for number, paragraphs in enumerate(pages):
        made.add_page()
        if number == 0:
            made.set_font("helvetica", "B", 16)
            made.multi_cell(0, 9, title, new_x="LMARGIN", new_y="NEXT")
        for paragraph in paragraphs:
            if rows := rows_of(paragraph):
                made.set_font("helvetica", "", 10)
                widths = tuple(max(8, *(len(cell) for cell in column)) for column in zip(*rows, strict=True))
                with made.table(rows, col_widths=widths, line_height=7, text_align="LEFT"):
                    pass
                continue
            heading = paragraph.startswith("# ")
            made.set_font("helvetica", "B" if heading else "", 13 if heading else 11)
            made.multi_cell(0, 6, " ".join(paragraph.removeprefix("# ").split()), new_x="LMARGIN", new_y="NEXT")
            made.ln(2)
    return bytes(made.output())


def docx(title: str, pages: list[list[str]]) -> bytes:
    """A Word document with headings."""
    from docx import Document

    made = Document()
    made.core_properties.title = title
    made.core_properties.created = made.core_properties.modified = WHEN
    made.add_heading(title, 0)
    for paragraphs in pages:
        for paragraph in paragraphs:
            if paragraph.startswith("# "):
                made.add_heading(paragraph[2:], 1)
            elif rows := rows_of(paragraph):
                table = made.add_table(len(rows), len(rows[0]))
                for row, cells in zip(table.rows, rows, strict=True):
                    for cell, text in zip(row.cells, cells, strict=True):
                        cell.text = text
            else:
                made.add_paragraph(" ".join(paragraph.split()))
    return saved(made.save)


def pptx(title: str, pages: list[list[str]]) -> bytes:
    """Slides: the first paragraph of a page is the slide's title."""
    from pptx import Presentation

    made = Presentation()
    made.core_properties.title = title
    made.core_properties.created = made.core_properties.modified = WHEN
    for paragraphs in pages:
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = paragraphs[0].removeprefix("# ")
        slide.placeholders[1].text = "\n".join(" ".join(one.split()) for one in paragraphs[1:])
    return saved(made.save)


def xlsx(title: str, pages: list[list[str]]) -> bytes:
    """A workbook with a sheet for each page; the first paragraph names the sheet, the others are rows."""
    from openpyxl import Workbook

    made = Workbook()
    made.remove(made.active)
    made.properties.title = title
    made.properties.created = made.properties.modified = WHEN
    for paragraphs in pages:
        sheet = made.create_sheet(paragraphs[0].removeprefix("# "))
        for line in "\n".join(paragraphs[1:]).splitlines():
            sheet.append([cell.strip() for cell in line.split("|")])
    return saved(made.save)


def png(title: str, pages: list[list[str]]) -> bytes:
    """A picture of text, as a scanner makes it."""
    from PIL import Image, ImageDraw, ImageFont

    lines = [title, *(line for paragraphs in pages for paragraph in paragraphs for line in [*paragraph.splitlines(), ""])]
    made = Image.new("L", (1240, 140 + 52 * len(lines)), 250)
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(34)
    for number, line in enumerate(lines):
        draw.text((80, 70 + 52 * number), line, fill=15, font=font)
    buffer = io.BytesIO()
    made.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    """An office file with its times fixed, so that it is the same each time."""
    first, second = io.BytesIO(), io.BytesIO()
    save(first)
    with zipfile.ZipFile(first) as source, zipfile.ZipFile(second, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "docProps/core.xml":
                # openpyxl writes the time of saving whatever it is told.
                data = _without_modified(data)
            target.writestr(zipfile.ZipInfo(name, (2026, 3, 2, 9, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return second.getvalue()


def _without_modified(data: bytes) -> bytes:
    import re

    return re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>2026-03-02T09:00:00Z", data)


WRITERS = {"pdf": pdf, "docx": docx, "pptx": pptx, "xlsx": xlsx, "png": png}


def main() -> None:
    """Writes every document that a source describes, and names it."""
    for source in sorted((HERE / "sources").rglob("*.txt")):
        target = HERE / "documents" / source.relative_to(HERE / "sources").with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        title, pages = pages_of(source.read_text(encoding="utf-8"))
        target.write_bytes(WRITERS[target.suffix[1:]](title, pages))
        print(target.relative_to(HERE))


if __name__ == "__main__":
    main()
