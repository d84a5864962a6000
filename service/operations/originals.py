"""The files that documents were made from: where each is, and which of those that were uploaded are still needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.uploads import Uploads, is_upload
from service.wiring import Installation
from vectorstore.types import Document


def original_file(uploads: Uploads, document: Document) -> Path | None:
    """Where the file of a document should be; None where there is none, or it is not inside of its source."""
    if is_upload(document.source):
        kept = uploads.at(document.source, document.path)
        return next((one.path for one in reversed(kept) if one.sha256 == document.content_sha256), None)
    source = Path(document.source).resolve()
    path = (source / document.path).resolve()
    return path if path.is_relative_to(source) else None


def document_at(installation: Installation, source: str, name: str) -> Document | None:
    """The live document of a name, whoever may read it."""
    return next(iter(installation.store.catalog.documents_at(source, [name])), None)


def settle(installation: Installation, source: str, name: str) -> None:
    """Lets go of the uploads of a name that are neither in the index nor in quarantine, but for what a run takes in."""
    installation.runs.uploads.settle(source, name, lambda: _needed(installation, source, name))


@contextmanager
def taking_in(installation: Installation, source: str, name: str) -> Iterator[None]:
    """Keeps all uploads of a name while a run takes one in, and settles them at the end."""
    with installation.runs.uploads.taking_in(source, name, lambda: _needed(installation, source, name)):
        yield


def _needed(installation: Installation, source: str, name: str) -> tuple[str | None, bool]:
    document = document_at(installation, source, name)
    quarantined = any(one.path == name for one in installation.runs.quarantine(source))
    return None if document is None else document.content_sha256, quarantined
