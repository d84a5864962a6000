"""Signing out at the identity provider too: where it leads, and that nobody stays signed in here because of it."""

from __future__ import annotations

import datetime
import re
import sqlite3
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from service.web.application import create_site

Making = Callable[..., "House"]
DISCOVERY = "/.well-known/openid-configuration"


class House:
    """A site over an installation that has a provider, with dora in a browser."""

    def __init__(self, bench: Any, client: TestClient, provider: Any) -> None:
        self.bench, self.client, self.provider = bench, client, provider
        provider.account = {"sub": "7", "preferred_username": "dora", "name": "Dora"}

    def sign_in_at_provider(self) -> str:
        """The ID token that she comes back with."""
        given: list[str] = []
        redeem = self.provider.redeem

        def redeemed(form: dict[str, str]) -> tuple[int, dict[str, Any]]:
            answer: tuple[int, dict[str, Any]] = redeem(form)
            given.append(answer[1]["id_token"])
            return answer

        self.provider.redeem = redeemed
        there = self.client.get("/sign-in/provider", follow_redirects=False).headers["location"]
        back = urlsplit(httpx2.get(there, trust_env=False).headers["location"])
        assert self.client.get(f"{back.path}?{back.query}").status_code == 200
        self.provider.redeem = redeem
        return given[0]

    def sign_out(self) -> str:
        """Where she is led; she is signed in nowhere here, whatever that is."""
        found = re.search(r'name="csrf" content="([0-9a-f]+)"', self.client.get("/").text)
        assert found is not None
        told = self.client.post("/web/sign-out", headers={"x-csrf-token": found.group(1)})
        assert told.status_code == 200
        assert self.client.get("/", follow_redirects=False).status_code == 303
        assert self.bench.events("session:ended")[-1].actor == "dora"
        return str(told.json()["next"])

    def forget_provider(self, **document: Any) -> None:
        """The provider is asked anew what it says of itself."""
        self.provider.document = document
        self.bench.installation.__dict__.pop("provider", None)

    def kept(self) -> int:
        """How many sessions have a token of the provider."""
        with sqlite3.connect(self.bench.installation.directory / "people.db") as database:
            found = database.execute("SELECT count(*) FROM session WHERE provider_token IS NOT NULL").fetchone()[0]
        database.close()
        return int(found)


@pytest.fixture
def house(workbench: Callable[..., Any], provider_double: ModuleType) -> Iterator[Making]:
    """Makes one with these settings."""
    with provider_double.oidc_provider() as provider:

        def make(**settings: str) -> House:
            said = {"INHOUSE_OIDC__ISSUER": provider.issuer, "INHOUSE_OIDC__CLIENT_ID": provider_double.CLIENT, **settings}
            bench = workbench(INHOUSE_SERVER__PUBLIC_URL="http://localhost", **said)
            return House(bench, TestClient(create_site(bench.installation), base_url="http://localhost"), provider)

        yield make


def test_who_signed_in_at_the_provider_is_led_to_its_sign_out_and_back(house: Making, provider_double: ModuleType) -> None:
    dora = house()
    token = dora.sign_in_at_provider()
    assert dora.kept() == 1
    where = urlsplit(dora.sign_out())
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{dora.provider.issuer}/leave"
    assert parse_qs(where.query) == {
        "client_id": [provider_double.CLIENT],
        "post_logout_redirect_uri": ["http://localhost/sign-in"],
        "id_token_hint": [token],
    }
    assert dora.kept() == 0
    # The hint is one: what it is made of opens nothing here.
    assert dora.client.get("/v1/documents", headers={"authorization": f"Bearer {token}"}).status_code == 401


def test_of_a_token_too_long_for_an_address_the_provider_is_told_the_client_alone(house: Making) -> None:
    dora = house()
    dora.provider.spoils = {"groups": ["nurses of the ward"] * 300}
    assert len(dora.sign_in_at_provider()) > 4096
    assert set(parse_qs(urlsplit(dora.sign_out()).query)) == {"client_id", "post_logout_redirect_uri"}


def test_with_the_setting_off_nothing_is_kept_and_the_way_ends_here(house: Making) -> None:
    dora = house(INHOUSE_OIDC__SIGN_OUT="false")
    dora.sign_in_at_provider()
    assert dora.kept() == 0
    assert dora.sign_out() == "/sign-in"


def test_a_session_that_was_not_begun_there_ends_here_alone(house: Making) -> None:
    dora = house()
    _, code = dora.bench.installation.sessions.create_link("dora", datetime.timedelta(hours=1))
    assert dora.client.post("/web/sign-in", json={"credential": code}).status_code == 200
    assert dora.sign_out() == "/sign-in"
    assert DISCOVERY not in dora.provider.asked


def test_whatever_the_provider_says_of_its_sign_out_the_session_here_ends(house: Making) -> None:
    dora = house()
    for page in (
        None,
        "http://elsewhere.example/leave",
        "javascript://localhost/%0aalert(1)",
        "//elsewhere.example",
        "https://",
        "http://[",
        7,
    ):
        dora.sign_in_at_provider()
        dora.forget_provider(end_session_endpoint=page)
        assert dora.sign_out() == "/sign-in", page
    dora.forget_provider()
    dora.sign_in_at_provider()
    dora.forget_provider()
    dora.provider.answers[DISCOVERY] = (500, {}, b"")
    assert dora.sign_out() == "/sign-in"
    assert dora.bench.events("credential:refused")[-1].payload["carrier"] == "provider"
