"""Every way to say who is asking: each loses its force with what it rests on, at the next request, and none adds to another."""

from __future__ import annotations

import base64
import datetime
import json
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from policies.audit.query import records
from policies.first_administrator import FirstAdministrator
from policies.identity import Role
from policies.people import PeopleStore
from service.operations import registry

HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}
HOUR = datetime.timedelta(hours=1)
RESTRICTIONS = {
    "key": {"disabled", "expired", "revoked", "fewer rights"},
    "password": {"disabled", "expired", "revoked"},
    "session by link": {"disabled", "expired", "signed out", "fewer rights"},
    "session by key": {"disabled", "expired", "revoked", "signed out", "fewer rights"},
    "session by provider": {"disabled", "expired", "signed out", "fewer rights"},
    "session by proxy": {"disabled", "expired", "signed out", "fewer rights"},
    "token": {"disabled", "expired", "fewer rights"},
    "proxy": {"disabled", "fewer rights"},
    "command line": {"disabled", "fewer rights"},
}
"""What ends or narrows each carrier. A session also ends with the key that it was begun with."""


class Carrying:
    """One person with one carrier, and what can happen to it."""

    def __init__(self, identities: Any, person: str, carrier: str) -> None:
        self.identities, self.person, self.carrier = identities, person, carrier
        self.key, secret = identities.keys.create(person, datetime.datetime.now(datetime.UTC) + HOUR)
        self.secret = secret
        self.token = identities.token(person)
        self.cookie = ""
        if carrier.startswith("session"):
            self.cookie = identities.cookie_of(self._begun())

    def _begun(self) -> httpx2.Response:
        post, url = self.identities.client.post, self.identities.service.url
        if self.carrier == "session by provider":
            return self.identities.sign_in_at_provider(self.person)  # type: ignore[no-any-return]
        if self.carrier == "session by proxy":
            return post(f"{url}/web/sign-in/proxy", headers=self.identities.proxied(self.person))  # type: ignore[no-any-return]
        code = self.identities.sessions.create_link(self.person, HOUR)[1]
        credential = code if self.carrier == "session by link" else self.secret
        return post(f"{url}/web/sign-in", json={"credential": credential})  # type: ignore[no-any-return]

    def seen(self) -> str | None:
        """What this carrier is shown of the documents; None where it is not let in."""
        if self.carrier == "command line":
            done = self.identities.inhouse(self.identities.service.data, "documents", "list", "--as", self.person, "--json")
            return done.stdout if done.returncode == 0 else None
        if self.carrier == "key":
            told = self.identities.bearer(self.secret)
        elif self.carrier == "password":
            pair = base64.b64encode(f"any:{self.secret}".encode()).decode()
            told = self.identities.get("/docs", Authorization=f"Basic {pair}")
        elif self.carrier == "token":
            told = self.identities.bearer(self.token)
        elif self.carrier == "proxy":
            told = self.identities.get(**self.identities.proxied(self.person))
        else:
            told = self.identities.get("/", Cookie=self.cookie)
        return told.text if told.status_code == 200 else None

    def restrict(self, how: str) -> None:
        """What takes its force away."""
        data = self.identities.service.data
        if how == "disabled":
            assert self.identities.inhouse(data, "people", "disable", self.person).returncode == 0
        elif how == "revoked":
            assert self.identities.inhouse(data, "keys", "revoke", self.key.id).returncode == 0
        elif how == "signed out":
            csrf = self.identities.get("/", Cookie=self.cookie).text.partition('name="csrf" content="')[2].partition('"')[0]
            told = self.identities.client.post(
                f"{self.identities.service.url}/web/sign-out", headers={"Cookie": self.cookie, "X-CSRF-Token": csrf}
            )
            assert told.status_code == 200
        elif how == "fewer rights":
            later = int(datetime.datetime.now(datetime.UTC).timestamp()) + 1
            newer = self.identities.token(self.person, realm={"groups": []}, clearance="usual", iat=later)
            assert self.identities.bearer(newer).status_code == 200
        elif self.carrier == "token":
            self.token = self.identities.token(self.person, exp=int(datetime.datetime.now(datetime.UTC).timestamp()) - 120)
        else:
            table = "session" if self.carrier.startswith("session") else "api_key"
            with sqlite3.connect(data / "people.db") as database:
                sql = f"UPDATE {table} SET expires = '2026-01-01T00:00:00+00:00' WHERE person = ?"
                assert database.execute(sql, (self.person,)).rowcount == 1
            database.close()


