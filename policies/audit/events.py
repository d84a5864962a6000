"""The closed vocabulary of the audit log: `subject:object:action`, alphabetical; a tag may retire, never change meaning."""

from __future__ import annotations

from enum import StrEnum


class EventTag(StrEnum):
    """What can have happened. docs/reference/audit-events.md lists each with the fields of its payload."""

    AUDIT_READ = "audit:read"
    DATA_INITIALISED = "data:initialised"
    DOCUMENT_ADDED = "document:added"
    DOCUMENT_CHANGED = "document:changed"
    DOCUMENT_QUARANTINED = "document:quarantined"
    DOCUMENT_RELABELLED = "document:relabelled"
    DOCUMENT_REMOVED = "document:removed"
    DOCUMENT_VIEWED = "document:viewed"
    INGEST_FINISHED = "ingest:run:finished"
    INGEST_STARTED = "ingest:run:started"
    KEY_CREATED = "key:created"
    KEY_REVOKED = "key:revoked"
    PERSON_ADDED = "person:added"
    PERSON_DISABLED = "person:disabled"
    POLICY_ERROR = "policy:error"
    QUESTION_ANSWERED = "question:answered"
    QUESTION_ASKED = "question:asked"
    QUESTION_CANCELLED = "question:cancelled"
    QUESTION_FAILED = "question:failed"
    QUESTION_REFUSED = "question:refused"
    SEARCH_RUN = "search:run"
    SERVICE_STARTED = "service:started"
    SERVICE_STOPPED = "service:stopped"
