"""Files that stewards upload: who may, and how each is taken in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ingest.report import RunReport
from ingest.run_state import Given, IngestRequest
from ingest.uploads import Incoming, Upload, source_of
from policies.access.actions import Action
from policies.audit.events import EventTag
from policies.errors import AccessDenied, UsageError
from policies.identity import Principal
from policies.labels import AccessClass, Label
from service.operations.documents import may
from service.operations.labels import require_label
from service.operations.originals import document_at, taking_in
from service.operations.registry import Emit, Result
from service.wiring import Installation

if TYPE_CHECKING:
    from ingest.pipeline import Pipeline

_WAIT_SECONDS = 30.0
"""How long an upload waits for another run to end."""


def require_upload(installation: Installation, principal: Principal, access: AccessClass, name: str | None = None) -> None:
    """Raises AccessDenied where policy does not let the principal put documents in under that label, or replace the document
    that is there under the name; UsageError for a label that cannot be."""
    require_label(installation, principal, Label(access))
    there = None if name is None else document_at(installation, source_of(access), name)
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
        source = source_of(access)
        with taking_in(installation, source, name):
            upload = installation.runs.uploads.keep(coming, name, access)
            told = {"upload": upload.path.name, "path": name, "sha256": upload.sha256, "size": coming.size}
            installation.audit.append(EventTag.DOCUMENT_UPLOADED, principal.id, {**told, "label": Label(access).as_text()})
            report = _run(pipeline, upload, lambda event: None, stop)
    entry = next((one for one in installation.runs.quarantine(source) if one.path == name), None)
    document = document_at(installation, source, name)
    if entry is not None:
        return {"name": name, "outcome": "quarantined", "reason": entry.reason, "detail": entry.detail, "entry": entry.id}
    if report.outcome != "finished" or document is None:
        return {"name": name, "outcome": "stopped"}
    return {"name": name, "outcome": "indexed", "document": document.id, "version": document.version}


def taken_in(
    installation: Installation, principal: Principal, source: str, name: str, emit: Emit, stop: threading.Event
) -> Result:
    """Tries the newest upload of a name again; returns the report. Raises UsageError where nothing is kept of it any more."""
    from service.ingesting import open_pipeline

    opened = open_pipeline(installation, principal, wait_seconds=_WAIT_SECONDS)
    with opened as pipeline, taking_in(installation, source, name):
        # Looked up now: while this waited for another run, that may have been one of the same name.
        if not (kept := installation.runs.uploads.at(source, name)):
            raise UsageError(f"{name} was discarded or removed meanwhile", hint="Upload it again.")
        require_upload(installation, principal, kept[-1].access, name)
        return _run(pipeline, kept[-1], emit, stop).to_json()


def _run(pipeline: Pipeline, upload: Upload, emit: Emit, stop: threading.Event) -> RunReport:
    given = Given(upload.source, upload.access, (upload.found(),))
    request = IngestRequest(upload.path.parent, retry=True, given=given)
    return pipeline.run(request, lambda progress: emit({"progress": dict(progress)}), stop)
