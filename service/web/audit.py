"""The audit desk: the log for whom policy lets read it; whoever looks into it is in it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from policies.access.actions import Action
from policies.access.verdict import Allow, Deny
from policies.audit.events import EventTag
from policies.audit.pages import OUTCOMES, SHOWN, Wanted, every, page
from policies.audit.query import moment, record, records
from policies.audit.records import Record
from policies.errors import AccessDenied, AuthenticationRequired, InhouseError, UsageError
from policies.identity import Principal
from service.api.state import Shared
from service.operations.audit import verified
from service.web import audit_export, event_stream
from service.web.audit_rows import Row, detail, row, visible
from service.web.rendering import desk_page, problem_page, texts
from service.web.sign_in import to_sign_in
from service.web.visiting import Visitor, acting, visiting
from service.wiring import Installation

router = APIRouter(tags=["pages"], include_in_schema=False)
PAGE = 50
"""Records on a page."""

_SHOWN_EVENT = "shown"
_AROUND = 5
_LONGEST = 500
_LOOK_FOR_CHECK = 20_000


async def auditor(request: Request) -> Visitor:
    """The visitor, whom policy lets read the log. For anybody else the path is one that is not there."""
    visitor = await visiting(request)
    if not visitor.may_audit:
        raise HTTPException(404)
    return visitor


async def acting_auditor(request: Request) -> Visitor:
    """The auditor of a request that does something; raises AccessDenied as `acting` does."""
    await auditor(request)
    return await acting(request)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an auditor looks for, as it stands in the address of the page; empty is everything."""

    since: str = ""
    until: str = ""
    person: str = ""
    event: str = ""
    document: str = ""
    outcome: str = ""

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Asked:
        """Raises UsageError for a value that is too long, or none of those that there are."""
        asked = cls(**{one.name: said.get(one.name, "").strip() for one in fields(cls)})
        if any(len(getattr(asked, one.name)) > _LONGEST for one in fields(cls)):
            raise UsageError(f"a filter has at most {_LONGEST} characters", hint="Shorten it.")
        if asked.event not in {"", _SHOWN_EVENT, *EventTag}:
            raise UsageError("there is no such event", hint="Choose one of the list.")
        if asked.outcome not in {"", *OUTCOMES}:
            raise UsageError("there is no such outcome", hint="Choose one of the list.")
        return asked

    def wanted(self) -> Wanted:
        """The same for the log; raises UsageError for a time that is none."""
        return Wanted(
            tags=SHOWN if self.event == _SHOWN_EVENT else frozenset({self.event}) if self.event else None,
            actor=self.person or None,
            since=moment(self.since or None),
            until=moment(self.until or None),
            document=self.document or None,
            outcome=self.outcome or None,
        )

    def told(self) -> dict[str, str | None]:
        """The same as the record of the reading has it."""
        wanted = self.wanted()
        told = {"tag": self.event or None, "actor": wanted.actor, "since": wanted.since, "until": wanted.until}
        return {**told, "document": wanted.document, "outcome": wanted.outcome}

    def address(self, path: str, **more: str) -> str:
        """The address of a page with these filters."""
        given = {one.name: getattr(self, one.name) for one in fields(self)} | more
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{path}?{query}" if query else path


@router.get("/audit")
async def log_page(request: Request, shared: Shared) -> Response:
    """The log, newest first, a page at a time. What is shown ends before the record of this reading."""
    return await _page(request, lambda visitor: _log(shared.installation, visitor, request.query_params))


def _log(installation: Installation, visitor: Visitor, said: Mapping[str, str]) -> Response:
    directory = installation.directory / "audit"
    asked = Asked.of(said)
    after = record(directory, said["after"]) if said.get("after") else None
    wanted = asked.wanted()
    told = {**asked.told(), "what": "list", "order": "newest-first", "limit": PAGE, "after": after.id if after else None}
    reading = installation.audit.append(EventTag.AUDIT_READ, visitor.principal.id, told)
    before = after.sequence if after else reading.sequence
    found = page(directory, wanted, before=before, limit=PAGE)
    rows = [row(directory, one) for one in found.records]
    older = ""
    if found.rest is not None:
        older = asked.address("/audit", after=record(directory, str(found.rest)).id)
    may_export = isinstance(installation.policies.decide(visitor.principal, Action.AUDIT_EXPORT, None), Allow)
    return desk_page(
        "audit.html",
        "/audit",
        visitor,
        asked=asked,
        times={"since": (wanted.since or "")[:16], "until": (wanted.until or "")[:16]},
        heading=_heading(asked),
        shown=asked.event == _SHOWN_EVENT,
        narrowed=asked != Asked() or after is not None,
        rows=rows,
        people=_people(rows),
        older=older,
        looked=found.looked,
        newest=asked.address("/audit") if after else "",
        exports=[(form, asked.address("/audit/export", form=form)) for form in audit_export.FORMS if may_export],
        events=list(EventTag),
        outcomes=list(OUTCOMES),
        check=_last_check(installation, reading),
        reading=row(directory, reading),
    )


def _heading(asked: Asked) -> str:
    said = texts()["audit"]
    if asked.event != _SHOWN_EVENT:
        return str(said["all_records"])
    name = "who" if asked.document else "what" if asked.person else "anything"
    return str(said[name]).format(document=visible(asked.document), person=visible(asked.person))


