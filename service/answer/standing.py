"""Whether what an answer rests on may still be read: asked right before each piece of it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policies.access.scope import AccessScope
from policies.errors import AuthenticationRequired, SourcesChanged
from policies.identity import Principal
from vectorstore.types import Passage, PassageId

Permit = Callable[[Principal], AccessScope]
Fetch = Callable[[Sequence[PassageId], AccessScope], dict[PassageId, Passage]]
Moment = Callable[[Principal], object]
"""Gives something else once a label, a document, a person or what somebody came with may have changed, the same while nothing
has, and costs next to nothing."""


class Standing:
    """One answer's look at its own permission. Made before the permission is decided, so that no change is missed; while the
    moment is the same nothing is looked up, and else everything is."""

    def __init__(self, principal: Principal, *, permit: Permit, fetch: Fetch, moment: Moment) -> None:
        self._principal = principal
        self._permit = permit
        self._fetch = fetch
        self._moment = moment
        self._since = moment(principal)

    def require(self, passages: Sequence[PassageId]) -> None:
        """Raises SourcesChanged where one of the passages was removed or relabelled, or the person lost the right to one since
        the last look, and AuthenticationRequired where they are disabled or what they came with (a key, a session, a token) has
        ended: no text must leave any more."""
        now = self._moment(self._principal)
        if now == self._since:
            return
        try:
            there = self._fetch(passages, self._permit(self._principal))
        except AuthenticationRequired:
            # In the same words whichever it was, as at the next request.
            raise AuthenticationRequired(
                "who asked this is no longer let in", hint="Sign in again, or send a new key or token."
            ) from None
        if len(there) < len(passages):
            raise _changed()
        self._since = now

    def holds(self) -> bool:
        """Whether nothing has changed since the last look. Takes microseconds and waits for nothing."""
        return self._moment(self._principal) == self._since


def _changed() -> SourcesChanged:
    return SourcesChanged("what this answer rests on has changed meanwhile, or may no longer be read", hint="Ask again.")
