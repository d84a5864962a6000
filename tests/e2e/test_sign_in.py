"""Signing in with a real browser: over a real identity provider on another site, and as the first administrator."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}
PERSON = {"sub": "account-7", "preferred_username": "Mia", "name": "Mia Berg", "teams": ["/Staff/Nurses", "/Others"]}
OTHER = {**PERSON, "sub": "account-8", "preferred_username": "noa", "name": "Noa Lind"}
SETTINGS = """
[oidc]
issuer = "{issuer}"
client_id = "inhouse"
client_secret_file = "{secret}"
groups_claim = "teams"
create_people = true

[oidc.groups]
"/Staff/Nurses" = "nurses"
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The issuer, an OpenID provider from a package, in a process of its own. By its name it is another site than the service,
    so that the browser treats cookies as it would in the field."""
    if importlib.util.find_spec("oidc_provider_mock") is None:
        pytest.skip("needs the package oidc-provider-mock: see requirements-development.lock")
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", "0", "--require-nonce", "true"]
    process = subprocess.Popen(
        [*command, *(part for one in (PERSON, OTHER) for part in ("--user-claims", json.dumps(one)))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    port = next(
        found.group(1) for line in process.stderr if (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line))
    )
    yield f"http://localhost:{port}"
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture(scope="module")
def signing_in(
    provider: str, inhouse_within: Any, start_service: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, str]]:
    """A service that has that provider, and the address that `init` printed for the first administrator."""
    data = tmp_path_factory.mktemp("p") / "d"
    first = json.loads(inhouse_within(data, "init", "--json", **HASHING).stdout)["first_administrator"]
    (data.parent / "secret").write_text("of the client", encoding="utf-8")
    (data / "inhouse.toml").write_text(SETTINGS.format(issuer=provider, secret=data.parent / "secret"), encoding="utf-8")
    with start_service(data, {}, **HASHING) as running:
        yield running, running.url + first["url"].partition("8080")[2]


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of a new browser, which reaches this machine alone."""
    context = chromium.new_context()
    context.route(lambda url: not re.match(r"https?://(localhost|127\.0\.0\.1)[:/]", url), lambda route: route.abort())
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    yield opened
    context.close()


def test_over_the_provider_a_person_is_signed_in_and_comes_to_be(signing_in: tuple[Any, str], provider: str, page: Any) -> None:
    service, _ = signing_in
    page.goto(service.url)
    assert page.url == f"{service.url}/sign-in"
    page.get_by_role("link", name="Sign in with your work account").click()
    assert page.url.startswith(provider)
    page.get_by_role("button", name=PERSON["sub"]).click()
    # Through the page between, and with the strict cookie, although the way came from another site.
    page.wait_for_url(f"{service.url}/")
    page.wait_for_selector("#question")
    kept = {one["name"]: one for one in page.context.cookies() if "127.0.0.1" in one["domain"]}
    assert set(kept) == {"inhouse_session"}
    assert kept["inhouse_session"]["httpOnly"]
    assert kept["inhouse_session"]["sameSite"] == "Strict"
    person = json.loads(service.inhouse("people", "show", "mia", "--json").stdout)["person"]
    assert (person["name"], person["groups"], person["roles"]) == ("Mia Berg", ["nurses"], ["user"])
    told = service.inhouse("audit", "list", "--json", "--oldest-first", "--limit", "50").stdout
    tags = [json.loads(line)["tag"] for line in told.splitlines()]
    assert [tag for tag in tags if tag.startswith(("person:", "session:"))] == [
        "person:added",
        "person:bound",
        "session:started",
    ]
    assert service.inhouse("people", "disable", "mia").returncode == 0
    page.reload()
    assert page.url == f"{service.url}/sign-in"
    page.get_by_role("link", name="Sign in with your work account").click()
    page.get_by_role("button", name=PERSON["sub"]).click()
    page.wait_for_selector("text=this sign-in is not accepted")


def test_signing_out_leads_over_the_provider_s_own_sign_out_back_to_the_sign_in(
    signing_in: tuple[Any, str], provider: str, page: Any
) -> None:
    service, _ = signing_in
    page.goto(f"{service.url}/sign-in/provider")
    page.get_by_role("button", name=OTHER["sub"]).click()
    page.wait_for_url(f"{service.url}/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{provider}/oauth2/end_session?**")
    told = {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}
    assert told.pop("id_token_hint").count(".") == 2
    assert told == {"client_id": "inhouse", "post_logout_redirect_uri": f"{service.url}/sign-in"}
    page.get_by_role("button", name="End session").click()
    page.wait_for_url(f"{service.url}/sign-in")
    assert [one for one in page.context.cookies() if "inhouse" in one["name"]] == []
    page.goto(service.url)
    assert page.url == f"{service.url}/sign-in"


def test_who_refuses_at_the_provider_is_told_so_and_signed_in_as_nobody(signing_in: tuple[Any, str], page: Any) -> None:
    page.goto(f"{signing_in[0].url}/sign-in/provider")
    page.get_by_role("button", name="Deny").click()
    page.wait_for_selector("text=this sign-in is not accepted")
    assert page.context.cookies() == []
    page.get_by_role("link", name="Back").click()
    assert page.url.endswith("/sign-in")


def test_whoever_opens_the_address_of_init_becomes_the_first_administrator_once(signing_in: tuple[Any, str], page: Any) -> None:
    service, address = signing_in
    page.goto(address)
    page.get_by_label("Id, as in an account name").fill("Ruth")
    page.get_by_label("Name that people see").fill("Ruth Adler")
    assert page.url == f"{service.url}/first-administrator"
    page.get_by_role("button", name="Make this administrator").click()
    page.wait_for_selector("text=cannot be a person's id")
    page.get_by_label("Id, as in an account name").fill("ruth")
    page.keyboard.press("Enter")
    page.wait_for_selector("#question")
    assert json.loads(service.inhouse("people", "show", "ruth", "--json").stdout)["person"]["roles"] == ["admin"]
    page.context.clear_cookies()
    page.goto(address)
    page.get_by_label("Id, as in an account name").fill("eve")
    page.get_by_label("Name that people see").fill("Eve")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=this secret is not accepted")


def test_axe_finds_no_violation_on_the_ways_in(signing_in: tuple[Any, str], page: Any, look_at: Callable[..., None]) -> None:
    for path in ("/sign-in", "/first-administrator", "/sign-in/provider/return"):
        page.goto(signing_in[0].url + path)
        look_at(page, path)
