"""The closed list of what can be done to documents and to the installation."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """An action that policy decides on, named as in the policies and their schema."""

    AUDIT_EXPORT = "audit.export"
    AUDIT_READ = "audit.read"
    ERASE = "erase"
    HOLD = "hold"
    INGEST = "ingest"
    LABEL = "label"
    METRICS_READ = "metrics.read"
    MODELS_MANAGE = "models.manage"
    MODEL_USE = "model.use"
    OPEN = "open"
    PEOPLE_MANAGE = "people.manage"
    POLICY_READ = "policy.read"
    RETRIEVE = "retrieve"


ON_BOTH = frozenset({Action.INGEST, Action.POLICY_READ})
"""What is decided on either. `ingest`: whether someone may run an ingest at all, and whether a document of this class may be
put in. `policy.read`: whether someone may read the policies and have any decision explained, and whether they may have one
explained that concerns a document of this class."""

ON_SYSTEM = ON_BOTH | {
    Action.AUDIT_EXPORT,
    Action.AUDIT_READ,
    Action.METRICS_READ,
    Action.MODELS_MANAGE,
    Action.PEOPLE_MANAGE,
}
"""What is decided on the installation itself."""

ON_ACCESS_CLASS = frozenset(Action) - (ON_SYSTEM - ON_BOTH)
"""What is decided on an access class."""
