"""Documents: listed, shown and removed, each as the person that asks may."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ingest.uploads import is_upload
from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.access.verdict import Allow
from policies.audit.events import EventTag
from policies.errors import AccessDenied
from policies.identity import Principal
from policies.labels import AccessClass
from service.operations.originals import settle
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation
from vectorstore.types import Document, DocumentId, Hit


class ListDocuments(BaseModel):
    """Documents of one knowledge base or of all, whose path starts with `prefix`; `after` is the last id of the page before."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    as_person: str | None = None
    kb: str | None = None
    prefix: str | None = None
    after: str | None = None
    limit: int = Field(100, ge=1, le=10_000)


class OneDocument(BaseModel):
    """A document by id; `text` asks for its parsed text too."""

    model_config = ConfigDict(extra="forbid")
    id: str
    as_person: str | None = None
    text: bool = False


class RemoveDocuments(BaseModel):
    """Documents by id."""

    model_config = ConfigDict(extra="forbid")
    ids: list[str] = Field(min_length=1)
    as_person: str | None = None


class LastLook:
    """Whether what a request was begun with still holds: made before anything is decided, and asked once more right before text
    leaves. While nothing has changed meanwhile it looks nothing up."""

    def __init__(self, installation: Installation, principal: Principal) -> None:
        self._installation = installation
        self._principal = principal
        self._since = installation.moment(principal)

    def require(self, action: Action, document: DocumentId) -> None:
        """Raises NotFoundError, the same as for absent ones, for a document that was removed or relabelled meanwhile, or
        to which the principal lost the right; AuthenticationRequired where they are no longer let in."""
        if self.unchanged():
            return
        self._installation.store.document(self.scope(action), document)

    def left_of(self, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Those of the hits that may still be retrieved."""
        if self.unchanged():
            return hits
        there = self._installation.store.fetch([hit.passage.id for hit in hits], self.scope(Action.RETRIEVE))
        return [hit for hit in hits if hit.passage.id in there]

    def unchanged(self) -> bool:
        """Whether no label, no document and no person has changed, and what they came with has not ended."""
        return self._installation.moment(self._principal) == self._since

    def scope(self, action: Action) -> AccessScope:
        """The access classes on which the principal may do `action` now."""
        return scope_for(self._installation, self._installation.current(self._principal), action)


def scope_for(installation: Installation, principal: Principal, action: Action) -> AccessScope:
    """The access classes on which the principal may do `action`."""
    return installation.policies.scope(principal, action, installation.store.access_classes())


def listed(installation: Installation, principal: Principal) -> AccessScope:
    """The classes whose documents a steward sees in lists: what they may retrieve, and what they may label. Of what they
    may label alone they see the labels and counts, and neither a title, which came out of the text, nor text."""
    readable = scope_for(installation, principal, Action.RETRIEVE)
    labelled = scope_for(installation, principal, Action.LABEL)
    return AccessScope(principal.id, readable.classes | labelled.classes, readable.policy_hash)


def may(installation: Installation, principal: Principal, action: Action, classes: Iterable[AccessClass | None]) -> bool:
    """Whether the principal may do that on every one of the classes."""
    return all(isinstance(installation.policies.decide(principal, action, one), Allow) for one in classes)


def list_documents(installation: Installation, request: ListDocuments, emit: Emit, stop: threading.Event) -> Result:
    """The documents that the person may retrieve."""
    principal = installation.principal(request.as_person)
    found = installation.store.documents(
        scope_for(installation, principal, Action.RETRIEVE),
        kb=request.kb,
        prefix=request.prefix,
        after=DocumentId(request.after) if request.after else None,
        limit=request.limit,
    )
    return {"documents": [described(document) for document in found]}


def show(installation: Installation, request: OneDocument, emit: Emit, stop: threading.Event) -> Result:
    """One document; a forbidden one looks like an absent one. Its text needs `open`; either is recorded before it is shown."""
    principal = installation.principal(request.as_person)
    return view(installation, principal, DocumentId(request.id), text=request.text)


def view(installation: Installation, principal: Principal, document: DocumentId, *, text: bool) -> Result:
    """What `principal` may see of one document. Raises NotFoundError for absent and forbidden alike."""
    action = Action.OPEN if text else Action.RETRIEVE
    look = LastLook(installation, principal)
    scope = scope_for(installation, principal, action)
    found = installation.store.document(scope, document)
    result: dict[str, Any] = {"document": described(found)}
    if text:
        body, pages = installation.store.document_text(scope, document)
        result["text"] = body
        result["pages"] = [{"number": page.number, "start": page.start, "end": page.end} for page in pages]
    installation.audit.append(
        EventTag.DOCUMENT_VIEWED,
        principal.id,
        {"document": found.id, "version": found.version, "path": found.path, "text": text},
    )
    look.require(action, found.id)
    return result


def remove(installation: Installation, request: RemoveDocuments, emit: Emit, stop: threading.Event) -> Result:
    """Removes documents that the person may retrieve and may erase; all of them or none."""
    principal = installation.principal(request.as_person)
    return removed(installation, principal, scope_for(installation, principal, Action.RETRIEVE), request.ids)


def removed(installation: Installation, principal: Principal, known: AccessScope, ids: Sequence[str]) -> Result:
    """Removes documents of the classes that the principal may know of; all of them or none. Raises NotFoundError for one
    outside of `known`, AccessDenied for one that the principal may not erase, and LegalHold, which is recorded, for one that
    is held."""
    erasable = scope_for(installation, principal, Action.ERASE)
    found = [installation.store.document(known, DocumentId(identifier)) for identifier in dict.fromkeys(ids)]
    for document in found:
        if document.access.id not in erasable.classes:
            raise AccessDenied(f"{principal.id} may not remove {document.path}", hint="A steward of this knowledge base may.")
    held = [document for document in found if document.held]
    tag = EventTag.HOLD_REFUSED if held else EventTag.DOCUMENT_REMOVED
    told = [{"document": one.id, "version": one.version, "path": one.path, "reason": "asked for"} for one in (held or found)]
    installation.audit.append_all([(tag, principal.id, one) for one in told])
    count = installation.store.remove([one.id for one in found], seen={one.id: one.access for one in found})
    for one in found:
        if is_upload(one.source):
            settle(installation, one.source, one.path)
    return {"removed": count, "documents": [described(document) for document in found]}


def described(document: Document) -> Result:
    """A document as JSON, without its text."""
    return {
        "id": document.id,
        "path": document.path,
        "title": document.title,
        "version": document.version,
        "kb": document.access.kb,
        "classification": document.access.classification,
        "groups": sorted(document.access.groups),
        "owner": document.access.owner,
        "purpose": document.purpose,
        "retention": document.retention,
        "label_from": str(document.origin),
        "held": document.held,
        "media_type": document.media_type,
        "pages": document.pages,
        "passages": document.passages,
        "size": document.size,
        "sha256": document.content_sha256,
        "indexed_at": document.created_at,
        "source": document.source,
    }


OPERATIONS = {
    "documents.list": Operation(ListDocuments, list_documents),
    "documents.remove": Operation(RemoveDocuments, remove),
    "documents.show": Operation(OneDocument, show),
}
