"""The closed list of what can be done to documents and to the system."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """An action that policy decides on, named as in the policies."""

    AUDIT_READ = "audit.read"
    ERASE = "erase"
    INGEST = "ingest"
    METRICS_READ = "metrics.read"
    MODEL_USE = "model.use"
    OPEN = "open"
    RETRIEVE = "retrieve"
