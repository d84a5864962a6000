"""Pages as pictures: the words are marked where they stand, and whatever a file does costs its own request alone."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from fpdf.enums import AccessPermission
from PIL import Image, ImageChops

from ingest.parsing.answers import picture_in
from ingest.parsing.frames import FrameError
from ingest.parsing.marking import find, lines
from ingest.parsing.pictures import PICTURE_LIMITS, PagePictures, Picture, PictureRefused, PicturesBusy
from ingest.parsing.types import ParsedDocument, ParseReason
from policies.errors import InhouseError, NotFoundError

HANDBOOK = Path("examples", "documents", "people", "employee-handbook.pdf")
PLANTED = """
import ctypes, json, os, socket, sys, time
from pathlib import Path
from ingest.parsing.pdfium_door import draw as really
from ingest.parsing.types import ParseFailure, ParseReason, Picture
from ingest.parsing.worker import work

def draw(content, page, quote, before):
    if quote == "a good one":
        return really(content, page, quote, before)
{body}

work(int(sys.argv[1]), None, draw)
"""
WAITS = "open(os.environ['TMPDIR'] + '/begun', 'w').close()\ntime.sleep(3600)"
CLAIMS = """
import os, socket
from ingest.parsing.frames import encode
os.write(1, encode({"ready": True, "layers": {"network": False, "files": False, "calls": False}}))
socket.socket(fileno=os.dup(0)).recv(1 << 20)
number = 10**9
while True:
    beats = (b'{"cpu": %d, "read": 0}' % (number + one) for one in range(1000))
    os.write(1, b"".join(len(beat).to_bytes(4, "big") + beat for beat in beats))
    number += 1000
"""
"""Beats without end, each of which says that it has computed another second, faster than they can be read."""

Open = Callable[..., PagePictures]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Makes a `PagePictures` in folder `scratch`; with a body, that is what draws, but for the quote "a good one"."""
    made: list[PagePictures] = []

    def make(body: str = "", *, limits: dict[str, Any] | None = None, **words: Any) -> PagePictures:
        (tmp_path / "scratch").mkdir(exist_ok=True)
        if body:
            program = tmp_path / "planted.py"
            program.write_text(PLANTED.format(body="".join(f"    {line}\n" for line in body.splitlines())), encoding="utf-8")
            words["program"] = (sys.executable, "-I", str(program))
        words = {"workers": 1, "temporary": tmp_path / "scratch", **words}
        made.append(PagePictures(replace(PICTURE_LIMITS, **(limits or {})), **words))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagePictures]:
    """One that the tests share which ask it for pages alone."""
    with PagePictures(temporary=tmp_path_factory.mktemp("scratch")) as shared:
        yield shared


def written(path: Path, *pages: list[tuple[float, float, str]], **encryption: Any) -> Path:
    """A PDF with words at places, in millimetres from the upper left corner to the start of their base line."""
    made = FPDF(format="A4")
    made.set_font("Helvetica", size=12)
    if encryption:
        made.set_encryption(**encryption)
    for page in pages:
        made.add_page()
        for x, y, text in page:
            made.text(x, y, text)
    made.output(str(path))
    return path


def by_hand(*objects: str, streams: dict[int, bytes] | None = None) -> bytes:
    """A PDF of these objects, numbered from 1, the first of them its catalog."""
    body = b"%PDF-1.7\n"
    for number, one in enumerate(objects, start=1):
        stream = (streams or {}).get(number)
        body += f"{number} 0 obj\n".encode()
        if stream is None:
            body += one.encode()
        else:
            body += f"<<{one} /Length {len(stream)}>>\nstream\n".encode() + stream + b"\nendstream"
        body += b"\nendobj\n"
    return body + b"trailer <</Root 1 0 R>>\n%%EOF"


def one_page(page: str, *more: str, catalog: str = "", content: bytes = b"") -> bytes:
    """A PDF of one page, object 3, with Helvetica as /F, and more objects from 6 on."""
    return by_hand(
        f"<</Type/Catalog/Pages 2 0 R {catalog}>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        f"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>> {page}>>",
        "",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *more,
        streams={4: content},
    )


def image(picture: Picture) -> Image.Image:
    opened = Image.open(io.BytesIO(picture.png))
    assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (picture.width, picture.height))
    return opened