@pytest.mark.parametrize(("carrier", "how"), [(carrier, how) for carrier, all in RESTRICTIONS.items() for how in sorted(all)])
def test_c2_each_restriction_acts_at_the_next_request_on_each_carrier(identities: Any, carrier: str, how: str) -> None:
    person = f"{carrier}-{how}".replace(" ", "-")
    identities.add(person)
    carrying = Carrying(identities, person, carrier)
    before = carrying.seen()
    assert before is not None
    carrying.restrict(how)
    if how != "fewer rights":
        assert carrying.seen() is None
    elif carrier.startswith("session"):
        # The page offers the knowledge bases that hold what the person may read.
        assert ">board<" in before
        assert ">board<" not in (carrying.seen() or ">board<")
    else:
        assert "board/merger.md" in before
        after = carrying.seen() or ""
        assert "leave.md" in after
        assert "merger" not in after


def test_c2_carriers_that_disagree_are_refused_whichever_of_them_is_good(identities: Any) -> None:
    for person in ("twin-a", "twin-b"):
        identities.add(person)
    made = {person: Carrying(identities, person, "session by link") for person in ("twin-a", "twin-b")}
    a, b = made["twin-a"], made["twin-b"]
    limited = identities.keys.create("twin-a", datetime.datetime.now(datetime.UTC) + HOUR, clearance="public")[1]
    for headers in (
        {"Authorization": f"Bearer {a.secret}", "Cookie": b.cookie},
        {"Authorization": f"Bearer {a.token}", "Cookie": b.cookie},
        {"Authorization": f"Bearer {a.secret}", **identities.proxied("twin-b")},
        {"Cookie": a.cookie, **identities.proxied("twin-b")},
        # The same person, and not the same rights: the wider one may not help out.
        {"Authorization": f"Bearer {limited}", "Cookie": a.cookie},
        # One that is dead makes the other no better.
        {"Authorization": f"Bearer {a.secret}", "Cookie": "inhouse_session=nobody"},
        {"Authorization": f"Bearer {a.secret}", **identities.proxied("nobody")},
        {"Cookie": f"{a.cookie}; {b.cookie}"},
        {"Cookie": f"{a.cookie}; {a.cookie}"},
    ):
        assert identities.client.get(f"{identities.service.url}/v1/documents", headers=headers).status_code == 401, headers
        assert identities.client.get(f"{identities.service.url}/", headers=headers).status_code == 303, headers
    agreeing = {"Authorization": f"Bearer {a.secret}", "Cookie": a.cookie, **identities.proxied("twin-a")}
    assert identities.client.get(f"{identities.service.url}/v1/documents", headers=agreeing).status_code == 200
    assert identities.client.get(f"{identities.service.url}/", headers=agreeing).status_code == 200
    assert ("several", "they do not mean the same person with the same rights") in identities.refusals()


def test_c2_a_session_opens_no_route_of_the_api_and_a_key_no_page(identities: Any) -> None:
    identities.add("mover")
    carrying = Carrying(identities, "mover", "session by link")
    assert identities.get(Cookie=carrying.cookie).status_code == 401
    assert identities.bearer(carrying.secret, "/").status_code == 303
    assert identities.get("/", **identities.proxied("mover")).status_code == 303


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-Forwarded-User": "backed"}, "the secret is missing or wrong"),
        ({"X-Forwarded-User": "backed", "X-Inhouse-Proxy-Secret": ""}, "the secret is missing or wrong"),
        ({"X-Forwarded-User": "backed", "X-Inhouse-Proxy-Secret": "p" * 52}, "the secret is missing or wrong"),
        ({"X-Forwarded-User": "nobody-there", "right": "right"}, "there is no such person, or they are disabled"),
        ({"X-Forwarded-User": "local-owner", "right": "right"}, "the person is the product's own"),
        ({"X-Forwarded-User": "BACKED", "right": "right"}, "there is no such person, or they are disabled"),
    ],
)
def test_c2_the_word_of_a_proxy_without_its_secret_is_refused_and_told(
    identities: Any, headers: dict[str, str], reason: str
) -> None:
    if headers.pop("right", None):
        headers |= {"X-Inhouse-Proxy-Secret": identities.proxied("x")["X-Inhouse-Proxy-Secret"]}
    told = identities.client.get(f"{identities.service.url}/v1/documents", headers=headers)
    assert told.status_code == 401
    assert told.json()["detail"] == "the word of this proxy is not accepted"
    assert ("proxy", reason) in identities.refusals()


