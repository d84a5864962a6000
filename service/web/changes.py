"""Removing documents and giving them another label: first what it would change for whom, then the change. And legal holds."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.errors import AccessDenied, UsageError
from service.api.state import Shared
from service.operations.documents import listed, removed
from service.operations.labels import LabelWish, Reason, chosen, effects, plan, put_on_hold, relabelled, words
from service.web.stewards import ActingSteward, shown, steward_page
from service.web.visiting import Visitor

router = APIRouter(tags=["pages"], include_in_schema=False)
_MOST = 200

Ids = Annotated[list[str], Query(default_factory=list, max_length=_MOST)]
Word = Annotated[str, Query(max_length=200)]


class Removal(BaseModel):
    """Documents to remove."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_MOST)]


class Holding(BaseModel):
    """Documents to hold, or no longer to hold, and why."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_MOST)]
    reason: Reason
    held: bool


class Relabelling(BaseModel):
    """Documents, the label that all of them get, and why; groups are parted by commas. With `clear` they get back the labels of
    their sources, and the other parts do not count."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_MOST)]
    reason: Annotated[str, Field(max_length=1000)] = ""
    kb: str = ""
    classification: str = ""
    groups: str = ""
    owner: str = ""
    purpose: str = ""
    retention: str = ""
    clear: bool = False

    def wish(self) -> LabelWish:
        """What it says, as the command line would."""
        if self.clear:
            return LabelWish(clear=True)
        said = {name: getattr(self, name) for name in ("kb", "classification", "owner", "purpose", "retention")}
        return LabelWish(**said, groups=self.groups.split(","))


@router.get("/documents/remove")
async def removal(request: Request, shared: Shared, id: Ids) -> Response:
    """What a removal would take from whom."""

    def make(visitor: Visitor) -> Response:
        found = chosen(shared.installation, visitor.principal, id, Action.ERASE)
        lost = effects(shared.installation, [(one, None) for one in found])
        return shown("remove.html", "documents", visitor, found=found, effects=lost)

    return await steward_page(request, make)


@router.post("/web/documents/remove")
async def remove(body: Removal, visitor: ActingSteward, shared: Shared) -> Response:
    """Removes documents from the index, all or none; recorded first."""

    def change() -> None:
        installation, principal = shared.installation, visitor.principal
        removed(installation, principal, listed(installation, principal), body.ids)

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": "/documents"})


@router.post("/web/documents/hold")
async def hold(body: Holding, visitor: ActingSteward, shared: Shared) -> Response:
    """Puts documents under legal hold, or lifts it, all or none; recorded first."""

    def change() -> None:
        put_on_hold(shared.installation, visitor.principal, body.ids, body.reason, held=body.held)

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": f"/documents/{quote(body.ids[0])}" if len(body.ids) == 1 else "/documents"})


@router.get("/documents/relabel")
async def relabelling(
    request: Request,
    shared: Shared,
    id: Ids,
    kb: Word = "",
    classification: Word = "",
    groups: Word = "",
    owner: Word = "",
    purpose: Word = "",
    retention: Word = "",
    clear: bool = False,
) -> Response:
    """The label that documents would get, and what that would give to whom and take from whom."""

    def make(visitor: Visitor) -> Response:
        installation, principal = shared.installation, visitor.principal
        found = chosen(installation, principal, id, Action.LABEL)
        wanted = {"kb": kb, "classification": classification, "groups": groups, "owner": owner}
        wanted |= {"purpose": purpose, "retention": retention}
        planned, problem = None, ""
        if clear or kb or groups or owner:
            try:
                planned = plan(installation, principal, id, Relabelling(ids=id, **wanted, clear=clear).wish())
            except (UsageError, AccessDenied) as error:
                problem = f"{error.message}. {error.hint}"
        if not problem:
            said = words(found[0].label if planned is None else planned[0][1])
            wanted = {**said, "groups": ", ".join(said["groups"])}
        return shown(
            "relabel.html",
            "documents",
            visitor,
            found=found,
            planned=planned,
            label=wanted,
            clear=clear,
            problem=problem,
            classifications=installation.settings.access.classifications,
            names=installation.settings.label_names(),
            effects=effects(installation, [(one, label.access) for one, label in planned]) if planned else [],
        )

    return await steward_page(request, make)


@router.post("/web/documents/relabel")
async def relabel(body: Relabelling, visitor: ActingSteward, shared: Shared) -> Response:
    """Gives documents another label, all or none; recorded first, all under one id."""

    def change() -> None:
        relabelled(shared.installation, visitor.principal, body.ids, body.wish(), body.reason)

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": "/documents"})
