"""Who may do what: the defaults against an oracle in plain Python, errors that deny, and what is remembered."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.access.actions import ON_ACCESS_CLASS, ON_SYSTEM, Action
from policies.access.engine import PolicyEngine
from policies.access.policyset import DEFAULTS
from policies.access.verdict import Allow, Deny
from policies.errors import PolicyError
from policies.identity import EVERYONE, LOCAL_OWNER_ID, Principal, Role
from policies.labels import AccessClass

LEVELS = ("public", "internal", "confidential")
ENGINE = PolicyEngine(None, LEVELS)
EMBARGO = """
@id("embargo")
forbid (principal, action == Action::"retrieve", resource is AccessClass)
when { resource.kb == "embargo" && principal.clearance + 9223372036854775806 > 1 };
"""

names = st.sampled_from(["anna", "bert", "sales", 'quo"te', "back\\slash", "Ünï", "line\nbreak", "::", "*"])
groups = st.frozensets(st.sampled_from(["sales", "hr", "it", EVERYONE, 'g"; permit', "sales "]), max_size=3)
principals = st.builds(
    Principal,
    id=names | st.just(LOCAL_OWNER_ID),
    name=st.just("Name"),
    groups=groups,
    clearance=st.sampled_from(LEVELS),
    roles=st.frozensets(st.sampled_from(list(Role))),
)
classes = st.builds(
    AccessClass,
    kb=st.sampled_from(["main", "hr"]),
    classification=st.sampled_from(LEVELS),
    groups=groups.filter(bool),
    owner=names,
)


def person(*roles: Role, id: str = "anna", groups: tuple[str, ...] = (), clearance: str = "internal") -> Principal:
    return Principal(id, "Name", frozenset(groups), clearance, frozenset(roles))


def label(*groups: str, classification: str = "internal", owner: str = "team", kb: str = "main") -> AccessClass:
    return AccessClass(kb, classification, frozenset(groups or (EVERYONE,)), owner)


def allowed(who: Principal, action: Action, what: AccessClass | None, engine: PolicyEngine = ENGINE) -> bool:
    return isinstance(engine.decide(who, action, what), Allow)


def oracle(who: Principal, action: Action, what: AccessClass | None) -> bool:
    """The default policies once more, without Cedar."""
    if what is None:
        roles = {
            Action.AUDIT_EXPORT: {Role.AUDITOR},
            Action.AUDIT_READ: {Role.AUDITOR},
            Action.INGEST: {Role.STEWARD},
            Action.METRICS_READ: {Role.ADMIN},
            Action.MODELS_MANAGE: {Role.ADMIN},
            Action.PEOPLE_MANAGE: {Role.ADMIN},
            Action.POLICY_READ: {Role.ADMIN, Role.AUDITOR},
        }[action]
        return who.id == LOCAL_OWNER_ID or bool(roles & who.roles)
    if who.id == LOCAL_OWNER_ID:
        return True
    cleared = LEVELS.index(who.clearance) >= LEVELS.index(what.classification)
    member = bool((who.groups | {EVERYONE}) & what.groups)
    if action in {Action.RETRIEVE, Action.OPEN, Action.MODEL_USE}:
        return Role.USER in who.roles and cleared and (member or what.owner == who.id)
    assert action in {Action.ERASE, Action.HOLD, Action.INGEST, Action.LABEL, Action.POLICY_READ}
    return Role.STEWARD in who.roles and cleared and member


@given(principals, classes, st.sampled_from(sorted(ON_ACCESS_CLASS)))
def test_decisions_on_documents_equal_the_oracle(who: Principal, what: AccessClass, action: Action) -> None:
    assert allowed(who, action, what) == oracle(who, action, what)


@given(principals, st.sampled_from(sorted(ON_SYSTEM)))
def test_decisions_on_the_installation_equal_the_oracle(who: Principal, action: Action) -> None:
    assert allowed(who, action, None) == oracle(who, action, None)


@given(principals, st.lists(classes, max_size=8), st.sampled_from([Action.RETRIEVE, Action.ERASE]))
def test_a_scope_is_every_decision_and_no_more(who: Principal, what: list[AccessClass], action: Action) -> None:
    scope = ENGINE.scope(who, action, what)
    assert scope.classes == {one.id for one in what if oracle(who, action, one)}
    assert (scope.principal_id, scope.policy_hash) == (who.id, ENGINE.hash)
    assert ENGINE.scope(who, action, reversed(what)).classes == scope.classes


@pytest.mark.parametrize(
    "roles", [(Role.ADMIN,), (Role.AUDITOR,), (Role.STEWARD,), (Role.ADMIN, Role.AUDITOR, Role.STEWARD), ()]
)
def test_no_role_but_user_opens_a_document(roles: tuple[Role, ...]) -> None:
    who = person(*roles, groups=("sales",), clearance="confidential")
    assert not allowed(who, Action.RETRIEVE, label("sales", owner="anna"))
    assert not allowed(who, Action.OPEN, label(EVERYONE, classification="public"))


def test_every_action_is_decided_on_something() -> None:
    assert frozenset(Action) == ON_SYSTEM | ON_ACCESS_CLASS


def test_a_verdict_names_the_policies_and_the_reason() -> None:
    assert ENGINE.decide(person(Role.USER), Action.RETRIEVE, label()) == Allow(("readers",))
    refused = ENGINE.decide(person(Role.USER), Action.RETRIEVE, label("hr"))
    assert refused == Deny("no policy permits it")


def test_a_forbid_is_named(tmp_path: Path) -> None:
    own = copied(tmp_path)
    (own / "frozen.cedar").write_text('@id("frozen") forbid (principal, action == Action::"open", resource is AccessClass);')
    verdict = PolicyEngine(own, LEVELS).decide(person(Role.USER), Action.OPEN, label())
    assert verdict == Deny("a policy forbids it", ("frozen",))


def test_the_local_owner_may_do_all_until_its_file_is_gone(tmp_path: Path) -> None:
    owner = Principal(LOCAL_OWNER_ID, "Local owner", frozenset(), LEVELS[-1], frozenset())
    own = copied(tmp_path)
    everything = [(action, label("board", classification="confidential")) for action in sorted(ON_ACCESS_CLASS)]
    whole: list[tuple[Action, AccessClass | None]] = [*everything, *((action, None) for action in sorted(ON_SYSTEM))]
    engine = PolicyEngine(own, LEVELS)
    assert all(allowed(owner, action, what, engine) for action, what in whole)
    (own / "local-owner.cedar").unlink()
    without = PolicyEngine(own, LEVELS)
    assert not any(allowed(owner, action, what, without) for action, what in whole)
    assert without.scope(owner, Action.RETRIEVE, [label()]).classes == frozenset()
    # And nobody else lost anything.
    assert allowed(person(Role.USER), Action.RETRIEVE, label(), without)


def test_r4_a_forbid_that_errs_denies_and_is_told(tmp_path: Path) -> None:
    # Cedar alone skips a forbid that errs, and the permit beside it would stand.
    own = copied(tmp_path)
    (own / "embargo.cedar").write_text(EMBARGO)
    told: list[str] = []
    engine = PolicyEngine(own, LEVELS, on_error=told.append)
    who = person(Role.USER, clearance="confidential")
    verdict = engine.decide(who, Action.RETRIEVE, label(kb="embargo"))
    assert isinstance(verdict, Deny)
    assert verdict.erred
    assert "overflow" in verdict.reason
    assert len(told) == 1
    assert told[0].startswith("anna, retrieve: ")
    # It is told each time, and not remembered as if a policy had said it.
    engine.decide(who, Action.RETRIEVE, label(kb="embargo"))
    assert len(told) == 2
    assert allowed(who, Action.RETRIEVE, label(), engine)


def test_r4_in_a_scope_the_classes_that_err_are_left_out_and_told_once(tmp_path: Path) -> None:
    own = copied(tmp_path)
    (own / "embargo.cedar").write_text(EMBARGO)
    told: list[str] = []
    engine = PolicyEngine(own, LEVELS, on_error=told.append)
    many = [label(f"g{number}", EVERYONE, kb="embargo") for number in range(600)]
    sound = label()
    who = person(Role.USER, clearance="confidential")
    assert engine.scope(who, Action.RETRIEVE, [*many, sound]).classes == {sound.id}
    assert len(told) == 1
    assert "(and 599 more)" in told[0]


def test_r4_a_set_that_errs_on_a_plain_request_does_not_start(tmp_path: Path) -> None:
    own = copied(tmp_path)
    (own / "embargo.cedar").write_text(EMBARGO.replace('resource.kb == "embargo"', "true"))
    with pytest.raises(PolicyError, match="err on a plain request"):
        PolicyEngine(own, LEVELS)


@pytest.mark.parametrize("action", sorted(ON_SYSTEM - ON_ACCESS_CLASS))
def test_r4_an_action_on_the_wrong_kind_of_thing_is_denied_by_error(action: Action) -> None:
    told: list[str] = []
    engine = PolicyEngine(None, LEVELS, on_error=told.append)
    verdict = engine.decide(person(*Role, id=LOCAL_OWNER_ID), action, label())
    assert isinstance(verdict, Deny)
    assert verdict.erred
    assert len(told) == 1


def test_r4_unknown_levels_deny() -> None:
    told: list[str] = []
    engine = PolicyEngine(None, LEVELS, on_error=told.append)
    owner = person(*Role, id=LOCAL_OWNER_ID, clearance="confidential")
    unknown = engine.decide(owner, Action.OPEN, label(classification="secret"))
    assert isinstance(unknown, Deny)
    assert unknown.erred
    assert "secret" in unknown.reason
    uncleared = engine.decide(dataclasses.replace(owner, clearance="cosmic"), Action.OPEN, label())
    assert isinstance(uncleared, Deny)
    assert uncleared.erred
    assert len(told) == 2
    mixed = [label(classification="secret"), label(classification="public")]
    assert engine.scope(owner, Action.RETRIEVE, mixed).classes == {mixed[1].id}


def test_r4_attributes_of_a_wrong_type_deny() -> None:
    told: list[str] = []
    engine = PolicyEngine(None, LEVELS, on_error=told.append)
    crooked = Principal("anna", "Name", frozenset({1}), "internal", frozenset({Role.USER}))  # type: ignore[arg-type]
    verdict = engine.decide(crooked, Action.RETRIEVE, label())
    assert isinstance(verdict, Deny)
    assert verdict.erred
    unprintable = person(Role.USER, id="\udcff")
    assert isinstance(engine.decide(unprintable, Action.RETRIEVE, label()), Deny)
    assert engine.scope(unprintable, Action.RETRIEVE, [label()]).classes == frozenset()
    assert len(told) == 3


def test_what_on_error_raises_stops_the_decision() -> None:
    def unavailable(message: str) -> None:
        raise OSError("no log")

    engine = PolicyEngine(None, LEVELS, on_error=unavailable)
    with pytest.raises(OSError, match="no log"):
        engine.decide(person(Role.USER), Action.RETRIEVE, label(classification="secret"))


def test_each_attribute_of_a_principal_counts_in_what_is_remembered() -> None:
    engine = PolicyEngine(None, LEVELS)
    what = [label("sales"), label("hr", classification="confidential")]
    base = person(Role.USER, groups=("sales", "hr"), clearance="confidential")
    assert len(engine.scope(base, Action.RETRIEVE, what).classes) == 2
    assert len(engine.scope(dataclasses.replace(base, clearance="internal"), Action.RETRIEVE, what).classes) == 1
    assert len(engine.scope(dataclasses.replace(base, groups=frozenset({"hr"})), Action.RETRIEVE, what).classes) == 1
    assert len(engine.scope(dataclasses.replace(base, roles=frozenset()), Action.RETRIEVE, what).classes) == 0
    assert len(engine.scope(base, Action.ERASE, what).classes) == 0
    assert len(engine.scope(base, Action.RETRIEVE, what).classes) == 2


def test_a_scope_that_was_asked_before_is_the_same_object_and_a_new_class_is_seen() -> None:
    engine = PolicyEngine(None, LEVELS)
    who, what = person(Role.USER), [label(f"g{number}", EVERYONE) for number in range(50)]
    first = engine.scope(who, Action.RETRIEVE, what)
    assert engine.scope(who, Action.RETRIEVE, list(what)) is first
    added = label("new", EVERYONE)
    assert engine.scope(who, Action.RETRIEVE, [*what, added]).classes == first.classes | {added.id}
    assert engine.scope(who, Action.RETRIEVE, what[1:]).classes == first.classes - {what[0].id}


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULTS, tmp_path / "policies"))
