"""Quarantine: what could not be indexed and why, and another try."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ingest.parsing.types import EXPLANATIONS, ParseReason
from ingest.refusing import BAD_LABEL, BAD_RECORD, LEGAL_HOLD
from ingest.runs import QuarantineEntry
from policies.identity import Principal
from service.operations.ingest import IngestFolder, ingested
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation

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


def list_entries(installation: Installation, request: ListQuarantine, emit: Emit, stop: threading.Event) -> Result:
    """What is in quarantine."""
    return {"quarantine": [described(entry) for entry in installation.runs.quarantine(request.source)]}


def show(installation: Installation, request: OneEntry, emit: Emit, stop: threading.Event) -> Result:
    """One entry, with what its reason means and how to mend it."""
    entry = installation.runs.entry(request.id)
    return {"entry": {**described(entry), "meaning": meaning(entry.reason)}}


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
    gone = []
    for entry in entries:
        # What is not there because its folder is not may come back with it.
        if Path(entry.source).is_dir() and not os.path.lexists(Path(entry.source, _file_of(entry))):
            installation.runs.release(entry.source, [entry.path])
            gone.append(entry)
        else:
            sources.setdefault(entry.source, set()).add(_file_of(entry))
    runs = []
    for source, paths in sources.items():
        if stop.is_set():
            break
        again = IngestFolder(folder=Path(source), labels=labels, retry=True, only=sorted(paths))
        runs.append(ingested(installation, principal, again, emit, stop)["run"])
    left = [one for one in installation.runs.quarantine() if _file_of(one) in sources.get(one.source, ())]
    return {"runs": runs, "gone": [described(one) for one in gone], "left": [described(one) for one in left]}


def _file_of(entry: QuarantineEntry) -> str:
    """The file to read again: for a line of a collection, the file that holds it. Names may hold a # themselves."""
    return entry.path.rpartition("#line-")[0] if entry.reason == BAD_RECORD else entry.path


def described(entry: QuarantineEntry) -> Result:
    """An entry as JSON."""
    return asdict(entry)


def meaning(reason: str) -> str:
    """What a reason means, for people."""
    return _OTHER.get(reason) or EXPLANATIONS[ParseReason(reason)]


OPERATIONS = {
    "quarantine.list": Operation(ListQuarantine, list_entries),
    "quarantine.retry": Operation(RetryQuarantine, retry),
    "quarantine.show": Operation(OneEntry, show),
}
