"""Quarantine: what could not be indexed and why, another try, and a way out with a label."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ingest.parsing.types import EXPLANATIONS, ParseReason
from ingest.refusing import BAD_LABEL, BAD_RECORD, LEGAL_HOLD, UNLABELLED
from ingest.run_state import Released
from ingest.runs import QuarantineEntry, no_entry
from ingest.uploads import is_upload
from policies.audit.events import EventTag
from policies.errors import UsageError
from policies.identity import Principal
from policies.labels import Label, Origin
from service.operations.ingest import IngestFolder, ingested, tends
from service.operations.labels import Reason, access_of, require_label
from service.operations.originals import settle
from service.operations.registry import Emit, Operation, Result
from service.operations.uploads import taken_in
from service.wiring import Installation

_LIMITS = (ParseReason.TOO_LARGE, ParseReason.TOO_MUCH_MEMORY, ParseReason.TOO_MUCH_OUTPUT, ParseReason.TOO_MUCH_TIME)
_WITHOUT_RELEASE: dict[str, str] = {
    **dict.fromkeys(_LIMITS, "No label makes it smaller: an administrator may raise the limit in the settings."),
    ParseReason.CHANGED: "It needs no release: try again once nobody writes to it.",
    ParseReason.NO_OCR: "No label makes it text: install what reads pictures, then try again.",
    BAD_LABEL: "A label that is wrong is mended where it stands, and not overruled.",
    LEGAL_HOLD: "The document that it would replace is under legal hold, which whoever may hold it can lift.",
}
_OTHER = {
    "no-label": "No rule of labels.toml matches it, so nobody may read it. Add a rule.",
    BAD_LABEL: "What its rule, the file beside it, or its owner and mode say gives no label to rely upon. Mend that.",
    LEGAL_HOLD: "It has changed, and the document is under legal hold: its text stays until `inhouse documents release`.",
    BAD_RECORD: "This line of the collection is not a document by its mapping.",
    "not-a-plain-file": "Links out of the folder, pipes and devices are not read.",
}


class ListQuarantine(BaseModel):
    """Entries of one source folder, or of all."""

    model_config = ConfigDict(extra="forbid")
    source: str | None = None


class OneEntry(BaseModel):
    """An entry by id."""

    model_config = ConfigDict(extra="forbid")
    id: str


class RetryQuarantine(BaseModel):
    """One entry, or every one when no id is given; `labels` as for ingest."""

    model_config = ConfigDict(extra="forbid")
    id: str | None = None
    labels: Path | None = None


class ReleaseQuarantine(BaseModel):
    """An entry by id, the label that its file gets, and why; `labels` as for ingest."""

    model_config = ConfigDict(extra="forbid")
    id: str
    kb: str
    classification: str
    groups: list[str]
    owner: str
    reason: Reason
    labels: Path | None = None
    as_person: str | None = None


def list_entries(installation: Installation, request: ListQuarantine, emit: Emit, stop: threading.Event) -> Result:
    """What is in quarantine."""
    return {"quarantine": [described(entry) for entry in installation.runs.quarantine(request.source)]}


def show(installation: Installation, request: OneEntry, emit: Emit, stop: threading.Event) -> Result:
    """One entry, with what its reason means and how to mend it."""
    entry = installation.runs.entry(request.id)
    return {"entry": {**described(entry), "meaning": meaning(entry.reason), "release": releasing(entry.reason)}}


def retry(installation: Installation, request: RetryQuarantine, emit: Emit, stop: threading.Event) -> Result:
    """Parses the files again as the local owner; returns what `retried` does."""
    entries = [installation.runs.entry(request.id)] if request.id else installation.runs.quarantine()
    return retried(installation, installation.principal(None), entries, request.labels, emit, stop)


def retried(
    installation: Installation,
    principal: Principal,
    entries: Sequence[QuarantineEntry],
    labels: Path | None,
    emit: Emit,
    stop: threading.Event,
) -> Result:
    """Parses the files of entries again, source by source; returns the report of each run, the entries that are `gone`
    because their file is, and those that are `left` of the files that were tried."""
    sources: dict[str, set[str]] = {}
    gone, runs = [], []
    for entry in entries:
        if is_upload(entry.source):
            if not installation.runs.uploads.at(entry.source, entry.path):
                installation.runs.release(entry.source, [entry.path])
                gone.append(entry)
            elif not stop.is_set():
                runs.append(taken_in(installation, principal, entry.source, entry.path, emit, stop))
                sources.setdefault(entry.source, set()).add(entry.path)
            continue
        # What is not there because its folder is not may come back with it.
        if Path(entry.source).is_dir() and not os.path.lexists(Path(entry.source, _file_of(entry))):
            installation.runs.release(entry.source, [entry.path])
            gone.append(entry)
        else:
            sources.setdefault(entry.source, set()).add(_file_of(entry))
    for source, paths in sources.items():
        if is_upload(source):
            continue
        if stop.is_set():
            break
        again = IngestFolder(folder=Path(source), labels=labels, retry=True, only=sorted(paths))
        runs.append(ingested(installation, principal, again, emit, stop)["run"])
    left = [one for one in installation.runs.quarantine() if _file_of(one) in sources.get(one.source, ())]
    return {"runs": runs, "gone": [described(one) for one in gone], "left": [described(one) for one in left]}


def release(installation: Installation, request: ReleaseQuarantine, emit: Emit, stop: threading.Event) -> Result:
    """Gives a file a label from a person and indexes it; returns the report of the run. To somebody whose source it is not, it
    is as absent as one that is nowhere."""
    principal = installation.principal(request.as_person)
    if request.as_person is not None and request.id not in {one.id for one in tended_entries(installation, principal)}:
        raise no_entry(request.id)
    return released(installation, principal, request, emit, stop)


def tended_entries(installation: Installation, principal: Principal) -> list[QuarantineEntry]:
    """The entries of the sources that are the steward's. Every source is looked at, so that the time to find one entry among
    them does not tell whether there is one among the others."""

    @cache
    def tended(source: str) -> bool:
        return tends(installation, principal, source)

    return [one for one in installation.runs.quarantine() if tended(one.source)]


def released(
    installation: Installation, principal: Principal, request: ReleaseQuarantine, emit: Emit, stop: threading.Event
) -> Result:
    """The same for a principal whom the caller has authenticated; recorded with the reason before the file is read. The label
    holds over later runs as one that a person gave a document does. Raises UsageError where no label would help, and
    AccessDenied for one under which the principal may not put documents in."""
    entry = installation.runs.entry(request.id)
    if entry.reason != UNLABELLED:
        raise UsageError(f"{entry.path} cannot be released: {releasing(entry.reason)}", hint="Mend it, then retry.")
    access = access_of(request.kb, request.classification, request.groups, request.owner)
    label = Label(access, origin=Origin.OVERRIDE)
    require_label(installation, principal, label)
    told = {"entry": entry.id, "path": entry.path, "label": label.as_text(), "reason": request.reason}
    installation.audit.append(EventTag.DOCUMENT_RELEASED, principal.id, told)
    folder = IngestFolder(folder=Path(entry.source), labels=request.labels, retry=True, only=[entry.path])
    let_out = Released(label, frozenset([entry.path]), request.reason)
    return ingested(installation, principal, folder, emit, stop, released=let_out)


def releasing(reason: str) -> str:
    """Whether a file that is in quarantine for that reason can be let out by a label, in words."""
    if reason == UNLABELLED:
        return "A label lets it out."
    return _WITHOUT_RELEASE.get(reason, "No label makes it readable: mend the file, then try again.")


def _file_of(entry: QuarantineEntry) -> str:
    """The file to read again: for a line of a collection, the file that holds it. Names may hold a # themselves."""
    return entry.path.rpartition("#line-")[0] if entry.reason == BAD_RECORD else entry.path


def described(entry: QuarantineEntry) -> Result:
    """An entry as JSON."""
    return asdict(entry)


def meaning(reason: str) -> str:
    """What a reason means, for people."""
    return _OTHER.get(reason) or EXPLANATIONS[ParseReason(reason)]


def discarded(installation: Installation, principal: Principal, entry: QuarantineEntry) -> None:
    """Lets go of an upload that is in quarantine, file and entry; recorded first. A version before it stays. Raises UsageError
    for a file of a folder, which whoever keeps the folder takes out of it."""
    if not is_upload(entry.source):
        raise UsageError(f"{entry.path} was not uploaded", hint="Take it out of its folder, then try again.")
    told = {"entry": entry.id, "path": entry.path, "reason": entry.reason}
    installation.audit.append(EventTag.DOCUMENT_DISCARDED, principal.id, told)
    installation.runs.release(entry.source, [entry.path])
    settle(installation, entry.source, entry.path)


OPERATIONS = {
    "quarantine.list": Operation(ListQuarantine, list_entries),
    "quarantine.release": Operation(ReleaseQuarantine, release),
    "quarantine.retry": Operation(RetryQuarantine, retry),
    "quarantine.show": Operation(OneEntry, show),
}
