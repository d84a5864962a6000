"""The permission that travels into every read: which access classes a search may touch."""

from __future__ import annotations

from dataclasses import dataclass

from policies.labels import AccessClassId


@dataclass(frozen=True, slots=True)
class AccessScope:
    """The access classes that one principal may act on, as decided by one policy set.

    There is no default and no way to widen one. `key` names (principal attributes, policy hash, classes) and is what
    caches key on. An empty scope is valid and finds nothing.
    """

    principal_id: str
    classes: frozenset[AccessClassId]
    policy_hash: str

    def narrowed_to(self, classes: frozenset[AccessClassId]) -> AccessScope:
        """The same permission over fewer classes (one knowledge base, say); never over more."""
        return AccessScope(self.principal_id, self.classes & classes, self.policy_hash)


@dataclass(frozen=True, slots=True)
class UnsafeEverything:
    """Stands where an AccessScope is asked for and permits every class: for rebuilds, benchmarks and oracles only.

    `reason` is required so that each use explains itself.
    """

    reason: str


Scope = AccessScope | UnsafeEverything
