"""The documents desk's runs of ingest and its quarantine: what came of them, and once more."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, islice, takewhile
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from ingest.refusing import UNLABELLED
from ingest.report import RunReport
from ingest.runs import QuarantineEntry, no_run
from ingest.uploads import is_upload
from policies.errors import NotFoundError, UsageError
from policies.identity import Principal
from service.api.state import Shared, State
from service.operations.ingest import IngestFolder, ingested, tends
from service.operations.labels import Reason
from service.operations.quarantine import (
    ReleaseQuarantine,
    discarded,
    meaning,
    released,
    releasing,
    retried,
    tended_entries,
)
from service.operations.runs import stopped
from service.web.background import Background
from service.web.stewards import ActingSteward, Steward, shown, steward_page
from service.web.visiting import Visitor
from service.wiring import Installation

router = APIRouter(tags=["pages"], include_in_schema=False)
_RUNS = 200
_SHOWN_RUNS = 50
_SHOWN_ENTRIES = 500


class Again(BaseModel):
    """The id of a run: one that is to end, or whose source is to be ingested again."""

    model_config = ConfigDict(extra="forbid")
    run: str


class Retry(BaseModel):
    """The id of an entry, or None for every one that the steward sees."""

    model_config = ConfigDict(extra="forbid")
    entry: str | None = None


class Release(BaseModel):
    """An entry by id, the label that its file gets, and why; groups are parted by commas."""

    model_config = ConfigDict(extra="forbid")
    id: str
    kb: str
    classification: str
    groups: str
    owner: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Entry:
    """What is in quarantine, what its reason means in words, and whether a label lets it out, or why not."""

    entry: QuarantineEntry
    meaning: str
    releasable: bool
    uploaded: bool
    releasing: str


@router.get("/documents/runs")
async def runs(request: Request, shared: Shared) -> Response:
    """The reports of runs over the steward's sources, the newest first."""

    def make(visitor: Visitor) -> Response:
        reports = _reports(shared.installation, visitor.principal)
        newest = {one.source: one for one in reversed(reports)}
        return shown(
            "runs.html",
            "runs",
            visitor,
            sources=sorted((one for one in newest.values() if not is_upload(one.source)), key=lambda one: one.source),
            reports=reports[:_SHOWN_RUNS],
            busy=_busy(request, shared),
        )

    return await steward_page(request, make)


def _reports(installation: Installation, principal: Principal) -> list[RunReport]:
    @cache
    def tended(source: str) -> bool:
        return tends(installation, principal, source)

    # Runs over what is not the steward's count for nothing: how many there are would else show in how far back this goes.
    parts = (installation.runs.runs(limit=_RUNS, offset=start) for start in count(0, _RUNS))
    every = chain.from_iterable(takewhile(bool, parts))
    return list(islice((one for one in every if tended(one.source)), _RUNS))


def _source_of(installation: Installation, principal: Principal, run: str) -> str:
    """The source of a run; raises NotFoundError for one that is not there, and for one whose source is not the steward's."""
    sources = installation.runs.sources()
    # NOTE: Every source is looked at, whichever run was named: the time would else tell that there is one.
    tended = {one for one in sorted(set(sources.values())) if tends(installation, principal, one)}
    if sources.get(run) not in tended:
        raise no_run(run)
    return sources[run]


@router.get("/web/documents/progress")
async def progress(visitor: Steward, request: Request, shared: Shared) -> Response:
    """Whether a run is on, how far it is where its source is the steward's, and what went wrong with what they began."""

    def read() -> dict[str, Any]:
        installation = shared.installation
        newest = next((one for one in installation.runs.runs(limit=1) if one.outcome == "running"), None)
        far = installation.runs.progress
        told: dict[str, Any] = {"busy": _busy(request, shared), "run": None, "progress": None}
        if newest is not None and tends(installation, visitor.principal, newest.source):
            told |= {"run": newest.id, "progress": far and {name: far[name] for name in ("files", "of", "passages", "share")}}
        return told

    told = await anyio.to_thread.run_sync(read)
    return JSONResponse({**told, "problem": _background(request).problem(visitor.principal.id)})


