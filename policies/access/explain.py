"""Says why a decision is what it is, and by trying them, which smallest changes would turn it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from policies.access.actions import Action
from policies.access.engine import PolicyEngine
from policies.access.verdict import Allow, Deny, Verdict
from policies.identity import EVERYONE, Principal, Role
from policies.labels import AccessClass

_LARGEST = 3
_GROUPS = 20
_MOST = 20


class Kind(StrEnum):
    """What one change is of: the person's clearance, groups or roles, or the label's classification or owner."""

    CLASSIFICATION = "classification"
    CLEARANCE = "clearance"
    DISOWN = "disown"
    JOIN = "join"
    LEAVE = "leave"
    LOSE = "lose"
    OWN = "own"
    TAKE = "take"


@dataclass(frozen=True, slots=True)
class Change:
    """One change, to or by `value`; `step` is by how many levels, where it is of a level, and negative downwards."""

    kind: Kind
    value: str
    step: int = 0

    def made(self, principal: Principal, label: AccessClass | None) -> tuple[Principal, AccessClass | None]:
        """The principal and the label after it."""
        match self.kind:
            case Kind.CLEARANCE:
                return replace(principal, clearance=self.value), label
            case Kind.JOIN:
                return replace(principal, groups=principal.groups | {self.value}), label
            case Kind.LEAVE:
                return replace(principal, groups=principal.groups - {self.value}), label
            case Kind.TAKE:
                return replace(principal, roles=principal.roles | {Role(self.value)}), label
            case Kind.LOSE:
                return replace(principal, roles=principal.roles - {Role(self.value)}), label
        assert label is not None
        if self.kind is Kind.CLASSIFICATION:
            return principal, replace(label, classification=self.value)
        return principal, replace(label, owner=principal.id if self.kind is Kind.OWN else f"not {principal.id}")

    def within(self, other: Change) -> bool:
        """Whether the other one goes as far, the same way."""
        return self == other or (
            self.kind is other.kind and 0 < abs(self.step) <= abs(other.step) and self.step * other.step > 0
        )


@dataclass(frozen=True, slots=True)
class Alternative:
    """Changes that together turn the decision, none of them to spare, and what it is then."""

    changes: tuple[Change, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with all that went into it. `label` is None for one on the installation itself.

    `alternatives` are the smallest sets of at most three changes that turn it, smallest first and at most twenty. Tried are the
    clearance, each role, the label's classification and owner, and of groups those of the label and those that a policy
    may name, at most twenty. Where `more` is true, there were more groups or more alternatives than that.
    """

    principal: Principal
    action: Action
    label: AccessClass | None
    verdict: Verdict
    alternatives: tuple[Alternative, ...] = ()
    more: bool = field(default=False)


def explain(engine: PolicyEngine, principal: Principal, action: Action, label: AccessClass | None) -> Explanation:
    """Decides as the engine does, which is told of an error as ever, and tries what would turn it."""
    verdict = engine.decide(principal, action, label)
    groups = _groups(engine, principal, label)
    changes = [*_changes(engine, principal, label, groups[:_GROUPS])]
    alternatives: list[Alternative] = []
    for size in range(1, _LARGEST + 1):
        for tried in itertools.combinations(changes, size):
            if _clashes(tried) or any(_covers(one.changes, tried) for one in alternatives):
                continue
            what: tuple[Principal, AccessClass | None] = (principal, label)
            for one in tried:
                what = one.made(*what)
            then = engine.consider(what[0], action, [what[1]])[0]
            if isinstance(then, Allow) != isinstance(verdict, Allow) and not (isinstance(then, Deny) and then.erred):
                alternatives.append(Alternative(tried, then))
    return Explanation(
        principal, action, label, verdict, tuple(alternatives[:_MOST]), len(groups) > _GROUPS or len(alternatives) > _MOST
    )


def _groups(engine: PolicyEngine, principal: Principal, label: AccessClass | None) -> list[str]:
    """The groups that can count: those of the label first, then the words of policies that are no other kind of word."""
    named = sorted(label.groups) if label is not None else []
    words = engine.words - set(Role) - {principal.id} - set(named)
    if label is not None:
        words -= {label.kb, label.owner}
    return [one for one in [*named, *sorted(words)] if one != EVERYONE and one]


def _changes(engine: PolicyEngine, principal: Principal, label: AccessClass | None, groups: Sequence[str]) -> Iterator[Change]:
    yield from _levels(Kind.CLEARANCE, principal.clearance, engine.classifications)
    for group in groups:
        yield Change(Kind.LEAVE if group in principal.groups else Kind.JOIN, group)
    for role in Role:
        yield Change(Kind.LOSE if role in principal.roles else Kind.TAKE, role.value)
    if label is not None:
        yield from _levels(Kind.CLASSIFICATION, label.classification, engine.classifications)
        yield Change(Kind.DISOWN if label.owner == principal.id else Kind.OWN, principal.id)


def _levels(kind: Kind, now: str, levels: Sequence[str]) -> Iterator[Change]:
    """The other levels, the nearest first; none where the settings no longer know the one of now."""
    if now in levels:
        steps = [(rank - levels.index(now), name) for rank, name in enumerate(levels) if name != now]
        for step, name in sorted(steps, key=lambda one: abs(one[0])):
            yield Change(kind, name, step)


def _clashes(tried: Sequence[Change]) -> bool:
    levels = [one.kind for one in tried if one.step]
    return len(levels) != len(set(levels))


def _covers(found: Sequence[Change], tried: Sequence[Change]) -> bool:
    """Whether `tried` does all that `found` does, and more."""
    return all(any(one.within(other) for other in tried) for one in found)