def _people(rows: list[Row]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for one in rows:
        counts[one.actor] = counts.get(one.actor, 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _last_check(installation: Installation, reading: Record) -> Row | None:
    """When somebody last had the chain verified, where that is not too long ago to be found at once."""
    directory = installation.directory / "audit"
    wanted = Wanted(tags=frozenset({EventTag.AUDIT_READ}), what="verify")
    found = page(directory, wanted, before=reading.sequence, limit=1, look=_LOOK_FOR_CHECK).records
    return row(directory, found[0]) if found else None


@router.get("/audit/export")
async def export(request: Request, shared: Shared) -> Response:
    """Every record that the filters let through, newest first, as a file. Recorded before its first line leaves, and broken off
    where the right to it ends meanwhile. Raises AccessDenied for an auditor whom policy lets read the log and not export it."""

    def make(visitor: Visitor) -> Response:
        installation = shared.installation
        _require_export(installation, visitor.principal)
        asked, form = Asked.of(request.query_params), request.query_params.get("form", "")
        if form not in audit_export.FORMS:
            raise UsageError("there is no such form of export", hint=f"One of: {', '.join(audit_export.FORMS)}.")
        told = {**asked.told(), "what": "export", "order": "newest-first", "form": form}
        reading = installation.audit.append(EventTag.AUDIT_READ, visitor.principal.id, told)
        found = every(installation.directory / "audit", asked.wanted(), before=reading.sequence)
        kind, pieces = audit_export.exported(found, form)
        headers = {"content-disposition": f'attachment; filename="audit-{reading.sequence}.{form}"'}
        allowed = _while_allowed(installation, visitor.principal, pieces)
        return StreamingResponse(allowed, media_type=kind, headers=headers)

    return await _page(request, make)


def _require_export(installation: Installation, principal: Principal) -> None:
    if isinstance(installation.policies.decide(principal, Action.AUDIT_EXPORT, None), Deny):
        raise AccessDenied("you may not export the audit log", hint="The default policies let auditors.")


def _while_allowed(installation: Installation, principal: Principal, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, each once it has been looked whether the principal may still have it. Raises AccessDenied where not: a file
    that ended in order would be taken for the whole."""
    for piece in pieces:
        _require_export(installation, installation.current(principal))
        yield piece


@router.post("/audit/verify")
async def verify(visitor: Annotated[Visitor, Depends(acting_auditor)], shared: Shared) -> Response:
    """Checks the whole chain, as server-sent events: `progress` with the share that is read, then `verified`, or `failed`
    naming the first bad record; either is recorded. It ends where nobody listens any more."""
    return event_stream.response(verifying(shared.installation, visitor.principal))


async def verifying(installation: Installation, principal: Principal) -> AsyncGenerator[str]:
    """The events of a verification. Whoever leaves them off ends it."""
    stop = threading.Event()
    send, receive = anyio.create_memory_object_stream[str](math.inf)

    def tell(one: str) -> None:
        with suppress(anyio.BrokenResourceError):
            send.send_nowait(one)

    def progress(share: float) -> None:
        anyio.from_thread.run_sync(tell, event_stream.event("progress", {"share": share}))

    async def check() -> None:
        async with send:
            try:
                work = partial(verified, installation, principal, progress=progress, stop=stop)
                found = await anyio.to_thread.run_sync(work)
                last = event_stream.event("verified", {"records": found.records, "head": found.head})
            except InhouseError as error:
                last = event_stream.event("failed", {"error": error.message, "hint": error.hint})
            tell(last)

    task = asyncio.create_task(check())
    try:
        async with receive:
            async for one in receive:
                yield one
    finally:
        stop.set()
        with anyio.CancelScope(shield=True):
            await task


@router.get("/audit/{identifier}")
async def event_page(identifier: str, request: Request, shared: Shared) -> Response:
    """One event, and what stands before and after it in the log."""
    return await _page(request, lambda visitor: _event(shared.installation, visitor, identifier))


def _event(installation: Installation, visitor: Visitor, identifier: str) -> Response:
    directory = installation.directory / "audit"
    found = record(directory, identifier)
    told = {"what": "show", "record": found.id}
    reading = installation.audit.append(EventTag.AUDIT_READ, visitor.principal.id, told)
    before = list(records(directory, after=found.sequence, limit=_AROUND))
    after = records(directory, after=found.sequence, limit=_AROUND, newest_first=False)
    later = [one for one in after if one.sequence < reading.sequence]
    around = [*later[::-1], found, *before]
    return desk_page(
        "audit_event.html",
        "/audit",
        visitor,
        event=row(directory, found),
        record=found,
        payload=detail(found),
        around=[row(directory, one) for one in around],
        follows=not before or before[0].hash == found.previous,
    )


async def _page(request: Request, make: Callable[[Visitor], Response]) -> Response:
    """A page for an auditor: to the sign-in for who is not signed in, what went wrong as a page too."""
    try:
        visitor = await auditor(request)
    except AuthenticationRequired:
        return to_sign_in()
    try:
        return await anyio.to_thread.run_sync(partial(make, visitor))
    except InhouseError as error:
        return problem_page(error, request, visitor)
