"""The documents desk's uploads: first the label, then files, each taken in as it comes."""

from __future__ import annotations

import threading
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from ingest.uploads import Incoming, plain_name
from policies.errors import AccessDenied, UsageError
from policies.labels import AccessClass
from service.api.application import UPLOADS
from service.api.state import Shared
from service.operations.labels import access_of
from service.operations.quarantine import meaning
from service.operations.registry import Result
from service.operations.uploads import require_upload, uploaded
from service.web.background import Background
from service.web.rendering import texts
from service.web.stewards import ActingSteward, shown, steward_page
from service.web.visiting import Visitor

router = APIRouter(tags=["pages"], include_in_schema=False)

Word = Annotated[str, Query(max_length=200)]


class TooManyUploads(UsageError):
    """As many files come in as may at the same time."""

    http_status = 429
    kind = "too-many-uploads"


@router.get("/documents/upload")
async def upload_page(
    request: Request,
    shared: Shared,
    kb: Word = "",
    classification: Word = "",
    groups: Word = "",
    owner: Word = "",
    edit: bool = False,
) -> Response:
    """The label that uploads get, and once it is one that the steward may give, where files are dropped."""

    def make(visitor: Visitor) -> Response:
        settings = shared.installation.settings
        access, problem = None, ""
        if (kb or groups or owner) and not edit:
            try:
                access = access_of(kb, classification, groups.split(","), owner)
                require_upload(shared.installation, visitor.principal, access)
            except (UsageError, AccessDenied) as error:
                access, problem = None, f"{error.message}. {error.hint}"
        return shown(
            "upload.html",
            "upload",
            visitor,
            access=access,
            problem=problem,
            label={"kb": kb, "classification": classification, "groups": groups, "owner": owner},
            classifications=settings.access.classifications,
            most_files=settings.ingest.upload_files,
            most_mb=settings.ingest.file_mb,
        )

    return await steward_page(request, make)


@router.post(UPLOADS)
async def upload(
    visitor: ActingSteward,
    request: Request,
    shared: Shared,
    name: Annotated[str, Query(max_length=2000)],
    kb: Word,
    classification: Word,
    groups: Word,
    owner: Word,
) -> Response:
    """One file as the whole body, and what became of it. Nothing is read before its label is permitted, and nothing is kept of
    a file that did not come in whole. The name is data; the file gets a random one."""
    installation, principal = shared.installation, visitor.principal
    access, called = access_of(kb, classification, groups.split(","), owner), plain_name(name)
    await anyio.to_thread.run_sync(require_upload, installation, principal, access, called)
    background = request.app.state.background
    assert isinstance(background, Background)
    limits = installation.settings.ingest
    if background.receiving >= limits.upload_files:
        raise TooManyUploads("too many files come in already", hint="Upload it again in a minute.")
    background.receiving += 1
    try:
        with installation.runs.uploads.incoming(limits.file_mb * 2**20) as coming:
            async for piece in request.stream():
                await anyio.to_thread.run_sync(coming.write, piece)
            told = await _taken_in(background, shared, visitor, coming, called, access)
    finally:
        background.receiving -= 1
    return JSONResponse(told)


async def _taken_in(
    background: Background, shared: Shared, visitor: Visitor, coming: Incoming, name: str, access: AccessClass
) -> Result:
    def work(stop: threading.Event) -> Result:
        return uploaded(shared.installation, visitor.principal, coming, name, access, stop)

    told = await background.carry_out(work)
    if told["outcome"] == "quarantined":
        told |= {"meaning": meaning(told["reason"]), "quarantine": texts()["documents"]["places"]["quarantine"]}
    return told
