"""Why a decision is what it is: each change that is named turns it, none is to spare, and a change of groups asks only anew
about what it touches."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.access.actions import Action
from policies.access.compare import differences
from policies.access.engine import PolicyEngine
from policies.access.explain import Change, Kind, explain
from policies.access.policyset import DEFAULTS, load
from policies.access.verdict import Allow, Deny
from policies.identity import EVERYONE, Principal, Role
from policies.labels import AccessClass

LEVELS = ("public", "internal", "confidential")
ENGINE = PolicyEngine(None, LEVELS)
ANA = Principal("ana", "Ana", frozenset({"sales"}), "internal", frozenset({Role.USER}))
BOARD = AccessClass("board", "confidential", frozenset({"directors", "board"}), "chair")
EMBARGO = """
@id("embargo")
@description("The board's papers are for its secretaries until they are published.")
forbid (principal is Person, action == Action::"retrieve", resource is AccessClass)
when { resource.kb == "board" }
unless { principal.groups.contains("secretaries") };
"""

words = st.sampled_from(["sales", "directors", "board", EVERYONE])
principals = st.builds(
    Principal,
    id=st.sampled_from(["ana", "bo"]),
    name=st.just("Name"),
    groups=st.frozensets(words, max_size=3),
    clearance=st.sampled_from(LEVELS),
    roles=st.frozensets(st.sampled_from(list(Role))),
)
labels = st.builds(
    AccessClass,
    kb=st.sampled_from(["main", "board"]),
    classification=st.sampled_from(LEVELS),
    groups=st.frozensets(words, min_size=1, max_size=3),
    owner=st.sampled_from(["ana", "team"]),
)


@pytest.fixture
def embargoed(tmp_path: Path) -> PolicyEngine:
    own = Path(shutil.copytree(DEFAULTS, tmp_path / "policies"))
    (own / "embargo.cedar").write_text(EMBARGO)
    return PolicyEngine(own, LEVELS)


def ways(engine: PolicyEngine, who: Principal, what: AccessClass, action: Action = Action.RETRIEVE) -> set[frozenset[str]]:
    return {
        frozenset(f"{one.kind} {one.value}" for one in way.changes) for way in explain(engine, who, action, what).alternatives
    }


@settings(max_examples=25)
@given(principals, labels, st.sampled_from([Action.RETRIEVE, Action.ERASE]))
def test_what_is_said_to_turn_a_decision_turns_it_and_no_part_of_it_does(
    who: Principal, what: AccessClass, action: Action
) -> None:
    made = explain(ENGINE, who, action, what)
    assert made.verdict == ENGINE.decide(who, action, what)

    def after(changes: tuple[Change, ...]) -> bool:
        person, label = who, what
        for one in changes:
            person, label = one.made(person, label)  # type: ignore[assignment]
        return isinstance(ENGINE.decide(person, action, label), Allow)

    allowed = isinstance(made.verdict, Allow)
    for way in made.alternatives:
        assert after(way.changes) is not allowed
        for size in range(len(way.changes)):
            for part in itertools.combinations(way.changes, size):
                assert after(part) is allowed


def test_what_would_permit_is_what_the_policies_ask_for_and_no_more() -> None:
    assert ways(ENGINE, ANA, BOARD) == {
        frozenset({"clearance confidential", "join directors"}),
        frozenset({"clearance confidential", "join board"}),
        frozenset({"clearance confidential", "own ana"}),
        frozenset({"classification internal", "join directors"}),
        frozenset({"classification internal", "join board"}),
        frozenset({"classification internal", "own ana"}),
    }


def test_what_would_take_it_away_is_what_it_rests_on() -> None:
    sales = AccessClass("main", "internal", frozenset({"sales"}), "team")
    assert ways(ENGINE, ANA, sales) == {
        frozenset({"clearance public"}),
        frozenset({"leave sales"}),
        frozenset({"lose user"}),
        frozenset({"classification confidential"}),
    }
    # Two policies permit this: to take it away both must go.
    both = replace(sales, owner="ana")
    assert frozenset({"leave sales", "disown ana"}) in ways(ENGINE, ANA, both)
    assert frozenset({"leave sales"}) not in ways(ENGINE, ANA, both)


def test_a_forbid_is_named_and_the_group_that_only_a_policy_knows_is_found(embargoed: PolicyEngine) -> None:
    director = replace(ANA, groups=frozenset({"directors"}), clearance="confidential")
    made = explain(embargoed, director, Action.RETRIEVE, BOARD)
    assert made.verdict == Deny("a policy forbids it", ("embargo",))
    assert embargoed.descriptions["embargo"].startswith("The board's papers")
    assert ways(embargoed, director, BOARD) == {frozenset({"join secretaries"})}
    assert made.alternatives[0].verdict == Allow(("readers",))


def test_what_no_change_turns_has_no_alternative(tmp_path: Path) -> None:
    own = Path(shutil.copytree(DEFAULTS, tmp_path / "policies"))
    (own / "never.cedar").write_text('@id("never") forbid (principal, action == Action::"erase", resource is AccessClass);')
    assert explain(PolicyEngine(own, LEVELS), ANA, Action.ERASE, BOARD).alternatives == ()


def test_a_label_of_many_groups_says_that_there_is_more() -> None:
    engine = PolicyEngine(None, LEVELS)
    many = AccessClass("main", "public", frozenset(f"g{number}" for number in range(40)), "team")
    made = explain(engine, ANA, Action.RETRIEVE, many)
    assert made.more
    assert len(made.alternatives) == 20
    assert all(Change(Kind.JOIN, one.changes[0].value) == one.changes[0] for one in made.alternatives)


def test_the_difference_of_two_sets_is_what_each_decides(embargoed: PolicyEngine) -> None:
    people = [replace(ANA, groups=frozenset({"directors"}), clearance="confidential"), replace(ANA, id="bo")]
    main = AccessClass("main", "public", frozenset({EVERYONE}), "team")
    found = list(differences(ENGINE, embargoed, people, Action.RETRIEVE, [BOARD, main]))
    assert [(len(one.gained), [(moved.label, moved.policies) for moved in one.lost]) for one in found] == [
        (0, [(BOARD, ("embargo",))]),
        (0, []),
    ]
    back = list(differences(embargoed, ENGINE, people, Action.RETRIEVE, [BOARD, main]))
    assert [moved.policies for moved in back[0].gained] == [("readers",)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many decisions each call of Cedar was asked for."""
    counts: list[int] = []
    real = cedarpy.is_authorized_batch

    def counted(requests: list[Any], *arguments: Any, **named: Any) -> Any:
        counts.append(len(requests))
        return real(requests, *arguments, **named)

    monkeypatch.setattr(cedarpy, "is_authorized_batch", counted)
    return counts


