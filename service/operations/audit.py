"""Audit: the log listed, shown and verified for whom policy lets read it; each reading is itself recorded first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.access.verdict import Deny
from policies.audit.events import EventTag
from policies.audit.query import moment, record, records
from policies.audit.records import Record
from policies.audit.verify import Verification, verify
from policies.errors import AccessDenied, AuditBroken, AuditUnavailable, Interrupted, UsageError
from policies.identity import Principal
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation


class ListRecords(BaseModel):
    """Records that match all that is given; `since` is inclusive and `until` is not."""

    model_config = ConfigDict(extra="forbid")
    tag: str | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = Field(50, ge=1)
    oldest_first: bool = False
    as_person: str | None = None


class OneRecord(BaseModel):
    """A record by its audit id, or its number."""

    model_config = ConfigDict(extra="forbid")
    id: str
    as_person: str | None = None


class VerifyLog(BaseModel):
    """The whole log; `expected` are audit ids or a head that were kept elsewhere and must be in it."""

    model_config = ConfigDict(extra="forbid")
    expected: list[str] = []
    as_person: str | None = None


def list_records(installation: Installation, request: ListRecords, emit: Emit, stop: threading.Event) -> Result:
    """Each record as a `record` event, in the order asked for. What is listed ends before the record of this reading."""
    principal = _reader(installation, request.as_person)
    if request.tag is not None and request.tag not in set(EventTag):
        raise UsageError(f"there is no event {request.tag!r}", hint=f"One of: {', '.join(EventTag)}.")
    filters = {"tag": request.tag, "actor": request.actor, "since": moment(request.since), "until": moment(request.until)}
    order = "oldest-first" if request.oldest_first else "newest-first"
    reading = _recorded(installation, principal, {"what": "list", "order": order, "limit": request.limit, **filters})
    found = records(
        installation.directory / "audit",
        tag=request.tag,
        actor=request.actor,
        since=request.since,
        until=request.until,
        after=None if request.oldest_first else reading.sequence,
        limit=request.limit,
        newest_first=not request.oldest_first,
    )
    count = 0
    for one in found:
        if stop.is_set() or one.sequence >= reading.sequence:
            break
        emit({"record": described(one)})
        count += 1
    return {"records": count}


def show(installation: Installation, request: OneRecord, emit: Emit, stop: threading.Event) -> Result:
    """One record; raises NotFoundError."""
    principal = _reader(installation, request.as_person)
    found = record(installation.directory / "audit", request.id)
    _recorded(installation, principal, {"what": "show", "record": found.id})
    return {"record": described(found)}


def check(installation: Installation, request: VerifyLog, emit: Emit, stop: threading.Event) -> Result:
    """What was checked. Raises AuditBroken naming the first bad record, whether or not such a log can still be written."""
    principal = _reader(installation, request.as_person)

    def progress(share: float) -> None:
        emit({"progress": {"share": share}})

    return {"verification": asdict(verified(installation, principal, request.expected, progress=progress, stop=stop))}


def verified(
    installation: Installation,
    principal: Principal,
    expected: Collection[str] = (),
    *,
    progress: Callable[[float], None],
    stop: threading.Event,
) -> Verification:
    """Checks the whole log for a principal who may read it; what was found is recorded too. `progress` is told the share
    that is read. Raises AuditBroken, or Interrupted soon after `stop` is set."""

    def step(share: float) -> None:
        if stop.is_set():
            raise Interrupted("stopped before the end of the log", hint="Nothing is said of the rest: verify it again.")
        progress(share)

    try:
        found = verify(installation.directory / "audit", expected=expected, progress=step)
    except AuditBroken:
        with suppress(AuditUnavailable):
            _recorded(installation, principal, {"what": "verify", "outcome": "broken"})
        raise
    told = {"what": "verify", "outcome": "verified", "records": found.records, "head": found.head}
    _recorded(installation, principal, told)
    return found


def described(found: Record) -> Result:
    """A record as JSON, with the id that people name it by."""
    return {
        "id": found.id,
        "time": found.time,
        "tag": found.tag,
        "actor": found.actor,
        "payload": dict(found.payload),
        "previous": found.previous,
        "hash": found.hash,
    }


def _reader(installation: Installation, person: str | None) -> Principal:
    principal = installation.principal(person)
    if isinstance(installation.policies.decide(principal, Action.AUDIT_READ, None), Deny):
        raise AccessDenied(f"{principal.id} may not read the audit log", hint="The default policies let auditors: --as PERSON.")
    return principal


def _recorded(installation: Installation, principal: Principal, payload: Mapping[str, Any]) -> Record:
    return installation.audit.append(EventTag.AUDIT_READ, principal.id, payload)


# NOTE: The log and the people may be used by several processes at once, so an auditor need not wait for an ingest.
OPERATIONS = {
    "audit.list": Operation(ListRecords, list_records, shared=True),
    "audit.show": Operation(OneRecord, show, shared=True),
    "audit.verify": Operation(VerifyLog, check, shared=True),
}
