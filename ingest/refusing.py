"""Puts what cannot be indexed into quarantine, and lets it out."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.run_state import Record, RunState
from ingest.runs import QuarantineEntry, RunStore
from ingest.sources.folder import FoundFile
from policies.audit.events import EventTag

UNLABELLED = "no-label"
BAD_RECORD = "bad-record"
REFUSED = "not-a-plain-file"


class Refusing:
    """Counts, records and keeps each refusal; a dry run counts alone."""

    def __init__(self, runs: RunStore, record: Record) -> None:
        self._runs = runs
        self._record = record

    def refuse(self, state: RunState, path: str, reason: str, detail: str, size: int = 0, modified_ns: int = 0) -> None:
        """A file goes into quarantine."""
        state.report.refuse(path, str(reason), detail)
        if state.request.dry_run:
            return
        payload = {"run": state.report.id, "path": path, "reason": str(reason)}
        self._record(EventTag.DOCUMENT_QUARANTINED, payload)
        self._runs.put(state.source, path, str(reason), detail, size, modified_ns)

    def refuse_line(self, state: RunState, path: str, detail: str, file: FoundFile) -> None:
        """A line of a collection goes into quarantine; the file that holds it does not."""
        state.report.count_record("quarantined")
        state.report.refusals.append({"path": path, "reason": BAD_RECORD, "detail": detail})
        if not state.request.dry_run:
            self._runs.put(state.source, path, BAD_RECORD, detail, file.size, file.modified_ns)

    def release(self, state: RunState, paths: Sequence[str]) -> None:
        """Lets out those of the paths that were in quarantine when the run began."""
        held = [path for path in paths if path in state.quarantined]
        if held and not state.request.dry_run:
            self._runs.release(state.source, held)


def still_bad(entry: QuarantineEntry, file: FoundFile) -> bool:
    """Whether a file is as it was when it could not be parsed; what was refused for other reasons is looked at anew."""
    unchanged = (entry.size, entry.modified_ns) == (file.size, file.modified_ns)
    return unchanged and entry.reason not in (UNLABELLED, REFUSED)
