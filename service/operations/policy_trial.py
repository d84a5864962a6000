"""Policies tried out: who would gain or lose what by another set, and whether a set decides as an organisation expects."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.access.actions import ON_ACCESS_CLASS, ON_SYSTEM, Action
from policies.access.compare import Moved, differences
from policies.access.engine import PolicyEngine
from policies.access.explain import explain
from policies.access.scope import AccessScope
from policies.access.verdict import Allow
from policies.audit.events import EventTag
from policies.errors import Interrupted, UsageError
from policies.identity import Principal, Role
from policies.labels import AccessClass
from service.operations.policy import described, described_class, known, mender, named, require_reader, shown_document
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation

_EXAMPLES = 5
_HINT = "See `inhouse policy test --help`."


class Simulate(BaseModel):
    """Another set, and the action of which it is asked who would gain or lose it."""

    model_config = ConfigDict(extra="forbid")
    directory: Path
    action: Action = Action.RETRIEVE
    as_person: str | None = None


class Expectations(BaseModel):
    """The text of a table of expectations, and the set that it is tested on, where that is not the one in force."""

    model_config = ConfigDict(extra="forbid")
    file: str
    text: str
    directory: Path | None = None
    as_person: str | None = None


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Who(_Row):
    id: str = Field("somebody", min_length=1)
    groups: list[str] = []
    clearance: str
    roles: list[str] = [Role.USER.value]


class _What(_Row):
    kb: str
    classification: str
    groups: list[str]
    owner: str


class _Expectation(_Row):
    who: str | _Who
    what: str | _What | None = None
    action: str = Action.RETRIEVE.value
    allowed: bool
    by: str | None = None


class _Table(_Row):
    expect: list[_Expectation] = Field(min_length=1)


def simulate(installation: Installation, request: Simulate, emit: Emit, stop: threading.Event) -> Result:
    """What each person would gain and lose, `progress` on the way; nothing is changed. Raises PolicyError for a set that would
    not start, Interrupted."""
    asker = installation.principal(request.as_person)
    require_reader(installation, asker)
    if request.action not in ON_ACCESS_CLASS:
        raise UsageError(f"{request.action} is not decided on documents", hint=f"One of: {', '.join(sorted(ON_ACCESS_CLASS))}.")
    now, then = installation.policies, PolicyEngine(request.directory, installation.settings.access.classifications)
    people = [one.as_principal() for one in installation.people.list() if not one.disabled]
    classes = installation.store.access_classes()
    descriptions = now.descriptions | then.descriptions
    changed = []
    for number, found in enumerate(differences(now, then, people, request.action, classes), 1):
        if stop.is_set():
            raise Interrupted("stopped before everyone was looked at", hint="Nothing was changed; run it again.")
        if found.gained or found.lost or found.erred:
            gained, lost = (_counted(installation, asker, descriptions, moved) for moved in (found.gained, found.lost))
            changed.append({"person": found.principal.id, "gained": gained, "lost": lost, "erred": found.erred})
        emit({"progress": {"people": number, "of": len(people)}})
    told = {"people": len(people), "classes": len(classes), "action": str(request.action)}
    record = {**told, "directory": str(request.directory), "policy": then.hash, "changed": len(changed)}
    installation.audit.append(EventTag.POLICY_SIMULATED, asker.id, record)
    return {**told, "in_force": now.hash, "hash": then.hash, "changed": changed}


def _counted(installation: Installation, asker: Principal, descriptions: Mapping[str, str], moved: Sequence[Moved]) -> Result:
    """How many documents and classes, the first few of each, and by which policies."""

    def documents(labels: Sequence[AccessClass], limit: int) -> tuple[list[Any], int]:
        scope = AccessScope(asker.id, frozenset(one.id for one in labels), installation.policies.hash)
        return installation.store.browse(scope, limit=limit)

    if not moved:
        return {"documents": 0, "classes": 0, "examples": [], "of": []}
    examples, count = documents([one.label for one in moved], _EXAMPLES)
    return {
        "documents": count,
        "classes": len(moved),
        "examples": [shown_document(installation, asker, one) for one in examples],
        "of": [
            {
                **described_class(one.label),
                "documents": documents([one.label], 0)[1],
                "policies": named(descriptions, one.policies),
            }
            for one in moved[:_EXAMPLES]
        ],
    }


def tested(installation: Installation, request: Expectations, emit: Emit, stop: threading.Event) -> Result:
    """The expectations that fail, each with its explanation. Raises UsageError for a table that has none, or one that cannot be
    meant, and PolicyError for a set that would not start."""
    asker = mender(installation, request.as_person)
    levels = installation.settings.access.classifications
    engine = installation.policies if request.directory is None else PolicyEngine(request.directory, levels)
    rows = _read(request.text, request.file)
    failed = []
    for number, row in enumerate(rows, 1):
        where = f"{request.file}, expectation {number}"
        principal, label, action = _meant(installation, asker, engine, row, where)
        made = explain(engine, principal, action, label)
        allowed = isinstance(made.verdict, Allow)
        if allowed is not row.allowed or (row.by is not None and row.by not in made.verdict.policies):
            what = row.what if isinstance(row.what, str) else None
            expected = {"allowed": row.allowed, "by": row.by}
            failed.append({"number": number, "what": what, "expected": expected, **described(engine, made)})
    told = {"file": request.file, "policy": engine.hash, "expectations": len(rows), "failed": len(failed)}
    installation.audit.append(EventTag.POLICY_TESTED, asker.id, told)
    return {"hash": engine.hash, "expectations": len(rows), "failed": failed}


def _read(text: str, file: str) -> list[_Expectation]:
    try:
        return _Table.model_validate(tomllib.loads(text)).expect
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}", hint=_HINT) from None
    except ValidationError as error:
        # Of a value that may have two forms the last error is that of the form with keys.
        last = error.errors(include_url=False, include_context=False, include_input=False)[-1]
        where = ".".join(
            str(part + 1) if isinstance(part, int) else part for part in last["loc"] if part not in ("_Who", "_What")
        )
        raise UsageError(f"{file}: {where}: {last['msg']}", hint=_HINT) from None


def _meant(
    installation: Installation, asker: Principal, engine: PolicyEngine, row: _Expectation, where: str
) -> tuple[Principal, AccessClass | None, Action]:
    """The principal, the label and the action of an expectation; raises UsageError, and NotFoundError for a person or a
    document that is not there."""
    levels = engine.classifications
    try:
        action = Action(row.action)
        if isinstance(row.who, str):
            person = installation.people.show(row.who)
            principal = person.as_principal()
        else:
            roles = frozenset(Role(one) for one in row.who.roles)
            principal = Principal(row.who.id, row.who.id, frozenset(row.who.groups), row.who.clearance, roles)
        label = _label(installation, asker, row)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", hint=_HINT) from None
    for level in {principal.clearance, label.classification if label is not None else levels[0]} - set(levels):
        raise UsageError(f"{where}: there is no level {level!r}", hint=f"One of: {', '.join(levels)}.")
    if action not in (ON_SYSTEM if label is None else ON_ACCESS_CLASS):
        raise UsageError(
            f"{where}: {action} is not decided on {'the installation' if label is None else 'a document'}", hint=_HINT
        )
    if row.by is not None and row.by not in engine.descriptions:
        raise UsageError(f"{where}: there is no policy {row.by!r}", hint="`inhouse policy check` lists them.")
    return principal, label, action


def _label(installation: Installation, asker: Principal, row: _Expectation) -> AccessClass | None:
    if row.what is None:
        return None
    if isinstance(row.what, str):
        return known(installation, asker, row.what).access
    return AccessClass(row.what.kb, row.what.classification, frozenset(row.what.groups), row.what.owner)


OPERATIONS = {
    "policy.simulate": Operation(Simulate, simulate),
    "policy.test": Operation(Expectations, tested),
}
