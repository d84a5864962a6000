"""Policies: a set checked, a decision explained, a change tried out and expectations tested; each is recorded first."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import ON_ACCESS_CLASS, ON_SYSTEM, Action
from policies.access.engine import PolicyEngine
from policies.access.explain import Explanation, explain
from policies.access.policyset import DEFAULTS
from policies.access.scope import AccessScope
from policies.access.verdict import Allow, Deny
from policies.audit.events import EventTag
from policies.errors import AccessDenied, NotFoundError, PolicyError, UsageError
from policies.identity import Principal
from policies.labels import AccessClass
from service.operations.documents import scope_for
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation
from vectorstore.types import Document, DocumentId

_HINT = "The default policies let auditors and administrators, and stewards about what is theirs: --as PERSON."


class CheckSet(BaseModel):
    """The set of a directory; of the one in force, where none is given."""

    model_config = ConfigDict(extra="forbid")
    directory: Path | None = None
    as_person: str | None = None


class ExplainDecision(BaseModel):
    """A decision on a document, by its id or its path, or without one on the installation."""

    model_config = ConfigDict(extra="forbid")
    person: str
    document: str | None = Field(None, min_length=1)
    action: Action = Action.RETRIEVE
    as_person: str | None = None


def check(installation: Installation, request: CheckSet, emit: Emit, stop: threading.Event) -> Result:
    """What a set is, policy by policy. Raises PolicyError with the fault and what mends it; either is recorded."""
    asker = mender(installation, request.as_person)
    directory = request.directory or installation.settings.access.policies or DEFAULTS
    told: dict[str, Any] = {"directory": str(directory)}
    try:
        checked = PolicyEngine(directory, installation.settings.access.classifications)
    except PolicyError as error:
        told |= {"outcome": "refused", "error": error.message}
        installation.audit.append(EventTag.POLICY_CHECKED, asker.id, told)
        raise
    installation.audit.append(EventTag.POLICY_CHECKED, asker.id, {**told, "outcome": "valid", "policy": checked.hash})
    entries = [
        {"id": one.id, "effect": one.effect, "file": one.file, "description": one.description} for one in checked.entries
    ]
    return {
        "directory": str(directory),
        "hash": checked.hash,
        "policies": entries,
        "in_force": _in_force(installation, checked),
    }


def explained(installation: Installation, request: ExplainDecision, emit: Emit, stop: threading.Event) -> Result:
    """Why a person may or may not do something, and what would turn it."""
    asker = installation.principal(request.as_person)
    return explanation(installation, asker, request.person, request.document, request.action)


def explanation(installation: Installation, asker: Principal, person: str, document: str | None, action: Action) -> Result:
    """The decision on a person and a document as the asker may know it: a document that they may not have explained is one
    that is not there, and its title and path are given where they may retrieve it. Raises NotFoundError, AccessDenied for who
    may ask about no document at all, UsageError for an action that is not decided on what is named."""
    found = known(installation, asker, document) if document is not None else None
    if found is None:
        require_reader(installation, asker)
    if action not in (ON_SYSTEM if found is None else ON_ACCESS_CLASS):
        what = "the installation; name a document" if found is None else "a document; name none"
        raise UsageError(f"{action} is not decided on {what}", hint="inhouse policy explain --help lists the actions of each.")
    asked = installation.people.show(person)
    principal = asked.as_principal()
    made = explain(installation.policies, principal, action, found.access if found is not None else None)
    allowed = isinstance(made.verdict, Allow)
    told = {
        "person": principal.id,
        "action": str(action),
        "document": found.id if found is not None else None,
        "access_class": found.access.id if found is not None else None,
        "decision": "allow" if allowed else "deny",
        "policy": installation.policies.hash,
    }
    installation.audit.append(EventTag.POLICY_EXPLAINED, asker.id, told)
    shown = shown_document(installation, asker, found) if found is not None else None
    return {"document": shown, "disabled": asked.disabled, **described(installation.policies, made)}


def known(installation: Installation, asker: Principal, word: str) -> Document:
    """The document of that id, or at that path where only one is, among those on which the asker may have decisions explained.
    Raises NotFoundError, and UsageError for a path that several sources have."""
    whole = isinstance(installation.policies.decide(asker, Action.POLICY_READ, None), Allow)
    classes = frozenset(one.id for one in installation.store.access_classes())
    scope = AccessScope(asker.id, classes, installation.policies.hash)
    if not whole:
        scope = scope_for(installation, asker, Action.POLICY_READ)
        if not scope.classes:
            raise AccessDenied(f"{asker.id} may not have decisions explained", hint=_HINT)
    try:
        return installation.store.document(scope, DocumentId(word))
    except NotFoundError:
        there = _at(installation, scope, word)
        if not there:
            raise
    if len(there) > 1:
        raise UsageError(f"several documents are at {word}", hint="Name one by its id: inhouse documents list.")
    return there[0]


def _at(installation: Installation, scope: AccessScope, path: str) -> list[Document]:
    found: list[Document] = []
    after: DocumentId | None = None
    # What begins with the path comes in the order of ids, so all of it must be looked at.
    while some := installation.store.documents(scope, prefix=path, after=after, limit=1000):
        found += [one for one in some if one.path == path]
        after = some[-1].id
    return found


def require_reader(installation: Installation, asker: Principal) -> None:
    """Raises AccessDenied for who may not read the policies."""
    if isinstance(installation.policies.decide(asker, Action.POLICY_READ, None), Deny):
        raise AccessDenied(f"{asker.id} may not read the policies", hint=_HINT)


def shown_document(installation: Installation, asker: Principal, found: Document) -> Result:
    """A document as it is named to the asker: title and path, which tell of what it says, where they may retrieve it."""
    readable = found.access.id in scope_for(installation, asker, Action.RETRIEVE).classes
    return {"id": found.id, "title": found.title if readable else None, "path": found.path if readable else None}


def described(engine: PolicyEngine, made: Explanation) -> Result:
    """An explanation as JSON, without the document."""
    principal, verdict = made.principal, made.verdict
    return {
        "principal": {
            "id": principal.id,
            "groups": sorted(principal.groups),
            "clearance": principal.clearance,
            "roles": sorted(principal.roles),
        },
        "action": str(made.action),
        "label": described_class(made.label) if made.label is not None else None,
        "decision": "allow" if isinstance(verdict, Allow) else "deny",
        "reason": verdict.reason if isinstance(verdict, Deny) else "a policy permits it",
        "policies": named(engine.descriptions, verdict.policies),
        "alternatives": [
            {
                "changes": [{"kind": str(one.kind), "value": one.value, "up": one.step > 0} for one in way.changes],
                "policies": named(engine.descriptions, way.verdict.policies),
            }
            for way in made.alternatives
        ],
        "more": made.more,
    }


def described_class(label: AccessClass) -> Result:
    """The part of a label that decides access, as JSON."""
    return {
        "access_class": label.id,
        "kb": label.kb,
        "classification": label.classification,
        "groups": sorted(label.groups),
        "owner": label.owner,
    }


def named(descriptions: Mapping[str, str], policies: tuple[str, ...]) -> list[Result]:
    """Policies by `@id`, with what each is for."""
    return [{"id": one, "description": descriptions.get(one, "")} for one in policies]


def mender(installation: Installation, as_person: str | None) -> Principal:
    """Who asks, for who may read the policies; raises AccessDenied. Where the set in force does not load, whoever owns the
    data directory must still be able to look at one that will."""
    asker = installation.principal(as_person)
    try:
        require_reader(installation, asker)
    except PolicyError:
        if as_person is not None:
            raise
    return asker


def _in_force(installation: Installation, checked: PolicyEngine) -> bool:
    try:
        return installation.policies.hash == checked.hash
    except PolicyError:
        return False


OPERATIONS = {
    "policy.check": Operation(CheckSet, check, shared=True),
    "policy.explain": Operation(ExplainDecision, explained),
}
