"""Files that are small and unpack into much, or never end: each is one quarantined item, and the next file is read."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.parsing.archives import look_into
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseItem, ParseReason

MIB = 2**20
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Target='
    '"word/document.xml" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/>'
    "</Relationships>"
)
LAUGHS = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
SVG = "xmlns='http://www.w3.org/2000/svg'"
LAUGHS = f'<!ENTITY l0 "laugh laugh ">{LAUGHS}'


def word(text: str, *, doctype: str = "", more: dict[str, bytes] | None = None) -> bytes:
    """A Word document of one paragraph."""
    body = (
        f"{doctype}<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'><w:body><w:p><w:r>"
        f"<w:t>{text}</w:t></w:r></w:p></w:body></w:document>"
    )
    return packed({"[Content_Types].xml": TYPES, "_rels/.rels": RELATIONS, "word/document.xml": body, **(more or {})})


def packed(entries: dict[str, Any]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return made.getvalue()


def with_forged_sizes(archive: bytes) -> bytes:
    """The same archive, whose directory and headers say of every entry that it is 100 bytes long."""
    forged = bytearray(archive)
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = forged.find(mark)
        while start >= 0:
            forged[start + place : start + place + 4] = (100).to_bytes(4, "little")
            start = forged.find(mark, start + 4)
    return bytes(forged)


def overlapping(count: int) -> bytes:
    """A directory whose `count` entries all lead to the same packed megabytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "x" * (4 * MIB))
        (entry,) = archive.infolist()
        archive.filelist += [entry] * (count - 1)
    return made.getvalue()


def many_pages(count: int) -> bytes:
    kids = b"3 0 R " * count
    return (
        b"%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count %d/Kids[%s]>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%%%EOF" % (count, kids)
    )


def letter_with(attachment: bytes) -> bytes:
    return (
        b"From: a@example.org\r\nTo: b@example.org\r\nSubject: invoice\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\nSee attached.\r\n--B\r\n"
        b"Content-Type: application/zip\r\nContent-Disposition: attachment; filename=a.zip\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(attachment) + b"\r\n--B--\r\n"
    )


def blank_picture(side: int) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new("1", (side, side)).save(made, "PNG")
    return made.getvalue()


BOMBS: dict[str, tuple[Callable[[], bytes], set[ParseReason]]] = {
    "zeros.docx": (lambda: word("x" * (200 * MIB)), {ParseReason.TOO_MUCH_OUTPUT}),
    "forged.docx": (lambda: with_forged_sizes(word("x" * (200 * MIB))), {ParseReason.TOO_MUCH_OUTPUT}),
    "overlapping.docx": (lambda: overlapping(500), {ParseReason.TOO_MUCH_OUTPUT}),
    "many.docx": (lambda: packed({f"e{number}": "" for number in range(100_000)}), {ParseReason.TOO_MUCH_OUTPUT}),
    "bomb-without-a-suffix": (lambda: word("x" * (200 * MIB)), {ParseReason.TOO_MUCH_OUTPUT}),
    "archive.zip": (lambda: packed({"a.txt": "x"}), {ParseReason.UNSUPPORTED}),
    "deep.xml": (lambda: b"<a>" * 300_000 + b"</a>" * 300_000, {ParseReason.TOO_MUCH_MEMORY, ParseReason.CRASHED}),
    "pages.pdf": (lambda: many_pages(60_000), {ParseReason.TOO_MUCH_TIME, ParseReason.EMPTY}),
    "nested.pdf": (lambda: b"%PDF-1.4\n1 0 obj" + b"[" * 500_000 + b"endobj", {ParseReason.DAMAGED}),
    "pixels.png": (lambda: blank_picture(30_000), {ParseReason.TOO_MUCH_OUTPUT, ParseReason.NO_OCR}),
    "more-pixels-than-a-scan.png": (lambda: blank_picture(9_000), {ParseReason.TOO_MUCH_OUTPUT, ParseReason.NO_OCR}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_quarantined_item_and_the_next_file_is_read(plant: Any, name: str) -> None:
    make, expected = BOMBS[name]
    parser = plant(None, memory_bytes=1024 * MIB, output_bytes=16 * MIB, cpu_seconds=3)
    outcomes = {}
    for each, content in ((name, make()), ("after.txt", b"the next file")):
        (parser.folder / each).write_bytes(content)
        outcomes[each] = parser.outcome(parser.folder / each)
    assert isinstance(outcomes[name], ParseFailure), outcomes[name].text[:100]
    assert outcomes[name].reason in expected, outcomes[name]
    assert outcomes["after.txt"].text == "the next file"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("laughs.xml", f"<!DOCTYPE a [{LAUGHS}]><a>before &l9; after</a>".encode()),
        (
            "laughs.svg",
            f"<!DOCTYPE svg [{LAUGHS}]><svg xmlns='http://www.w3.org/2000/svg'><text>before &l9; after</text></svg>".encode(),
        ),
        ("laughs.html", f"<!DOCTYPE html [{LAUGHS}]><p>before &l9; after</p>".encode()),
        ("laughs.docx", word("before &l9; after", doctype=f"<!DOCTYPE w [{LAUGHS}]>")),
        ("laughs.odp", packed({"content.xml": f"<!DOCTYPE a [{LAUGHS}]><a>before &l9; after</a>"})),
        ("laughs.odt", packed({"content.xml": f"<!DOCTYPE a [{LAUGHS}]><a>before &l9; after</a>"})),
    ],
)
def test_entities_that_multiply_do_not(plant: Any, name: str, content: bytes) -> None:
    parser = plant(None, output_bytes=16 * MIB, cpu_seconds=5)
    (parser.folder / name).write_bytes(content)
    outcome = parser.outcome(parser.folder / name)
    if isinstance(outcome, ParsedDocument):
        assert "before" in outcome.text
        assert len(outcome.text) < 2000
    else:
        assert outcome.reason in (ParseReason.DAMAGED, ParseReason.EMPTY)


