"""The closed list of what can be done to documents and to the installation."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """An action that policy decides on, named as in the policies and their schema."""

    AUDIT_READ = "audit.read"
    ERASE = "erase"
    INGEST = "ingest"
    LABEL = "label"
    METRICS_READ = "metrics.read"
    MODEL_USE = "model.use"
    OPEN = "open"
    PEOPLE_MANAGE = "people.manage"
    RETRIEVE = "retrieve"


ON_SYSTEM = frozenset({Action.AUDIT_READ, Action.INGEST, Action.METRICS_READ, Action.PEOPLE_MANAGE})
"""What is decided on the installation itself. `ingest` is in both sets: whether someone may run an ingest at all, and
whether a document of this class may be put in."""

ON_ACCESS_CLASS = frozenset(Action) - (ON_SYSTEM - {Action.INGEST})
"""What is decided on an access class."""
