"""What the pages of the documents desk share: who may see them, and which documents and sources they show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, HTTPException, Request
from fastapi.responses import Response

from ingest.labelling import FILE_NAME, LabelRules
from ingest.uploads import is_upload
from policies.access.actions import Action
from policies.errors import AuthenticationRequired, InhouseError, UsageError
from policies.identity import Principal, Role
from service.operations.documents import may
from service.web.rendering import desk_page, page, texts
from service.web.sign_in import to_sign_in
from service.web.visiting import Visitor, acting, visiting
from service.wiring import Installation

_PLACES = ("documents", "upload", "runs", "quarantine", "notes")


async def steward(request: Request) -> Visitor:
    """The steward of this request. For anybody else the path is one that is not there."""
    visitor = await visiting(request)
    if Role.STEWARD not in visitor.principal.roles:
        raise HTTPException(404)
    return visitor


async def acting_steward(request: Request) -> Visitor:
    """The steward of a request that changes something; raises AccessDenied as `acting` does."""
    await steward(request)
    return await acting(request)


async def steward_page(
    request: Request, make: Callable[[Visitor], Response], *, admit: Callable[[Request], Awaitable[Visitor]] = steward
) -> Response:
    """A page for whoever `admit` lets in, a steward: to the sign-in for who is not signed in, what went wrong as a page too."""
    try:
        visitor = await admit(request)
    except AuthenticationRequired:
        return to_sign_in()
    try:
        return await anyio.to_thread.run_sync(partial(make, visitor))
    except InhouseError as error:
        return page("problem.html", error.http_status, message=error.message, hint=error.hint)


def shown(template: str, place: str, visitor: Visitor, /, **values: Any) -> Response:
    """A page of the desk; `place` is the one among its lists that it belongs to."""
    names = texts()["documents"]["places"]
    places = [("/documents" if one == "documents" else f"/documents/{one}", names[one], one == place) for one in _PLACES]
    return desk_page(template, "/documents", visitor, places=places, **values)


def tends(installation: Installation, principal: Principal, source: str) -> bool:
    """Whether the source is the steward's to ingest: policy lets them put in what its labels can give, and label what the
    index has of it. Where neither tells anything, it is nobody's."""
    there = installation.store.classes_of(source)
    levels = installation.settings.access.classifications
    try:
        if is_upload(source):
            access = installation.runs.uploads.access(source)
            given = [] if access is None else [access]
        else:
            given = LabelRules.load(Path(source) / FILE_NAME, levels, installation.settings.label_names()).classes()
    except UsageError:
        given = []
    allowed = may(installation, principal, Action.INGEST, [None, *given]) and may(installation, principal, Action.LABEL, there)
    return allowed and bool(there or given)


Steward = Annotated[Visitor, Depends(steward)]
ActingSteward = Annotated[Visitor, Depends(acting_steward)]
