"""Labels of documents: given by a person instead of the source, taken back, held for a legal matter, and what was said when."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from policies.access.actions import Action
from policies.access.verdict import Allow
from policies.audit.events import EventTag
from policies.errors import AccessDenied, UsageError
from policies.identity import LOCAL_OWNER_ID, Principal
from policies.labels import AccessClass, Label, Origin
from service.operations.documents import described, listed, may
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation
from vectorstore.label_changes import By
from vectorstore.types import Act, Document, DocumentId, LabelChange

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class LabelWish(BaseModel):
    """What a person says of documents; what they leave out stays as it is in each. `clear` gives them back the label of their
    source, and nothing else is said then."""

    model_config = ConfigDict(extra="forbid")
    kb: str | None = None
    classification: str | None = None
    groups: list[str] | None = None
    owner: str | None = None
    purpose: str | None = None
    retention: str | None = None
    clear: bool = False

    def on(self, document: Document) -> Label:
        """The label that a document would have. Raises UsageError for one that cannot be, and where the source of a document
        says nothing that it could have back."""
        said = self.model_dump(exclude={"clear"}, exclude_none=True)
        if self.clear:
            if said:
                raise UsageError("a label is given or taken back, not both", hint="Leave out --clear, or all that it says.")
            if document.overridden and document.ruled is None:
                raise UsageError(f"no rule labels {document.path}", hint="Give it another label, or remove it.")
            return document.ruled or document.label
        if not said:
            raise UsageError("nothing is said of a label", hint="Say at least one part of it, or --clear.")
        access = document.access
        kb, groups = access.kb if self.kb is None else self.kb, access.groups if self.groups is None else self.groups
        return Label(
            access_of(kb, self.classification or access.classification, groups, self.owner or access.owner),
            (document.purpose if self.purpose is None else self.purpose).strip(),
            (document.retention if self.retention is None else self.retention).strip(),
            Origin.OVERRIDE,
        )


class RelabelDocuments(LabelWish):
    """Documents by id, what is said of them, and why; `preview` changes nothing and tells who would gain or lose."""

    ids: Annotated[list[str], Field(min_length=1)]
    reason: str = ""
    preview: bool = False
    as_person: str | None = None


class HoldDocuments(BaseModel):
    """Documents by id, and why they are held or released."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1)]
    reason: Reason
    as_person: str | None = None


class LabelsOf(BaseModel):
    """One document by id."""

    model_config = ConfigDict(extra="forbid")
    id: str
    as_person: str | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """On how many of the documents a person who may sign in gains or loses the right to have them found."""

    person: str
    name: str
    gains: int
    loses: int


def access_of(kb: str, classification: str, groups: Iterable[str], owner: str) -> AccessClass:
    """The access class of what a person filled in; raises UsageError where a part is empty."""
    named = frozenset(one.strip() for one in groups if one.strip())
    if not (kb.strip() and owner.strip() and named):
        raise UsageError("a label needs a knowledge base, at least one group and an owner", hint="Fill in every field.")
    return AccessClass(kb.strip(), classification, named, owner.strip())


def relabel(installation: Installation, request: RelabelDocuments, emit: Emit, stop: threading.Event) -> Result:
    """Gives documents a label of their own, or takes it back; all of them or none."""
    principal = installation.principal(request.as_person)
    wish = LabelWish(**request.model_dump(include=set(LabelWish.model_fields)))
    if not request.preview:
        return relabelled(installation, principal, request.ids, wish, request.reason)
    planned = plan(installation, principal, request.ids, wish)
    told = effects(installation, [(one, label.access) for one, label in planned])
    return {"documents": [described(one) for one, _ in planned], "effects": [asdict(one) for one in told]}


def relabelled(installation: Installation, principal: Principal, ids: Sequence[str], wish: LabelWish, reason: str) -> Result:
    """The same for a principal whom the caller has authenticated; recorded first, all under one id. Raises as `plan` does,
    and UsageError where no reason is given."""
    if not reason.strip():
        raise UsageError("a change of labels needs a reason", hint="Say why; it is kept in the history of the label.")
    planned = plan(installation, principal, ids, wish)
    moved = [(one, label) for one, label in planned if (one.label, one.label.origin) != (label, label.origin)]
    run = "relabel-" + secrets.token_hex(6)
    told = [
        {
            "run": run,
            "document": one.id,
            "path": one.path,
            "class": label.access.id,
            "old": one.label.as_text(),
            "new": label.as_text(),
            "reason": reason.strip(),
        }
        for one, label in moved
    ]
    act, seen = Act(principal.id, reason.strip()), {one.id: one.access for one, _ in moved}
    installation.audit.append_all([(EventTag.DOCUMENT_RELABELLED, principal.id, one) for one in told])
    if wish.clear:
        installation.store.clear_overrides(list(seen), act, seen=seen)
    else:
        installation.store.relabel([(one.id, label) for one, label in moved], act, by=By.PERSON, seen=seen)
    return {"relabelled": len(moved)}


def plan(installation: Installation, principal: Principal, ids: Sequence[str], wish: LabelWish) -> list[tuple[Document, Label]]:
    """The documents with the labels that they would get. Raises UsageError for a label that cannot be, NotFoundError for a
    document that the principal may not know of, AccessDenied where they may not label it, or could not put it in under the new
    label: documents would else go where their steward may no longer take them back."""
    planned = [(one, wish.on(one)) for one in chosen(installation, principal, ids, Action.LABEL)]
    for label in dict.fromkeys(label for _, label in planned):
        require_label(installation, principal, label)
    return planned


