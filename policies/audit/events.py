"""The closed vocabulary of the audit log, `subject:object:action`, and which payload each event has."""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from policies.audit import document_payloads, payloads, policy_payloads


class EventTag(StrEnum):
    """What can have happened, in alphabetical order; a tag may retire, but never changes its meaning.

    docs/reference/audit-events.md lists each with the fields of its payload.
    """

    ADMINISTRATOR_CLAIMED = "administrator:claimed"
    ADMINISTRATOR_OFFERED = "administrator:offered"
    AUDIT_READ = "audit:read"
    AUDIT_RECOVERED = "audit:recovered"
    CONVERSATION_DELETED = "conversation:deleted"
    CONVERSATION_EXPORTED = "conversation:exported"
    CONVERSATION_OPENED = "conversation:opened"
    CREDENTIAL_REFUSED = "credential:refused"
    DATA_INITIALISED = "data:initialised"
    DOCUMENT_ADDED = "document:added"
    DOCUMENT_CHANGED = "document:changed"
    DOCUMENT_DISCARDED = "document:discarded"
    DOCUMENT_DOWNLOADED = "document:downloaded"
    DOCUMENT_QUARANTINED = "document:quarantined"
    DOCUMENT_RELABELLED = "document:relabelled"
    DOCUMENT_RELEASED = "document:released"
    DOCUMENT_REMOVED = "document:removed"
    DOCUMENT_UPLOADED = "document:uploaded"
    DOCUMENT_VIEWED = "document:viewed"
    FEEDBACK_DONE = "feedback:done"
    FEEDBACK_GIVEN = "feedback:given"
    FEEDBACK_READ = "feedback:read"
    HOLD_LIFTED = "hold:lifted"
    HOLD_REFUSED = "hold:refused"
    HOLD_SET = "hold:set"
    INGEST_FINISHED = "ingest:run:finished"
    INGEST_STARTED = "ingest:run:started"
    INGEST_STOPPED = "ingest:run:stopped"
    KEY_CREATED = "key:created"
    KEY_REVOKED = "key:revoked"
    LINK_CREATED = "link:created"
    MODEL_ADDED = "model:added"
    MODEL_REMOVED = "model:removed"
    PERSON_ADDED = "person:added"
    PERSON_BOUND = "person:bound"
    PERSON_CHANGED = "person:changed"
    PERSON_DISABLED = "person:disabled"
    PERSON_RELEASED = "person:released"
    POLICY_CHECKED = "policy:checked"
    POLICY_ERROR = "policy:error"
    POLICY_EXPLAINED = "policy:explained"
    POLICY_SIMULATED = "policy:simulated"
    POLICY_TESTED = "policy:tested"
    QUESTION_ANSWERED = "question:answered"
    QUESTION_ASKED = "question:asked"
    QUESTION_CANCELLED = "question:cancelled"
    QUESTION_FAILED = "question:failed"
    QUESTION_REFUSED = "question:refused"
    SEARCH_RUN = "search:run"
    SERVICE_STARTED = "service:started"
    SERVICE_STOPPED = "service:stopped"
    SESSION_ENDED = "session:ended"
    SESSION_STARTED = "session:started"


