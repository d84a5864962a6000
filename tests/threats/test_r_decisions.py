"""Decisions against an oracle: each policy once more in plain Python, over generated people and labels, through the engine and
through a real store."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policies.access.actions import Action
from policies.access.engine import PolicyEngine
from policies.access.policyset import DEFAULTS
from policies.identity import EVERYONE, LOCAL_OWNER_ID, Principal, Role
from policies.labels import AccessClass, AccessClassId
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.search import Search
from vectorstore.store import Store
from vectorstore.types import DocumentDraft, PassageDraft

LEVELS = ("public", "internal", "confidential")
PEOPLE, LABELS = 200, 60
GROUPS = [EVERYONE, "external", "research", "ward", "directors", 'quo"te', "back\\slash", "Ünï", "line\nbreak"]
BASES = ["handbook", "research", "sealed-2030", "sealed", "vault", "*"]
ACTIONS = [Action.RETRIEVE, Action.OPEN, Action.ERASE]
Oracle = Callable[[Principal, Action, AccessClass], bool]


@dataclass(frozen=True)
class World:
    people: list[Principal]
    labels: list[AccessClass]


def world(seed: int) -> World:
    """People and labels, each label another one, made of few words so that they meet."""
    chance = random.Random(seed)
    ids = [f"person-{number}" for number in range(PEOPLE - 1)]
    people = [person(chance, id) for id in [*ids, LOCAL_OWNER_ID]]
    labels: dict[AccessClassId, AccessClass] = {}
    while len(labels) < LABELS:
        groups = frozenset(chance.sample(GROUPS, chance.choice([1, 1, 2, 3])))
        # Some are the groups of a person, to the last one.
        groups = chance.choice([groups, groups, chance.choice(people).groups])
        owner = chance.choice(["ethics", "team", *ids[:20]])
        made = AccessClass(chance.choice(BASES), chance.choice(LEVELS), groups, owner)
        labels[made.id] = made
    return World(people, list(labels.values()))


def person(chance: random.Random, id: str) -> Principal:
    groups = frozenset(chance.sample(GROUPS, chance.choice([0, 1, 2, 4])))
    roles = frozenset(chance.sample(list(Role), chance.choice([0, 1, 1, 2, 4])))
    return Principal(id, "Name", groups, chance.choice(LEVELS), roles)


def cleared(who: Principal, what: AccessClass) -> bool:
    return LEVELS.index(who.clearance) >= LEVELS.index(what.classification)


def defaults(who: Principal, action: Action, what: AccessClass) -> bool:
    if who.id == LOCAL_OWNER_ID:
        return True
    member = bool(who.groups & what.groups)
    if action is Action.ERASE:
        return Role.STEWARD in who.roles and cleared(who, what) and member
    return Role.USER in who.roles and cleared(who, what) and (member or what.owner == who.id)


def clinic(who: Principal, action: Action, what: AccessClass) -> bool:
    rank = LEVELS.index(what.classification)
    reads = action in (Action.RETRIEVE, Action.OPEN)
    staff = reads and Role.USER in who.roles and cleared(who, what) and what.groups <= who.groups
    research = action is Action.RETRIEVE and what.kb == "research" and rank <= 1 and "research" in who.groups
    externals = "external" in who.groups and rank >= 1 and "external" not in what.groups
    ethics = what.owner == "ethics" and Role.STEWARD not in who.roles
    return (staff or research) and not externals and not ethics


def archive(who: Principal, action: Action, what: AccessClass) -> bool:
    rank = LEVELS.index(what.classification)
    same = action in (Action.RETRIEVE, Action.OPEN) and who.groups == what.groups and cleared(who, what)
    lowest = action is Action.RETRIEVE and rank == 0
    alone = action is Action.RETRIEVE and who.groups == {EVERYONE} and rank == 1
    sealed = what.kb.startswith("sealed-") and what.owner != who.id
    errs = what.kb == "vault" and who.clearance == LEVELS[2]
    return (same or lowest or alone) and not sealed and not errs


ORACLES: dict[str, Oracle] = {"archive": archive, "clinic": clinic, "defaults": defaults}


@pytest.fixture(scope="module")
def directories(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The policy sets: the packaged one, and two that organisations could have, with the packaged schema."""
    made = {"defaults": DEFAULTS}
    for name in set(ORACLES) - set(made):
        made[name] = tmp_path_factory.mktemp("sets") / name
        shutil.copytree(repository / "tests" / "threats" / "policies" / name, made[name])
        shutil.copy(DEFAULTS / "schema.cedarschema", made[name])
    return made


