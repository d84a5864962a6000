"""Finds Tesseract's language data, which scans and pictures need."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PLACES = (
    "/usr/share/tesseract-ocr/*/tessdata",
    "/usr/share/tessdata",
    "/usr/share/tesseract/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
    "/opt/local/share/tessdata",
)
"""Where Debian, Fedora, Arch, Homebrew and MacPorts put it."""


@cache
def tessdata_folder() -> Path | None:
    """The folder with English data, or None: then pictures of text go to quarantine and `doctor` says how to mend it."""
    for pattern in _PLACES:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / "eng.traineddata").is_file():
                return folder
    return None
