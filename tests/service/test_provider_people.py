"""What claims mean: person, name, groups, clearance and roles by the mapping in the settings, and nothing by themselves."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from policies.audit.events import EventTag, check_payload
from policies.errors import SettingsError
from policies.identity import Role
from policies.people import PeopleStore
from policies.provider_accounts import ProviderAccounts
from service.auth.provider_people import ProviderPeople, told_by
from service.auth.proxy import ProxyRefused, ProxyRules, ProxySaid
from service.auth.refusals import Refusals
from service.auth.tokens import TokenRefused
from service.settings import Settings
from service.settings_groups import OidcSettings, ProxySettings

LEVELS = ("public", "internal", "confidential")
CLAIMS = {"sub": "7", "iat": 1_000, "preferred_username": "Mia.Berg", "name": "Mia Berg"}


def settings(**said: Any) -> OidcSettings:
    return OidcSettings(**{"issuer": "https://login.example", "client_id": "pages", **said})


def told(claims: Mapping[str, Any], **said: Any) -> Any:
    return told_by({**CLAIMS, **claims}, settings(**said), LEVELS)


def test_what_the_settings_do_not_map_is_not_taken_from_the_claims() -> None:
    found = told({"groups": ["directors"], "roles": ["admin"], "clearance": "confidential"})
    assert (found.person, found.name, found.subject) == ("mia.berg", "Mia Berg", "7")
    assert (found.groups, found.clearance, found.roles) == (None, None, None)


def test_groups_come_by_their_table_or_where_there_is_none_under_their_own_names() -> None:
    said = {"realm_access": {"groups": ["/Board", "/Board/Secret", 7, None]}}
    assert told(said, groups_claim="realm_access.groups").groups == {"/Board", "/Board/Secret"}
    assert told(said, groups_claim="realm_access.groups", groups={"/Board": "directors"}).groups == {"directors"}
    # A claim's name may hold dots itself.
    assert told({"https://x.example/groups": "one"}, groups_claim="https://x.example/groups").groups == {"one"}
    for nothing in ({}, {"groups": None}, {"groups": {"a": 1}}, {"groups": [[]]}):
        assert told(nothing, groups_claim="groups").groups == frozenset()


def test_clearance_and_roles_come_by_their_tables_alone_and_the_highest_clearance_counts() -> None:
    tables = {"clearances": {"staff": "internal", "board": "confidential"}, "roles": {"desk": Role.STEWARD}}
    names = {"clearance_claim": "is", "roles_claim": "is"}
    found = told({"is": ["staff", "board", "desk", "admin", "confidential"]}, **names, **tables)
    assert (found.clearance, found.roles) == ("confidential", {Role.STEWARD})
    found = told({"is": "admin"}, **names, **tables)
    assert (found.clearance, found.roles) == ("public", frozenset())


def test_an_address_counts_only_where_the_provider_has_verified_it() -> None:
    for verified in (False, None, "true", 1):
        with pytest.raises(TokenRefused, match="not verified"):
            told({"email": "mia@corp.example", "email_verified": verified}, person_claim="email")
    assert told({"email": "mia@corp.example", "email_verified": True}, person_claim="email").person == "mia@corp.example"


@pytest.mark.parametrize("created", [True, False])
def test_a_person_comes_to_be_at_the_first_sign_in_where_the_settings_say_so(tmp_path: Path, created: bool) -> None:
    people, events = PeopleStore(tmp_path / "people.db"), []

    def record(tag: EventTag, actor: str, payload: Mapping[str, Any]) -> None:
        check_payload(tag, payload)
        events.append(tag)

    wanted = settings(create_people=created, groups_claim="groups")
    provider = ProviderPeople(wanted, people, ProviderAccounts(people), LEVELS, record)
    if not created:
        with pytest.raises(TokenRefused, match="no such person"):
            provider.principal({**CLAIMS, "groups": ["nurses"]})
        assert (people.list(), events) == ([], [])
    else:
        made = provider.principal({**CLAIMS, "groups": ["nurses"]})
        assert (made.id, made.groups, made.clearance, made.roles) == ("mia.berg", {"nurses", "everyone"}, "public", {Role.USER})
        assert provider.principal({**CLAIMS, "iat": 1_001, "groups": []}).groups == {"everyone"}
        for id in ("system", "local-owner", "../x", "x" * 65, "ö"):
            with pytest.raises(TokenRefused):
                provider.principal({**CLAIMS, "sub": "8", "preferred_username": id})
        with pytest.raises(TokenRefused, match="cannot be a person"):
            provider.principal({**CLAIMS, "iat": 1_002, "groups": ["bell\x07"]})
        assert [one.id for one in people.list()] == ["mia.berg"]
        assert events == ["person:added", "person:bound", "person:changed"]
    people.close()


def test_nothing_changes_where_the_change_cannot_be_recorded(tmp_path: Path) -> None:
    people = PeopleStore(tmp_path / "people.db")
    people.add("mia.berg", "Mia Berg", ["nurses"], "internal", [Role.USER])
    full = False

    def record(tag: EventTag, actor: str, payload: Mapping[str, Any]) -> None:
        if full:
            raise OSError("the disk is full")

    provider = ProviderPeople(settings(groups_claim="groups"), people, ProviderAccounts(people), LEVELS, record)
    provider.principal({**CLAIMS, "groups": ["nurses"]})
    full = True
    with pytest.raises(OSError, match="full"):
        provider.principal({**CLAIMS, "iat": 2_000, "groups": ["directors"]})
    assert people.show("mia.berg").groups == {"nurses"}
    full = False
    assert "directors" in provider.principal({**CLAIMS, "iat": 2_000, "groups": ["directors"]}).groups
    people.close()


def test_a_refusal_is_recorded_once_a_minute_with_how_often_it_came() -> None:
    told_of: list[tuple[str, int]] = []
    now = [0.0]

    def record(tag: EventTag, actor: str, payload: Mapping[str, Any]) -> None:
        check_payload(tag, payload)
        told_of.append((payload["reason"], payload["times"]))

    refusals = Refusals(record, lambda: now[0])
    for _ in range(1000):
        refusals.note("token", "expired", "192.0.2.1")
    refusals.note("token", "wrong aud", None)
    now[0] = 60.0
    refusals.note("token", "expired", None)
    assert told_of == [("expired", 1), ("wrong aud", 1), ("expired", 1000)]


def test_a_proxy_needs_an_address_and_a_secret_that_nobody_guesses(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p" * 31)
    wanted = ProxySettings(secret_file=secret)
    with pytest.raises(SettingsError, match="forwarded_allow_ips"):
        ProxyRules(wanted, ())
    with pytest.raises(SettingsError, match="short"):
        ProxyRules(wanted, ("10.0.0.0/8",))
    with pytest.raises(SettingsError, match="cannot read"):
        ProxyRules(ProxySettings(secret_file=tmp_path / "none"), ("10.0.0.0/8",))
    secret.write_text("p" * 32 + "\n")
    rules = ProxyRules(wanted, ("10.0.0.0/8", "fd00::1"))
    for peer in ("10.1.2.3", "fd00::1"):
        assert rules.person(ProxySaid(["ana"], ["p" * 32], peer)) == "ana"
    for peer in ("11.0.0.1", "fd00::2", None, "unix:", "10.0.0.0/8"):
        with pytest.raises(ProxyRefused, match="from a proxy"):
            rules.person(ProxySaid(["ana"], ["p" * 32], peer))
    for said in (ProxySaid(["ana", "root"], ["p" * 32], "10.1.2.3"), ProxySaid(["ana"], ["p" * 32] * 2, "10.1.2.3")):
        with pytest.raises(ProxyRefused):
            rules.person(said)
    with pytest.raises(ValueError):
        ProxySettings(secret_file=secret, person_header="authorization")


def test_the_examples_of_the_guide_are_settings(repository: Path) -> None:
    guide = (repository / "docs" / "how-to" / "sign-in.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in guide.split("```toml\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        assert Settings.model_validate(tomllib.loads(block))


@pytest.mark.parametrize(
    "url", ["https://ask.corp.example/x", "ask.corp.example", "https://a@b.example", "https://b/?x", "ftp://b"]
)
def test_where_people_reach_the_service_is_an_origin(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        Settings.model_validate({"server": {"public_url": url}})
    assert Settings.model_validate({"server": {"public_url": "https://b:8443/"}}).server.public_url == "https://b:8443"