def differences(there: World, set_name: str, readable: Callable[[Principal, Action], frozenset[AccessClassId]]) -> list[str]:
    """The first that are withheld or leaked, against the oracle asked one by one."""
    found = []
    for who in there.people:
        for action in ACTIONS:
            granted = readable(who, action)
            for what in there.labels:
                if (what.id in granted) != ORACLES[set_name](who, action, what):
                    found.append(f"{who} {action} {what} in {set_name}: {'leaked' if what.id in granted else 'withheld'}")
    return found[:3]


@pytest.mark.parametrize("name", sorted(ORACLES))
@settings(max_examples=2, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_r4_scopes_of_generated_people_over_generated_labels_equal_the_oracle_both_ways(
    directories: dict[str, Path], name: str, seed: int
) -> None:
    engine, there = PolicyEngine(directories[name], LEVELS), world(seed)
    assert differences(there, name, lambda who, action: engine.scope(who, action, there.labels).classes) == []


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_r4_what_is_remembered_while_people_change_groups_equals_the_oracle(directories: dict[str, Path], name: str) -> None:
    # The same person again and again with other groups: what is kept of before must be what would be decided now.
    engine, there, chance = PolicyEngine(directories[name], LEVELS), world(1), random.Random(2)
    for _ in range(60):
        who = person(chance, "person-1")
        labels = chance.sample(there.labels, 40)
        granted = engine.scope(who, Action.RETRIEVE, labels).classes
        assert granted == {what.id for what in labels if ORACLES[name](who, Action.RETRIEVE, what)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Store, Search]]:
    """A store with one document for each label of a world; all of them have words in common."""
    there, embedder, directory = world(7), HashingEmbedder(), tmp_path_factory.mktemp("stored")
    Store.create(directory, embedder.fingerprint)
    batch = []
    for number, label in enumerate(there.labels):
        text = f"The report of number {number} tells of water and of nothing else."
        passages = (PassageDraft(0, len(text), text, None),)
        made = DocumentDraft(
            source="/folder",
            path=f"{number}.txt",
            title=f"Report {number}",
            media_type="text/plain",
            content_sha256=f"{number:064x}",
            size=len(text),
            modified_ns=1,
            access=label,
            text=text,
            pages=(),
            passages=passages,
        )
        batch.append((made, embedder.embed([text])))
    store = Store.open(directory, embedder.fingerprint)
    store.commit(batch)
    yield there, store, Search(store, embedder)
    store.close()


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_r4_what_a_store_lists_and_finds_for_generated_people_equals_the_oracle_both_ways(
    directories: dict[str, Path], stored: tuple[World, Store, Search], name: str
) -> None:
    there, store, search = stored
    engine = PolicyEngine(directories[name], LEVELS)
    for who in there.people:
        scope = engine.scope(who, Action.RETRIEVE, store.access_classes())
        permitted = {what.id for what in there.labels if ORACLES[name](who, Action.RETRIEVE, what)}
        assert {one.access.id for one in store.documents(scope)} == permitted, who
        found = search.search("Which report tells of water?", scope, limit=2 * LABELS)
        assert sorted(hit.passage.access_class for hit in found.hits) == sorted(permitted), who
