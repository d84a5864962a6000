"""Ingest: a folder, as the steward that asks may."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ingest.labelling import FILE_NAME, LabelRules
from ingest.run_state import IngestRequest, Released
from ingest.uploads import is_upload
from policies.access.actions import Action
from policies.access.verdict import Deny
from policies.errors import AccessDenied, UsageError
from policies.identity import Principal
from policies.labels import AccessClass
from service.operations.documents import may
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation


class IngestFolder(BaseModel):
    """One folder; paths are absolute, because the service has another working directory than the command line."""

    model_config = ConfigDict(extra="forbid")
    folder: Path
    labels: Path | None = None
    prune: bool = False
    confirmed: bool = False
    dry_run: bool = False
    retry: bool = False
    only: list[str] | None = None
    as_person: str | None = None


def ingest(installation: Installation, request: IngestFolder, emit: Emit, stop: threading.Event) -> Result:
    """Runs the pipeline; `progress` events on the way, the report at the end."""
    return ingested(installation, installation.principal(request.as_person), request, emit, stop)


def ingested(
    installation: Installation,
    principal: Principal,
    request: IngestFolder,
    emit: Emit,
    stop: threading.Event,
    *,
    released: Released | None = None,
) -> Result:
    """The same for a principal whom the caller has authenticated; `as_person` does not count. `released` are files that get
    their label from the principal."""
    from service.ingesting import open_pipeline

    def refused(action: Action, classes: Iterable[AccessClass]) -> AccessClass | None:
        denied = (one for one in classes if isinstance(installation.policies.decide(principal, action, one), Deny))
        return next(denied, None)

    wanted = IngestRequest(
        folder=request.folder,
        labels=request.labels,
        prune=request.prune,
        confirmed=request.confirmed,
        dry_run=request.dry_run,
        retry=request.retry,
        only=frozenset(request.only) if request.only is not None else None,
        released=released,
    )
    with open_pipeline(installation, principal) as pipeline:
        denied = refused(Action.INGEST, pipeline.classes_of(wanted))
        if denied is not None:
            raise AccessDenied(
                f"{principal.id} may not ingest into {denied.kb} ({denied.classification})",
                hint="The labels name an access class that policy does not permit to this person.",
            )
        # Labels of one's own would else move another's documents to where one may read them.
        if refused(Action.LABEL, pipeline.classes_there(wanted)) is not None:
            raise AccessDenied(
                f"{principal.id} may not label every document that this folder has in the index",
                hint="A steward of all of them may ingest it.",
            )
        report = pipeline.run(wanted, lambda progress: emit({"progress": dict(progress)}), stop)
    return {"run": report.to_json()}


def tends(installation: Installation, principal: Principal, source: str) -> bool:
    """Whether the source is the steward's to ingest: policy lets them put in what its labels can give, and label what the
    index has of it. Where neither tells anything, it is nobody's."""
    there = installation.store.classes_of(source)
    levels = installation.settings.access.classifications
    try:
        if is_upload(source):
            access = installation.runs.uploads.access(source)
            given = [] if access is None else [access]
        else:
            given = LabelRules.load(Path(source) / FILE_NAME, levels, installation.settings.label_names()).classes()
    except UsageError:
        given = []
    allowed = may(installation, principal, Action.INGEST, [None, *given]) and may(installation, principal, Action.LABEL, there)
    return allowed and bool(there or given)


OPERATIONS = {"ingest": Operation(IngestFolder, ingest)}