PAYLOADS: Mapping[EventTag, type] = types.MappingProxyType(
    {
        EventTag.ADMINISTRATOR_CLAIMED: payloads.AdministratorClaimed,
        EventTag.ADMINISTRATOR_OFFERED: payloads.AdministratorOffered,
        EventTag.AUDIT_READ: payloads.AuditRead,
        EventTag.AUDIT_RECOVERED: payloads.AuditRecovered,
        EventTag.CONVERSATION_DELETED: payloads.ConversationDeleted,
        EventTag.CONVERSATION_EXPORTED: payloads.ConversationRead,
        EventTag.CONVERSATION_OPENED: payloads.ConversationRead,
        EventTag.CREDENTIAL_REFUSED: payloads.CredentialRefused,
        EventTag.DATA_INITIALISED: payloads.DataInitialised,
        EventTag.DOCUMENT_ADDED: document_payloads.DocumentWritten,
        EventTag.DOCUMENT_CHANGED: document_payloads.DocumentWritten,
        EventTag.DOCUMENT_DISCARDED: document_payloads.DocumentDiscarded,
        EventTag.DOCUMENT_DOWNLOADED: document_payloads.DocumentDownloaded,
        EventTag.DOCUMENT_QUARANTINED: document_payloads.DocumentQuarantined,
        EventTag.DOCUMENT_RELABELLED: document_payloads.DocumentRelabelled,
        EventTag.DOCUMENT_RELEASED: document_payloads.DocumentReleased,
        EventTag.DOCUMENT_REMOVED: document_payloads.DocumentRemoved,
        EventTag.DOCUMENT_UPLOADED: document_payloads.DocumentUploaded,
        EventTag.DOCUMENT_VIEWED: document_payloads.DocumentViewed,
        EventTag.FEEDBACK_DONE: payloads.FeedbackDone,
        EventTag.FEEDBACK_GIVEN: payloads.FeedbackGiven,
        EventTag.FEEDBACK_READ: payloads.FeedbackRead,
        EventTag.HOLD_LIFTED: document_payloads.HoldChanged,
        EventTag.HOLD_REFUSED: document_payloads.HoldRefused,
        EventTag.HOLD_SET: document_payloads.HoldChanged,
        EventTag.INGEST_FINISHED: document_payloads.IngestFinished,
        EventTag.INGEST_STARTED: document_payloads.IngestStarted,
        EventTag.INGEST_STOPPED: document_payloads.IngestStopped,
        EventTag.KEY_CREATED: payloads.KeyCreated,
        EventTag.KEY_REVOKED: payloads.KeyRevoked,
        EventTag.LINK_CREATED: payloads.LinkCreated,
        EventTag.MODEL_ADDED: payloads.ModelAdded,
        EventTag.MODEL_REMOVED: payloads.ModelRemoved,
        EventTag.PERSON_ADDED: payloads.PersonAdded,
        EventTag.PERSON_BOUND: payloads.PersonBound,
        EventTag.PERSON_CHANGED: payloads.PersonChanged,
        EventTag.PERSON_DISABLED: payloads.PersonDisabled,
        EventTag.PERSON_RELEASED: payloads.PersonReleased,
        EventTag.POLICY_CHECKED: policy_payloads.PolicyChecked,
        EventTag.POLICY_ERROR: policy_payloads.PolicyFault,
        EventTag.POLICY_EXPLAINED: policy_payloads.PolicyExplained,
        EventTag.POLICY_SIMULATED: policy_payloads.PolicySimulated,
        EventTag.POLICY_TESTED: policy_payloads.PolicyTested,
        EventTag.QUESTION_ANSWERED: payloads.QuestionAnswered,
        EventTag.QUESTION_ASKED: payloads.QuestionAsked,
        EventTag.QUESTION_CANCELLED: payloads.QuestionCancelled,
        EventTag.QUESTION_FAILED: payloads.QuestionFailed,
        EventTag.QUESTION_REFUSED: payloads.QuestionRefused,
        EventTag.SEARCH_RUN: payloads.SearchRun,
        EventTag.SERVICE_STARTED: payloads.ServiceStarted,
        EventTag.SERVICE_STOPPED: payloads.ServiceStopped,
        EventTag.SESSION_ENDED: payloads.SessionEnded,
        EventTag.SESSION_STARTED: payloads.SessionStarted,
    }
)
"""The fields of each event's payload."""

EVERYWHERE: Mapping[str, tuple[Any, bool]] = types.MappingProxyType({"by": (str, False)})
"""Fields that any payload may have: `by` is who acted as the actor, where that was somebody else (`--as`)."""


@cache
def fields(tag: EventTag) -> Mapping[str, tuple[Any, bool]]:
    """The type of each field of a payload, and whether it must be there."""
    shape: Any = PAYLOADS[tag]
    required: frozenset[str] = shape.__required_keys__
    return {name: (hint, name in required) for name, hint in get_type_hints(shape).items()}


def check_payload(tag: EventTag, payload: Mapping[str, Any]) -> None:
    """Raises ValueError for a payload that lacks a field, has one that its event does not know, or one of a wrong type."""
    known = {**EVERYWHERE, **fields(tag)}
    for name, (hint, required) in known.items():
        if name not in payload:
            if required:
                raise ValueError(f"{tag} lacks the field {name!r}")
        elif not _fits(payload[name], hint):
            raise ValueError(f"{tag} has a {type(payload[name]).__name__} in {name!r}")
    unknown = sorted(set(payload) - set(known))
    if unknown:
        raise ValueError(f"{tag} knows no field {unknown[0]!r}")


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, (list, tuple)) and all(_fits(one, get_args(hint)[0]) for one in value)
    if hint is int and isinstance(value, bool):
        return False
    return isinstance(value, hint)
