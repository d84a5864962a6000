"""Takes out of the index what is gone from its source."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.refusing import Refusing
from ingest.run_state import Record, RunState
from policies.audit.events import EventTag
from policies.errors import ConfirmationRequired
from vectorstore.store import Store
from vectorstore.types import Document

_TOGETHER = 1000
"""Documents that leave in one change."""


class Removing:
    """Records each removal, then removes; a dry run counts alone."""

    def __init__(self, store: Store, refusing: Refusing, record: Record, prune_share: float) -> None:
        self._store = store
        self._refusing = refusing
        self._record = record
        self._prune_share = prune_share

    def prune(self, state: RunState) -> None:
        """Removes documents whose file, or line of a collection, is gone. Raises ConfirmationRequired before anything is
        removed where that is more than the share that goes unasked."""
        unread = tuple(state.incomplete)
        gone = [one for path, one in state.known.items() if path not in state.seen and not (unread and path.startswith(unread))]
        if len(gone) > self._prune_share * len(state.known) and not state.request.confirmed:
            raise ConfirmationRequired(
                f"{len(gone)} of {len(state.known)} documents of {state.source} are gone from it; none was removed",
                hint="If that is meant, run again with --prune --yes. If not, look whether the folder is mounted.",
            )
        self.remove(state, gone, "its file is gone")
        self._refusing.release(state, [path for path in state.quarantined if path not in state.seen])

    def remove(self, state: RunState, documents: Sequence[Document], reason: str) -> None:
        """Removes documents, some together."""
        state.report.removed += len(documents)
        if state.request.dry_run or not documents:
            return
        for one in documents:
            payload = {"document": one.id, "version": one.version, "path": one.path, "reason": reason}
            self._record(EventTag.DOCUMENT_REMOVED, {"run": state.report.id, **payload})
        for start in range(0, len(documents), _TOGETHER):
            self._store.remove([one.id for one in documents[start : start + _TOGETHER]])
