"""Files that stewards upload: who may, how each is taken in, and where the original of a document is."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.report import RunReport
from ingest.run_state import Given, IngestRequest
from ingest.uploads import Incoming, Upload, Uploads, is_upload, source_of
from policies.access.actions import Action
from policies.audit.events import EventTag
from policies.errors import AccessDenied
from policies.identity import Principal
from policies.labels import AccessClass, Label
from service.operations.documents import may
from service.operations.labels import require_label
from service.operations.registry import Emit, Result
from service.wiring import Installation
from vectorstore.types import Document

if TYPE_CHECKING:
    from ingest.pipeline import Pipeline

_WAIT_SECONDS = 30.0
"""How long an upload waits for another run to end."""


def require_upload(installation: Installation, principal: Principal, access: AccessClass, name: str | None = None) -> None:
    """Raises AccessDenied where policy does not let the principal put documents in under that label, or replace the document
    that is there under the name; UsageError for a label that cannot be."""
    require_label(installation, principal, Label(access))
    there = None if name is None else _document(installation, source_of(access), name)
    if there is not None:
        for action in (Action.INGEST, Action.LABEL):
            if not may(installation, principal, action, [there.access]):
                raise AccessDenied(f"you may not replace {name}", hint="A steward of its groups may, or use another name.")


def uploaded(
    installation: Installation, principal: Principal, coming: Incoming, name: str, access: AccessClass, stop: threading.Event
) -> Result:
    """Takes in a file that has come in whole; recorded first. Returns what became of it: `outcome` is indexed, quarantined or
    stopped. Raises as `require_upload` does, and UsageError while another run is on."""
    from service.ingesting import open_pipeline

    with open_pipeline(installation, principal, wait_seconds=_WAIT_SECONDS) as pipeline:
        require_upload(installation, principal, access, name)
        upload = installation.runs.uploads.keep(coming, name, access)
        told = {"upload": upload.path.name, "path": name, "sha256": upload.sha256, "size": coming.size}
        try:
            installation.audit.append(EventTag.DOCUMENT_UPLOADED, principal.id, {**told, "label": Label(access).as_text()})
            report = _run(pipeline, upload, lambda event: None, stop)
        finally:
            settle(installation, upload.source, upload.name)
    entry = next((one for one in installation.runs.quarantine(upload.source) if one.path == name), None)
    document = _document(installation, upload.source, name)
    if entry is not None:
        return {"name": name, "outcome": "quarantined", "reason": entry.reason, "detail": entry.detail, "entry": entry.id}
    if report.outcome != "finished" or document is None:
        return {"name": name, "outcome": "stopped"}
    return {"name": name, "outcome": "indexed", "document": document.id, "version": document.version}


def taken_in(installation: Installation, principal: Principal, upload: Upload, emit: Emit, stop: threading.Event) -> Result:
    """Tries an upload that is kept again; returns the report."""
    from service.ingesting import open_pipeline

    with open_pipeline(installation, principal, wait_seconds=_WAIT_SECONDS) as pipeline:
        require_upload(installation, principal, upload.access, upload.name)
        try:
            return _run(pipeline, upload, emit, stop).to_json()
        finally:
            settle(installation, upload.source, upload.name)


def _run(pipeline: Pipeline, upload: Upload, emit: Emit, stop: threading.Event) -> RunReport:
    given = Given(upload.source, upload.access, (upload.found(),))
    request = IngestRequest(upload.path.parent, retry=True, given=given)
    return pipeline.run(request, lambda progress: emit({"progress": dict(progress)}), stop)


def original_file(uploads: Uploads, document: Document) -> Path | None:
    """Where the file of a document should be; None where there is none, or it is not inside of its source."""
    if is_upload(document.source):
        kept = uploads.at(document.source, document.path)
        return next((one.path for one in reversed(kept) if one.sha256 == document.content_sha256), None)
    source = Path(document.source).resolve()
    path = (source / document.path).resolve()
    return path if path.is_relative_to(source) else None


def settle(installation: Installation, source: str, name: str) -> None:
    """Lets go of the originals of a name that are neither in the index nor in quarantine."""
    document = _document(installation, source, name)
    quarantined = any(one.path == name for one in installation.runs.quarantine(source))
    live = None if document is None else document.content_sha256
    installation.runs.uploads.settle(source, name, live, quarantined=quarantined)


def _document(installation: Installation, source: str, name: str) -> Document | None:
    return next(iter(installation.store.catalog.documents_at(source, [name])), None)
