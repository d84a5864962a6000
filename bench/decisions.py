"""How long decisions take: one person over thousands of access classes, at first, remembered, and after each kind of change.

    python bench/decisions.py [--classes N] [--groups N] [--rounds N]

Classes are labels of up to five of the groups, Zipf: few groups have many classes. The person is in a tenth of the groups. Each
round begins with a new engine. How many decisions Cedar was asked for is counted beside the time; the policies are the packaged
ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import cedarpy
import numpy as np

from policies.access.actions import Action
from policies.access.compare import differences
from policies.access.engine import PolicyEngine
from policies.access.scope import AccessScope
from policies.identity import Principal, Role
from policies.labels import AccessClass

LEVELS = ("public", "internal", "confidential")
_AGAIN = 50


class Counted:
    """Cedar's door, with the decisions that went through it counted."""

    def __init__(self) -> None:
        self.decisions = 0
        self._ask = cedarpy.is_authorized_batch
        cedarpy.is_authorized_batch = self

    def __call__(self, requests: list[object], *arguments: object, **named: object) -> object:
        self.decisions += len(requests)
        return self._ask(requests, *arguments, **named)  # type: ignore[arg-type]  # handed on as they came

    def taken(self, act: Callable[[], object]) -> tuple[float, int]:
        """The seconds that it took, and the decisions."""
        before, began = self.decisions, time.perf_counter()
        act()
        return time.perf_counter() - began, self.decisions - before


def labels(count: int, groups: int) -> list[AccessClass]:
    """So many access classes, no two alike."""
    chance = np.random.default_rng(1)
    weights = 1 / np.arange(1, groups + 1)
    weights /= weights.sum()
    made: dict[str, AccessClass] = {}
    while len(made) < count:
        chosen = chance.choice(groups, size=chance.integers(1, 6), replace=False, p=weights)
        names = frozenset(f"group-{number}" for number in chosen)
        one = AccessClass(f"kb-{chance.integers(20)}", LEVELS[chance.integers(3)], names, f"team-{chance.integers(50)}")
        made[one.id] = one
    return list(made.values())


def measured(classes: Sequence[AccessClass], groups: int, counted: Counted) -> dict[str, tuple[float, int]]:
    """One round: seconds and decisions by what was done."""
    engine = PolicyEngine(None, LEVELS)
    held = frozenset(f"group-{number}" for number in range(0, groups, 10))
    ana = Principal("ana", "Ana", held, "internal", frozenset({Role.USER}))
    last: list[AccessScope] = []

    def scope(who: Principal, over: Sequence[AccessClass]) -> Callable[[], None]:
        return lambda: last.append(engine.scope(who, Action.RETRIEVE, over))

    found = {"the classes read in, once, as the service does when it starts": counted.taken(lambda: engine.read_in(classes))}
    found["nothing known of the person"] = counted.taken(scope(ana, classes))
    again = [counted.taken(scope(ana, classes)) for _ in range(_AGAIN)]
    found["asked again"] = statistics.median(seconds for seconds, _ in again), again[-1][1]
    relabelled = [*classes, AccessClass("kb-1", "public", frozenset({"group-0"}), "somebody")]
    found["a document was relabelled to a new class"] = counted.taken(scope(ana, relabelled))
    rare = f"group-{groups - 1}"
    found["joined a group with few classes"] = counted.taken(scope(replace(ana, groups=held | {rare}), relabelled))
    found["joined the group with the most classes"] = counted.taken(scope(replace(ana, groups=held | {"group-1"}), relabelled))
    found["another person"] = counted.taken(scope(replace(ana, id="bo"), relabelled))
    other = PolicyEngine(None, LEVELS)
    simulated = [ana, replace(ana, id="bo")]
    list(differences(engine, other, simulated[:1], Action.RETRIEVE, relabelled))
    found["another set simulated, each person"] = counted.taken(
        lambda: list(differences(engine, other, simulated[1:], Action.RETRIEVE, relabelled))
    )
    for one, groups_now in zip(last[-3:-1], (held | {rare}, held | {"group-1"}), strict=True):
        fresh = PolicyEngine(None, LEVELS).scope(replace(ana, groups=groups_now), Action.RETRIEVE, relabelled)
        assert one.classes == fresh.classes, "what was remembered is not what would be decided"
    return found


def main() -> None:
    """Prints a table of the medians over the rounds, fastest and slowest beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=20_000)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    classes, counted = labels(asked.classes, asked.groups), Counted()
    rounds = [measured(classes, asked.groups, counted) for _ in range(asked.rounds)]
    print(f"| over {asked.classes:,} access classes | decisions | ms | fastest to slowest |")
    print("| --- | --- | --- | --- |")
    for name in rounds[0]:
        times = sorted(1000 * one[name][0] for one in rounds)
        print(f"| {name} | {rounds[0][name][1]:,} | {statistics.median(times):,.2f} | {times[0]:,.2f} to {times[-1]:,.2f} |")


if __name__ == "__main__":
    main()
