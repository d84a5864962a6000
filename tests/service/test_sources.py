"""Which file an answer's source leads to: the one that was indexed, as it was, and no other."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from policies.errors import NotFoundError
from policies.labels import AccessClass
from service.web.sources import unchanged
from vectorstore.types import Document, DocumentId

ACCESS = AccessClass("handbook", "internal", frozenset({"everyone"}), "hr")
TEXT = b"Staff have 30 days of annual leave."


def document(folder: Path, path: str) -> Document:
    digest = hashlib.sha256(TEXT).hexdigest()
    return Document(
        DocumentId("doc-1"), str(folder), path, path, "text/plain", 2, digest, len(TEXT), 1, ACCESS, 0, 1, "2026-01-01", {}
    )


def test_an_original_is_the_file_that_was_indexed_and_is_gone_once_it_is_another(tmp_path: Path) -> None:
    file = tmp_path / "leave.txt"
    file.write_bytes(TEXT)
    found = document(tmp_path, "leave.txt")
    assert unchanged(found, 2) == file
    with pytest.raises(NotFoundError):
        unchanged(found, 1)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(TEXT.replace(b"30", b"31"))
    os.utime(file, ns=(times[0], times[1] + 1))
    with pytest.raises(NotFoundError):
        unchanged(found, 2)
    file.write_bytes(TEXT)
    assert unchanged(found, 2) == file
    file.unlink()
    with pytest.raises(NotFoundError):
        unchanged(found, 2)


@pytest.mark.parametrize("path", ["../outside.txt", "link.txt"])
def test_nothing_outside_the_folder_is_an_original(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside.txt").write_bytes(TEXT)
    (tmp_path / "folder" / "link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(NotFoundError):
        unchanged(document(tmp_path / "folder", path), 2)
