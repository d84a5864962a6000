"""A decision is a value with a reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allow:
    """Permitted, by these policies (their `@id`)."""

    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """Not permitted, and why: a policy forbids, none permits, or the evaluation erred (then `erred` is true)."""

    reason: str
    policies: tuple[str, ...] = ()
    erred: bool = False


Verdict = Allow | Deny
