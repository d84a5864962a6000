"""Compares two policy sets: what each person would gain and lose, by access class, before the change is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.access.actions import Action
from policies.access.engine import PolicyEngine
from policies.access.verdict import Allow, Deny, Verdict
from policies.identity import Principal
from policies.labels import AccessClass


@dataclass(frozen=True, slots=True)
class Moved:
    """A class that a person gains or loses, and by which policies: those that will permit or forbid it; where the new set has
    none that does, those that permitted it so far."""

    label: AccessClass
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What one person gains and loses by the new set, in the order of the classes, and what errs in it and so denies."""

    principal: Principal
    gained: tuple[Moved, ...]
    lost: tuple[Moved, ...]
    erred: int


def differences(
    now: PolicyEngine, then: PolicyEngine, people: Sequence[Principal], action: Action, classes: Sequence[AccessClass]
) -> Iterator[Difference]:
    """One difference for each person, in their order. Costs two decisions for each person and class; neither engine
    remembers them."""
    for principal in people:
        before = now.consider(principal, action, classes)
        after = then.consider(principal, action, classes)
        gained, lost, erred = [], [], 0
        for label, was, will in zip(classes, before, after, strict=True):
            erred += isinstance(will, Deny) and will.erred
            if isinstance(will, Allow) and not isinstance(was, Allow):
                gained.append(Moved(label, will.policies))
            elif isinstance(was, Allow) and not isinstance(will, Allow):
                lost.append(Moved(label, _said(was, will)))
        yield Difference(principal, tuple(gained), tuple(lost), erred)


def _said(was: Allow, will: Verdict) -> tuple[str, ...]:
    """What takes it away: the policies that will forbid it; where none does, those that permitted it and no longer do."""
    return will.policies or was.policies
