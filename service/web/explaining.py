"""Why a person may or may not do something with a document, for whoever policy lets ask."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

from policies.access.actions import ON_ACCESS_CLASS, Action
from policies.access.verdict import Allow
from policies.identity import Principal, Role
from service.api.state import Shared, State, state_of
from service.operations.documents import scope_for
from service.operations.policy import explanation, known, shown_document
from service.web.stewards import shown, steward_page
from service.web.visiting import Visitor, visiting
from service.wiring import Installation

router = APIRouter(tags=["pages"], include_in_schema=False)
Word = Annotated[str, Query(max_length=200)]


async def explained(request: Request) -> Visitor:
    """The visitor who may have some decision explained. For anybody else the path is one that is not there."""
    visitor = await visiting(request)
    installation = state_of(request).installation
    if not (reads_policies(installation, visitor.principal) or _explainable(installation, visitor.principal)):
        raise HTTPException(404)
    return visitor


def reads_policies(installation: Installation, principal: Principal) -> bool:
    """Whether the principal may have any decision explained."""
    return isinstance(installation.policies.decide(principal, Action.POLICY_READ, None), Allow)


def _explainable(installation: Installation, principal: Principal) -> bool:
    return bool(scope_for(installation, principal, Action.POLICY_READ).classes)


@router.get("/documents/{document}/explain")
async def explain_page(
    document: str, request: Request, shared: Shared, person: Word = "", action: Action = Action.RETRIEVE
) -> Response:
    """Asks for a person and an action; with a person, the decision and what would turn it. Recorded before it is shown."""
    return await steward_page(request, partial(_explain, shared, document, person.strip(), action), admit=explained)


def _explain(shared: State, document: str, person: str, action: Action, visitor: Visitor) -> Response:
    installation, principal = shared.installation, visitor.principal
    found = known(installation, principal, document)
    told = explanation(installation, principal, person, document, action) if person else None
    return shown(
        "explanation.html",
        "documents",
        visitor,
        document=shown_document(installation, principal, found),
        on_desk=Role.STEWARD in principal.roles,
        person=person,
        action=action,
        actions=sorted(ON_ACCESS_CLASS),
        told=told,
    )