@router.post("/web/documents/runs")
async def again(body: Again, visitor: ActingSteward, request: Request, shared: Shared) -> Response:
    """Ingests the source of an earlier run again; it goes on after this is answered. No other place of the server can be
    named here."""
    installation, principal = shared.installation, visitor.principal

    source = await anyio.to_thread.run_sync(_source_of, installation, principal, body.run)
    if is_upload(source):
        raise UsageError("what was uploaded is not ingested again", hint="Upload the file again: it is a new version.")
    folder = Path(source)

    def work(stop: threading.Event) -> None:
        ingested(installation, principal, IngestFolder(folder=folder), lambda event: None, stop)

    await _background(request).begin(principal.id, work)
    return JSONResponse({"next": "/documents/runs"}, 202)


@router.post("/web/documents/runs/stop")
async def stop(body: Again, visitor: ActingSteward, shared: Shared) -> Response:
    """Ends a run of the steward's sources after what it has at hand; recorded."""

    def change() -> None:
        installation = shared.installation
        _source_of(installation, visitor.principal, body.run)
        stopped(installation, visitor.principal.id, body.run)

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": "/documents/runs"}, 202)


@router.get("/documents/quarantine")
async def quarantine(request: Request, shared: Shared) -> Response:
    """What could not be indexed of the steward's sources, and why."""

    def make(visitor: Visitor) -> Response:
        entries = tended_entries(shared.installation, visitor.principal)
        return shown(
            "quarantine.html",
            "quarantine",
            visitor,
            entries=[_described(one) for one in entries[:_SHOWN_ENTRIES]],
            count=len(entries),
            busy=_busy(request, shared),
        )

    return await steward_page(request, make)


@router.post("/web/documents/quarantine")
async def retry(body: Retry, visitor: ActingSteward, request: Request, shared: Shared) -> Response:
    """Tries one entry again, or all that the steward sees; it goes on after this is answered."""
    installation, principal = shared.installation, visitor.principal

    def chosen() -> list[QuarantineEntry]:
        if body.entry is not None:
            return [_tended_entry(installation, principal, body.entry)]
        return tended_entries(installation, principal)

    entries = await anyio.to_thread.run_sync(chosen)

    def work(stop: threading.Event) -> None:
        retried(installation, principal, entries, None, lambda event: None, stop)

    await _background(request).begin(principal.id, work)
    return JSONResponse({"next": "/documents/quarantine"}, 202)


@router.get("/documents/release")
async def releasing_page(request: Request, shared: Shared, entry: str) -> Response:
    """The label that a file in quarantine gets, to be filled in."""

    def make(visitor: Visitor) -> Response:
        found = _tended_entry(shared.installation, visitor.principal, entry)
        levels = shared.installation.settings.access.classifications
        return shown("release.html", "quarantine", visitor, one=_described(found), classifications=levels)

    return await steward_page(request, make)


@router.post("/web/documents/release")
async def release(body: Release, visitor: ActingSteward, request: Request, shared: Shared) -> Response:
    """Gives a file that no rule labels a label, and indexes it; what cannot be is said at once, the run goes on after this."""
    installation, principal = shared.installation, visitor.principal
    await anyio.to_thread.run_sync(_tended_entry, installation, principal, body.id)
    wanted = ReleaseQuarantine(**{**body.model_dump(), "groups": body.groups.split(",")})

    def work(stop: threading.Event) -> None:
        released(installation, principal, wanted, lambda event: None, stop)

    await _background(request).begin(principal.id, work)
    return JSONResponse({"next": "/documents/quarantine"}, 202)


@router.post("/web/documents/quarantine/discard")
async def discard(body: Retry, visitor: ActingSteward, shared: Shared) -> Response:
    """Lets go of an upload that is in quarantine; recorded."""

    def change() -> None:
        found = _tended_entry(shared.installation, visitor.principal, body.entry or "")
        discarded(shared.installation, visitor.principal, found)

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": "/documents/quarantine"})


def _tended_entry(installation: Installation, principal: Principal, identifier: str) -> QuarantineEntry:
    found = next((one for one in tended_entries(installation, principal) if one.id == identifier), None)
    if found is None:
        raise NotFoundError(f"there is nothing in quarantine under {identifier!r}", hint="Load the page again.")
    return found


def _described(entry: QuarantineEntry) -> Entry:
    return Entry(entry, meaning(entry.reason), entry.reason == UNLABELLED, is_upload(entry.source), releasing(entry.reason))


def _busy(request: Request, shared: State) -> bool:
    return shared.installation.ingest_lock.locked() or _background(request).busy


def _background(request: Request) -> Background:
    found = request.app.state.background
    assert isinstance(found, Background)
    return found
