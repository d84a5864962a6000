"""What the events of policies tell."""

# NOTE: No `from __future__ import annotations` here: it would hide NotRequired from the classes below.

from typing import NotRequired, TypedDict


class PolicyChecked(TypedDict):
    """Someone had a policy set checked: `outcome` is valid, then with the set's hash, or refused, then with the fault."""

    directory: str
    outcome: str
    policy: NotRequired[str]
    error: NotRequired[str]


class PolicyExplained(TypedDict):
    """Someone had it explained whether a person may do an action on a document, or without one on the installation; what was
    decided, allow or deny, and by which set."""

    person: str
    action: str
    document: str | None
    access_class: str | None
    decision: str
    policy: str


class PolicyFault(TypedDict):
    """A decision erred and was therefore a Deny: who asked for what, and what went wrong."""

    error: str


class PolicySimulated(TypedDict):
    """Someone had shown who would gain or lose an action by another set, whose hash this is: of how many people, on how many
    access classes, and for how many of the people something would change."""

    directory: str
    policy: str
    action: str
    people: int
    classes: int
    changed: int


class PolicyTested(TypedDict):
    """Someone had expectations tested on a set: of which file, how many, and how many of them failed."""

    file: str
    policy: str
    expectations: int
    failed: int
