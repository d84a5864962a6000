"""Removing documents and giving them another label: first what it would change for whom, then the change."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.access.verdict import Allow
from policies.audit.events import EventTag
from policies.errors import AccessDenied, UsageError
from policies.identity import LOCAL_OWNER_ID, Principal
from policies.labels import AccessClass
from service.operations.documents import removed
from service.web.stewards import ActingSteward, listed, may, shown, steward_page
from service.web.visiting import Shared, Visitor
from service.wiring import Installation
from vectorstore.types import Document, DocumentId

router = APIRouter(tags=["pages"], include_in_schema=False)
_MOST = 200

Ids = Annotated[list[str], Query(default_factory=list, max_length=_MOST)]
Word = Annotated[str, Query(max_length=200)]


class Removal(BaseModel):
    """Documents to remove."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_MOST)]


class Relabelling(BaseModel):
    """Documents, and the label that all of them get; groups are parted by commas."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_MOST)]
    kb: str
    classification: str
    groups: str
    owner: str


@dataclass(frozen=True, slots=True)
class Effect:
    """On how many of the documents a person who may sign in gains or loses the right to have them found."""

    person: str
    name: str
    gains: int
    loses: int


@router.get("/documents/remove")
async def removal(request: Request, shared: Shared, id: Ids) -> Response:
    """What a removal would take from whom."""

    def make(visitor: Visitor) -> Response:
        found = _chosen(shared.installation, visitor.principal, id, Action.ERASE)
        effects = _effects(shared.installation, found, None)
        return shown("remove.html", "documents", visitor, found=found, effects=effects)

    return await steward_page(request, make)


@router.post("/web/documents/remove")
async def remove(body: Removal, visitor: ActingSteward, shared: Shared) -> Response:
    """Removes documents from the index, all or none; recorded first."""

    def change() -> None:
        installation, principal = shared.installation, visitor.principal
        removed(installation, principal, listed(installation, principal), body.ids)

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": "/documents"})


@router.get("/documents/relabel")
async def relabelling(
    request: Request, shared: Shared, id: Ids, kb: Word = "", classification: Word = "", groups: Word = "", owner: Word = ""
) -> Response:
    """The label that documents would get, and what that would give to whom and take from whom."""

    def make(visitor: Visitor) -> Response:
        installation, principal = shared.installation, visitor.principal
        found = _chosen(installation, principal, id, Action.LABEL)
        wanted = Relabelling(ids=id, kb=kb, classification=classification, groups=groups, owner=owner)
        access, problem = None, ""
        if kb or groups or owner:
            try:
                access = _access(installation, principal, wanted)
            except (UsageError, AccessDenied) as error:
                problem = f"{error.message}. {error.hint}"
        label = wanted if problem else Relabelling(ids=id, **_words(access or found[0].access))
        return shown(
            "relabel.html",
            "documents",
            visitor,
            found=found,
            access=access,
            label=label,
            problem=problem,
            classifications=installation.settings.access.classifications,
            effects=_effects(installation, found, access) if access else [],
        )

    return await steward_page(request, make)


@router.post("/web/documents/relabel")
async def relabel(body: Relabelling, visitor: ActingSteward, shared: Shared) -> Response:
    """Gives documents another label, all or none; recorded first, all under one id."""

    def change() -> None:
        installation, principal = shared.installation, visitor.principal
        found = _chosen(installation, principal, body.ids, Action.LABEL)
        access = _access(installation, principal, body)
        moved = [one for one in found if one.access != access]
        run = "relabel-" + secrets.token_hex(6)
        told = [{"run": run, "document": one.id, "path": one.path, "class": access.id} for one in moved]
        installation.audit.append_all([(EventTag.DOCUMENT_RELABELLED, principal.id, one) for one in told])
        installation.store.relabel([(one.id, access) for one in moved])

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": "/documents"})


def _words(access: AccessClass) -> dict[str, str]:
    groups = ", ".join(sorted(access.groups))
    return {"kb": access.kb, "classification": access.classification, "groups": groups, "owner": access.owner}


def _chosen(installation: Installation, principal: Principal, ids: Sequence[str], action: Action) -> list[Document]:
    """The documents of those ids; raises NotFoundError for one that the principal may not know of, AccessDenied for one on
    which they may not do `action`."""
    scope = listed(installation, principal)
    found = [installation.store.document(scope, DocumentId(one)) for one in dict.fromkeys(ids)]
    if not found:
        raise UsageError("no document is chosen", hint="Choose some in the list of documents.")
    for one in found:
        if not may(installation, principal, action, [one.access]):
            raise AccessDenied(f"you may not {action} {one.path}", hint="A steward of its groups may.")
    return found


def _access(installation: Installation, principal: Principal, wanted: Relabelling) -> AccessClass:
    """The access class of a label. Raises UsageError for one that cannot be, AccessDenied for one that the principal could
    not put a document in with: documents would else go where their steward may no longer take them back."""
    groups = frozenset(one.strip() for one in wanted.groups.split(",") if one.strip())
    kb, owner = wanted.kb.strip(), wanted.owner.strip()
    if wanted.classification not in installation.settings.access.classifications:
        raise UsageError(f"there is no classification {wanted.classification!r}", hint="Choose one of the list.")
    if not (kb and owner and groups):
        raise UsageError("a label needs a knowledge base, at least one group and an owner", hint="Fill in every field.")
    access = AccessClass(kb, wanted.classification, groups, owner)
    if not (may(installation, principal, Action.INGEST, [access]) and may(installation, principal, Action.LABEL, [access])):
        raise AccessDenied(
            f"you may not put documents into {kb} ({wanted.classification}, {', '.join(sorted(groups))})",
            hint="One of the groups must be yours, and the classification at most your clearance.",
        )
    return access


def _effects(installation: Installation, found: Sequence[Document], access: AccessClass | None) -> list[Effect]:
    """What becomes of each person's right when the documents get that access class, or go."""
    decide = installation.policies.decide
    effects = []
    for person in installation.people.list():
        if person.disabled or person.id == LOCAL_OWNER_ID:
            continue
        principal = Principal(person.id, person.name, person.groups, person.clearance, person.roles)
        after = access is not None and isinstance(decide(principal, Action.RETRIEVE, access), Allow)
        before = [isinstance(decide(principal, Action.RETRIEVE, one.access), Allow) for one in found]
        gains, loses = before.count(False) if after else 0, 0 if after else before.count(True)
        if gains or loses:
            effects.append(Effect(person.id, person.name, gains, loses))
    return effects