def require_label(installation: Installation, principal: Principal, label: Label) -> None:
    """Raises UsageError for a label that cannot be, AccessDenied for one under which the principal may not put documents in,
    or not take them back."""
    access = label.access
    if access.classification not in installation.settings.access.classifications:
        raise UsageError(f"there is no classification {access.classification!r}", hint="Choose one of the list.")
    if problem := installation.settings.label_names().problem(label.purpose, label.retention):
        raise UsageError(problem, hint="Choose one of them, or add it to the group `labels` of the settings.")
    if not (may(installation, principal, Action.INGEST, [access]) and may(installation, principal, Action.LABEL, [access])):
        raise AccessDenied(
            f"you may not put documents into {access.kb} ({access.classification}, {', '.join(sorted(access.groups))})",
            hint="One of the groups must be yours, and the classification at most your clearance.",
        )


def chosen(installation: Installation, principal: Principal, ids: Sequence[str], action: Action) -> list[Document]:
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


def effects(installation: Installation, planned: Sequence[tuple[Document, AccessClass | None]]) -> list[Effect]:
    """What becomes of each person's right when the documents get those access classes, or go (None)."""
    decide = installation.policies.decide

    def reads(principal: Principal, access: AccessClass | None) -> bool:
        return access is not None and isinstance(decide(principal, Action.RETRIEVE, access), Allow)

    found = []
    for person in installation.people.list():
        if person.disabled or person.id == LOCAL_OWNER_ID:
            continue
        principal = person.as_principal()
        pairs = [(reads(principal, one.access), reads(principal, access)) for one, access in planned]
        gains, loses = pairs.count((False, True)), pairs.count((True, False))
        if gains or loses:
            found.append(Effect(person.id, person.name, gains, loses))
    return found


def hold(installation: Installation, request: HoldDocuments, emit: Emit, stop: threading.Event) -> Result:
    """Puts documents under legal hold: until it is lifted nothing removes or replaces their text."""
    return _holding(installation, request, True)


def release(installation: Installation, request: HoldDocuments, emit: Emit, stop: threading.Event) -> Result:
    """Lifts the legal hold on documents."""
    return _holding(installation, request, False)


def _holding(installation: Installation, request: HoldDocuments, held: bool) -> Result:
    principal = installation.principal(request.as_person)
    return put_on_hold(installation, principal, request.ids, request.reason, held=held)


def put_on_hold(installation: Installation, principal: Principal, ids: Sequence[str], reason: str, *, held: bool) -> Result:
    """Holds documents, or lifts that, all or none, for a principal whom the caller has authenticated; recorded first. Raises as
    `chosen` does. Of those that are so already nothing is said."""
    found = [one for one in chosen(installation, principal, ids, Action.HOLD) if one.held is not held]
    tag = EventTag.HOLD_SET if held else EventTag.HOLD_LIFTED
    told = [{"document": one.id, "path": one.path, "reason": reason} for one in found]
    installation.audit.append_all([(tag, principal.id, one) for one in told])
    seen = {one.id: one.access for one in found}
    installation.store.hold(list(seen), held, Act(principal.id, reason), seen=seen)
    return {"held" if held else "released": len(found)}


def labels(installation: Installation, request: LabelsOf, emit: Emit, stop: threading.Event) -> Result:
    """The label of one document and its history, as far as the person may see it."""
    principal = installation.principal(request.as_person)
    found = installation.store.document(listed(installation, principal), DocumentId(request.id))
    return {"document": described(found), "changes": history(installation, principal, found)}


def history(installation: Installation, principal: Principal, document: Document) -> list[dict[str, Any]]:
    """Every change of a document's label, oldest first. Of one from or to a label under which the principal could not know of
    the document, only when it was."""
    changes = installation.store.label_changes(listed(installation, principal), document.id)

    def shown(label: Label | None) -> bool:
        return label is None or any(
            may(installation, principal, action, [label.access]) for action in (Action.RETRIEVE, Action.LABEL)
        )

    return [_change(one, shown(one.old) and shown(one.new)) for one in changes]


def _change(change: LabelChange, shown: bool) -> dict[str, Any]:
    told = {"number": change.number, "at": change.at, "withheld": not shown}
    if not shown:
        return told
    return {
        **told,
        "kind": change.kind,
        "actor": change.actor,
        "reason": change.reason,
        "old": None if change.old is None else words(change.old),
        "new": words(change.new),
    }


def words(label: Label) -> dict[str, Any]:
    """A label as JSON."""
    return {
        "kb": label.access.kb,
        "classification": label.access.classification,
        "groups": sorted(label.access.groups),
        "owner": label.access.owner,
        "purpose": label.purpose,
        "retention": label.retention,
        "label_from": str(label.origin),
    }


OPERATIONS = {
    "documents.hold": Operation(HoldDocuments, hold),
    "documents.labels": Operation(LabelsOf, labels),
    "documents.relabel": Operation(RelabelDocuments, relabel),
    "documents.release": Operation(HoldDocuments, release),
}
