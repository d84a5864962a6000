"""Takes out of the index what is gone from its source."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.refusing import LEGAL_HOLD, Refusing
from ingest.run_state import Record, RunState
from policies.audit.events import EventTag
from policies.errors import ConfirmationRequired
from vectorstore.store import Store
from vectorstore.types import Document

_TOGETHER = 1000
"""Documents that leave in one change."""


class Removing:
    """The removals of one run: recorded, carried out, counted; a dry run counts alone. What is under legal hold stays, is
    counted as held, and that it was to go is recorded."""

    def __init__(self, state: RunState, store: Store, refusing: Refusing, record: Record) -> None:
        self._state = state
        self._store = store
        self._refusing = refusing
        self._record = record

    def prune(self, share: float) -> None:
        """Removes documents whose file, or line of a collection, is gone. Raises ConfirmationRequired before anything is
        removed where that is more than `share` of them and was not confirmed."""
        state = self._state
        unread = tuple(state.incomplete)
        gone = [one for path, one in state.known.items() if path not in state.seen and not (unread and path.startswith(unread))]
        if len(gone) > share * len(state.known) and not state.request.confirmed:
            raise ConfirmationRequired(
                f"{len(gone)} of {len(state.known)} documents of {state.source} are gone from it; none was removed",
                hint="If that is meant, run again with --prune --yes. If not, look whether the folder is mounted.",
            )
        self.remove(gone, "its file is gone")
        stale = [path for path in state.quarantined if path not in state.seen]
        self._refusing.release([path for path in stale if not (unread and path.startswith(unread))])

    def remove(self, documents: Sequence[Document], reason: str) -> None:
        """Removes documents, many together, but for those under legal hold."""
        held = self._store.held([one.id for one in documents])
        self._keep([one for one in documents if one.id in held], reason)
        documents = [one for one in documents if one.id not in held]
        for start in range(0, len(documents), _TOGETHER):
            part = documents[start : start + _TOGETHER]
            if not self._state.request.dry_run:
                self._record([(EventTag.DOCUMENT_REMOVED, self._payload(one, reason)) for one in part])
                self._store.remove([one.id for one in part])
            self._state.report.removed += len(part)
            for one in part:
                self._state.known.pop(one.path, None)

    def _keep(self, held: Sequence[Document], reason: str) -> None:
        state = self._state
        if held and not state.request.dry_run:
            self._record([(EventTag.HOLD_REFUSED, self._payload(one, reason)) for one in held])
        state.report.held += len(held)
        state.report.refusals += [
            {"path": one.path, "reason": LEGAL_HOLD, "detail": f"{reason}, and it is held"} for one in held
        ]

    def _payload(self, document: Document, reason: str) -> dict[str, str | int]:
        return {
            "run": self._state.report.id,
            "document": document.id,
            "version": document.version,
            "path": document.path,
            "reason": reason,
        }
