"""Who is asking: a principal, whatever carrier (key, command line, later session or token) brought it."""

from __future__ import annotations

from dataclasses import dataclass
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
class Principal:
    """An authenticated person.

    `clearance` is a name of the ordered classifications in settings; `groups` always holds `everyone`.
    """

    id: str
    name: str
    groups: frozenset[str]
    clearance: str
    roles: frozenset[Role]

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", frozenset(self.groups) | {EVERYONE})
