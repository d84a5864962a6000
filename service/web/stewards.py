"""What the pages of the documents desk share: who may see them, and which documents and sources they show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, HTTPException, Request
from fastapi.responses import Response

from policies.errors import AuthenticationRequired, InhouseError
from policies.identity import Role
from service.web.rendering import desk_page, problem_page, texts
from service.web.sign_in import to_sign_in
from service.web.visiting import Visitor, acting, visiting

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
        return problem_page(error, request, visitor)


def shown(template: str, place: str, visitor: Visitor, /, **values: Any) -> Response:
    """A page of the desk; `place` is the one among its lists that it belongs to."""
    names = texts()["documents"]["places"]
    places = [("/documents" if one == "documents" else f"/documents/{one}", names[one], one == place) for one in _PLACES]
    return desk_page(template, "/documents", visitor, places=places, **values)


Steward = Annotated[Visitor, Depends(steward)]
ActingSteward = Annotated[Visitor, Depends(acting_steward)]
