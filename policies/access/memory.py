"""Remembers verdicts and whole scopes, so that a question costs a look-up and not thousands of decisions."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.access.verdict import Deny, Verdict
from policies.identity import Principal
from policies.labels import AccessClass

_VERDICTS = 2_000_000
_ENTRIES = 20_000
_SYSTEM_KEY = ""
_Key = tuple[str, frozenset[str], str, frozenset[str], Action]
_Person = tuple[str, str, frozenset[str], Action]


class Asked:
    """What is known of one principal's attributes and one action. Reads take no lock: entries are added, never changed."""

    __slots__ = ("__weakref__", "_before", "_scope", "_touched", "_verdicts", "forgotten")

    def __init__(self, before: Asked | None = None, touched: frozenset[str] = frozenset()) -> None:
        """`before` is what is known of the same principal with other groups; what is decided on a class that has none of
        the `touched` groups is the same. It is let go of when the memory forgets it."""
        self.forgotten = False
        self._before = weakref.ref(before) if before is not None else None
        self._touched = touched
        self._verdicts: dict[str, Verdict] = {}
        self._scope: tuple[tuple[AccessClass, ...], AccessScope] | None = None

    def verdicts(self, resources: Iterable[AccessClass | None]) -> list[Verdict | None]:
        """What is known of each resource, None for what is not."""
        return [self._verdicts.get(_SYSTEM_KEY if one is None else one.id) for one in resources]

    def before(self, resources: Sequence[AccessClass | None]) -> list[Verdict | None]:
        """What was known of each before the groups changed, None for what they touch."""
        known = self._before() if self._before is not None else None
        if known is None:
            return [None] * len(resources)
        there = known.verdicts(resources)
        return [
            verdict if one is None or self._touched.isdisjoint(one.groups) else None
            for one, verdict in zip(resources, there, strict=True)
        ]

    def add(self, resource: AccessClass | None, verdict: Verdict) -> None:
        """Keeps one verdict."""
        self._verdicts[_SYSTEM_KEY if resource is None else resource.id] = verdict

    def scope_of(self, classes: tuple[AccessClass, ...]) -> AccessScope | None:
        """The scope of the last call, if it was over the same classes; comparing the same objects costs nanoseconds each."""
        kept = self._scope
        return kept[1] if kept is not None and kept[0] == classes else None

    def keep_scope(self, classes: tuple[AccessClass, ...], scope: AccessScope) -> None:
        """Keeps the scope over these classes, and no older one."""
        self._scope = (classes, scope)

    def __len__(self) -> int:
        return len(self._verdicts)


class VerdictMemory:
    """The verdicts of one policy set: at most `verdicts` of them (some 100 bytes each), the least recently asked go first.

    `named_groups` are the groups that the policies name, None where each of a person's groups may count everywhere. With
    them a change of a person's groups keeps what is known of the classes that have none of the groups that changed.
    """

    def __init__(self, verdicts: int = _VERDICTS, *, named_groups: frozenset[str] | None = None) -> None:
        self._limit = verdicts
        self._named = named_groups
        self._latest: dict[_Person, _Key] = {}
        self._lock = threading.Lock()
        self._asked: OrderedDict[_Key, Asked] = OrderedDict()
        self._count = 0
        self._interned: dict[Verdict, Verdict] = {}

    def asked(self, principal: Principal, action: Action) -> Asked:
        """The entry for everything of the principal that policies can see, and the action."""
        key = (principal.id, principal.groups, principal.clearance, frozenset(principal.roles), action)
        with self._lock:
            found = self._asked.get(key)
            if found is None:
                found = self._asked[key] = self._made(key)
            self._asked.move_to_end(key)
            if len(self._asked) > _ENTRIES:
                self._forget_oldest()
            return found

    def verdicts(self, asked: Asked, resources: Sequence[AccessClass | None]) -> list[Verdict | None]:
        """What is known of each resource, None for what has to be decided."""
        found = asked.verdicts(resources)
        missing = [index for index, verdict in enumerate(found) if verdict is None]
        if missing:
            again = asked.before([resources[index] for index in missing])
            for index, verdict in zip(missing, again, strict=True):
                found[index] = verdict
            self.keep(asked, ((resources[index], verdict) for index, verdict in zip(missing, again, strict=True)))
        return found

    def keep(self, asked: Asked, fresh: Iterable[tuple[AccessClass | None, Verdict | None]]) -> None:
        """Adds verdicts that a policy gave, and lets go of the oldest entries where there are too many."""
        with self._lock:
            before = len(asked)
            for resource, verdict in fresh:
                if verdict is not None and not (isinstance(verdict, Deny) and verdict.erred):
                    asked.add(resource, self._interned.setdefault(verdict, verdict))
            if not asked.forgotten:
                self._count += len(asked) - before
            while self._count > self._limit and len(self._asked) > 1:
                self._forget_oldest()

    def _made(self, key: _Key) -> Asked:
        person = (key[0], *key[2:])
        known = self._latest.get(person)
        self._latest[person] = key
        if known is None or self._named is None:
            return Asked()
        changed = known[1] ^ key[1]
        return Asked() if changed & self._named else Asked(self._asked[known], changed)

    def _forget_oldest(self) -> None:
        key, gone = self._asked.popitem(last=False)
        if self._latest.get((key[0], *key[2:])) == key:
            del self._latest[key[0], *key[2:]]
        gone.forgotten = True
        self._count -= len(gone)
