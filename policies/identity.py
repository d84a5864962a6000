"""Who is asking: a principal, whatever carrier (key, command line, later session or token) brought it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

EVERYONE = "everyone"
"""The group that every principal belongs to; a label names it to mean all who have the clearance."""

LOCAL_OWNER_ID = "local-owner"
"""The person that `inhouse init` makes for whoever owns the data directory; no key can be made for it."""

SYSTEM_ID = "system"
"""The actor of what no person did; no person can have this id."""


class Role(StrEnum):
    """What a principal may do; none includes another, and none but policy decides what may be read."""

    ADMIN = "admin"
    AUDITOR = "auditor"
    STEWARD = "steward"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request carried, so that it can be looked at again: in what it came, the id of the key or session (empty where
    there is the person alone to look up), and when it ends by itself in Unix seconds (None: never)."""

    carrier: str
    id: str = ""
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated person.

    `clearance` is a name of the ordered classifications in settings; `groups` always holds `everyone`. `credentials` are all
    that the request carried: they say how long the person stands behind it, and nothing of what they may do.
    """

    id: str
    name: str
    groups: frozenset[str]
    clearance: str
    roles: frozenset[Role]
    credentials: tuple[Credential, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", frozenset(self.groups) | {EVERYONE})

    def is_past(self, now: float) -> bool:
        """Whether one of the credentials has ended by itself."""
        return any(one.expires is not None and one.expires <= now for one in self.credentials)