def changed(plain: Picture, marked: Picture) -> Image.Image:
    """Where the pictures differ; checks that the marks have made nothing of it darker than yellow makes it."""
    red, green, blue = ImageChops.difference(image(plain), image(marked)).split()
    assert red.getextrema() == (0, 0)
    assert green.getextrema()[1] < blue.getextrema()[1]
    return blue


def box_of(mask: Image.Image) -> tuple[int, int, int, int]:
    box = mask.getbbox()
    assert box is not None
    return box


def test_the_words_of_the_quote_are_marked_and_nothing_else_is(pictures: PagePictures, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [(20, 50, "one two three four five"), (20, 60, "one two five four")])
    marked, plain = pictures.render(path, 1, "three four"), pictures.render(path, 1, "")
    font = FPDF()
    font.set_font("Helvetica", size=12)
    scale = marked.width / 210
    left, right = (scale * (20 + font.get_string_width(text)) for text in ("one two ", "one two three four"))
    found = changed(plain, marked)
    box = box_of(found)
    assert (marked.marked, plain.marked) == (2, 0)
    assert (box[0], box[2]) == (pytest.approx(left, abs=3), pytest.approx(right, abs=3))
    assert scale * 45 < box[1] < scale * 47
    assert scale * 50 < box[3] < scale * 52
    again = box_of(changed(plain, pictures.render(path, 1, "one two", before=1)))
    assert again[1] > box[3]
    # All of the box: paper between the letters has become yellow, and no letter has lost its ink.
    paper = [image(marked).getpixel((x, box[1] + 1)) for x in range(box[0], box[2])]
    assert set(paper) == {(255, 232, 80)}
    assert image(marked).crop(box).convert("L").getextrema()[0] == image(plain).crop(box).convert("L").getextrema()[0]


def test_a_quote_over_two_lines_is_marked_in_both(pictures: PagePictures, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [(20, 50, "Leave is paid as infor-"), (20, 56, "mation says. Nothing else.")])
    quote = "**paid as   information\nsays.**"
    marked = pictures.render(path, 1, quote)
    found = changed(pictures.render(path, 1, ""), marked)
    scale = marked.width / 210
    upper, lower = (box_of(found.crop((0, int(scale * y), found.width, int(scale * (y + 4))))) for y in (47, 53))
    assert marked.marked == 4
    assert upper[0] > lower[0]
    assert upper[2] > lower[2]
    assert box_of(found)[3] < scale * 59


@pytest.mark.parametrize("quote", ["seven", "two thre", "wo three", "five one two", "", " \n", "…", "\ud800", "a" * 100_000])
def test_a_quote_that_is_not_there_leaves_the_page_as_it_is(pictures: PagePictures, tmp_path: Path, quote: str) -> None:
    path = written(tmp_path / "a.pdf", [(20, 50, "one two three four five")])
    assert pictures.render(path, 1, quote) == pictures.render(path, 1, "")


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", ["", "/CropBox[50 300 550 780]"])
def test_marks_are_over_the_words_however_a_page_is_turned_and_cut(
    pictures: PagePictures, tmp_path: Path, turned: int, crop: str
) -> None:
    path = tmp_path / "a.pdf"
    content = b"BT /F 24 Tf 200 500 Td (Hyperbola) Tj ET"
    path.write_bytes(one_page(f"/MediaBox[0 0 600 800]/Rotate {turned} {crop}", content=content))
    marked, plain = pictures.render(path, 1, "hyperbola"), pictures.render(path, 1, "")
    ink = box_of(image(plain).convert("L").point(lambda value: 255 if value < 128 else 0))
    box = box_of(changed(plain, marked))
    assert marked.marked == 1
    # The ink is within the marks but for a pixel, and the marks are higher than the ink by what the font has room for.
    room = (ink[0] - box[0], ink[1] - box[1], box[2] - ink[2], box[3] - ink[3])
    assert all(-1 <= one < 0.4 * 48 for one in room), room


def test_the_sentences_that_the_parser_gives_are_found_on_their_pages(
    pictures: PagePictures, plant: Any, repository: Path
) -> None:
    document = plant(None).outcome(repository / HANDBOOK)
    assert isinstance(document, ParsedDocument)
    for page in document.pages:
        quote = document.text[page.start : page.end]
        assert pictures.render(repository / HANDBOOK, page.number, quote).marked == len(
            [word for word in quote.split() if any(map(str.isalnum, word))]
        )


