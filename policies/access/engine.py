"""Decides by Cedar policies who may do what, once for each principal, action and access class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cedarpy

from policies.access.actions import ON_ACCESS_CLASS, ON_SYSTEM, Action
from policies.access.memory import Asked, VerdictMemory
from policies.access.policyset import DEFAULTS, load
from policies.access.scope import AccessScope
from policies.access.verdict import Allow, Deny, Verdict
from policies.errors import PolicyError
from policies.identity import Principal, Role
from policies.labels import AccessClass, AccessClassId

_SYSTEM = {"type": "System", "id": "inhouse"}
# Large enough that the cost of a call vanishes, small enough that other threads get their turn within some 10 ms.
_BATCH = 500
_PARSED_BATCHES = 200


class PolicyEngine:
    """The policy set of a directory (None: the packaged defaults), checked and tried when the engine is made.

    `classifications` are the names of the levels, lowest first; policies compare their ranks. `on_error` is told, once
    for each decision or scope, of an evaluation that erred; what it raises is passed on. `hash` names the set: SHA-256
    over file names, contents and the order of the levels. `entries` are its policies and `descriptions` says what each is
    for, by its `@id`; `words` are the strings that conditions hold, some of which may be names of groups.

    Verdicts are kept until the engine goes; a changed set needs a new engine. Safe for threads. Raises PolicyError as
    `policyset.load` does, for levels that are empty or repeated, and for a set that errs on a plain request.
    """

    def __init__(
        self,
        directory: Path | None,
        classifications: Sequence[str],
        *,
        on_error: Callable[[str], None] = lambda message: None,
    ) -> None:
        if not classifications or len(set(classifications)) != len(classifications) or not all(classifications):
            raise PolicyError("the classifications must be distinct names, at least one", hint="Mend access.classifications.")
        self._ranks = {name: rank for rank, name in enumerate(classifications)}
        self._on_error = on_error
        text = load(directory or DEFAULTS)
        self._policies = {action: cedarpy.PolicySet.from_str(policies) for action, policies in text.policies.items()}
        self._schema = cedarpy.Schema.from_str(text.schema)
        self.classifications = tuple(classifications)
        self.entries = text.entries
        self.descriptions = {one.id: one.description for one in text.entries}
        self.words = text.words
        self.hash = hashlib.sha256(json.dumps([text.hash, list(classifications)]).encode()).hexdigest()
        self._memory = VerdictMemory(named_groups=text.groups)
        self._parsed: dict[tuple[AccessClassId, ...], cedarpy.Entities] = {}
        self._try_every_action(classifications[-1])

    def decide(self, principal: Principal, action: Action, resource: AccessClass | None) -> Verdict:
        """The verdict on one access class, or on the installation itself where `resource` is None.

        Any error in evaluating is a Deny and is told to `on_error`: Cedar alone would skip a `forbid` that errs.
        """
        return self._verdicts(self._memory.asked(principal, action), principal, action, [resource])[0]

    def consider(self, principal: Principal, action: Action, resources: Sequence[AccessClass | None]) -> list[Verdict]:
        """What `decide` would say of each, for a principal or a class that may not exist: nothing of it is remembered, and
        an error is a Deny that is told to nobody."""
        verdicts: list[Verdict] = []
        for start in range(0, len(resources), _BATCH):
            verdicts += self._evaluate(principal, action, resources[start : start + _BATCH], [])
        return verdicts

    def read_in(self, classes: Sequence[AccessClass]) -> None:
        """Makes ready to decide on these classes, in this order, so that whoever asks first does not wait for it."""
        for start in range(0, len(classes), _BATCH):
            self._things(self._known(classes[start : start + _BATCH]))

    def _known(self, resources: Sequence[AccessClass | None]) -> tuple[AccessClass, ...]:
        """The classes among them whose classification the settings know."""
        return tuple(one for one in resources if one is not None and one.classification in self._ranks)

    def scope(self, principal: Principal, action: Action, classes: Iterable[AccessClass]) -> AccessScope:
        """The classes among `classes` on which the principal may do `action`; one that errs is not among them."""
        wanted = tuple(classes)
        asked = self._memory.asked(principal, action)
        known = asked.scope_of(wanted)
        if known is not None:
            return known
        verdicts = self._verdicts(asked, principal, action, wanted)
        allowed = frozenset(one.id for one, verdict in zip(wanted, verdicts, strict=True) if isinstance(verdict, Allow))
        scope = AccessScope(principal.id, allowed, self.hash)
        if not any(isinstance(verdict, Deny) and verdict.erred for verdict in verdicts):
            asked.keep_scope(wanted, scope)
        return scope

    def _verdicts(
        self, asked: Asked, principal: Principal, action: Action, resources: Sequence[AccessClass | None]
    ) -> list[Verdict]:
        """One verdict for each resource. What erred is not kept, so that each question that meets it leaves its trace."""
        verdicts = self._memory.verdicts(asked, resources)
        missing = [index for index, verdict in enumerate(verdicts) if verdict is None]
        errors: list[str] = []
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            fresh = self._evaluate(principal, action, [resources[index] for index in batch], errors)
            for index, verdict in zip(batch, fresh, strict=True):
                verdicts[index] = verdict
        if missing:
            self._memory.keep(asked, ((resources[index], verdicts[index]) for index in missing))
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            self._on_error(f"{principal.id}, {action}: {errors[0]}{more}")
        return [verdict or Deny("no decision", erred=True) for verdict in verdicts]

    def _evaluate(
        self, principal: Principal, action: Action, resources: Sequence[AccessClass | None], errors: list[str]
    ) -> list[Verdict]:
        def deny(message: str) -> Deny:
            errors.append(message)
            return Deny(f"error: {message}", erred=True)

        if principal.clearance not in self._ranks:
            return [deny(f"there is no clearance {principal.clearance!r}") for _ in resources]
        known = [one for one in resources if one is None or one.classification in self._ranks]
        try:
            results = iter(self._ask(principal, action, known))
        except Exception as error:
            return [deny(f"cannot be evaluated: {error}") for _ in resources]
        verdicts: list[Verdict] = []
        for one in resources:
            if one is None or one.classification in self._ranks:
                verdicts.append(_verdict(next(results), deny))
            else:
                verdicts.append(deny(f"access class {one.id} has the unknown classification {one.classification!r}"))
        return verdicts

    def _ask(self, principal: Principal, action: Action, resources: Sequence[AccessClass | None]) -> list[cedarpy.AuthzResult]:
        person = {"type": "Person", "id": principal.id}
        attributes = {
            "id": principal.id,
            "groups": sorted(principal.groups),
            "clearance": self._ranks[principal.clearance],
            "roles": sorted(str(role) for role in principal.roles),
        }
        verb = {"type": "Action", "id": action.value}
        requests = [{"principal": person, "action": verb, "resource": _uid(one), "context": "{}"} for one in resources]
        things = self._things(self._known(resources))
        asking = json.dumps([_entity(person, attributes)])
        # Checked by itself: with the schema given below, every class of the batch would be checked again.
        cedarpy.Entities.from_json_str(asking, schema=self._schema)
        entities = things.with_added_json_str(asking)
        return cedarpy.is_authorized_batch(requests, self._policies[action], entities, schema=self._schema)

    def _things(self, classes: tuple[AccessClass, ...]) -> cedarpy.Entities:
        """The installation and these classes as Cedar sees them: the same for every principal, so parsed once."""
        key = tuple(one.id for one in classes)
        found = self._parsed.get(key)
        if found is None:
            entities = [_entity(_SYSTEM, {})]
            for one in classes:
                rank = self._ranks[one.classification]
                known = {"kb": one.kb, "classification": rank, "groups": sorted(one.groups), "owner": one.owner}
                entities.append(_entity(_uid(one), known))
            found = cedarpy.Entities.from_json_str(json.dumps(entities), schema=self._schema)
            # One alone is read again as fast, and may be a label that was only thought of.
            if len(classes) > 1:
                if len(self._parsed) >= _PARSED_BATCHES:
                    self._parsed.clear()
                self._parsed[key] = found
        return found

    def _try_every_action(self, highest: str) -> None:
        """A schema that lacks an action or gives an attribute another type validates, and would deny all by error."""
        nobody = Principal("nobody", "Nobody", frozenset(), highest, frozenset(Role))
        something = AccessClass("none", highest, frozenset({"none"}), "none")
        errors: list[str] = []
        for action in Action:
            if action in ON_ACCESS_CLASS:
                self._evaluate(nobody, action, [something], errors)
            if action in ON_SYSTEM:
                self._evaluate(nobody, action, [None], errors)
            if errors:
                raise PolicyError(
                    f"the policies err on a plain request to {action}: {errors[0]}",
                    hint=f"Compare the schema and the policies with those in {DEFAULTS}.",
                )


def _verdict(result: cedarpy.AuthzResult, deny: Callable[[str], Deny]) -> Verdict:
    diagnostics = result.diagnostics
    if diagnostics.errors or result.decision is cedarpy.Decision.NoDecision:
        return deny("; ".join(str(error) for error in diagnostics.errors) or "no decision")
    names = diagnostics.id_annotations_by_reason
    policies = tuple(sorted(names.get(reason, reason) for reason in diagnostics.reasons))
    if result.allowed:
        return Allow(policies)
    return Deny("a policy forbids it" if policies else "no policy permits it", policies)


def _uid(one: AccessClass | None) -> dict[str, str]:
    return _SYSTEM if one is None else {"type": "AccessClass", "id": one.id}


def _entity(uid: dict[str, str], attributes: dict[str, Any]) -> dict[str, Any]:
    return {"uid": uid, "attrs": attributes, "parents": []}