def test_c2_a_proxy_is_believed_from_its_own_address_alone(
    identities: Any,
) -> None:
    """Whatever the sender says of where it comes from; and the proxy also where it speaks for somebody far away."""
    if sys.platform != "linux":
        pytest.skip("needs a second address of this machine, which Linux alone has without being asked")
    identities.add("near")
    url, transport = f"{identities.service.url}/v1/documents", httpx2.HTTPTransport(local_address="127.0.0.2")
    with httpx2.Client(transport=transport, trust_env=False) as elsewhere:
        said = {**identities.proxied("near"), "X-Forwarded-For": "127.0.0.1"}
        assert elsewhere.get(url, headers=said).status_code == 401
    refused = next(records(identities.service.data / "audit", tag="credential:refused", limit=1)).payload
    assert (refused["reason"], refused["peer"]) == ("it does not come from a proxy", "127.0.0.2")
    assert identities.get(**identities.proxied("near"), X_Forwarded_For="192.0.2.7").status_code == 200


def test_c2_the_sign_in_page_goes_on_as_whom_a_proxy_names_and_offers_nobody_else_that(identities: Any) -> None:
    identities.add("fronted")
    offer = "Go on as <bdi>Fronted</bdi>"
    assert offer in identities.get("/sign-in", **identities.proxied("fronted")).text
    assert "Go on as" not in identities.get("/sign-in").text
    assert identities.get("/sign-in", **identities.proxied("fronted", "wrong")).status_code == 401
    url = f"{identities.service.url}/web/sign-in/proxy"
    assert identities.client.post(url).status_code == 401
    elsewhere = {**identities.proxied("fronted"), "Sec-Fetch-Site": "cross-site"}
    assert identities.client.post(url, headers=elsewhere).status_code == 403
    begun = identities.client.post(url, headers=identities.proxied("fronted"))
    assert identities.get("/", Cookie=identities.cookie_of(begun)).status_code == 200


def test_c2_where_no_proxy_is_set_its_headers_mean_nothing(service: Any, client: httpx2.Client) -> None:
    said = {"X-Forwarded-User": "root", "X-Inhouse-Proxy-Secret": ""}
    assert client.get(f"{service.url}/v1/documents", headers=said).status_code == 401
    key = {"Authorization": f"Bearer {service.keys['ana']}"}
    told = client.get(f"{service.url}/v1/documents", headers={**said, **key})
    assert told.status_code == 200
    assert "merger" not in told.text


def managing(person: str) -> Mapping[str, tuple[str, ...]]:
    """A command line for each operation on people and keys."""
    return {
        "people.add": ("people", "add", f"by-{person}", "--name", "X", "--clearance", "public"),
        "people.list": ("people", "list"),
        "people.show": ("people", "show", "managed"),
        "people.link": ("people", "link", "managed"),
        "people.release": ("people", "release", "managed"),
        "keys.create": ("keys", "create", "managed"),
        "keys.list": ("keys", "list"),
        "keys.revoke": ("keys", "revoke", "{key}"),
        "people.disable": ("people", "disable", "managed"),
    }


def test_c2_people_and_keys_are_managed_by_whom_policy_lets(tmp_path: Path, inhouse_within: Any, repository: Path) -> None:
    data = tmp_path / "d"
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    people = PeopleStore(data / "people.db")
    for id, roles in {"ruth": [Role.ADMIN], "lea": [Role.USER, Role.STEWARD, Role.AUDITOR], "managed": [Role.USER]}.items():
        people.add(id, id, ["directors"], "confidential", roles)
    people.close()
    # An organisation's own policies: without the right of who owns the directory.
    policies = tmp_path / "policies"
    policies.mkdir()
    for path in (repository / "policies" / "defaults").iterdir():
        if path.name != "local-owner.cedar":
            (policies / path.name).write_bytes(path.read_bytes())
    own = {**HASHING, "INHOUSE_ACCESS__POLICIES": str(policies)}
    key = json.loads(inhouse_within(data, "keys", "create", "managed", "--json", **HASHING).stdout)["key"]["id"]

    def all_of(person: str, *as_person: str, **settings: str) -> set[int]:
        commands = [[part.replace("{key}", key) for part in command] for command in managing(person).values()]
        return {inhouse_within(data, *command, *as_person, **settings).returncode for command in commands}

    listed = inhouse_within(data, "people", "list", "--json", **HASHING).stdout
    sequence = next(records(data / "audit", limit=1)).sequence
    assert set(managing("x")) == {name for name in registry.names() if name.startswith(("people.", "keys."))}
    assert all_of("lea", "--as", "lea", **HASHING) == {9}
    assert all_of("owner", **own) == {9}
    assert inhouse_within(data, "people", "list", "--json", **HASHING).stdout == listed
    assert next(records(data / "audit", limit=1)).sequence == sequence
    assert all_of("ruth", "--as", "ruth", **own) == {0}
    assert {(one.actor, one.payload["by"]) for one in records(data / "audit", limit=6)} == {("ruth", "local-owner")}


