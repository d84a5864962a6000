"""Tokens of the identity provider: whoever forges, borrows or bends one gets the same refusal, and the log the reason."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from policies.audit.query import records
from policies.errors import IdentityUnavailable, SettingsError
from policies.identity import Role
from service.auth.provider import Flow, Provider
from service.auth.provider_wire import ProviderWire
from service.auth.tokens import TokenChecker, TokenRefused
from service.settings_groups import OidcSettings

GOOD = b'{"issuer": "ISSUER", "authorization_endpoint": "ISSUER/authorize"}'
HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}
Make = Callable[[Any, ModuleType], str]


def now() -> int:
    return int(time.time())


HOSTILE: dict[str, tuple[str, Make]] = {
    "no algorithm": ("algorithm not allowed", lambda p, d: p.signed_by_hand({"alg": "none", "typ": "at+jwt"})),
    "no algorithm, spelt otherwise": ("algorithm not allowed", lambda p, d: p.signed_by_hand({"alg": "nOnE", "kid": "one"})),
    "no algorithm at all": ("algorithm not allowed", lambda p, d: p.signed_by_hand({"typ": "at+jwt", "kid": "one"})),
    "the public key as a shared secret": ("algorithm not allowed", lambda p, d: p.confused()),
    "the same of another length": ("algorithm not allowed", lambda p, d: p.confused("HS512")),
    "a list of algorithms": ("algorithm not allowed", lambda p, d: p.signed_by_hand({"alg": ["RS256"], "kid": "one"})),
    "no signature": ("wrong signature", lambda p, d: p.signed_by_hand({"alg": "RS256", "typ": "at+jwt", "kid": "one"})),
    "another's signature": ("wrong signature", lambda p, d: p.token({"kid": "one"}, key=d.rsa_key("foreign"))),
    "another's key by name": ("unknown key", lambda p, d: p.token(key=d.rsa_key("foreign"))),
    "a key of another kind": ("unknown key", lambda p, d: p.token({"kid": "two"})),
    "the algorithm of another key": ("unknown key", lambda p, d: p.signed_by_hand({"alg": "ES256", "kid": "one"})),
    "its own key in the header": (
        "its header brings a key or an extension",
        lambda p, d: p.token({"jwk": d.rsa_key("foreign").as_dict(private=False), "kid": "one"}, key=d.rsa_key("foreign")),
    ),
    "where to fetch its key": (
        "its header brings a key or an extension",
        lambda p, d: p.token({"jku": f"{p.issuer}/planted"}, key=d.rsa_key("foreign")),
    ),
    "where to fetch its certificate": (
        "its header brings a key or an extension",
        lambda p, d: p.token({"x5u": f"{p.issuer}/planted", "kid": "one"}),
    ),
    "its own certificate": ("its header brings a key or an extension", lambda p, d: p.token({"x5c": ["MIIB"], "kid": "one"})),
    "an extension that is critical": (
        "its header brings a key or an extension",
        lambda p, d: f"{d.encoded({'alg': 'RS256', 'kid': 'one', 'crit': ['x'], 'x': 1})}.{p.token().partition('.')[2]}",
    ),
    "a path for a key's name": ("unknown key", lambda p, d: p.token({"kid": "../../../../dev/null"})),
    "an object for a key's name": ("unknown key", lambda p, d: p.signed_by_hand({"alg": "RS256", "kid": {"a": 1}})),
    "another's audience": ("wrong aud", lambda p, d: p.token(aud="another-service")),
    "no audience": ("it lacks iss, aud, sub, exp or iat", lambda p, d: p.token(aud=None)),
    "another issuer": ("wrong iss", lambda p, d: p.token(iss="http://127.0.0.1:1")),
    "the issuer with a slash": ("wrong iss", lambda p, d: p.token(iss=p.issuer + "/")),
    "several issuers": ("wrong iss", lambda p, d: p.token(iss=[p.issuer])),
    "expired": ("expired", lambda p, d: p.token(exp=now() - 61)),
    "no end": ("it lacks iss, aud, sub, exp or iat", lambda p, d: p.token(exp=None)),
    "an end that is no number": ("wrong exp", lambda p, d: p.token(exp="9999999999")),
    "not yet": ("wrong nbf", lambda p, d: p.token(nbf=now() + 120)),
    "made in the future": ("wrong iat", lambda p, d: p.token(iat=now() + 120)),
    "nobody": ("it lacks iss, aud, sub, exp or iat", lambda p, d: p.token(sub=None)),
    "an ID token": ("wrong aud", lambda p, d: p.token({"typ": "JWT"}, aud=d.CLIENT, nonce="n")),
    "an ID token of a client named as the API": ("it is not an access token", lambda p, d: p.token({"typ": "JWT"}, nonce="n")),
    "what Keycloak calls an ID token": ("it is not an access token", lambda p, d: p.token({"typ": "JWT"}, typ="ID")),
    "what Keycloak calls a refresh token": ("it is not an access token", lambda p, d: p.token({"typ": "JWT"}, typ="Refresh")),
    "a logout token": ("wrong type", lambda p, d: p.token({"typ": "logout+jwt"})),
    "an encrypted one": ("algorithm not allowed", lambda p, d: p.signed_by_hand({"alg": "dir", "enc": "A256GCM"})),
    "a header that is no object": ("no signed JWT", lambda p, d: f"{d.encoded([])}.{d.encoded({})}.x"),
    "a header without end": ("no signed JWT", lambda p, d: f"{d.encoded(b'[' * 20000)}.e30.x"),
    "one without end": ("no signed JWT", lambda p, d: "a" * 40_000 + ".b.c"),
    "the product's own person": (
        "the person is the product's own",
        lambda p, d: p.token(sub="9", preferred_username="local-owner"),
    ),
    "nobody whom we know": ("there is no such person", lambda p, d: p.token(sub="9", preferred_username="nobody-here")),
    "nobody whom it names": ("it names no person", lambda p, d: p.token(sub="9", preferred_username=None)),
}
assert all(len(reason) < 60 for reason, _ in HOSTILE.values())


@pytest.mark.parametrize("kind", HOSTILE)
def test_c4_a_hostile_token_is_refused_in_the_same_words_and_the_log_says_why(
    identities: Any, provider_double: ModuleType, kind: str
) -> None:
    reason, make = HOSTILE[kind]
    identities.provider.account = identities.account("nobody-here")
    told = identities.bearer(make(identities.provider, provider_double))
    assert told.status_code == 401
    assert told.json() == {
        "type": "urn:inhouse:problem:authentication-required",
        "title": "authentication required",
        "status": 401,
        "detail": "this token is not accepted",
        "hint": "Get a new one; the audit log says to auditors what was wrong with it.",
    }
    assert ("token", reason) in identities.refusals()
    assert "/planted" not in identities.provider.asked


def test_c4_the_honest_token_beside_them_is_accepted(identities: Any, provider_double: ModuleType) -> None:
    """Else the refusals above would show nothing."""
    identities.add("honest")
    for token in (
        identities.token("honest"),
        identities.token("honest", aud=["another", provider_double.AUDIENCE]),
        identities.token("honest", exp=now() - 30, nbf=now() + 30),
        identities.token("honest", header={"typ": "JWT"}, typ="Bearer"),
        identities.token("honest", key=provider_double.ec_key("two")),
    ):
        assert identities.bearer(token).status_code == 200


@contextmanager
def checking(double: ModuleType, **settings: Any) -> Iterator[tuple[Any, Provider, TokenChecker, list[float]]]:
    """A provider, what asks it and what checks its tokens, with a clock that the test moves."""
    with double.oidc_provider() as provider:
        found = OidcSettings(issuer=provider.issuer, client_id=double.CLIENT, audience=double.AUDIENCE, **settings)
        clock = [1000.0]
        asking = Provider(found, ProviderWire(provider.issuer, (), None), lambda: clock[0])
        yield provider, asking, TokenChecker(found, asking), clock


def refusal(tokens: TokenChecker, token: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        tokens.access(token)
    return caught.value.reason


def test_c4_after_a_rotation_the_new_key_is_fetched_once_and_the_old_one_is_dead(provider_double: ModuleType) -> None:
    with checking(provider_double) as (provider, _, tokens, clock):
        old = provider.token()
        tokens.access(old)
        provider.keys = [provider_double.rsa_key("new")]
        provider.signing = provider.keys[0]
        new = provider.token()
        assert refusal(tokens, new) == "unknown key"
        clock[0] += 60
        assert tokens.access(new)["sub"] == "1"
        assert refusal(tokens, old) == "unknown key"
        assert provider.asked.count("/keys") == 2


def test_c4_however_many_unknown_keys_are_named_the_provider_is_asked_once_a_minute(provider_double: ModuleType) -> None:
    with checking(provider_double) as (provider, _, tokens, clock):
        tokens.access(provider.token())
        for minute in range(1, 3):
            clock[0] += 60
            for number in range(50):
                assert refusal(tokens, provider.token({"kid": f"made up {number}"})) == "unknown key"
            assert provider.asked.count("/keys") == 1 + minute


def test_c4_a_withdrawn_key_dies_within_the_hour_also_while_the_provider_is_silent(provider_double: ModuleType) -> None:
    with checking(provider_double) as (provider, _, tokens, clock):
        token = provider.token()
        tokens.access(token)
        provider.answers["/keys"] = (500, {}, b"")
        clock[0] += 3599
        tokens.access(token)
        clock[0] += 1
        for _ in range(3):
            with pytest.raises(IdentityUnavailable):
                tokens.access(token)
        assert provider.asked.count("/keys") == 2
        del provider.answers["/keys"]
        clock[0] += 60
        tokens.access(token)


def test_c4_keys_that_are_no_public_keys_for_signatures_verify_nothing(provider_double: ModuleType, tmp_path: Any) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from joserfc.jwk import OctKey

    numbers = generate_private_key(65537, 1024).public_key().public_numbers()
    short = {"kty": "RSA", "kid": "short", "e": "AQAB", "n": provider_double.encoded(numbers.n.to_bytes(128, "big"))}
    secret = OctKey.import_key("shared" * 8, {"kid": "shared"})
    file = tmp_path / "keys.json"
    ours = provider_double.rsa_key("one").as_dict(private=False)
    kept = [short, secret.as_dict(), {**ours, "kid": "sealing", "use": "enc"}, {"kty": "RSA"}, "x", ours]
    file.write_text(json.dumps({"keys": kept}))
    with checking(provider_double, jwks_file=file) as (provider, _, tokens, _):
        assert tokens.access(provider.token())["sub"] == "1"
        assert refusal(tokens, provider.token({"kid": "sealing"})) == "unknown key"
        assert refusal(tokens, provider.token({"kid": "shared"}, key=secret)) == "algorithm not allowed"
        assert refusal(tokens, provider.token({"kid": "short"})) == "unknown key"
        # With keys of one's own nothing is asked of the provider.
        assert provider.asked == []


def test_c4_a_token_that_names_no_key_is_accepted_only_where_there_is_no_choice(provider_double: ModuleType) -> None:
    with checking(provider_double) as (provider, _, tokens, clock):
        unnamed = provider.token({"kid": None})
        assert tokens.access(unnamed)["sub"] == "1"
        provider.keys.append(provider_double.rsa_key("new"))
        clock[0] += 3600
        assert refusal(tokens, unnamed) == "unknown key"


def test_c4_over_tls_the_provider_is_believed_by_its_certificate_and_its_name(
    provider_double: ModuleType, tmp_path: Path
) -> None:
    ours, context = provider_double.certificate(tmp_path)
    other, wrong_name = provider_double.certificate(tmp_path, "another.example")
    for serving, trusted, good in ((context, ours, True), (context, other, False), (wrong_name, other, False)):
        with provider_double.oidc_provider(serving) as provider:
            wire = ProviderWire(provider.issuer, (), trusted)
            if good:
                assert wire.get(f"{provider.issuer}/.well-known/openid-configuration")["issuer"] == provider.issuer
                continue
            with pytest.raises(IdentityUnavailable):
                wire.get(f"{provider.issuer}/keys")
            assert provider.asked == []
    with pytest.raises(SettingsError, match="cannot use"):
        ProviderWire("https://localhost:1", (), tmp_path / "localhost.key").get("https://localhost:1/keys")


def test_c4_the_environment_sends_nothing_of_the_provider_elsewhere(
    provider_double: ModuleType, canary: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, heard = canary
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://{address}")
    with checking(provider_double) as (provider, _, tokens, _):
        assert tokens.access(provider.token())["sub"] == "1"
    assert heard == []


def test_c4_while_the_provider_is_away_nobody_is_told_where_it_is(
    tmp_path: Path, inhouse_within: Any, start_service: Any, client: httpx2.Client, provider_double: ModuleType
) -> None:
    data = tmp_path / "d"
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    with provider_double.oidc_provider() as provider:
        token = provider.token()
        settings = {"ISSUER": provider.issuer, "CLIENT_ID": provider_double.CLIENT, "AUDIENCE": provider_double.AUDIENCE}
        there = {**HASHING, **{f"INHOUSE_OIDC__{name}": value for name, value in settings.items()}}
        said = json.loads(inhouse_within(data, "doctor", "--json", **there).stdout)["findings"]
    assert [(one["state"], one["found"]) for one in said if one["check"] == "identity provider"] == [
        ("ok", f"{provider.issuer}: 2 keys for signatures")
    ]
    with start_service(data, {}, **there) as service:
        api = client.get(f"{service.url}/v1/documents", headers={"Authorization": f"Bearer {token}"})
        page = client.get(f"{service.url}/sign-in/provider")
        assert client.get(f"{service.url}/sign-in").status_code == 200
    for told in (api, page):
        assert told.status_code == 503
        assert provider.issuer.partition("//")[2].partition(":")[2] not in told.text
        assert "Error" not in told.text
    refused = {(one.payload["carrier"], one.payload["reason"]) for one in records(data / "audit", tag="credential:refused")}
    assert refused == {
        ("token", "the identity provider cannot be asked: ConnectError"),
        # Who comes next does not have it asked again at once.
        ("provider", "the identity provider did not answer a moment ago"),
    }
    assert "wrong: identity provider" in inhouse_within(data, "doctor", **there).stderr


def test_c4_settings_that_would_take_a_shared_secret_or_an_id_token_are_refused() -> None:
    for wrong in (
        {"algorithms": ("HS256",)},
        {"algorithms": ("none",)},
        {"algorithms": ()},
        {"audience": "pages"},
        {"clearance_claim": "clearance"},
        {"roles": {"x": "admin"}},
        {"scopes": ("profile",)},
    ):
        with pytest.raises(ValueError):
            OidcSettings(**{"issuer": "https://login.example", "client_id": "pages", "audience": "api", **wrong})
    with pytest.raises(ValueError):
        OidcSettings(client_id="pages")


def test_c4_somebody_else_s_account_opens_no_person_also_when_it_gets_their_name(identities: Any) -> None:
    identities.add("victim")
    assert identities.bearer(identities.token("victim")).status_code == 200
    assert identities.bearer(identities.token("victim", sub="another account")).status_code == 401
    assert ("token", "another account stands for the person") in identities.refusals()
    told = [one.payload for one in records(identities.service.data / "audit", tag="person:bound", limit=1000)]
    assert [one["subject"] for one in told if one["person"] == "victim"] == ["account-victim"]
    # The first account is that person's under whatever name, until an administrator unties the two.
    assert identities.bearer(identities.token("victim", preferred_username="renamed")).status_code == 200
    assert identities.inhouse(identities.service.data, "people", "release", "victim").returncode == 0
    assert identities.bearer(identities.token("victim", sub="another account")).status_code == 200
    assert identities.bearer(identities.token("victim")).status_code == 401


def test_c4_an_old_token_brings_back_no_right_that_a_newer_one_took(identities: Any) -> None:
    identities.add("moved")
    later = now() + 5
    older = identities.token("moved", iat=now() - 10)
    assert "merger" in identities.bearer(older).text
    assert "merger" not in identities.bearer(identities.token("moved", realm={"groups": ["/Others"]}, iat=later)).text
    assert "merger" not in identities.bearer(older).text
    changed = [
        one.payload
        for one in records(identities.service.data / "audit", tag="person:changed")
        if one.payload["person"] == "moved"
    ]
    assert [(one["groups"], one["was"]) for one in changed] == [([], ["groups: directors, everyone"])] or [
        (one["groups"], one["was"]) for one in changed
    ] == [([], ["groups: directors"])]
    assert identities.people.show("moved").roles == {Role.USER}


def test_c4_the_way_over_the_provider_signs_in_and_each_bent_way_does_not(identities: Any) -> None:
    identities.add("walker")
    done = identities.sign_in_at_provider("walker")
    cookie = identities.cookie_of(done)
    assert done.status_code == 200
    assert "samesite=strict" in done.headers["set-cookie"].lower()
    assert identities.get("/", Cookie=cookie).status_code == 200
    spoils: dict[str, dict[str, Any]] = {
        "wrong nonce": {"nonce": "of another flow"},
        "wrong aud": {"aud": "another-client"},
        "it is for another client too": {"aud": ["inhouse-pages", "another"]},
        "wrong iss": {"iss": "http://127.0.0.1:1"},
        "expired": {"exp": now() - 61},
        "it is not an ID token": {"typ": "Bearer"},
        "it lacks iss, aud, sub, exp or iat": {"sub": None},
    }
    for reason, spoil in spoils.items():
        told = identities.sign_in_at_provider("walker", **spoil)
        assert told.status_code == 401, reason
        assert "inhouse_session=" not in "".join(told.headers.get_list("set-cookie"))
        assert "this sign-in is not accepted" in told.text
        assert reason not in told.text
        assert ("provider", reason) in identities.refusals()


def test_c4_an_answer_counts_for_the_browser_that_asked_for_it_alone(identities: Any) -> None:
    identities.add("roamer")
    identities.provider.account, identities.provider.spoils = identities.account("roamer"), {}
    url, get = identities.service.url, identities.client.get
    there = get(f"{url}/sign-in/provider")
    set_cookie = there.headers["set-cookie"]
    flow = set_cookie.partition(";")[0]
    assert "httponly" in set_cookie.lower()
    assert "samesite=lax" in set_cookie.lower()
    asked = {name: values[0] for name, values in parse_qs(urlsplit(there.headers["location"]).query).items()}
    assert asked["redirect_uri"] == f"{url}/sign-in/provider/return"
    assert asked["code_challenge_method"] == "S256"
    # The browser is shown nothing that would redeem the code: neither the verifier nor what it is derived from.
    assert flow.partition("=")[2] not in there.headers["location"]
    back = identities.provider.authorize(asked)
    bent = [
        (back, {}),
        (back, {"cookie": "inhouse_signing_in=another"}),
        (back, {"cookie": f"{flow}; inhouse_signing_in=another"}),
        (back.replace(asked["state"], "x"), {"cookie": flow}),
        (back.replace("state=", "s="), {"cookie": flow}),
        (back.partition("&iss=")[0], {"cookie": flow}),
        (back.partition("&iss=")[0] + "&iss=http://127.0.0.1:1", {"cookie": flow}),
        (back.replace("code=", "error="), {"cookie": flow}),
        (back.replace("code=", "code=x"), {"cookie": flow}),
    ]
    for address, headers in bent:
        told = get(address, headers=headers)
        assert told.status_code == 401, address
        assert "inhouse_session=" not in "".join(told.headers.get_list("set-cookie"))
    wrong = {reason for carrier, reason in identities.refusals() if carrier == "provider"}
    assert {"wrong state", "wrong issuer of the answer", "the provider gives no code"} <= wrong
    assert "the provider refuses the code: invalid_grant" in wrong
    # A session that somebody put there before is not the one that begins.
    planted = "inhouse_session=planted"
    done = get(back, headers={"cookie": f"{flow}; {planted}"})
    assert done.status_code == 200
    assert identities.cookie_of(done) != planted
    assert identities.provider.authorizations[-1].startswith("Basic ")
    assert "client_secret" not in identities.provider.forms[-1]
    # The code is used up, and the flow's cookie is gone from the browser.
    assert get(back, headers={"cookie": flow}).status_code == 401
    assert 'inhouse_signing_in=""' in "".join(done.headers.get_list("set-cookie"))


def test_c4_a_disabled_person_is_signed_in_by_no_provider(identities: Any) -> None:
    identities.add("leaver")
    identities.people.disable("leaver")
    assert identities.sign_in_at_provider("leaver").status_code == 401
    assert identities.bearer(identities.token("leaver")).status_code == 401


@pytest.mark.parametrize(
    "answer",
    [
        (302, {"location": "{issuer}/planted"}, GOOD),
        (200, {}, b"[" + GOOD + b"]"),
        (200, {}, GOOD[:-1]),
        (200, {}, GOOD + b" " * 2**20),
        (200, {"content-encoding": "gzip"}, GOOD),
        (503, {}, GOOD),
    ],
    ids=["redirect", "list", "half", "endless", "packed", "busy"],
)
def test_c4_what_the_provider_should_not_answer_is_not_followed(provider_double: ModuleType, answer: Any) -> None:
    with checking(provider_double) as (provider, asking, _, clock):
        status, headers, body = answer
        headers = {name: value.format(issuer=provider.issuer) for name, value in headers.items()}
        body = body.replace(b"ISSUER", provider.issuer.encode())
        provider.answers["/.well-known/openid-configuration"] = (200, {}, GOOD.replace(b"ISSUER", provider.issuer.encode()))
        asking.authorization_url(Flow.begin(), "http://127.0.0.1/back")
        clock[0] += 3600
        provider.answers["/.well-known/openid-configuration"] = (status, headers, body)
        with pytest.raises(IdentityUnavailable):
            asking.authorization_url(Flow.begin(), "http://127.0.0.1/back")
        assert "/planted" not in provider.asked


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://another.example"},
        {"jwks_uri": "http://localhost:PORT/keys"},
        {"jwks_uri": "http://127.0.0.1@localhost:PORT/keys"},
        {"jwks_uri": "http://169.254.169.254/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
    ],
)
def test_c4_keys_come_from_the_issuer_s_own_host_and_from_no_other(provider_double: ModuleType, said: Any) -> None:
    with checking(provider_double) as (provider, _, tokens, _):
        port = provider.issuer.rpartition(":")[2]
        provider.document = {name: value and value.replace("PORT", port) for name, value in said.items()}
        with pytest.raises((IdentityUnavailable, SettingsError)):
            tokens.access(provider.token())
        assert "/keys" not in provider.asked


@pytest.mark.parametrize(
    ("issuer", "allowed", "why"),
    [
        ("http://10.0.0.1", (), "not https"),
        ("https://8.8.8.8", (), "outside of private networks"),
        ("https://[2001:4860::1]", (), "outside of private networks"),
        ("https://169.254.169.254", (), "outside of private networks"),
        ("http://8.8.8.8", ("8.8.8.8",), "not https"),
    ],
)
def test_c4_the_provider_is_inside_or_named_and_never_without_tls_elsewhere(
    issuer: str, allowed: tuple[str, ...], why: str
) -> None:
    with pytest.raises(IdentityUnavailable, match=why):
        ProviderWire(issuer, allowed, None).get(f"{issuer}/keys")


def test_c4_a_token_is_tried_as_nothing_else_where_no_provider_is_set(service: Any, client: Any, provider_double: Any) -> None:
    with provider_double.oidc_provider() as provider:
        headers = {"Authorization": f"Bearer {provider.token(sub='root', preferred_username='root')}"}
        told = client.get(f"{service.url}/v1/documents", headers=headers)
        assert told.status_code == 401
        assert provider.asked == []
    assert client.get(f"{service.url}/sign-in/provider").status_code == 404