def test_a_new_class_and_a_change_of_groups_ask_only_about_what_they_touch(asked: list[int]) -> None:
    engine = PolicyEngine(None, LEVELS)
    classes = [AccessClass("main", "public", frozenset({f"g{number}"}), "team") for number in range(1500)]
    engine.scope(ANA, Action.RETRIEVE, classes)
    asked.clear()
    engine.scope(ANA, Action.RETRIEVE, [*classes, BOARD])
    assert asked == [1]
    asked.clear()
    moved = replace(ANA, groups=frozenset({"g1", "g2"}))
    assert engine.scope(moved, Action.RETRIEVE, classes).classes == {classes[1].id, classes[2].id}
    assert asked == [2]
    asked.clear()
    again = replace(ANA, groups=frozenset({"g2", "g3"}))
    assert engine.scope(again, Action.RETRIEVE, classes).classes == {classes[2].id, classes[3].id}
    assert asked == [2]


def test_a_group_that_a_policy_names_asks_about_everything(embargoed: PolicyEngine, asked: list[int]) -> None:
    classes = [AccessClass("board", "public", frozenset({EVERYONE, f"g{number}"}), "team") for number in range(30)]
    assert not embargoed.scope(ANA, Action.RETRIEVE, classes).classes
    asked.clear()
    secretary = replace(ANA, groups=ANA.groups | {"secretaries"})
    assert len(embargoed.scope(secretary, Action.RETRIEVE, classes).classes) == 30
    assert asked == [30]


@pytest.mark.parametrize(
    ("condition", "groups"),
    [
        ('principal.groups.contains("a")', {"a"}),
        ('principal.groups.containsAny(["a", "b"]) || principal.groups.containsAll(resource.groups)', {"a", "b"}),
        ("resource.groups.containsAny(principal.groups)", set()),
        ('resource.groups.contains("a") && principal has groups', set()),
        ('{"contains": "a"}.contains == resource.kb', set()),
        ("resource.groups.containsAll(principal.groups)", None),
        ("principal.groups == resource.groups", None),
        ("principal.groups.contains(resource.kb)", None),
        ("principal.groups.isEmpty()", None),
        ('[principal.groups].contains(["a"])', None),
        ('(if resource.kb == "a" then principal else principal).groups.contains("a")', None),
        ('{"someone": principal}.someone.groups.contains("a")', None),
        ('{"contains": principal.groups.contains(resource.owner)}.contains', None),
    ],
)
def test_the_groups_that_can_count_are_read_out_of_the_policies(
    tmp_path: Path, condition: str, groups: set[str] | None
) -> None:
    shutil.copy(DEFAULTS / "schema.cedarschema", tmp_path)
    policy = (
        f'@id("a") permit (principal is Person, action == Action::"retrieve", resource is AccessClass) when {{ {condition} }};'
    )
    (tmp_path / "own.cedar").write_text(policy)
    assert load(tmp_path).groups == groups


@pytest.mark.parametrize(
    ("head", "group", "given_to"),
    [
        ("action", "changes", {"erase", "retrieve"}),
        ('action == Action::"retrieve"', "changes", {"retrieve"}),
        ('action in [Action::"open", Action::"retrieve"]', "changes", {"retrieve"}),
        ('action in Action::"changes"', "changes", {"erase"}),
        ('action in Action::"retrieve"', "retrieve", {"erase", "retrieve"}),
    ],
)
def test_of_the_policies_an_action_meets_all_that_may_be_meant_for_it(
    tmp_path: Path, head: str, group: str, given_to: set[str]
) -> None:
    # An organisation's schema may put actions into a group, which may be an action itself.
    schema = (DEFAULTS / "schema.cedarschema").read_text()
    listed = 'action "retrieve", "open", "erase", "hold", "label", "model.use" appliesTo'
    assert listed in schema
    kind = "{\n  principal: Person,\n  resource: AccessClass,\n};\n"
    grouped = f'action "changes";\naction "erase" in ["{group}"] appliesTo {kind}\n'
    (tmp_path / "own.cedarschema").write_text(schema.replace(listed, grouped + listed.replace('"erase", ', "")))
    (tmp_path / "own.cedar").write_text(f'@id("own") permit (principal is Person, {head}, resource is AccessClass);')
    engine = PolicyEngine(tmp_path, LEVELS)
    allowed = {str(one) for one in (Action.ERASE, Action.RETRIEVE) if isinstance(engine.decide(ANA, one, BOARD), Allow)}
    assert allowed == given_to