def test_c2_models_are_added_and_removed_by_whom_policy_lets(
    tmp_path: Path, inhouse_within: Any, repository: Path, small_gguf: Path
) -> None:
    data, kept = tmp_path / "d", tmp_path / "d" / "models" / "gguf"
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    people = PeopleStore(data / "people.db")
    people.add("ruth", "Ruth", [], "public", [Role.ADMIN])
    people.add("lea", "Lea", ["directors"], "confidential", [Role.USER, Role.STEWARD, Role.AUDITOR])
    people.close()
    policies = tmp_path / "policies"
    shutil.copytree(repository / "policies" / "defaults", policies, ignore=shutil.ignore_patterns("local-owner.cedar"))
    own = {**HASHING, "INHOUSE_ACCESS__POLICIES": str(policies)}
    add, remove = ("models", "add", str(small_gguf)), ("models", "remove", "small")

    def refused(*command: str, **settings: str) -> bool:
        done = inhouse_within(data, *command, **settings)
        return done.returncode == 9 and "may not manage models" in done.stderr

    def left() -> list[str]:
        return sorted(path.name for path in kept.glob("*"))

    assert refused(*add, "--as", "lea", **HASHING)
    assert refused(*add, **own)
    assert left() == []
    assert inhouse_within(data, *add, "--as", "ruth", **own).returncode == 0
    assert refused(*remove, "--as", "lea", **HASHING)
    assert refused(*remove, **own)
    assert left() == ["small.gguf", "small.json"]
    assert inhouse_within(data, *remove, "--as", "ruth", **own).returncode == 0
    assert left() == []
    # Without a person it is the owner's act, under the packaged policies.
    assert [inhouse_within(data, *command, **HASHING).returncode for command in (add, remove)] == [0, 0]
    acts = [(one.tag, one.actor, one.payload.get("by")) for one in records(data / "audit", limit=4)]
    tags = ["model:removed", "model:added"]
    assert acts == [(tag, "local-owner", None) for tag in tags] + [(tag, "ruth", "local-owner") for tag in tags]


def test_c2_what_the_owner_does_as_a_person_names_both(
    service: Any, inhouse_within: Any, tmp_path: Path, client: httpx2.Client
) -> None:
    """Whatever they do, also where a thread of its own records it; the person's own acts name the person alone."""
    data = service.data
    roles = [part for role in Role for part in ("--role", role.value)]
    added = inhouse_within(data, "people", "add", "stina", "--name", "S", "--clearance", "confidential", *roles)
    assert added.returncode == 0, added.stderr
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "lamp.md").write_text("# Lamp\n\nThe lamp burns until midnight.\n")
    (folder / "labels.toml").write_text(
        '[[rule]]\nglob = "*"\nkb = "lamps"\nclassification = "public"\ngroups = ["everyone"]\nowner = "stina"\n'
    )
    inhouse_within(data, "people", "add", "stinas", "--name", "S", "--clearance", "public")
    key = json.loads(inhouse_within(data, "keys", "create", "stinas", "--json").stdout)["key"]["id"]
    found: list[str] = []

    def document() -> str:
        listed = inhouse_within(data, "documents", "list", "--kb", "lamps", "--as", "stina", "--json").stdout
        return str(json.loads(listed)["documents"][0]["id"])

    commands: dict[str, Callable[[], tuple[str, ...]]] = {
        "ingest": lambda: ("ingest", str(folder)),
        "search": lambda: ("search", "lamp"),
        "ask": lambda: ("ask", "Until when does the lamp burn?"),
        "documents.list": lambda: ("documents", "list"),
        "documents.show": lambda: ("documents", "show", document()),
        "audit.list": lambda: ("audit", "list"),
        "audit.show": lambda: ("audit", "show", "1"),
        "audit.verify": lambda: ("audit", "verify"),
        "people.add": lambda: ("people", "add", "stinas-2", "--name", "S", "--clearance", "public"),
        "people.list": lambda: ("people", "list"),
        "people.show": lambda: ("people", "show", "stinas"),
        "people.link": lambda: ("people", "link", "stinas"),
        "people.release": lambda: ("people", "release", "stinas"),
        "people.disable": lambda: ("people", "disable", "stinas"),
        "keys.create": lambda: ("keys", "create", "stinas-2"),
        "keys.list": lambda: ("keys", "list"),
        "keys.revoke": lambda: ("keys", "revoke", key),
        "policy.check": lambda: ("policy", "check"),
        "policy.explain": lambda: ("policy", "explain", "--principal", "stinas", "--document", document()),
        "documents.remove": lambda: ("documents", "remove", document(), "--yes"),
    }
    # What knows `--as` is told apart in one place for all of them; these are those that leave the most different records.
    assert set(commands) <= {name for name in registry.names() if "as_person" in registry.operation(name).request.model_fields}
    for name, command in commands.items():
        done = inhouse_within(data, *command(), "--as", "stina")
        assert done.returncode == 0, (name, done.stderr)
    acts = list(records(data / "audit", actor="stina", limit=1000))
    assert {one.payload.get("by") for one in acts} == {"local-owner"}
    found = [one.tag for one in acts]
    assert {"document:added", "ingest:run:finished", "question:answered", "search:run", "document:removed"} <= set(found)
    own = json.loads(inhouse_within(data, "keys", "create", "stina", "--json").stdout)["secret"]
    client.post(f"{service.url}/v1/search", json={"text": "lamp"}, headers={"Authorization": f"Bearer {own}"})
    last = next(records(data / "audit", actor="stina", limit=1))
    assert (last.tag, last.payload.get("by")) == ("search:run", None)


