"""Decides by Cedar policies who may do what, once for each principal, action and access class."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cedarpy

from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.access.verdict import Allow, Deny, Verdict
from policies.errors import PolicyError
from policies.identity import Principal
from policies.labels import AccessClass, AccessClassId

DEFAULTS = Path(__file__).parent.parent / "defaults"
_CACHED_PRINCIPALS = 4096
_SYSTEM = {"type": "System", "id": "inhouse"}
_Attributes = tuple[str, frozenset[str], str, frozenset[str]]


class PolicyEngine:
    """The policy set of a directory (`*.cedar` and `schema.cedarschema`), checked when it is made.

    Raises PolicyError for a directory without policies, for text that does not parse, and for a set that does not
    validate strictly against the schema. `hash` names the set: SHA-256 over file names and contents and the order of
    classifications. Decisions are kept until the engine goes; a changed set needs a new engine.
    """

    def __init__(
        self,
        directory: Path | None,
        classifications: Sequence[str],
        *,
        on_error: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._ranks = {name: rank for rank, name in enumerate(classifications)}
        self._on_error = on_error
        files = _files(directory or DEFAULTS)
        policies = "\n".join(text for name, text in files if name.endswith(".cedar"))
        schema = next(text for name, text in files if name.endswith(".cedarschema"))
        _validate(policies, schema)
        self._policies = cedarpy.PolicySet.from_str(policies)
        self._schema = cedarpy.Schema.from_str(schema)
        self.hash = hashlib.sha256(json.dumps([files, list(classifications)]).encode()).hexdigest()
        self._lock = threading.Lock()
        self._cache: dict[tuple[_Attributes, Action], dict[AccessClassId, Verdict]] = {}

    def decide(self, principal: Principal, action: Action, resource: AccessClass | None) -> Verdict:
        """The verdict on one access class, or on the installation itself where `resource` is None.

        Any error in evaluating is a Deny and is told to `on_error`: Cedar alone would skip a `forbid` that errs.
        """
        if resource is None:
            return self._evaluate(principal, action, [None])[0]
        return self._verdicts(principal, action, [resource])[resource.id]

    def scope(self, principal: Principal, action: Action, classes: Iterable[AccessClass]) -> AccessScope:
        """The classes among `classes` on which the principal may do `action`."""
        asked = list(classes)
        verdicts = self._verdicts(principal, action, asked)
        allowed = frozenset(one.id for one in asked if isinstance(verdicts[one.id], Allow))
        return AccessScope(principal.id, allowed, self.hash)

    def _verdicts(self, principal: Principal, action: Action, classes: Sequence[AccessClass]) -> dict[AccessClassId, Verdict]:
        key = ((principal.id, principal.groups, principal.clearance, frozenset(principal.roles)), action)
        with self._lock:
            known = self._cache.pop(key, {})
            if len(self._cache) >= _CACHED_PRINCIPALS:
                del self._cache[next(iter(self._cache))]
            self._cache[key] = known
        missing = [one for one in classes if one.id not in known]
        if missing:
            fresh = self._evaluate(principal, action, missing)
            # An error may pass, so only verdicts that a policy gave are kept.
            known.update(
                {
                    one.id: verdict
                    for one, verdict in zip(missing, fresh, strict=True)
                    if not (isinstance(verdict, Deny) and verdict.reason.startswith("error"))
                }
            )
            return {**known, **{one.id: verdict for one, verdict in zip(missing, fresh, strict=True)}}
        return known

    def _evaluate(self, principal: Principal, action: Action, classes: Sequence[AccessClass | None]) -> list[Verdict]:
        if principal.clearance not in self._ranks:
            return [self._error(f"{principal.id} has the unknown clearance {principal.clearance!r}")] * len(classes)
        known = [one for one in classes if one is None or one.classification in self._ranks]
        results = self._ask(principal, action, known)
        verdicts: list[Verdict] = []
        for one in classes:
            if one is None or one.classification in self._ranks:
                verdicts.append(self._verdict(next(results)))
            else:
                verdicts.append(self._error(f"access class {one.id} has the unknown classification {one.classification!r}"))
        return verdicts

    def _ask(self, principal: Principal, action: Action, classes: Sequence[AccessClass | None]) -> Any:
        person = {"type": "Person", "id": principal.id}
        entities: list[dict[str, Any]] = [
            _entity(
                person,
                groups=sorted(principal.groups),
                clearance=self._ranks[principal.clearance],
                roles=sorted(str(role) for role in principal.roles),
            ),
            _entity(_SYSTEM),
        ]
        requests = []
        for one in classes:
            resource = _SYSTEM if one is None else {"type": "AccessClass", "id": one.id}
            if one is not None:
                entities.append(
                    _entity(
                        resource,
                        kb=one.kb,
                        classification=self._ranks[one.classification],
                        groups=sorted(one.groups),
                        owner=one.owner,
                    )
                )
            requests.append(
                {
                    "principal": person,
                    "action": {"type": "Action", "id": action.value},
                    "resource": resource,
                    "context": {},
                }
            )
        parsed = cedarpy.Entities.from_json_str(json.dumps(entities), schema=self._schema)
        return iter(cedarpy.is_authorized_batch(requests, self._policies, parsed, schema=self._schema))

    def _verdict(self, result: Any) -> Verdict:
        errors = list(result.diagnostics.errors)
        names = result.diagnostics.id_annotations_by_reason
        policies = tuple(sorted(names.get(reason, reason) for reason in result.diagnostics.reasons))
        if errors or result.decision is cedarpy.Decision.NoDecision:
            return self._error("; ".join(str(error) for error in errors) or "no decision")
        if result.allowed:
            return Allow(policies)
        return Deny("a policy forbids it" if policies else "no policy permits it", policies)

    def _error(self, message: str) -> Deny:
        self._on_error(message)
        return Deny(f"error: {message}")


def _entity(uid: dict[str, str], **attributes: Any) -> dict[str, Any]:
    return {"uid": uid, "attrs": attributes, "parents": []}


def _files(directory: Path) -> list[tuple[str, str]]:
    hint = f"Start from a copy of {DEFAULTS}."
    try:
        paths = sorted([*directory.glob("*.cedar"), *directory.glob("*.cedarschema")])
        files = [(path.name, path.read_text(encoding="utf-8")) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"cannot read the policies in {directory}: {error}", hint=hint) from None
    if not any(name.endswith(".cedar") for name, _ in files):
        raise PolicyError(f"there is no policy (*.cedar) in {directory}: nothing would be permitted", hint=hint)
    if sum(name.endswith(".cedarschema") for name, _ in files) != 1:
        raise PolicyError(f"there must be exactly one schema (*.cedarschema) in {directory}", hint=hint)
    return files


def _validate(policies: str, schema: str) -> None:
    hint = "Mend the policy or the schema; the service does not start on a set that does not validate."
    try:
        cedarpy.Schema.from_str(schema)
        if not len(cedarpy.PolicySet.from_str(policies)):
            raise PolicyError("the policy set is empty: nothing would be permitted", hint=hint)
        result = cedarpy.validate_policies(policies, schema)
    except ValueError as error:
        raise PolicyError(f"the policies do not parse: {error}", hint=hint) from None
    if not result.validation_passed:
        said = "; ".join(f"{error.policy_id}: {error.error}" for error in result.errors)
        raise PolicyError(f"the policies do not validate: {said}", hint=hint)