@pytest.mark.parametrize("kind", ["xml", "svg", "docx", "odp"])
def test_an_entity_brings_in_no_other_file(plant: Any, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the board buys Tannhof", encoding="utf-8")
    doctype = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]>'
    contents = {
        "xml": f"{doctype}<a>before &x; after</a>".encode(),
        "svg": f"{doctype}<svg {SVG}><text>before &x; after</text></svg>".encode(),
        "docx": word("before &x; after", doctype=doctype),
        "odp": packed({"content.xml": f"{doctype}<a>before &x; after</a>"}),
    }
    parser = plant(None)
    (parser.folder / f"a.{kind}").write_bytes(contents[kind])
    assert "Tannhof" not in str(parser.outcome(parser.folder / f"a.{kind}"))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.eml", lambda: letter_with(packed({"a.txt": "x" * (300 * MIB)}))),
        ("a.docx", lambda: word("outer", more={"word/embeddings/inner.docx": word("x" * (100 * MIB))})),
    ],
)
def test_a_bomb_inside_costs_at_most_the_file_that_holds_it(plant: Any, name: str, make: Callable[[], bytes]) -> None:
    parser = plant(None, memory_bytes=1024 * MIB, output_bytes=16 * MIB, cpu_seconds=5)
    (parser.folder / name).write_bytes(make())
    outcome = parser.outcome(parser.folder / name)
    assert isinstance(outcome, ParseFailure) or len(outcome.text) < MIB


@pytest.mark.parametrize("make", [lambda: with_forged_sizes(word("x" * (200 * MIB))), lambda: overlapping(500)])
def test_what_a_directory_says_of_sizes_is_not_believed(make: Callable[[], bytes]) -> None:
    refused = look_into(make(), 16 * MIB)
    assert refused is not None
    assert refused.reason is ParseReason.TOO_MUCH_OUTPUT


def test_what_is_honestly_large_is_let_through() -> None:
    """Sheets of numbers inflate some thirty times, and pictures not at all."""
    rows = "".join(f"<c r='A{number}'><v>{number * 7919 % 100003}</v></c>" for number in range(200_000))
    honest = packed({"xl/worksheets/sheet1.xml": rows})
    assert len(rows) > 4 * MIB
    assert look_into(honest, MIB) is None
    assert look_into(packed({"xl/worksheets/sheet1.xml": "0" * (4 * MIB)}), MIB) is not None


def test_items_of_both_sorts_come_in_the_same_run(plant: Any) -> None:
    parser = plant(None, output_bytes=16 * MIB)
    items = []
    for number in range(6):
        name = f"{number}.docx"
        (parser.folder / name).write_bytes(word("x" * (100 * MIB)) if number % 2 else word(f"number {number}"))
        items.append(ParseItem(parser.folder / name, name))
    found = {item.name: isinstance(outcome, ParsedDocument) for item, outcome in parser.pool.parse(items)}
    assert found == {f"{number}.docx": number % 2 == 0 for number in range(6)}
