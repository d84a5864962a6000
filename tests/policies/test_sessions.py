"""Sessions of a browser: one link lets in once, and a session ends with everything that it rests on."""

from __future__ import annotations

import datetime
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.credentials import KeyStore
from policies.errors import AuthenticationRequired, NotFoundError, UsageError
from policies.identity import LOCAL_OWNER_ID, Role
from policies.people import PeopleStore
from policies.sessions import SessionStore, csrf_token

HOUR = datetime.timedelta(hours=1)
LEVELS = ("public", "internal", "confidential")


class House:
    """People, keys and sessions in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.people = PeopleStore(path)
        self.keys = KeyStore(self.people, LEVELS)
        self.sessions = SessionStore(self.people, self.keys)
        self.people.add("ana", "Ana", ["nurses"], "internal", [Role.USER, Role.STEWARD])

    def age(self, table: str) -> None:
        """Every row of the table expired long ago."""
        with sqlite3.connect(self.path) as database:
            database.execute(f"UPDATE {table} SET expires = '2020-01-01T00:00:00+00:00'")
        database.close()

    def key(self, **limits: list[Role]) -> tuple[str, str]:
        record, secret = self.keys.create("ana", datetime.datetime.now(datetime.UTC) + HOUR, **limits)
        return record.id, secret


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "people.db")
    yield made
    made.people.close()


def refused(house: House, secret: str) -> str:
    with pytest.raises(AuthenticationRequired) as caught:
        house.sessions.authenticate(secret)
    return caught.value.message


def test_a_link_lets_in_once_and_the_session_is_that_person(house: House) -> None:
    _, code = house.sessions.create_link("ana", HOUR)
    session, secret = house.sessions.begin(code, HOUR)
    again, principal = house.sessions.authenticate(secret)
    assert again == session
    assert (principal.id, principal.groups, principal.clearance) == ("ana", {"nurses", "everyone"}, "internal")
    with pytest.raises(AuthenticationRequired):
        house.sessions.begin(code, HOUR)


def test_of_two_that_open_a_link_at_once_one_gets_in(house: House) -> None:
    _, code = house.sessions.create_link("ana", HOUR)
    outcomes: list[bool] = []
    start = threading.Barrier(4)

    def open_it() -> None:
        start.wait()
        try:
            house.sessions.begin(code, HOUR)
            outcomes.append(True)
        except AuthenticationRequired:
            outcomes.append(False)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(outcomes) == [False, False, False, True]


def test_a_session_by_key_has_the_key_s_rights_and_ends_with_the_key(house: House) -> None:
    id, secret_of_key = house.key(roles=[Role.USER])
    session, secret = house.sessions.begin(secret_of_key, HOUR)
    assert session.api_key == id
    assert house.sessions.authenticate(secret)[1].roles == {Role.USER}
    assert house.sessions.begin(secret_of_key, 24 * HOUR)[0].expires <= house.keys.show(id).expires
    house.keys.revoke(id)
    refused(house, secret)


def test_sessions_end_at_sign_out_expiry_and_disabling_in_the_same_words(house: House) -> None:
    secrets = []
    for _ in range(2):
        _, code = house.sessions.create_link("ana", HOUR)
        secrets.append(house.sessions.begin(code, HOUR))
    house.sessions.end(secrets[0][0].id)
    words = {refused(house, secrets[0][1])}
    assert house.sessions.authenticate(secrets[1][1])[1].id == "ana"
    house.people.disable("ana")
    words.add(refused(house, secrets[1][1]))
    words.add(refused(house, "unknown"))
    words.add(refused(house, "ü"))
    assert len(words) == 1


def test_a_session_and_a_link_expire(house: House) -> None:
    _, code = house.sessions.create_link("ana", HOUR)
    _, secret = house.sessions.begin(code, HOUR)
    house.age("session")
    refused(house, secret)
    _, code = house.sessions.create_link("ana", HOUR)
    house.age("sign_in_link")
    with pytest.raises(AuthenticationRequired):
        house.sessions.begin(code, HOUR)


def test_what_the_provider_knows_a_session_by_is_kept_no_longer_than_the_session(house: House) -> None:
    def kept() -> list[str]:
        with sqlite3.connect(house.path) as database:
            found = [row[0] for row in database.execute("SELECT provider_token FROM session WHERE provider_token IS NOT NULL")]
        database.close()
        return found

    session, _ = house.sessions.begin_for("ana", HOUR, "of the first")
    house.sessions.begin_for("ana", HOUR, "of the second")
    assert sorted(kept()) == ["of the first", "of the second"]
    assert house.sessions.end(session.id) == "of the first"
    assert house.sessions.end(session.id) is None
    assert kept() == ["of the second"]
    house.age("session")
    house.sessions.begin_for("ana", HOUR)
    assert kept() == []


def test_a_link_of_somebody_disabled_meanwhile_lets_nobody_in(house: House) -> None:
    _, code = house.sessions.create_link("ana", HOUR)
    house.people.disable("ana")
    with pytest.raises(AuthenticationRequired):
        house.sessions.begin(code, HOUR)
    with pytest.raises(AuthenticationRequired):
        house.sessions.create_link("ana", HOUR)


def test_nobody_signs_in_as_the_local_owner_or_as_somebody_unknown(house: House) -> None:
    house.people.add_local_owner("confidential")
    with pytest.raises(UsageError):
        house.sessions.create_link(LOCAL_OWNER_ID, HOUR)
    with pytest.raises(NotFoundError):
        house.sessions.create_link("nobody", HOUR)


def test_neither_code_nor_secret_is_in_the_file(house: House) -> None:
    _, code = house.sessions.create_link("ana", HOUR)
    _, secret = house.sessions.begin(code, HOUR)
    kept = b"".join(one.read_bytes() for one in house.path.parent.iterdir())
    assert code.encode() not in kept
    assert secret.encode() not in kept
    assert csrf_token(secret).encode() not in kept


def test_a_csrf_token_belongs_to_one_session() -> None:
    assert csrf_token("a") == csrf_token("a") != csrf_token("b")
