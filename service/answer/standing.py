"""Whether what an answer rests on may still be read: asked right before each piece of it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policies.access.scope import AccessScope
from policies.errors import AccessDenied, SourcesChanged
from policies.identity import Principal
from vectorstore.types import Passage, PassageId

Permit = Callable[[Principal], AccessScope]
Fetch = Callable[[Sequence[PassageId], AccessScope], dict[PassageId, Passage]]
Moment = Callable[[], object]
"""Gives something else once a label, a document or a person may have changed, and costs next to nothing."""


class Standing:
    """One answer's look at its own permission. Made before the permission is decided, so that no change is missed; while the
    moment is the same nothing is looked up, and else everything is."""

    def __init__(self, principal: Principal, *, permit: Permit, fetch: Fetch, moment: Moment) -> None:
        self._principal = principal
        self._permit = permit
        self._fetch = fetch
        self._moment = moment
        self._since = moment()

    def require(self, passages: Sequence[PassageId]) -> None:
        """Raises SourcesChanged where one of the passages was removed or relabelled, or the person lost the right to one since
        the last look: its text must not leave any more."""
        now = self._moment()
        if now == self._since:
            return
        try:
            there = self._fetch(passages, self._permit(self._principal))
        except AccessDenied:
            # The person was disabled: not even that there is no answer is said to them.
            raise _changed() from None
        if len(there) < len(passages):
            raise _changed()
        self._since = now


def _changed() -> SourcesChanged:
    return SourcesChanged("what this answer rests on has changed meanwhile, or may no longer be read", hint="Ask again.")