@pytest.mark.parametrize(
    ("quote", "page", "marked"),
    [
        ("the efficient office", "The e\ufb03cient o\ufb00ice", "The e\ufb03cient o\ufb00ice"),
        ("soft hyphen", "a so\u00adft hyp\ufffe\r\nhen here", "so\u00adft hyp\ufffe\r\nhen"),
        ("infor-\nmation", "no information", "information"),
        ("Stra\u00dfe und caf\u00e9", "STRASSE und cafe\u0301", "STRASSE und cafe"),
        ("\u201e10\u202f000 euros\u201c", 'paid "10 000 euros".', "10 000 euros"),
        ("leave", "leaves and leave", "leave"),
        ("the whole sentence", "thewholesentenceruns on", "thewholesentence"),
        (
            "\u6c34\u6f5c\u6c34\u8005\u306e\u8a18\u9332\u7c3f",
            "\u6771\u6c34\u6f5c\u6c34\u8005\u306e\u8a18\u9332\u7c3f\u897f",
            "\u6c34\u6f5c\u6c34\u8005\u306e\u8a18\u9332\u7c3f",
        ),
    ],
)
def test_quotes_are_found_as_a_reader_finds_them(quote: str, page: str, marked: str) -> None:
    (one,) = find(quote, page).ranges
    assert page[slice(*one)] == marked


def test_a_word_that_a_line_end_divides_is_one_word() -> None:
    assert find("infor-\nmation on co\u00adopera\u00ad\n tion", "information on cooperation").words == 3


@pytest.mark.parametrize(("before", "place"), [(0, 0), (1, 27), (2, 40), (3, 0)])
def test_of_words_that_stand_more_than_once_those_that_are_meant_are_marked(before: int, place: int) -> None:
    page = "thirty days, wthirty days, thirty days; thirty days"
    assert find("thirty days", page, before).ranges == ((place, place + 11),)


def test_where_only_parts_of_a_quote_are_there_they_are_marked_if_they_are_half_of_it() -> None:
    page = "Staff have thirty days of leave. 17 Requests go to the line manager."
    found = find("| thirty days of leave | Requests go to | nobody else |", page)
    assert [page[slice(*one)] for one in found.ranges] == ["thirty days of leave", "Requests go to"]
    assert found.words == 7
    assert find("thirty days of leave, which is less than what people elsewhere get", page).ranges == ()


SEEN = ".\u05d4\u05e0\u05e9 \u05dc\u05db\u05d1 \u05dd\u05d9\u05de\u05d9 30 \u05e9\u05d9"
"""Five words of Hebrew and a number as they stand from left to right: there are thirty days in each year."""

READ = ".\u05e9\u05e0\u05d4 \u05d1\u05db\u05dc \u05d9\u05de\u05d9\u05dd 30 \u05d9\u05e9"
"""As a parser may tell them: each word as it is read, the words as they stand."""


@pytest.mark.parametrize(
    "page",
    [
        SEEN,
        READ,
        " ".join(reversed(READ.split())),
        " ".join(word[::-1] for word in reversed(SEEN.split())),
        f"\u05d9\u05e9\r\n{READ}\r\n\u05d9\u05e9",
    ],
    ids=["as it is seen", "the same", "as it is read", "as it was drawn", "among others"],
)
def test_a_quote_from_right_to_left_is_found_in_whichever_order_words_and_letters_are_told(page: str) -> None:
    found = find(READ, page)
    assert found.words == 5
    (one,) = found.ranges
    assert sorted(page[slice(*one)].replace(".", "")) == sorted(READ.replace(".", ""))
    assert find(READ, page.replace("30", "31").replace("\u05e0", "\u05d0")).ranges == ()


