"""Real files of each kind, whole and broken: the text, its pages, or a reason that a steward finds right."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.parsing.ocr import tessdata_folder
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseItem, ParseReason

OFFICE = "urn:oasis:names:tc:opendocument:xmlns"


def saved(document: Any) -> bytes:
    made = io.BytesIO()
    document.save(made)
    return made.getvalue()


def pdf(password: str | None = None, *, owner: str = "owner", pages: int = 1) -> bytes:
    import fpdf

    made = fpdf.FPDF()
    made.set_font("helvetica", size=12)
    for number in range(1, pages + 1):
        made.add_page()
        made.multi_cell(0, 10, f"This is page {number}. " * 30)
    if password is not None:
        made.set_encryption(owner_password=owner, user_password=password)
    return bytes(made.output())


def docx() -> bytes:
    import docx as word

    made = word.Document()
    made.add_heading("Leave", 1)
    for number in range(40):
        made.add_paragraph(f"Paragraph {number} says how leave is asked for.")
    return saved(made)


def pptx() -> bytes:
    import pptx as powerpoint

    made = powerpoint.Presentation()
    for number in (1, 2):
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = f"Body of slide {number}"
    return saved(made)


def xlsx() -> bytes:
    import openpyxl

    made = openpyxl.Workbook()
    made.active.title = "Prices"
    for number in range(60):
        made.active.append([f"item {number}", number])
    return saved(made)


def picture(kind: str = "PNG") -> bytes:
    from PIL import Image, ImageDraw

    made = Image.new("L", (600, 100), 255)
    ImageDraw.Draw(made).text((10, 10), "SOME TEXT HERE", font_size=40)
    held = io.BytesIO()
    made.save(held, kind)
    return held.getvalue()


def open_document(body: str, *, manifest: str | None = None) -> bytes:
    spaces = " ".join(f'xmlns:{name}="{OFFICE}:{name}:1.0"' for name in ("office", "text", "table")) + (
        f' xmlns:draw="{OFFICE}:drawing:1.0"'
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr(
            "content.xml", f"<office:document-content {spaces}><office:body>{body}</office:body></office:document-content>"
        )
        if manifest is not None:
            archive.writestr("META-INF/manifest.xml", manifest)
    return made.getvalue()


def odt(paragraphs: str = "<text:p>Hello open text.</text:p>") -> bytes:
    return open_document(f"<office:text>{paragraphs}</office:text>")


def ole(*names: str) -> bytes:
    """An OLE container, as old Office files and encrypted new ones are, with empty streams of these names."""
    head = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0"))
    struct.pack_into("<HHHHH", head, 24, 0x3E, 3, 0xFFFE, 9, 6)
    struct.pack_into("<9I", head, 44, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0)
    head[80:512] = b"\xff" * 432
    sectors = struct.pack("<II", 0xFFFFFFFD, 0xFFFFFFFE).ljust(512, b"\xff")
    entries = b""
    for number, name in enumerate(("Root Entry", *names)):
        entry = bytearray(name.encode("utf-16-le").ljust(128, b"\0"))
        right = number + 1 if 0 < number < len(names) else 0xFFFFFFFF
        struct.pack_into("<HBB", entry, 64, 2 * len(name) + 2, 2 if number else 5, 1)
        struct.pack_into("<III", entry, 68, 0xFFFFFFFF, right, 0xFFFFFFFF if number else 1)
        struct.pack_into("<I", entry, 116, 0xFFFFFFFE)
        entries += bytes(entry)
    return bytes(head) + sectors + entries.ljust(512, b"\0")


KINDS: dict[str, Callable[[], bytes]] = {
    "a.docx": docx,
    "a.pptx": pptx,
    "a.xlsx": xlsx,
    "a.pdf": pdf,
    "a.odt": odt,
    "a.png": picture,
    "a.tiff": lambda: picture("TIFF"),
}
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "half of it": lambda whole: whole[: len(whole) // 2],
    "its head alone": lambda whole: whole[:20],
    "zeros": lambda whole: bytes(len(whole)),
    "noise": lambda whole: random.Random(7).randbytes(len(whole)),
    "flipped": lambda whole: bytes(byte ^ (0xFF if place % 37 == 0 else 0) for place, byte in enumerate(whole)),
}


@pytest.fixture
def parsed(plant: Any) -> Callable[[str, bytes], Any]:
    """What becomes of a file of that name and content, in a real worker."""
    parser = plant(None)

    def parse(name: str, content: bytes) -> Any:
        (parser.folder / name).write_bytes(content)
        return parser.outcome(parser.folder / name)

    return parse


def reason(outcome: object) -> ParseReason:
    assert isinstance(outcome, ParseFailure), outcome
    return outcome.reason


@pytest.mark.parametrize("name", KINDS)
def test_a_broken_file_is_called_damaged_and_a_whole_one_is_read(parsed: Any, name: str) -> None:
    if name in ("a.png", "a.tiff") and tessdata_folder() is None:
        pytest.skip("needs Tesseract's language data, without which no picture is looked at")
    whole = KINDS[name]()
    assert isinstance(parsed(name, whole), ParsedDocument)
    for how, spoil in BROKEN.items():
        assert reason(parsed(name, spoil(whole))) is ParseReason.DAMAGED, how


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.pdf", lambda: pdf("secret")),
        ("a.docx", lambda: ole("EncryptedPackage", "EncryptionInfo")),
        ("a.xlsx", lambda: ole("EncryptedPackage", "EncryptionInfo")),
        ("a.pptx", lambda: ole("EncryptedPackage", "EncryptionInfo")),
        ("a.odt", lambda: open_document("", manifest="<m:file-entry><m:encryption-data/></m:file-entry>")),
    ],
)
def test_a_password_is_called_that(parsed: Any, name: str, make: Callable[[], bytes]) -> None:
    assert reason(parsed(name, make())) is ParseReason.PASSWORD


def test_a_pdf_that_anybody_may_open_is_read_although_it_is_encrypted(parsed: Any) -> None:
    assert "page 1" in parsed("a.pdf", pdf("")).text


def test_the_public_file_with_a_password_is_called_that(parsed: Any, test_data: Path) -> None:
    folder = test_data / "docs_docling"
    names = [
        line.split("\t")[0] for line in (folder / "PASSWORDS.txt").read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    assert names
    for name in names:
        assert reason(parsed("a" + Path(name).suffix, (folder / name).read_bytes())) is ParseReason.PASSWORD


def test_pages_and_slides_are_told_apart(parsed: Any) -> None:
    for name, content, last in (("a.pdf", pdf(pages=3), "This is page 3."), ("a.pptx", pptx(), "Body of slide 2")):
        document = parsed(name, content)
        assert [page.number for page in document.pages] == list(range(1, len(document.pages) + 1))
        page = document.pages[-1]
        assert last in document.text[page.start : page.end], document.text
    assert "## Slide 2" in document.text


@pytest.mark.parametrize("name", ["a.zip", "a.7z", "a.exe", "a.boxnote", "a.unheard-of", "a." + "x" * 200])
def test_what_is_not_read_is_called_unsupported(parsed: Any, name: str) -> None:
    assert reason(parsed(name, b"MZ\x00\x01anything at all")) is ParseReason.UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("export.xls", lambda: b"<html><table><tr><td>price</td><td>12</td></tr></table></html>", "price"),
        ("new.doc", docx, "how leave is asked for"),
        ("letter.doc", lambda: rb"{\rtf1 a rich letter}", "a rich letter"),
        ("scan.docx", pdf, "This is page 1"),
    ],
)
def test_a_name_that_lies_is_seen_through_and_said(parsed: Any, name: str, make: Callable[[], bytes], words: str) -> None:
    document = parsed(name, make())
    assert words in document.text
    assert "its name does not say" in str(document.warnings)


@pytest.mark.parametrize("make", [pdf, docx, lambda: b"plain words: This is page 1, how leave is asked for"])
def test_a_file_without_a_suffix_is_told_by_its_bytes(parsed: Any, make: Callable[[], bytes]) -> None:
    text = parsed("README", make()).text
    assert "This is page 1" in text or "how leave is asked for" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Größe".encode("utf-16")),
        ("a.txt", "Größe".encode("utf-8-sig")),
        ("a.txt", "Die Größe der Straße, höher als üblich.".encode("cp1252")),
        ("a.txt", ("Größe " * 9).encode() + b" and a wrong \xff byte"),
        ("a.html", ("<p>" + "Größe " * 9).encode() + b" and a wrong \xff byte"),
        ("a.md", "# Die Größe\n\nhöher".encode("cp1252")),
        ("a.csv", "Größe;Länge\n1;2\n".encode("cp1252")),
        ("a.html", b"<html><meta charset='iso-8859-1'><p>" + "Größe".encode("cp1252")),
        ("a.html", b"<p>" + "Die Größe der Straße".encode("cp1252")),
        ("a.html", "<p>Größe</p>".encode("utf-8-sig")),
        ("a.html", b"<p>Gr&ouml;&szlig;e, Gr&#246;&#xDF;e</p>"),
        ("a.xml", b'<?xml version="1.0" encoding="ISO-8859-1"?><a>' + "Größe".encode("cp1252") + b"</a>"),
        ("a.xml", b"<a>Gr&#246;&#xDF;e</a>"),
        ("a.eml", b"From: a@example.org\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n" + "Größe".encode("cp1252")),
    ],
)
def test_letters_stay_what_they_are_in_every_encoding(parsed: Any, name: str, content: bytes) -> None:
    text = parsed(name, content).text
    assert "Größe" in text
    assert "Ã" not in text


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("gb18030", "小型设备的保修期为两年。请联系服务部门。"),
        ("shift_jis", "保証期間は二年です。お問い合わせください。"),
        ("cp1251", "Гарантия составляет два года. Обратитесь в отдел."),
    ],
)
def test_other_scripts_are_not_taken_for_broken_utf_8(parsed: Any, encoding: str, words: str) -> None:
    assert words[:5] in parsed("a.txt", (words * 5).encode(encoding)).text


def test_a_guessed_encoding_is_said_and_cyrillic_is_not_taken_for_western(parsed: Any) -> None:
    document = parsed("a.txt", "Привет, как дела? Это текст.".encode("cp1251"))
    assert "Привет" in document.text
    assert "guessed" in document.warnings[0]


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.md"])
def test_binary_data_under_the_name_of_a_text_is_not_indexed(parsed: Any, name: str) -> None:
    assert reason(parsed(name, random.Random(3).randbytes(5000))) in (ParseReason.UNSUPPORTED, ParseReason.DAMAGED)


def test_open_text_keeps_what_is_formatted_nested_and_in_cells_and_leaves_out_what_was_deleted(parsed: Any) -> None:
    body = """
    <text:tracked-changes><text:p>deleted words</text:p></text:tracked-changes>
    <text:h text:outline-level="2">The <text:span>bold</text:span> heading</text:h>
    <text:p>One<text:s/>two<text:span> three</text:span><office:annotation><text:p>remark</text:p></office:annotation>.</text:p>
    <text:list><text:list-item><text:p>item <text:span>one</text:span></text:p></text:list-item></text:list>
    <table:table><table:table-header-rows><table:table-row><table:table-cell><text:p><text:span>Price</text:span></text:p>
    </table:table-cell><table:table-cell><text:p>Item</text:p></table:table-cell></table:table-row></table:table-header-rows>
    <table:table-row><table:table-cell><text:list><text:list-item><text:p>12 euros</text:p></text:list-item></text:list>
    </table:table-cell><table:covered-table-cell/></table:table-row></table:table>"""
    text = parsed("a.odt", odt(body)).text
    assert "## The bold heading" in text
    assert "One two three." in text
    assert "- item one" in text
    assert "| Price | Item |\n| --- | --- |\n| 12 euros |" in text
    assert "deleted" not in text
    assert "remark" not in text


def test_slides_whose_pictures_the_parser_chokes_on_are_read_all_the_same(parsed: Any) -> None:
    whole = pptx()
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == "ppt/slides/slide2.xml":
                content = content.replace(b"</p:spTree>", b"<p:pic><p:blipFill><a:blip/></p:blipFill></p:pic></p:spTree>")
            new.writestr(entry, content)
    document = parsed("a.pptx", made.getvalue())
    assert [page.number for page in document.pages] == [1, 2]
    assert "Body of slide 2" in document.text


def test_open_slides_are_read_by_page(parsed: Any) -> None:
    pages = "".join(f"<draw:page><draw:frame><text:p>On page {number}</text:p></draw:frame></draw:page>" for number in (1, 2))
    document = parsed("a.odp", open_document(f"<office:presentation>{pages}</office:presentation>"))
    assert [document.text[page.start : page.end] for page in document.pages] == ["On page 1", "On page 2"]


def test_a_picture_of_text_is_read_and_leaves_nothing_on_the_disk(plant: Any) -> None:
    if tessdata_folder() is None:
        pytest.skip("needs Tesseract's language data")
    parser = plant(None)
    (parser.folder / "a.png").write_bytes(picture())
    results = parser.pool.parse([ParseItem(parser.folder / "a.png", "a.png")])
    assert "SOME TEXT" in next(results)[1].text
    # The worker is still there, and so is its private folder.
    kept = [path for path in parser.scratch.rglob("*") if path.is_file()]
    assert [path for path in kept if b"SOME" in path.read_bytes()] == []
    results.close()
    assert list(parser.scratch.rglob("*")) == []


def test_a_picture_is_named_as_a_scan_where_there_is_no_ocr() -> None:
    from ingest.parsing.kreuzberg_door import parse

    outcome = parse(picture(), "a.png", output_bytes=10**6, tessdata=None)
    assert reason(outcome) is ParseReason.NO_OCR
