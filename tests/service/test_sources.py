"""Which file an answer's source leads to: the one that was indexed, as it was, and no other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.runs import RunStore
from ingest.uploads import Uploads
from policies.errors import NotFoundError
from policies.labels import AccessClass
from service.web.sources import unchanged
from vectorstore.types import Document, DocumentId

ACCESS = AccessClass("handbook", "internal", frozenset({"everyone"}), "hr")
TEXT = b"Staff have 30 days of annual leave."


@pytest.fixture
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploads]:
    """A place of uploads, with nothing in it."""
    runs = RunStore(tmp_path_factory.mktemp("runs") / "runs.db")
    yield runs.uploads
    runs.close()


def document(folder: Path, path: str) -> Document:
    digest = hashlib.sha256(TEXT).hexdigest()
    return Document(
        DocumentId("doc-1"), str(folder), path, path, "text/plain", 2, digest, len(TEXT), 1, ACCESS, 0, 1, "2026-01-01", {}
    )


def test_an_original_is_the_file_that_was_indexed_and_is_gone_once_it_is_another(tmp_path: Path, uploads: Uploads) -> None:
    file = tmp_path / "leave.txt"
    file.write_bytes(TEXT)
    found = document(tmp_path, "leave.txt")
    assert unchanged(found, 2, uploads) == file
    with pytest.raises(NotFoundError):
        unchanged(found, 1, uploads)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(TEXT.replace(b"30", b"31"))
    os.utime(file, ns=(times[0], times[1] + 1))
    with pytest.raises(NotFoundError):
        unchanged(found, 2, uploads)
    file.write_bytes(TEXT)
    assert unchanged(found, 2, uploads) == file
    file.unlink()
    with pytest.raises(NotFoundError):
        unchanged(found, 2, uploads)


@pytest.mark.parametrize("path", ["../outside.txt", "link.txt"])
def test_nothing_outside_the_folder_is_an_original(tmp_path: Path, uploads: Uploads, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside.txt").write_bytes(TEXT)
    (tmp_path / "folder" / "link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(NotFoundError):
        unchanged(document(tmp_path / "folder", path), 2, uploads)
