"""Puts what cannot be indexed into quarantine, and lets it out."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.parsing.types import ParseReason
from ingest.run_state import Record, RunState
from ingest.runs import QuarantineEntry, Refusal, RunStore
from ingest.sources.folder import FoundFile
from policies.audit.events import EventTag
from vectorstore.types import Document

UNLABELLED = "no-label"
BAD_LABEL = "bad-label"
LEGAL_HOLD = "legal-hold"
HELD = "the document is under legal hold, and its text stays as it is"
BAD_RECORD = "bad-record"
REFUSED = "not-a-plain-file"

_TOGETHER = 500
"""Refusals that are recorded together: each wait for the disk costs some milliseconds."""


class Refusing:
    """The refusals of one run. Each is counted at once and recorded and kept by `flush`; one that says what the
    quarantine says already is counted alone, and a dry run counts alone."""

    def __init__(self, state: RunState, runs: RunStore, record: Record) -> None:
        self._state = state
        self._runs = runs
        self._record = record
        self._waiting: list[Refusal] = []

    def refuse(self, path: str, reason: str, detail: str, size: int = 0, modified_ns: int = 0) -> None:
        """A file goes into quarantine; `size` and `modified_ns` are its stat when it was found wanting."""
        self._state.report.refuse(path, str(reason), detail)
        self._keep(Refusal(path, str(reason), detail, size, modified_ns))

    def refuse_line(self, path: str, detail: str, file: FoundFile, reason: str = BAD_RECORD) -> None:
        """A line of a collection goes into quarantine; the file that holds it does not."""
        self._state.report.count_record("quarantined")
        self._state.report.refusals.append({"path": path, "reason": reason, "detail": detail})
        self._keep(Refusal(path, reason, detail, file.size, file.modified_ns))

    def refuse_again(self, entry: QuarantineEntry) -> None:
        """A file stays in quarantine, unread."""
        self._state.report.refuse(entry.path, entry.reason, entry.detail)

    def release(self, paths: Sequence[str]) -> None:
        """Lets out those of the paths that were in quarantine when the run began."""
        held = [path for path in paths if path in self._state.quarantined]
        if held and not self._state.request.dry_run:
            self._runs.release(self._state.source, held)

    def flush(self) -> None:
        """Records and keeps what waits."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        run = self._state.report.id
        self._record([(EventTag.DOCUMENT_QUARANTINED, {"run": run, "path": one.path, "reason": one.reason}) for one in waiting])
        self._runs.put(self._state.source, waiting)

    def _keep(self, refusal: Refusal) -> None:
        state = self._state
        if state.request.dry_run:
            return
        entry = state.quarantined.get(refusal.path)
        if entry is not None and not state.request.retry and entry.says(refusal):
            return
        self._waiting.append(refusal)
        if len(self._waiting) >= _TOGETHER:
            self.flush()


def still_bad(entry: QuarantineEntry, file: FoundFile, document: Document | None) -> bool:
    """Whether a file is as it was when it could not be parsed; what was refused for other reasons is looked at anew. A
    document of this very stat came in since: the process ended before it could let the file out."""
    stat = (file.size, file.modified_ns)
    if (entry.size, entry.modified_ns) != stat or (document is not None and (document.size, document.modified_ns) == stat):
        return False
    return entry.reason not in (UNLABELLED, BAD_LABEL, LEGAL_HOLD, REFUSED, ParseReason.CHANGED)