def test_of_quotes_from_right_to_left_that_stand_more_than_once_the_one_that_is_meant_is_marked() -> None:
    line = " ".join(reversed(READ.split()))
    page = f"{line}\n{line}\n{line}"
    assert [find(READ, page, before).ranges[0][0] // len(line) for before in range(3)] == [0, 1, 2]


def hebrew(path: Path, matrix: str = "1 0 0 1") -> Path:
    """A PDF as programs without a notion of direction write it: glyphs from left to right, as they are seen."""
    letters = {chr(0x5D0 + number): chr(ord("a") + number) for number in range(26)}
    mapped = "".join(f"<{ord(code):02x}> <{ord(letter):04x}>\n" for letter, code in letters.items())
    above = SEEN.replace("30", "17").replace("\u05dc\u05db\u05d1", "\u05d0\u05d1\u05d2")
    drawn = ["".join(letters.get(one, one) for one in line) for line in (above, SEEN)]
    content = "".join(f"BT /F 24 Tf {matrix} 200 {700 - 100 * place} Tm ({line}) Tj ET\n" for place, line in enumerate(drawn))
    page = "/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>"
    path.write_bytes(
        by_hand(
            "<</Type/Catalog/Pages 2 0 R>>",
            "<</Type/Pages/Count 1/Kids[3 0 R]>>",
            f"<</Type/Page{page}>>",
            "",
            "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>",
            "",
            streams={
                4: content.encode(),
                6: f"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /H def /CMapType 2 def
1 begincodespacerange <00> <ff> endcodespacerange
{len(letters)} beginbfchar
{mapped}endbfchar endcmap end end""".encode(),
            },
        )
    )
    return path


def test_a_page_that_is_written_from_right_to_left_is_parsed_as_it_is_read_and_a_turned_one_as_it_is_told(
    plant: Any, tmp_path: Path
) -> None:
    read = " ".join(reversed(READ.removeprefix(".").split())) + "."
    told = plant(None).outcome(hebrew(tmp_path / "hebrew.pdf"))
    assert isinstance(told, ParsedDocument)
    assert told.text.splitlines()[-1] == read
    assert [told.text[one.start : one.end] for one in told.pages] == [told.text]
    turned = plant(None).outcome(hebrew(tmp_path / "turned.pdf", "0.8 0.6 -0.6 0.8"))
    assert isinstance(turned, ParsedDocument)
    assert read not in turned.text
    assert READ.split()[1] in turned.text


def test_a_quote_from_right_to_left_is_marked_on_the_page_that_it_was_parsed_from(
    pictures: PagePictures, plant: Any, tmp_path: Path
) -> None:
    path = hebrew(tmp_path / "hebrew.pdf")
    document = plant(None).outcome(path)
    assert isinstance(document, ParsedDocument)
    line = next(one for one in document.text.splitlines() if "30" in one)
    marked = pictures.render(path, 1, line)
    assert marked.marked == 5
    box = box_of(changed(pictures.render(path, 1, ""), marked))
    # The second line, and all of it: a page of 800 points is 1,333 pixels high.
    assert 1333 * 170 / 800 < box[1] < box[3] < 1333 * 230 / 800
    assert box[2] - box[0] > 200


def test_boxes_are_joined_along_a_line_and_not_over_columns_or_lines() -> None:
    boxes = [(10, 10, 15, 20), (16, 12, 20, 19), (60, 10, 70, 20), (60, 18, 65, 28), (66, 18, 70, 28)]
    assert lines(boxes) == [(10, 10, 20, 20), (60, 10, 70, 20), (60, 18, 70, 28)]


def test_what_was_filled_into_a_form_is_shown(pictures: PagePictures, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    widget = "<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(x)/Rect[100 100 200 200]/AP<</N 7 0 R>>/F 4>>"
    form = one_page("/MediaBox[0 0 500 500]/Annots[6 0 R]", widget, catalog="/AcroForm<</Fields[6 0 R]>>")
    shown = b"7 0 obj\n<</Subtype/Form/BBox[0 0 100 100]/Length 22>>\nstream\n0 0 1 rg 0 0 100 100 re f\nendstream\nendobj\n"
    path.write_bytes(form.replace(b"trailer", shown.replace(b"22", b"27") + b"trailer"))
    assert image(pictures.render(path, 1, "")).getpixel((300, 700)) == (0, 0, 255)


@pytest.mark.parametrize("page", [0, -1, 3, 2**31, 2**64])
def test_a_page_that_is_not_there_is_told_with_how_many_there_are(pictures: PagePictures, tmp_path: Path, page: int) -> None:
    path = written(tmp_path / "a.pdf", [], [])
    with pytest.raises(NotFoundError, match=f"no page {page}: it has 2") as raised:
        pictures.render(path, page, "")
    assert raised.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", ParseReason.EMPTY),
        (b"not a PDF at all", ParseReason.DAMAGED),
        (b"%PDF-1.7\n" + b"1 0 obj\n" * 1000, ParseReason.DAMAGED),
        (b"%PDF-1.4\n1 0 obj" + b"[" * 500_000 + b"endobj", ParseReason.DAMAGED),
        (by_hand("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[9 0 R]>>"), ParseReason.DAMAGED),
        (None, ParseReason.UNREADABLE),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(
    pictures: PagePictures, tmp_path: Path, content: bytes | None, reason: ParseReason
) -> None:
    path = tmp_path / "a.pdf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PictureRefused) as raised:
        pictures.render(path, 1, "")
    assert raised.value.reason is reason
    assert raised.value.hint


def test_a_file_under_a_password_is_refused_and_one_that_may_be_read_is_not(pictures: PagePictures, tmp_path: Path) -> None:
    words = [(20.0, 50.0, "one two three")]
    closed = written(tmp_path / "closed.pdf", words, owner_password="o", user_password="u", permissions=AccessPermission.none())
    with pytest.raises(PictureRefused, match="password") as raised:
        pictures.render(closed, 1, "")
    assert raised.value.reason is ParseReason.PASSWORD
    readable = written(tmp_path / "readable.pdf", words, owner_password="o", permissions=AccessPermission.none())
    assert pictures.render(readable, 1, "two").marked == 1


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (100_000, 100_000, (1000, 1000)),
        (100_000, 1, (1000, 1)),
        (1, 100_000, (1, 2000)),
        (1e30, 1e30, None),
        (600, 1200, (1000, 2000)),
        (600, 1201, (1000, 2000)),
        (3, 3, (1000, 1000)),
    ],
)
def test_a_picture_is_never_larger_than_it_may_be(
    pictures: PagePictures, tmp_path: Path, width: float, height: float, expected: tuple[int, int] | None
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(one_page(f"/MediaBox[0 0 {width:.0f} {height:.0f}]", content=b"BT /F 24 Tf (Word) Tj ET"))
    picture = pictures.render(path, 1, "word")
    assert image(picture).size == (picture.width, picture.height)
    assert picture.width <= 1000
    assert picture.height <= 2000
    assert expected is None or (picture.width, picture.height) == expected


def test_a_page_that_draws_itself_a_billion_times_is_refused(opened: Open, tmp_path: Path) -> None:
    form = "/Type/XObject/Subtype/Form/BBox[0 0 600 800]"
    deep = [f"{form}/Resources<</XObject<</X {number} 0 R>>>>" for number in range(7, 15)]
    bomb = by_hand(
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>",
        "",
        f"{form}/Resources<</XObject<</X 6 0 R>>>>",
        *deep,
        form,
        streams={14: b"0 0 m 600 800 l S", **dict.fromkeys(range(4, 14), b"/X Do " * 10)},
    )
    (tmp_path / "bomb.pdf").write_bytes(bomb)
    pictures = opened(limits={"cpu_seconds": 1})
    with pytest.raises(PictureRefused) as raised:
        pictures.render(tmp_path / "bomb.pdf", 1, "")
    assert raised.value.reason in (ParseReason.CRASHED, ParseReason.TOO_MUCH_MEMORY, ParseReason.TOO_MUCH_TIME)
    assert pictures.render(written(tmp_path / "a.pdf", [(20, 50, "one")]), 1, "one").marked == 1


def test_it_draws_without_network_processes_and_other_files(opened: Open, plant: Any, tmp_path: Path) -> None:
    layers = plant(None).pool.layers()
    if not (layers.network and layers.files and layers.calls):
        pytest.skip("this kernel does not give all three layers that this test looks at")
    neighbour = written(tmp_path / "neighbour.pdf", [])
    path = written(tmp_path / "a.pdf", [(20, 50, "one two")])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        body = f"""
told = []
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", {listening.getsockname()[1]}), 2),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    lambda: os.fork(),
    lambda: open({str(neighbour)!r}, "rb"),
    lambda: open({str(path)!r}, "rb"),
    lambda: Path("{tmp_path}/new").touch(),
):
    try:
        told.append(repr(attempt()))
    except OSError as error:
        told.append(error.errno)
Path(os.environ["TMPDIR"], "told.json").write_text(json.dumps(told))
return really(content, page, quote, before)
"""
        assert opened(body).render(path, 1, "two").marked == 1
        listening.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listening.accept()
    (said,) = (tmp_path / "scratch").glob("*/told.json")
    assert json.loads(said.read_text(encoding="utf-8")) == [errno.EACCES] * 6
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("body", "limits", "reason"),
    [
        ("ctypes.string_at(0)", {}, ParseReason.CRASHED),
        ("kept = []\nwhile True: kept.append(bytearray(1 << 24))", {"memory_bytes": 2**29}, ParseReason.TOO_MUCH_MEMORY),
        ("while True: pass", {"cpu_seconds": 1}, ParseReason.TOO_MUCH_TIME),
        # It says that it works, and never comes to an end.
        ("return Picture(b'x' * 2_000_000, 1, 1, 0)", {"output_bytes": 1_000_000}, ParseReason.TOO_MUCH_OUTPUT),
        ("return Picture(b'not a PNG', 10, 10, 0)", {}, ParseReason.CRASHED),
    ],
)
def test_what_a_page_does_to_its_worker_costs_that_page_alone(
    opened: Open, tmp_path: Path, body: str, limits: dict[str, Any], reason: ParseReason
) -> None:
    path = written(tmp_path / "a.pdf", [(20, 50, "here is a good one")])
    pictures = opened(body, limits=limits)
    assert pictures.render(path, 1, "a good one").marked == 3
    with pytest.raises(PictureRefused) as raised:
        pictures.render(path, 1, "a bad one")
    assert raised.value.reason is reason
    assert pictures.render(path, 1, "a good one").marked == 3


def test_a_worker_that_says_without_end_that_it_works_is_ended(opened: Open, tmp_path: Path) -> None:
    program = tmp_path / "claims.py"
    program.write_text(CLAIMS, encoding="utf-8")
    pictures = opened(program=(sys.executable, "-I", str(program)), limits={"whole_seconds": 1.0})
    with pytest.raises(PictureRefused) as raised:
        pictures.render(written(tmp_path / "a.pdf", []), 1, "")
    assert raised.value.reason is ParseReason.TOO_MUCH_TIME


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"png": 5},
        {"png": "!"},
        {"png": ""},
        {"width": 101},
        {"height": 99},
        {"width": 0},
        {"width": 1001},
        {"width": "100"},
        {"marked": -1},
        {"marked": 10**9},
        {"marked": 1.5},
        None,
        "a picture",
    ],
)
def test_a_picture_that_cannot_be_one_is_no_answer(said: Any) -> None:
    png = io.BytesIO()
    Image.new("RGB", (100, 100)).save(png, "PNG")
    honest = {"png": base64.b64encode(png.getvalue()).decode(), "width": 100, "height": 100, "marked": 2}
    assert picture_in({"picture": honest}) == Picture(png.getvalue(), 100, 100, 2)
    with pytest.raises((FrameError, KeyError, TypeError, ValueError)):
        picture_in({"picture": {**honest, **said} if said else said})


def test_many_threads_each_get_their_own_page(opened: Open, tmp_path: Path) -> None:
    pages = [[(20.0, 50.0 + 10 * number, f"word{number} " * (number + 1))] for number in range(6)]
    path = written(tmp_path / "a.pdf", *pages)
    pictures = opened(workers=2)
    alone = [pictures.render(path, number + 1, "word" + str(number)) for number in range(6)]
    assert len(set(alone)) == 6
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(pictures.render, path, number % 6 + 1, f"word{number % 6}") for number in range(12)]
        assert [one.result() for one in asked] == alone * 2


def test_a_worker_stays_when_the_thread_that_asked_first_has_ended(opened: Open, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [])
    pictures = opened()
    folders = []
    for _ in range(2):
        thread = threading.Thread(target=pictures.render, args=(path, 1, ""))
        thread.start()
        thread.join()
        folders += list((tmp_path / "scratch").iterdir())
    assert len(folders) == 2
    assert len(set(folders)) == 1


def test_a_worker_that_was_killed_between_two_pages_is_replaced(opened: Open, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [])
    pictures = opened(
        "Path(os.environ['TMPDIR'], 'process').write_text(str(os.getpid()))\nreturn really(content, page, quote, before)"
    )
    pictures.render(path, 1, "")
    (file,) = (tmp_path / "scratch").glob("*/process")
    os.kill(int(file.read_text(encoding="utf-8")), signal.SIGKILL)
    os.waitid(os.P_PID, int(file.read_text(encoding="utf-8")), os.WEXITED | os.WNOWAIT)
    assert pictures.render(path, 1, "").width == 1000


def test_workers_end_when_nobody_asks_and_start_anew(opened: Open, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [])
    pictures = opened(idle_seconds=0.2)
    for _ in range(2):
        assert pictures.render(path, 1, "").width == 1000
        while any((tmp_path / "scratch").iterdir()):
            time.sleep(0.02)


def wait_until_begun(folder: Path) -> None:
    while not list(folder.glob("*/begun")):
        time.sleep(0.02)


def test_closing_ends_what_is_under_way_and_refuses_what_comes_later(opened: Open, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [])
    pictures = opened(WAITS)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(pictures.render, path, 1, "") for _ in range(2)]
        wait_until_begun(tmp_path / "scratch")
        pictures.close()
        for one in asked:
            with pytest.raises(PicturesBusy):
                one.result()
    assert list((tmp_path / "scratch").iterdir()) == []
    with pytest.raises(PicturesBusy):
        pictures.render(path, 1, "")


def test_who_would_wait_too_long_is_told_so(opened: Open, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [])
    pictures = opened(WAITS, waiting=1)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pictures.render, path, 1, "")
        wait_until_begun(tmp_path / "scratch")
        with pytest.raises(PicturesBusy, match="too many"):
            pictures.render(path, 1, "")
        pictures.close()
        assert isinstance(asked.exception(), PicturesBusy)
    with pytest.raises(PicturesBusy, match="for others"):
        opened(WAITS, wait_seconds=0.05).render(path, 1, "")


def test_a_worker_that_does_not_start_is_told_each_time(opened: Open, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [])
    pictures = opened(program=(sys.executable, "-c", "raise SystemExit('no such library')"))
    for _ in range(2):
        with pytest.raises(InhouseError, match="no such library"):
            pictures.render(path, 1, "")


def test_neither_the_service_nor_the_parser_loads_what_draws_and_what_draws_loads_no_parser(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", [])
    program = f"""
import sys
import ingest.parsing.pictures, ingest.parsing.worker, ingest.parsing.kreuzberg_door
heavy = ("pypdfium2", "PIL", "kreuzberg")
print(*[name for name in heavy if name in sys.modules], end=";")
ingest.parsing.worker.draw_with_pdfium(open({str(path)!r}, "rb").read(), 1, "", 0)
print(*[name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ";pypdfium2 PIL"


REAL = {
    "003-pdflatex-image/pdflatex-image.pdf": (1, "Lorem ipsum"),
    "004-pdflatex-4-pages/pdflatex-4-pages.pdf": (
        3,
        "There is no need for special content, but the length of words should match the language.",
    ),
    "005-libreoffice-writer-password/libreoffice-writer-password.pdf": (1, ParseReason.PASSWORD),
    "012-libreoffice-form/libreoffice-form.pdf": (1, "Example for a Form"),
    "015-arabic/habibi-rotated.pdf": (2, "habibi"),
    "017-unreadable-meta-data/unreadablemetadata.pdf": (1, ParseReason.DAMAGED),
    "026-latex-multicolumn/multicolumn.pdf": (1, "Nam arcu libero, nonummy eget, consectetuer id, vulputate a, magna."),
}
"""A page of each, and words on it, or why it is not drawn."""


def test_real_files_are_drawn_and_marked_or_refused_with_a_reason(pictures: PagePictures, test_data: Path) -> None:
    folder = test_data / "docs_pypdf_samples"
    if not folder.is_dir():
        pytest.skip("needs the sample PDFs of the test data: docs_pypdf_samples")
    for name, (page, expected) in REAL.items():
        if isinstance(expected, ParseReason):
            with pytest.raises(PictureRefused) as raised:
                pictures.render(folder / name, page, "")
            assert raised.value.reason is expected, name
        else:
            picture = pictures.render(folder / name, page, expected)
            assert picture.marked == len(expected.split()), name
            assert image(picture).width == 1000, name
