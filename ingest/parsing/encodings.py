"""Bytes become characters: by their mark, as UTF-8, by what they declare, and only then by a guess, which is said."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})|<meta[^>]{0,300}?charset\s*=\s*["']?([\w.:-]{1,40})""", re.I
)
_DECLARATION_WITHIN = 4096
_FEW = 64
_PLAUSIBLE = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2", "iso8859_5", "iso8859_7"),
    *("koi8_r", "cp437", "cp850", "mac_roman", "shift_jis", "cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp949"),
]
"""What files of offices are written in; among all that there are, short texts are guessed to be in the rarest."""


def decoded(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a plain file, and a remark where its encoding had to be guessed."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace"), ()
    try:
        return raw.decode("utf-8"), ()
    except UnicodeDecodeError:
        if _nearly_utf8(raw):
            return raw.decode("utf-8", errors="replace"), ("it holds bytes that are no UTF-8",)
        encoding = _guessed(raw)
        return raw.decode(encoding, errors="replace"), (f"encoding guessed: {encoding}",)


def encoding_of(pieces: Iterable[bytes]) -> str:
    """The encoding of a plain file of any length, piece by piece: its mark's, UTF-8 where it is that as far as its first
    letters beyond ASCII, else a guess by the piece that holds them."""
    decoder, foreign = codecs.getincrementaldecoder("utf-8")(), False
    for number, piece in enumerate(pieces):
        marked = next((encoding for mark, encoding in _MARKS if piece.startswith(mark)), None) if number == 0 else None
        if marked is not None:
            return marked
        try:
            foreign = foreign or not decoder.decode(piece).isascii()
        except UnicodeDecodeError:
            return "utf-8" if _nearly_utf8(piece) else _guessed(piece)
        if foreign:
            break
    return "utf-8"


def markup_as_utf8(raw: bytes) -> bytes:
    """HTML or XML in UTF-8 without a mark, whatever it was in; a declaration of another encoding is taken out. Parsers
    take markup for UTF-8 and lose every other letter."""
    try:
        raw.decode("utf-8")
        return raw.removeprefix(codecs.BOM_UTF8)
    except UnicodeDecodeError:
        if _nearly_utf8(raw):
            return raw.decode("utf-8", errors="replace").encode("utf-8")
        declared = _DECLARED.search(raw[:_DECLARATION_WITHIN])
        text = _as_declared(raw, (declared.group(1) or declared.group(2)).decode() if declared else None)
        return re.sub(r"""(<\?xml[^>]{0,200}?)\s+encoding\s*=\s*["'][^"']*["']""", r"\1", text, count=1).encode("utf-8")


def _as_declared(raw: bytes, encoding: str | None) -> str:
    # As browsers do: what calls itself Latin-1 is Windows-1252.
    name = "cp1252" if encoding is not None and encoding.lower() in ("iso-8859-1", "latin1", "us-ascii", "ascii") else encoding
    if name is not None and not raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode(name, errors="replace")
        except LookupError:
            pass
    return decoded(raw)[0]


def _nearly_utf8(raw: bytes) -> bool:
    """Whether a wrong byte here and there is a mistake in UTF-8: in other encodings, one in two or more is wrong."""
    text = raw.decode("utf-8", errors="replace")
    wrong = text.count("\ufffd")
    return 0 < wrong * 10 <= sum(not one.isascii() for one in text) - wrong


def _guessed(raw: bytes) -> str:
    foreign = sum(byte >= 0x80 for byte in raw)
    letters = sum(byte >= 0x80 or chr(byte).isalpha() for byte in raw)
    if foreign < _FEW and foreign < 0.4 * letters:
        return "cp1252"  # too few to tell by, and among Latin letters
    from charset_normalizer import from_bytes

    best = from_bytes(raw, cp_isolation=_PLAUSIBLE).best()
    return best.encoding if best else "cp1252"