def offered(data: Path, inhouse_within: Any) -> Mapping[str, str] | None:
    told: Mapping[str, str] | None = json.loads(inhouse_within(data, "init", "--json", **HASHING).stdout)["first_administrator"]
    return told


def test_c3_of_a_hundred_that_claim_at_once_one_administrates(
    tmp_path: Path, inhouse_within: Any, start_service: Any, client: httpx2.Client
) -> None:
    data = tmp_path / "d"
    void = offered(data, inhouse_within)
    good = offered(data, inhouse_within)
    assert void is not None
    assert good is not None
    assert good["secret"].encode() not in (data / "people.db").read_bytes()
    statuses: list[int] = []
    with start_service(data, {}, **HASHING) as service:
        start = threading.Barrier(20)

        def claim(first: int) -> None:
            start.wait()
            for number in range(first, first + 5):
                body = {"secret": good["secret"], "id": f"eve-{number}", "name": "Eve"}
                statuses.append(client.post(f"{service.url}/web/first-administrator", json=body).status_code)

        body = {"secret": void["secret"], "id": "early", "name": "E"}
        # One that a newer one replaced, and those that were made up.
        assert client.post(f"{service.url}/web/first-administrator", json=body).status_code == 401
        for secret in ("ihf_" + "A" * 43, "ihf_", "x", "ihf_é"):
            told = client.post(f"{service.url}/web/first-administrator", json={**body, "secret": secret})
            assert told.status_code == 401
        threads = [threading.Thread(target=claim, args=(5 * number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200] + [401] * 99
    people = json.loads(inhouse_within(data, "people", "list", "--json", **HASHING).stdout)["people"]
    made = [one for one in people if one["id"] != "local-owner"]
    assert [(one["roles"], one["groups"], one["clearance"]) for one in made] == [(["admin"], [], "public")]
    assert offered(data, inhouse_within) is None
    claimed = list(records(data / "audit", tag="administrator:claimed", limit=10))
    assert [one.actor for one in claimed] == [made[0]["id"]]
    assert ("first administrator", "the secret is not accepted") in {
        (one.payload["carrier"], one.payload["reason"]) for one in records(data / "audit", tag="credential:refused", limit=10)
    }


def test_c3_the_secret_of_init_ends_with_its_day_and_with_the_first_administrator(tmp_path: Path) -> None:
    people = PeopleStore(tmp_path / "people.db")
    first = FirstAdministrator(people)
    made = first.offer(datetime.timedelta(seconds=-1))
    assert made is not None
    assert not first.is_open(made[1])
    made = first.offer(HOUR)
    assert made is not None
    assert first.is_open(made[1])
    people.add("ruth", "Ruth", [], "public", [Role.ADMIN])
    assert not first.is_open(made[1])
    assert first.offer(HOUR) is None
    people.disable("ruth")
    assert first.offer(HOUR) is not None
    people.close()
